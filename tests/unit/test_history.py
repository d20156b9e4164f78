"""Flags of a trajectory: limits laid over what its glass and its segments stored."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pytest

from vitrion.config import GlassLimits
from vitrion.structure.compositions import Composition
from vitrion.trajectory.checks import (
    COORDINATION,
    DENSITY,
    DENSITY_DRIFT,
    ENERGY_DRIFT,
    LEAST_DISTANCE,
    LONG_RANGE_ORDER,
    MELT_DISPLACEMENT,
    PROTOCOL_DONE,
    TEMPERATURE,
    Measurement,
    measurements_table,
)
from vitrion.trajectory.history import trajectory_flags

LIALCL = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.0)
GLASS = {
    PROTOCOL_DONE: 1.0,
    f"{MELT_DISPLACEMENT} Li": 9.0,
    f"{MELT_DISPLACEMENT} Al": 5.0,
    DENSITY: 2.0,
    DENSITY_DRIFT: 0.01,
    TEMPERATURE: 1.0,
    ENERGY_DRIFT: 0.1,
    LEAST_DISTANCE: 1.6,
    LONG_RANGE_ORDER: 0.1,
    COORDINATION.format(0): 0.0,
    COORDINATION.format(4): 0.9,
}
SEGMENT = {TEMPERATURE: 1.0, ENERGY_DRIFT: 0.1, LEAST_DISTANCE: 1.6, LONG_RANGE_ORDER: 0.1}


def glass(**changed: float) -> pd.DataFrame:
    return measurements_table(Measurement(name, v) for name, v in {**GLASS, **changed}.items())


def segment(changes: dict[str, float] | None = None) -> list[dict[str, object]]:
    values = {**SEGMENT, **(changes or {})}
    return [asdict(Measurement(name, value)) for name, value in values.items()]


def test_sound_trajectory_has_no_flags() -> None:
    assert trajectory_flags(glass(), [segment(), segment()], LIALCL, GlassLimits()) == ()


def test_each_failed_check_is_a_flag_once() -> None:
    drifting = segment({ENERGY_DRIFT: 3.0})
    flags = trajectory_flags(
        glass(density=4.0), [segment(), drifting, drifting], LIALCL, GlassLimits()
    )
    assert flags == ("glass: density over its guess", f"production: {ENERGY_DRIFT}")


@pytest.mark.parametrize(
    ("limits", "flags"),
    [
        (
            {"energy_drift_meV_atom_ps": 0.05},
            {f"glass: {ENERGY_DRIFT}", f"production: {ENERGY_DRIFT}"},
        ),
        ({"least_distance_A": 1.7}, {f"glass: {LEAST_DISTANCE}", f"production: {LEAST_DISTANCE}"}),
        ({"density_drift": 0.001}, {f"glass: {DENSITY_DRIFT}"}),
    ],
)  # fmt: skip
def test_limits_of_the_configuration_hold_for_production_too(limits: dict, flags: set) -> None:
    """On measurements that stay as they are."""
    found = trajectory_flags(glass(), [segment()], LIALCL, GlassLimits(**limits))
    assert set(found) == flags
