"""Frames left out after the analysis, in a campaign: nothing runs again for it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_campaign import ANALYSIS, PRODUCTION, SEGMENT, copy_stages, rules_run, small_campaign

from vitrion.trajectory.h5md import read_samples

RETENTION = PRODUCTION / "retention.parquet"


def run(folder: Path, *options: str, transport: dict | None = None, **production: float):
    """Run to the table of what was kept; returns what was printed and the rules that ran."""
    campaign = small_campaign(folder, production=production, transport=transport or {})
    ended = campaign.run(*options, RETENTION)
    printed = ended.stdout + ended.stderr
    return printed, rules_run(printed)


@pytest.fixture(scope="module")
def thinned(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that was analysed, and keeps every second frame."""
    folder = tmp_path_factory.mktemp("thinned")
    copy_stages(checkout, folder, "finetune", "quench", "production", "transport")
    printed, rules = run(folder, keep_every=2)
    assert rules == ["thin_trajectory"], printed
    return folder


def test_every_second_frame_is_left(thinned: Path) -> None:
    kept = pd.read_parquet(thinned / RETENTION)
    assert (kept["frames_kept"] == kept["frames"] // 2).all()
    assert (kept["bytes_kept"] < kept["bytes"]).all()
    assert len(read_samples(thinned / SEGMENT)) == kept["frames_kept"][0]
    analysed = pd.read_parquet(thinned / ANALYSIS / "trajectories.parquet")
    assert analysed["frame_interval_ps"][0] == pytest.approx(0.02)


def test_nothing_runs_again(thinned: Path) -> None:
    assert run(thinned, keep_every=2)[1] == []


def test_trajectory_is_made_longer_and_analysed_as_it_is(thinned: Path) -> None:
    printed, rules = run(thinned, keep_every=2, length_ps=1.2)
    assert rules == ["analyze_trajectory", "produce_segment", "thin_trajectory"], printed
    analysed = pd.read_parquet(thinned / ANALYSIS / "trajectories.parquet")
    assert analysed["frame_interval_ps"][0] == pytest.approx(0.04)
    assert analysed["length_ps"][0] == pytest.approx(1.2 - 0.04)


def test_without_frames_the_tables_stay_and_a_new_analysis_says_what_is_missing(
    thinned: Path,
) -> None:
    printed, rules = run(thinned, keep_every=0, length_ps=1.2)
    assert rules == ["thin_trajectory"], printed
    assert (pd.read_parquet(thinned / RETENTION)["frames_kept"] == 0).all()
    before = {path: path.read_bytes() for path in (thinned / ANALYSIS).iterdir()}
    other = {"rdf_cutoff_A": 8.0}
    printed, rules = run(thinned, transport=other, keep_every=0, length_ps=1.2)
    assert rules == ["analyze_trajectory", "thin_trajectory"][: len(rules)]
    assert "production.keep_every: 0" in printed
    assert "remove this segment" in printed
    assert {path: path.read_bytes() for path in (thinned / ANALYSIS).iterdir()} == before
    # The remedy makes the segments again.
    segments = (thinned / SEGMENT).parent.glob("segment-*.h5")
    for path in (*segments, thinned / RETENTION, *before):
        path.unlink()
    printed, rules = run(thinned, "--dry-run", transport=other, keep_every=0, length_ps=1.2)
    assert rules == ["analyze_trajectory", *["produce_segment"] * 3, "thin_trajectory"], printed
