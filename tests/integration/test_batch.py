"""Trajectories that one job steps together, through Snakemake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_campaign import RESULTS, run_here, write_configs

from vitrion.config import load_config
from vitrion.dynamics import produce_segment
from vitrion.trajectory.h5md import read_checkpoint, read_samples

PRODUCTION = RESULTS / "production/LiAlCl"


def test_a_batch_writes_what_its_trajectories_are_alone(tmp_path: Path) -> None:
    configs = write_configs(tmp_path, batch=2)
    # Three temperatures: a batch of two and one of one, two segments each.
    targets = [PRODUCTION / f"T{t:04d}/r0/segment-0001.h5" for t in (600, 700, 800)]
    ended = run_here(tmp_path, configs, *targets)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout + ended.stderr
    assert told.count("rule produce_batch_0:") == 2
    assert told.count("rule produce_batch_1:") == 2
    assert "rule produce_segment:" not in told
    assert not list((tmp_path / PRODUCTION).rglob(".segment*"))

    config = load_config(*configs)
    for temperature_K, last in zip((600, 700, 800), targets, strict=True):
        folder = (tmp_path / last).parent
        previous = folder / "equilibrated.h5"
        for number in range(2):
            alone, together = tmp_path / "alone.h5", folder / f"segment-{number:04d}.h5"
            produce_segment(
                *(previous, alone),
                temperature_K=temperature_K,
                segment_ps=config.production.segment_ps,
                frame_interval_ps=config.production.frame_interval_ps,
                position_precision_A=config.production.position_precision_A,
                dynamics=config.dynamics,
                model=str(tmp_path / RESULTS / "finetune/model.safetensors"),
            )
            states = [read_checkpoint(path)[0].fingerprint() for path in (alone, together)]
            assert states[0] == states[1]
            frames = [read_samples(path).positions_A for path in (alone, together)]
            assert np.array_equal(*frames)
            previous = together
