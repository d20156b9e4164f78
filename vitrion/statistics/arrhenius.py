"""Activation energies: straight lines of ln(quantity) against 1/k_B T, one of each glass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from vitrion.base.units import BOLTZMANN_eV_K
from vitrion.statistics.glasses import GlassMeans, glass_means, one_sigma, ratio_parts

LEAST_TEMPERATURES = 3
ROOM_TEMPERATURE_K = 300.0
POOR_FIT_PROBABILITY = 0.01
NOT_ACTIVATED, CURVED, ONE_GLASS = "not_activated", "curved", "one_glass"
# Standard errors beyond which ln y is curved (two-sided 99 %).
CURVATURE_ERRORS = 2.576


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
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    usable = np.isfinite(x) & np.isfinite(err) & np.isfinite(w)
    x, err = ratio_parts(x[usable], err[usable], w[usable])
    n = int(np.count_nonzero(np.isfinite(x)))
    n_missing = len(w) - n
    if not n:
        return Pooled(value=float("nan"), err=float("nan"), n=0, n_missing=n_missing)
    mean = float(x.mean())
    within = float(np.linalg.norm(err)) / n
    between = float(np.linalg.norm(x - mean)) / np.sqrt(n * max(n - 1, 1))
    return Pooled(value=mean, err=max(within, between), n=n, n_missing=n_missing)


@dataclass(frozen=True)
class Line:
    """ln y = ln_prefactor − Ea/(k_B T) of one glass, by weighted least squares.

    Attributes:
        ln_prefactor, Ea_eV: the line.
        covariance: (2, 2) of them, by the points' errors alone.
        chi2, freedom: of the points about the line.
        curvature, curvature_err: of ln y against 1/k_B T, in eV², with the points' errors; NaN for
            fewer than three temperatures.
        n_points: temperatures used.
    """

    ln_prefactor: float
    Ea_eV: float
    covariance: np.ndarray
    chi2: float
    freedom: int
    curvature: float
    curvature_err: float
    n_points: int

    def ln_value(self, temperature_K: float) -> tuple[float, float]:
        """ln y at a temperature, and its standard error."""
        at = np.array([1.0, -1 / (BOLTZMANN_eV_K * temperature_K)])
        error = np.sqrt(at @ self.covariance @ at)
        return float(at @ [self.ln_prefactor, self.Ea_eV]), float(error)


def fit_line(temperatures_K: npt.ArrayLike, values: npt.ArrayLike, errors: npt.ArrayLike) -> Line:
    """The line of one glass.

    Args:
        temperatures_K: (n,), three or more.
        values, errors: (n,) positive values and their standard errors.
    """
    T_K, value = np.asarray(temperatures_K, dtype=float), np.asarray(values, dtype=float)
    err = np.asarray(errors, dtype=float) / value
    beta, y = 1 / (BOLTZMANN_eV_K * T_K), np.log(value)
    design = np.stack([np.ones(len(y)), -beta, (beta - beta.mean()) ** 2], axis=1)

    def solve(columns: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = design[:, :columns]
        covariance = np.linalg.inv(chosen.T @ (chosen / err[:, None] ** 2))
        return covariance @ chosen.T @ (y / err**2), covariance

    line, covariance = solve(2)
    parabola, of_parabola = solve(3)
    return Line(
        ln_prefactor=float(line[0]),
        Ea_eV=float(line[1]),
        covariance=covariance,
        chi2=float(np.sum(((y - design[:, :2] @ line) / err) ** 2)),
        freedom=len(y) - 2,
        curvature=float(parabola[2]),
        curvature_err=float(np.sqrt(of_parabola[2, 2])),
        n_points=len(y),
    )


@dataclass(frozen=True)
class Arrhenius:
    """A quantity of one composition, ln y = ln_prefactor − Ea/(k_B T), over its glasses.

    Attributes:
        Ea_eV, Ea_err_eV: activation energy and one standard error; NaN when refused.
        ln_prefactor: ln y at 1/T = 0.
        value_300K, value_300K_low, value_300K_high: y at 300 K and its one-sigma interval; NaN
            where ln y is curved.
        n_points: temperatures used.
        n_glasses: glasses with a line.
        freedom: degrees of freedom of the errors.
        flags: why the fit may be wrong.
    """

    Ea_eV: float
    Ea_err_eV: float
    ln_prefactor: float
    value_300K: float
    value_300K_low: float
    value_300K_high: float
    n_points: int
    n_glasses: int = 0
    freedom: int = 0
    flags: tuple[str, ...] = ()


def fit_arrhenius(series: Sequence[pd.DataFrame]) -> list[Arrhenius]:
    """Lines of a quantity that grows with temperature (D, σT, rates), for each composition.

    A line is fitted for each glass with values at three temperatures or more, weighted by the
    points' relative errors; lines are averaged over glasses with equal weights. The variance
    between glasses, of Ea and of ln y at 300 K, is that of all compositions together
    (`glass_means`). Where points scatter about the lines of a composition by more than their errors
    allow, these errors are multiplied by the Birge ratio √(χ²/ν). Errors are widened to cover 68 %
    with the degrees of freedom that they have.

    Before a value at 300 K is given, the curvature of ln y against 1/k_B T is tested, pooled over
    the composition's glasses: liquids above their glass transition follow Vogel-Fulcher-Tammann,
    and a straight line through those overestimates by orders of magnitude.

    Args:
        series: for each composition the columns `temperature_K`, `replica`, `value` and `err`.
            Values that are not positive numbers are left out and flagged.
    """
    lines, flags = zip(*(_lines_of(one) for one in series), strict=True) if series else ((), ())
    scale = [_birge(of) for of in lines]
    which = np.repeat(np.arange(len(series)), [len(of) for of in lines])
    known = np.unique(which)
    number = np.searchsorted(known, which)
    every = [line for of in lines for line in of]
    own = np.array([scale[c] for c in which])

    def averaged(values: list[tuple[float, float]]) -> GlassMeans:
        pairs = np.array(values).reshape(-1, 2)
        return glass_means(number, pairs[:, 0], pairs[:, 1] * own)

    Ea = averaged([(line.Ea_eV, np.sqrt(line.covariance[1, 1])) for line in every])
    room = averaged([line.ln_value(ROOM_TEMPERATURE_K) for line in every])
    prefactor = averaged([(line.ln_prefactor, 0.0) for line in every])
    found = []
    for c, (of, notes) in enumerate(zip(lines, flags, strict=True)):
        if c not in known:
            found.append(_refused(series[c], notes))
            continue
        at = int(np.searchsorted(known, c))
        if scale[c] > 1 and _is_poor(of):
            notes = (*notes, "poor_fit")
        curved = _is_curved(of, scale[c])
        if curved:
            notes = (*notes, CURVED)
        if Ea.mean[at] <= 0:
            notes = (*notes, NOT_ACTIVATED)
        widened = float(one_sigma(Ea.freedom))
        middle, width = room.mean[at], room.err[at] * widened
        ends = [np.nan] * 3 if curved else np.exp([middle, middle - width, middle + width])
        found.append(
            Arrhenius(
                Ea_eV=float(Ea.mean[at]),
                Ea_err_eV=float(Ea.err[at]) * widened,
                ln_prefactor=float(prefactor.mean[at]),
                value_300K=float(ends[0]),
                value_300K_low=float(ends[1]),
                value_300K_high=float(ends[2]),
                n_points=max(line.n_points for line in of),
                n_glasses=len(of),
                freedom=Ea.freedom,
                flags=notes,
            )
        )
    return found


def _lines_of(series: pd.DataFrame) -> tuple[list[Line], tuple[str, ...]]:
    """Lines of a composition's glasses, and what is left out."""
    good = np.isfinite(series["value"]) & (series["value"] > 0) & (series["err"] > 0)
    good &= np.isfinite(series["err"])
    left_out = series.groupby("temperature_K")["value"].size() - series[good].groupby(
        "temperature_K"
    )["value"].size().reindex(series["temperature_K"].unique(), fill_value=0)
    glasses = series["replica"].nunique()
    flags = [
        f"left_out:{T:g}K" if count == glasses else f"replicas_missing:{T:g}K"
        for T, count in left_out.items()
        if count
    ]
    lines = []
    for _, glass in series[good].groupby("replica"):
        if glass["temperature_K"].nunique() >= LEAST_TEMPERATURES:
            lines.append(fit_line(glass["temperature_K"], glass["value"], glass["err"]))
    if not lines:
        flags.append(f"fewer_than_{LEAST_TEMPERATURES}_temperatures")
    elif len(lines) == 1:
        flags.append(ONE_GLASS)
    return lines, tuple(flags)


def _birge(lines: Sequence[Line]) -> float:
    """√(χ²/ν) of all glasses, at least one."""
    freedom = sum(line.freedom for line in lines)
    chi2 = sum(line.chi2 for line in lines)
    return float(np.sqrt(max(chi2 / freedom, 1.0))) if freedom else 1.0


def _is_poor(lines: Sequence[Line]) -> bool:
    freedom = sum(line.freedom for line in lines)
    chi2 = sum(line.chi2 for line in lines)
    return bool(stats.chi2.sf(chi2, freedom) < POOR_FIT_PROBABILITY)


def _is_curved(lines: Sequence[Line], scale: float) -> bool:
    """Whether the mean curvature differs from zero, with the points' errors times a scale."""
    curvature = np.mean([line.curvature for line in lines])
    error = np.linalg.norm([line.curvature_err for line in lines]) / len(lines) * scale
    return bool(abs(curvature) > CURVATURE_ERRORS * error)


def _refused(series: pd.DataFrame, flags: tuple[str, ...]) -> Arrhenius:
    nan = float("nan")
    usable = series[(series["value"] > 0) & (series["err"] > 0)]
    return Arrhenius(nan, nan, nan, nan, nan, nan, usable["temperature_K"].nunique(), flags=flags)
