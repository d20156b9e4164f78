"""The history of a trajectory: measurements, mean temperature, wall time, and its flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vitrion.config import GlassLimits
from vitrion.structure.compositions import Composition
from vitrion.trajectory.checks import Measurement, check_glass, check_segment
from vitrion.trajectory.h5md import read_metadata


@dataclass(frozen=True)
class RunHistory:
    """The past of one trajectory.

    Attributes:
        measurements: of each segment, as `Measurement` takes them.
        mean_temperature_K: mean kinetic temperature over the segments.
        wall_hours: wall time of the segments.
        steps_per_s: MD steps per second, over all segments.
        model_hash: of the potential.
    """

    measurements: list[list[dict[str, object]]]
    mean_temperature_K: float
    wall_hours: float
    steps_per_s: float
    model_hash: str


def run_history(segments: Sequence[Path]) -> RunHistory:
    """Read what the segments of a trajectory record about their run.

    Args:
        segments: of one trajectory, all of one length.

    Raises:
        InputError: a file that cannot be read.
    """
    runs = [read_metadata(segment) for segment in segments]
    wall_s = sum(run.wall_s for run in runs)
    steps = sum(run.steps_per_s * run.wall_s for run in runs)
    return RunHistory(
        measurements=[[asdict(measured) for measured in run.measurements] for run in runs],
        mean_temperature_K=sum(run.mean_temperature_K for run in runs) / len(runs),
        wall_hours=wall_s / 3600,
        steps_per_s=steps / wall_s if wall_s > 0 else float("nan"),
        model_hash=runs[0].model_hash,
    )


def trajectory_flags(
    glass: pd.DataFrame,
    segments: Iterable[Iterable[Mapping[str, Any]]],
    composition: Composition,
    limits: GlassLimits,
) -> tuple[str, ...]:
    """Checks that a trajectory fails, each once.

    Args:
        glass: table `glass_measurements` of the glass that it started from.
        segments: measurements of each segment (`RunHistory.measurements`).
        composition: what the glass is made of.
        limits: those of the glass, which hold for its production as well.
    """
    checks = check_glass(glass, composition, limits)
    flags = [f"glass: {check}" for check in checks.loc[~checks["passed"], "check"]]
    for segment in segments:
        measured = [Measurement(**measurement) for measurement in segment]
        flags += [
            f"production: {check.name}"
            for check in check_segment(measured, limits)
            if not check.passed
        ]
    return tuple(dict.fromkeys(flags))
