"""Activation energies: weighted straight lines of ln(quantity) against 1/k_B T."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
        n: replicas with a value.
        n_missing: replicas without one.
    """

    value: float
    err: float
    n: int
    n_missing: int


def pool_replicas(
    values: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Pooled:
    """Mean over independent glasses of the same length, with equal weights.

    Weights by error would favour low values, because errors of transport coefficients grow with the
    value. The error is the larger of two: that of the glasses' own errors, and that of the spread
    between the glasses (random effects: DerSimonian and Laird, Control. Clin. Trials 7, 177, 1986).
    An error from the spread has n − 1 degrees of freedom, so its intervals are Student's t.

    Args:
        values, errors: (n,) value and standard error of each replica; NaN where there is none.
        weights: (n,) denominators, where the values are ratios. Then the result is the ratio of the
            means; a mean of ratios would be dominated by small denominators.
    """
    x, err = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    share = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    usable = np.isfinite(x) & np.isfinite(err) & np.isfinite(share)
    n = int(np.count_nonzero(usable))
    n_missing = len(x) - n
    if not n:
        return Pooled(value=float("nan"), err=float("nan"), n=0, n_missing=n_missing)
    x, err, share = x[usable], err[usable], share[usable] / share[usable].sum()
    mean = float(share @ x)
    within = float(np.linalg.norm(share * err))
    between = float(np.linalg.norm(share * (x - mean)) * np.sqrt(n / max(n - 1, 1)))
    return Pooled(value=mean, err=max(within, between), n=n, n_missing=n_missing)


def glass_variances(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Variances between glasses, relative to their mean, without the part of their errors.

    The same glasses are taken to every temperature, and a glass that conducts well does so at each.
    The covariance between temperatures is the variance that temperatures share. The rest of
    the variance at single temperatures is averaged over them, because a few glasses at one
    temperature determine it poorly.

    Args:
        values, errors: (temperatures, glasses), NaN where there is none.

    Returns:
        The variance that all temperatures share, and that of each temperature alone.
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
        flags: why the fit may be wrong.
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
    temperatures_K: npt.ArrayLike,
    values: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    shared_err: float = 0.0,
) -> Arrhenius:
    """Fit values that grow with temperature (D, σT, rates) at three temperatures or more.

    Points are weighted by their relative errors. Where they scatter about the line by more than
    their errors allow, errors are multiplied by the Birge ratio √(χ²/ν). Points that are not
    positive numbers are left out and flagged.

    Args:
        temperatures_K: (n,).
        values, errors: (n,) value and standard error, independent between temperatures.
        shared_err: relative error that all temperatures have in common. It moves the whole line
            and does not change the activation energy.
    """
    T_K = np.asarray(temperatures_K, dtype=float)
    value, error = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    usable = np.isfinite(value) & (value > 0) & np.isfinite(error) & (error > 0)
    flags = [f"left_out:{T:g}K" for T in T_K[~usable]]
    n = int(np.count_nonzero(usable))
    if len(np.unique(T_K[usable])) < LEAST_TEMPERATURES:
        nan = float("nan")
        few = f"fewer_than_{LEAST_TEMPERATURES}_temperatures"
        return Arrhenius(nan, nan, nan, nan, nan, nan, n, (*flags, few))
    beta = 1 / (BOLTZMANN_eV_K * T_K[usable])
    y, err = np.log(value[usable]), error[usable] / value[usable]
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
