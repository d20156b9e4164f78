"""Trajectories that end once they are certain enough, run for real."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_campaign import RESULTS, rules_run, run_here, write_configs

from vitrion.lengths import Decision

TABLES = tuple(RESULTS / f"transport/LiAlCl/T{T}/r0/diffusion.parquet" for T in ("0300", "2500"))


def configs(folder: Path, *, relative_error: float) -> tuple[Path, ...]:
    """At 300 K nothing diffuses in so short a time, at 2500 K the alkali does."""
    until = {"least_ps": 0.4, "relative_error": relative_error, "quantities": ["D_alkali"]}
    files = write_configs(folder, length_ps=1.2, until=until)
    overlay = yaml.safe_load(files[-1].read_text())
    overlay |= {"temperatures_K": [300, 2500], "transport": {"diffusive_tolerance": 0.5}}
    files[-1].write_text(yaml.safe_dump(overlay))
    return files


def run(folder: Path, **changes: float) -> list[str]:
    """Run to the tables; returns the rules of the jobs that ran."""
    ended = run_here(folder, configs(folder, **changes), *TABLES)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return rules_run(ended.stdout + ended.stderr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The campaign and the rules of its jobs."""
    folder = tmp_path_factory.mktemp("lengths")
    return folder, run(folder, relative_error=0.3)


def test_one_trajectory_ends_early_and_no_job_is_wasted(finished: tuple[Path, list[str]]) -> None:
    folder, rules = finished
    production = folder / RESULTS / "production/LiAlCl"
    assert [p.name for p in sorted(production.glob("T0300/r0/segment-*.h5"))] == [
        f"segment-{n:04d}.h5" for n in range(3)
    ]
    assert [p.name for p in sorted(production.glob("T2500/r0/segment-*.h5"))] == [
        f"segment-{n:04d}.h5" for n in range(2)
    ]
    assert rules.count("produce_segment") == 5
    assert rules.count("decide_length") == 4
    assert rules.count("analyze_trajectory") == 2


def test_decision_has_the_error_bars_of_the_analysis(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    path = folder / RESULTS / "production/LiAlCl/T2500/r0/decision-0001.json"
    decision = Decision.read(path)
    table = pd.read_parquet(folder / TABLES[1]).set_index("species").loc["Li"]
    assert decision.converged
    assert decision.relative_errors["D_alkali"] == table["D_err_cm2_s"] / table["D_cm2_s"]


def test_what_is_asked_for_later_only_adds_segments(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    kept = {p: p.stat().st_mtime_ns for p in folder.glob(f"{RESULTS}/production/**/segment-*.h5")}
    assert run(folder, relative_error=0.3) == []
    rules = run(folder, relative_error=0.13)
    assert rules.count("produce_segment") == 1
    assert rules.count("equilibrate_glass") == 0
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert (folder / RESULTS / "production/LiAlCl/T2500/r0/segment-0002.h5").exists()
