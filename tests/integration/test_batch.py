"""Trajectories that one job steps together, through Snakemake."""

from __future__ import annotations

import re
from pathlib import Path

from small_campaign import (
    RESULTS,
    assert_same_segment,
    copy_before_production,
    rules_run,
    small_campaign,
)


def test_what_a_profile_sets_for_batches_holds_for_each(tmp_path: Path) -> None:
    """Rules of batches are numbered; what is set for one by its number goes before."""
    campaign = small_campaign(tmp_path, production={"batch": 2}, finetune={"model": "pretrained"})
    overrides = ("produce_batch:runtime=min(attempt*77,99)", "produce_batch_1:runtime=33")
    glass = RESULTS / "production/LiAlCl"
    targets = [glass / f"T{t:04d}/r0/segment-0000.h5" for t in (800, 1200)]
    printed = campaign.graph("--set-resources", *overrides, "--", *targets).printed
    runtimes = re.findall(
        r"^rule (produce_batch_\d):\n(?: .*\n)*?    resources: .*runtime=(\d+)", printed, re.M
    )
    assert sorted(runtimes) == [("produce_batch_0", "77"), ("produce_batch_1", "33")]


def test_a_batch_writes_what_its_trajectories_are_alone(checkout: Path, tmp_path: Path) -> None:
    """Three temperatures: a batch of two and one of one, two segments each."""
    copy_before_production(checkout, tmp_path)
    folders = [RESULTS / f"production/LiAlCl/T{t:04d}/r0" for t in (800, 1000, 1200)]
    ended = small_campaign(tmp_path, production={"batch": 2}).run(
        *(folder / "segment-0001.h5" for folder in folders)
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rules = rules_run(ended.stdout + ended.stderr)
    assert rules == ["produce_batch_0"] * 2 + ["produce_batch_1"] * 2
    assert not list((tmp_path / RESULTS / "production").rglob(".segment*"))
    for folder in folders:
        for name in ("segment-0000.h5", "segment-0001.h5"):
            assert_same_segment(tmp_path / folder / name, checkout / folder / name)
