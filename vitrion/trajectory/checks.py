"""Limits laid over stored measurements: which glasses and segments can be trusted.

Measurements are made once, where the atoms are (`vitrion.dynamics.measurements`), and stored. They
are judged here, whenever a table is made, so a changed limit needs no dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from vitrion.config import GlassLimits
from vitrion.structure.compositions import Composition

PROTOCOL_DONE = "part of the protocol done"
MELT_DISPLACEMENT = "melt displacement of"  # and the element
DENSITY = "density"
DENSITY_RATIO = "density over its guess"
DENSITY_DRIFT = "relative density drift"
TEMPERATURE = "temperature over its target"
ENERGY_DRIFT = "drift of the conserved energy"
LEAST_DISTANCE = "least distance of two atoms"
LONG_RANGE_ORDER = "long-range order in g(r)"
OUTSIDE_TRAINING = "atoms outside the training set"
COORDINATION = "central atoms with {} ligands"

LEAST_PROTOCOL_DONE = 0.99
STANDARD_ERRORS = 3.0  # limits are widened by so many


@dataclass(frozen=True)
class Measurement:
    """One measured quantity of a glass or a segment.

    Attributes:
        quantity: its name.
        value: NaN when the run was too short to measure it.
        unit: of value and error; empty for a ratio.
        error: one standard error of the value; 0 where scatter does not matter.
    """

    quantity: str
    value: float
    unit: str = ""
    error: float = 0.0


@dataclass(frozen=True)
class Check:
    """A value with the limits that it must lie within; NaN fails.

    Attributes:
        name: what was checked.
        value: what was measured.
        low, high: limits, widened by three standard errors of the value.
        unit: of value and limits.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value lies within the limits."""
        return self.low <= self.value <= self.high

    @classmethod
    def of(cls, measurement: Measurement, low: float, high: float) -> Check:
        """Judge a measurement by limits before they are widened."""
        margin = STANDARD_ERRORS * measurement.error if math.isfinite(measurement.error) else 0.0
        value, unit = measurement.value, measurement.unit
        return cls(measurement.quantity, value, low - margin, high + margin, unit)


def measurements_table(measurements: Iterable[Measurement]) -> pd.DataFrame:
    """The table `glass_measurements`."""
    return pd.DataFrame(
        [
            {"quantity": m.quantity, "value": m.value, "value_err": m.error, "unit": m.unit}
            for m in measurements
        ]
    )


def check_glass(
    measurements: pd.DataFrame, composition: Composition, limits: GlassLimits
) -> pd.DataFrame:
    """Judge a glass.

    Args:
        measurements: the table `glass_measurements` of the glass.
        composition: what the glass is made of; gives the density guess and the coordination
            expected of the central atoms.
        limits: what is allowed.

    Returns:
        The table `glass_checks`: a row per check, its limits NaN on a side without limit.
    """
    found = {
        row.quantity: Measurement(row.quantity, row.value, row.unit, row.value_err)
        for row in measurements.itertuples()
    }

    def measured(quantity: str) -> Measurement:
        return found.get(quantity, Measurement(quantity, math.nan))

    checks = [Check.of(measured(PROTOCOL_DONE), LEAST_PROTOCOL_DONE, math.inf)]
    for element in (*composition.mobile, *composition.center):
        displacement = measured(f"{MELT_DISPLACEMENT} {element}")
        checks.append(Check.of(displacement, limits.least_melt_displacement_A, math.inf))
    ratio = measured(DENSITY).value / composition.density_guess_g_cm3
    checks += [
        Check(DENSITY_RATIO, ratio, *limits.density_ratio),
        Check.of(measured(DENSITY_DRIFT), -limits.density_drift, limits.density_drift),
        *(
            _dynamics_check(measured(quantity), limits)
            for quantity in (TEMPERATURE, ENERGY_DRIFT, LEAST_DISTANCE, LONG_RANGE_ORDER)
        ),
        _check_coordination(found, composition, limits),
    ]
    return pd.DataFrame(
        [
            {
                "check": check.name,
                "value": check.value,
                "limit_low": check.low if math.isfinite(check.low) else math.nan,
                "limit_high": check.high if math.isfinite(check.high) else math.nan,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in checks
        ]
    )


def check_segment(measurements: Iterable[Measurement], limits: GlassLimits) -> list[Check]:
    """Judge a segment; what it was too short to measure is left out."""
    return [_dynamics_check(m, limits) for m in measurements if not math.isnan(m.value)]


def _dynamics_check(measurement: Measurement, limits: GlassLimits) -> Check:
    """Judge what is measured of every run, be it an anneal or a segment."""
    low, high = {
        TEMPERATURE: (1 - limits.temperature_tolerance, 1 + limits.temperature_tolerance),
        ENERGY_DRIFT: (-limits.energy_drift_meV_atom_ps, limits.energy_drift_meV_atom_ps),
        LEAST_DISTANCE: (limits.least_distance_A, math.inf),
        LONG_RANGE_ORDER: (-math.inf, limits.long_range_order),
        OUTSIDE_TRAINING: (0.0, limits.most_outside_training),
    }[measurement.quantity]
    return Check.of(measurement, low, high)


def _check_coordination(
    found: dict[str, Measurement], composition: Composition, limits: GlassLimits
) -> Check:
    """Share of the central atoms whose number of ligands is one of those expected."""
    low, high = composition.coordination
    quantities = [COORDINATION.format(count) for count in range(low, high + 1)]
    value = sum(found[quantity].value for quantity in quantities if quantity in found)
    if COORDINATION.format(0) not in found:
        value = math.nan  # nothing was counted
    name = COORDINATION.format(f"{low} to {high}" if low < high else low)
    return Check(name, value, limits.least_coordinated_fraction, math.inf)
