"""Trajectories that end once they are certain enough, run for real."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_campaign import RESULTS, copy_stages, rules_run, small_campaign
from workflow import ROOT

from vitrion.campaign.stopping import Decision
from vitrion.tables.io import headline

TABLE = RESULTS / "transport/LiAlCl/T2500/r0/diffusion.parquet"
TEMPERATURES_K = (300, 2500)
COMPOSITIONS = ROOT / "tests/toy/compositions.tsv"


def run(folder: Path, *, relative_error: float) -> list[str]:
    """Run to the tables; returns the rules of the jobs that ran.

    At 300 K nothing diffuses in so short a time, at 2500 K the mobile ion does.
    """
    table = folder / "one.tsv"
    table.write_text("".join(COMPOSITIONS.read_text().splitlines(keepends=True)[:2]))
    stop_when = {"least_ps": 0.4, "relative_error": relative_error, "quantities": ["D_mobile"]}
    campaign = small_campaign(
        folder,
        compositions=str(table),
        temperatures_K=list(TEMPERATURES_K),
        production={"length_ps": 1.2, "stop_when": stop_when},
        transport={"diffusive_tolerance": 0.5},
    )
    # Its tables, and the last decisions behind them.
    ended = campaign.run("analyze_trajectories")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return rules_run(ended.stdout + ended.stderr)


@pytest.fixture(scope="module")
def finished(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The campaign and the rules of its jobs."""
    folder = tmp_path_factory.mktemp("lengths")
    copy_stages(checkout, folder, "finetune", "quench")
    return folder, run(folder, relative_error=0.5)


def segments(folder: Path, temperature_K: int) -> list[Path]:
    found = folder.glob(f"{RESULTS}/production/LiAlCl/T{temperature_K:04d}/r0/segment-????.h5")
    return sorted(found)


def decisions(folder: Path, temperature_K: int) -> list[Decision]:
    found = folder.glob(f"{RESULTS}/production/LiAlCl/T{temperature_K:04d}/r0/decision-*.json")
    return list(map(Decision.read, sorted(found)))


def test_one_trajectory_ends_early_and_no_job_is_wasted(finished: tuple[Path, list[str]]) -> None:
    folder, rules = finished
    resting, moving = segments(folder, 300), segments(folder, 2500)
    assert len(resting) == 3
    assert len(moving) < 3
    assert [d.converged for d in decisions(folder, 300)] == [False, False]
    assert [d.converged for d in decisions(folder, 2500)] == [False] * (len(moving) - 1) + [True]
    assert rules.count("produce_segment") == 3 + len(moving)
    assert rules.count("decide_length") == 2 + len(moving)
    assert rules.count("analyze_trajectory") == 2


def test_decision_has_the_error_bars_of_the_analysis(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    last = decisions(folder, 2500)[-1]
    table = headline(pd.read_parquet(folder / TABLE)).set_index("species").loc["Li"]
    assert last.relative_errors["D_mobile"] == table["D_err_cm2_s"] / table["D_cm2_s"]


def test_what_is_asked_for_later_only_adds_segments(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    kept = {p: p.stat().st_mtime_ns for T in TEMPERATURES_K for p in segments(folder, T)}
    assert run(folder, relative_error=0.5) == []
    reached = decisions(folder, 2500)[-1].relative_errors["D_mobile"]
    rules = run(folder, relative_error=0.99 * reached)
    added = len(segments(folder, 300)) + len(segments(folder, 2500)) - len(kept)
    assert rules.count("produce_segment") == added >= 1
    assert rules.count("equilibrate_glass") == 0
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
