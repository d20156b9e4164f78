"""The history of a trajectory: checks that failed, mean temperature, wall time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrion.config import GlassLimits
from vitrion.structure.compositions import Composition
from vitrion.tables.io import read_table
from vitrion.trajectory.checks import check_glass, check_segment
from vitrion.trajectory.h5md import read_metadata


@dataclass(frozen=True)
class RunHistory:
    """The past of one trajectory.

    Attributes:
        flags: checks that its glass or one of its segments failed, each once.
        mean_temperature_K: mean kinetic temperature over the segments.
        wall_hours: wall time of the segments.
        steps_per_s: MD steps per second, over all segments.
        model_hash: of the potential.
    """

    flags: tuple[str, ...]
    mean_temperature_K: float
    wall_hours: float
    steps_per_s: float
    model_hash: str


def run_history(
    segments: Sequence[Path],
    measurements: Path,
    composition: Composition,
    limits: GlassLimits,
) -> RunHistory:
    """Read what was measured of a trajectory and of its glass, and judge it.

    Args:
        segments: of one trajectory, all of one length.
        measurements: table `glass_measurements` of the glass that it started from.
        composition: what the glass is made of.
        limits: what is allowed, of the glass and of its production alike.

    Raises:
        InputError: a file that cannot be read.
    """
    checks = check_glass(read_table(measurements), composition, limits)
    flags = [f"glass: {check}" for check in checks.loc[~checks["passed"], "check"]]
    runs = [read_metadata(segment) for segment in segments]
    for run in runs:
        flags += [
            f"production: {check.name}"
            for check in check_segment(run.measurements, limits)
            if not check.passed
        ]
    wall_s = sum(run.wall_s for run in runs)
    steps = sum(run.steps_per_s * run.wall_s for run in runs)
    return RunHistory(
        flags=tuple(dict.fromkeys(flags)),
        mean_temperature_K=sum(run.mean_temperature_K for run in runs) / len(runs),
        wall_hours=wall_s / 3600,
        steps_per_s=steps / wall_s if wall_s > 0 else float("nan"),
        model_hash=runs[0].model_hash,
    )
