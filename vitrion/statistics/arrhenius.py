"""Activation energies: weighted straight lines of ln(quantity) against 1/k_B T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vitrion.base.units import BOLTZMANN_eV_K

LEAST_TEMPERATURES = 3
ROOM_TEMPERATURE_K = 300.0
POOR_FIT_PROBABILITY = 0.01
NOT_ACTIVATED = "not_activated"


@dataclass(frozen=True)
class Pooled:
    """One quantity at one temperature, over replicas.

    Attributes:
        value, err: mean and its standard error.
        n: replicas that have a value.
        n_missing: replicas that have none.
    """

    value: float
    err: float
    n: int
    n_missing: int


def pool_replicas(
    values: Sequence[float], errors: Sequence[float], weights: Sequence[float] | None = None
) -> Pooled:
    """Mean over independent glasses of the same length, each counted alike.

    Weights by error would favour low values, because errors of transport coefficients grow with the
    value. The variance is the larger of what the errors and what the spread between the glasses say
    (random effects: DerSimonian and Laird, Control. Clin. Trials 7, 177, 1986). Where the spread
    dominates, the error has n − 1 degrees of freedom: Student's t tells how often it holds.

    Args:
        values, errors: value and standard error of each replica; NaN where there is none.
        weights: of a ratio, what it was divided by: the ratio of the means is wanted, since a mean
            of ratios is dominated by small divisors.
    """
    values, errors = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    usable = np.isfinite(values) & np.isfinite(errors) & np.isfinite(weights)
    n = int(np.count_nonzero(usable))
    n_missing = len(values) - n
    if not n:
        nan = float("nan")
        return Pooled(nan, nan, 0, n_missing)
    values, errors, shares = values[usable], errors[usable], weights[usable] / weights[usable].sum()
    mean = float(shares @ values)
    within = float(np.linalg.norm(shares * errors))
    between = float(np.linalg.norm(shares * (values - mean))) * np.sqrt(n / max(n - 1, 1))
    return Pooled(mean, max(within, between), n, n_missing)


def glass_variances(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Variances between glasses, relative to their mean, beyond what errors explain.

    The same glasses are taken to every temperature, so one that conducts well does so at all of
    them: the covariance between temperatures measures what they share. What is left of the variance
    at single temperatures is averaged over them, since that of a few glasses is too uncertain.

    Args:
        values, errors: (temperatures, glasses), NaN where there is none.

    Returns:
        What all temperatures share, and what each has of its own.
    """
    known = np.isfinite(values) & np.isfinite(errors)
    several = known.sum(axis=1) > 1
    if not several.any():
        return 0.0, 0.0
    known, values, errors = known[several], values[several], errors[several]
    mean = np.mean(values, axis=1, where=known, keepdims=True)
    deviations = np.where(known, values / mean - 1, 0.0)
    freedom = known.astype(float) @ known.T - 1
    products = deviations @ deviations.T
    within = np.mean((errors / mean) ** 2, axis=1, where=known)
    excess = float(np.mean(np.diag(products) / np.diag(freedom) - within))
    pairs = ~np.eye(len(known), dtype=bool) & (freedom > 0)
    shared = float(np.mean(products[pairs] / freedom[pairs])) if pairs.any() else 0.0
    shared = min(max(shared, 0.0), max(excess, 0.0))
    return shared, max(excess - shared, 0.0)


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
    temperatures_K: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    shared_err: float = 0.0,
) -> Arrhenius:
    """Fit values that grow with temperature (D, σT, rates) at three temperatures or more.

    Each point weighs by its relative error. Where the points scatter about the line by more than
    their errors allow, errors are widened by the Birge ratio √(χ²/ν). Points that are not positive
    numbers are left out and flagged.

    Args:
        temperatures_K: one per point.
        values, errors: value and standard error at each, independent between temperatures.
        shared_err: relative error that all temperatures have in common: it moves the line as a
            whole, so it leaves the activation energy alone.
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
    covariance[0, 0] += shared_err**2
    if line[1] <= 0:
        flags.append(NOT_ACTIVATED)
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
