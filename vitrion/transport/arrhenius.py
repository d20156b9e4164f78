"""Activation energies: weighted straight lines of ln(quantity) against 1/k_B T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vitrion.units import BOLTZMANN_eV_K

LEAST_TEMPERATURES = 3
ROOM_TEMPERATURE_K = 300.0
POOR_FIT_PROBABILITY = 0.01


@dataclass(frozen=True)
class Pooled:
    """One quantity at one temperature, over replicas.

    Attributes:
        value, err: mean and its standard error.
        n: replicas.
    """

    value: float
    err: float
    n: int


def pool_replicas(values: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Mean over independent glasses of the same length, each counted alike.

    Weights by error would favour low values, because errors of transport coefficients grow with the
    value. The variance is the larger of what the errors and what the spread between the glasses say
    (random effects: DerSimonian and Laird, Control. Clin. Trials 7, 177, 1986).
    """
    values, errors = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    usable = np.isfinite(values) & np.isfinite(errors)
    values, errors = values[usable], errors[usable]
    n = len(values)
    if not n:
        return Pooled(float("nan"), float("nan"), 0)
    within = float(np.mean(errors**2))
    between = float(np.var(values, ddof=1)) if n > 1 else 0.0
    return Pooled(float(values.mean()), float(np.sqrt(max(within, between) / n)), n)


@dataclass(frozen=True)
class Arrhenius:
    """A fit of ln y = ln_prefactor − Ea/(k_B T).

    Attributes:
        Ea_eV, Ea_err_eV: activation energy and one standard error; NaN when refused.
        ln_prefactor: ln y at 1/T = 0.
        value_300K, value_300K_low, value_300K_high: y at 300 K and its one-sigma interval.
        n_points: temperatures used.
        flags: reasons not to trust it.
    """

    Ea_eV: float
    Ea_err_eV: float
    ln_prefactor: float
    value_300K: float
    value_300K_low: float
    value_300K_high: float
    n_points: int
    flags: tuple[str, ...] = ()


def fit_arrhenius(
    temperatures_K: Sequence[float], values: Sequence[float], errors: Sequence[float]
) -> Arrhenius:
    """Fit values that grow with temperature (D, σT, rates) at three temperatures or more.

    Each point weighs by its relative error. Where the points scatter about the line by more than
    their errors allow, errors are widened by the Birge ratio √(χ²/ν). Points that are not positive
    numbers are left out and flagged.

    Args:
        temperatures_K: one per point.
        values, errors: value and standard error at each.
    """
    temperatures_K = np.asarray(temperatures_K, dtype=float)
    values, errors = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    usable = np.isfinite(values) & (values > 0) & np.isfinite(errors) & (errors > 0)
    flags = [f"left_out:{T:g}K" for T in temperatures_K[~usable]]
    n = int(np.count_nonzero(usable))
    if len(np.unique(temperatures_K[usable])) < LEAST_TEMPERATURES:
        nan = float("nan")
        few = f"fewer_than_{LEAST_TEMPERATURES}_temperatures"
        return Arrhenius(nan, nan, nan, nan, nan, nan, n, (*flags, few))
    beta = 1 / (BOLTZMANN_eV_K * temperatures_K[usable])
    y, err = np.log(values[usable]), errors[usable] / values[usable]
    design = np.stack([np.ones(n), -beta], axis=1)
    covariance = np.linalg.inv(design.T @ (design / err[:, None] ** 2))
    line = covariance @ design.T @ (y / err**2)
    chi2 = float(np.sum(((y - design @ line) / err) ** 2))
    if stats.chi2.sf(chi2, n - 2) < POOR_FIT_PROBABILITY:
        flags.append("poor_fit")
    covariance *= max(1.0, chi2 / (n - 2))
    if line[1] <= 0:
        flags.append("not_activated")
    room = np.array([1.0, -1 / (BOLTZMANN_eV_K * ROOM_TEMPERATURE_K)])
    at_room, room_err = room @ line, np.sqrt(room @ covariance @ room)
    return Arrhenius(
        Ea_eV=float(line[1]),
        Ea_err_eV=float(np.sqrt(covariance[1, 1])),
        ln_prefactor=float(line[0]),
        value_300K=float(np.exp(at_room)),
        value_300K_low=float(np.exp(at_room - room_err)),
        value_300K_high=float(np.exp(at_room + room_err)),
        n_points=n,
        flags=tuple(flags),
    )
