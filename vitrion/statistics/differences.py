"""Which differences between compositions are significant, given their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from vitrion.statistics.glasses import one_sigma
from vitrion.tables import COMPOSITION_KEY, TABLES
from vitrion.transport.quantities import ion_of, without_ion

LEAST_COMPOSITIONS = 3
SIGNIFICANCE = 0.05
FACTORS = ("mobile", "center", "ligands")
ROOM = "300 K"


@dataclass(frozen=True)
class Compared:
    """A quantity that is compared between compositions.

    Attributes:
        name: of the quantity in the tables.
        source: `pooled` (at one temperature), `room` (extrapolation to 300 K) or
            `activation_energy`.
        logarithm: compared by ratios instead of differences.
    """

    name: str
    source: str
    logarithm: bool


COMPARED = {
    "D": Compared("D_mobile", "pooled", True),
    "sigma_300K": Compared("sigma_einstein", "room", True),
    "Ea": Compared("D_mobile", "activation_energy", False),
    "t_mobile": Compared("t_mobile_einstein", "pooled", False),
    "haven_ratio": Compared("haven_ratio", "pooled", False),
}


def by_composition(
    pooled: pd.DataFrame, arrhenius: pd.DataFrame, *, each_ion: bool = False
) -> pd.DataFrame:
    """One value for each composition of every quantity of `COMPARED`.

    Quantities that depend on temperature are taken at the temperature where most compositions have
    a value, the highest of several. Activation energies come only from fits without a flag: a fit
    that lacks its slow glasses is biased.

    Args:
        pooled, arrhenius: the summary's tables.
        each_ion: whether a glass with several mobile ions has a value for each. Two of one glass
            are not independent, and no test takes them.

    Returns:
        Composition key, `ion` (the mobile ion, or all of them), `compared`, `value`, `err` (one
        standard error), `freedom` (degrees of freedom of the errors), `at` (temperature), and `x`,
        `x_err`: the number that is compared, a logarithm where ratios are.
    """
    parts = []
    for compared, of in COMPARED.items():
        table = pooled if of.source == "pooled" else arrhenius
        rows = table[without_ion(table["quantity"]) == of.name]
        own = ion_of(rows["quantity"])
        rows = rows.assign(ion=own.where(own != "", rows["mobile"]))
        # The transference number of all mobile ions together.
        rows = rows[(own == "") | (each_ion and of.name != "t_mobile_einstein")]
        if of.source == "pooled":
            rows = rows.dropna(subset=["value", "comparable_err"])
            count = rows.groupby("temperature_K").size()
            best = count[count == count.max()].index.max()
            rows = rows[rows["temperature_K"] == best].assign(at=f"{best} K")
            rows = rows.assign(err=rows["comparable_err"])
        else:
            rows = rows[(rows["flags"] == "") & rows["Ea_eV"].notna()]
            widened = one_sigma(rows["freedom"])
            if of.source == "activation_energy":
                err = rows["Ea_err_eV"] / widened
                rows = rows.assign(value=rows["Ea_eV"], err=err, at="all")
            else:
                # The interval is symmetric in the logarithm.
                width = 0.5 * np.log(rows["value_300K_high"] / rows["value_300K_low"]) / widened
                value = rows["value_300K"]
                rows = rows.assign(value=value, err=value * width, at=ROOM)
        columns = [*COMPOSITION_KEY, "ion", "value", "err", "freedom", "at"]
        rows = rows[columns].assign(compared=compared)
        if of.logarithm:
            rows = rows[rows["value"] > 0]
            rows = rows.assign(x=np.log(rows["value"]), x_err=rows["err"] / rows["value"])
        else:
            rows = rows.assign(x=rows["value"], x_err=rows["err"])
        parts.append(rows)
    found = pd.concat(parts, ignore_index=True)
    return found[found["x"].notna() & (found["x_err"] > 0)].reset_index(drop=True)


def differences(values: pd.DataFrame) -> pd.DataFrame:
    """The `differences` table: does a quantity depend on mobile ion, central cation or ligands?

    For each quantity the values x ± s of the compositions (ln D, ln σ; Ea, t and H_R as they are)
    are fitted by weighted least squares with x = constant + mobile + center + ligands. Errors s
    come from one variance between glasses with f degrees of freedom (`glass_means`). A factor is
    tested by leaving it out: F = (Δχ²/k)/max(1, χ²/ν) with k and ν degrees of freedom, or k and f
    where the part that the three factors do not explain is within errors. The Birge ratio
    max(1, χ²/ν) treats that part (interactions) as scatter, which a factor must exceed. The row
    `any` tests whether all compositions can have the same value: F = χ²/(n − 1) about the weighted
    mean, with n − 1 and f. The probabilities of the whole table are corrected for their number by
    Holm's method (Scand. J. Stat. 6, 65, 1979). A difference is significant where the corrected
    probability is below 0.05. With one glass of each composition f is zero, and nothing tells
    compositions from glasses.

    Args:
        values: as `by_composition` gives them.
    """
    rows = []
    for compared in COMPARED:
        chosen = values[values["compared"] == compared]
        base = {
            "compared": compared,
            "at": chosen["at"].iloc[0] if len(chosen) else "",
            "n_compositions": len(chosen),
        }
        rows.append({**base, "factor": "any", **_any_difference(chosen)})
        rows += [{**base, "factor": factor, **_factor(chosen, factor)} for factor in FACTORS]
    frame = pd.DataFrame(rows)
    frame["p_holm"] = holm(frame["p"])
    frame["significant"] = frame["p_holm"] < SIGNIFICANCE
    return frame[list(TABLES["differences"])]


def _undecided(reason: str) -> dict[str, object]:
    nan = float("nan")
    return {"spread": nan, "statistic": nan, "p": nan, "reason": reason}


def _why_not(chosen: pd.DataFrame) -> str:
    if len(chosen) < LEAST_COMPOSITIONS:
        return f"fewer than {LEAST_COMPOSITIONS} compositions have a value"
    if not chosen["freedom"].iloc[0]:
        return "one glass of each composition: the variance between glasses is not known"
    return ""


def _any_difference(chosen: pd.DataFrame) -> dict[str, object]:
    if reason := _why_not(chosen):
        return _undecided(reason)
    x, err = chosen["x"].to_numpy(), chosen["x_err"].to_numpy()
    k, freedom = len(x) - 1, int(chosen["freedom"].iloc[0])
    F = _scatter(x, err, 0.0) / k
    spread = float(x.max() - x.min())
    return {"spread": spread, "statistic": F, "p": stats.f.sf(F, k, freedom), "reason": ""}


def _factor(chosen: pd.DataFrame, factor: str) -> dict[str, object]:
    levels = chosen[factor].nunique()
    if reason := _why_not(chosen):
        return _undecided(reason)
    if levels < 2:
        return _undecided(f"one {factor} only")
    x, err = chosen["x"].to_numpy(), chosen["x_err"].to_numpy()
    full, columns = _design(chosen, FACTORS)
    reduced, _ = _design(chosen, [other for other in FACTORS if other != factor])
    rank, rank_without = (np.linalg.matrix_rank(design) for design in (full, reduced))
    k, nu = rank - rank_without, len(x) - rank
    if k < levels - 1 or nu < 1:
        return _undecided("these compositions do not separate the three roles")
    chi2, effects = _fit(full, x, err)
    chi2_without, _ = _fit(reduced, x, err)
    F = float((chi2_without - chi2) / k / max(1.0, chi2 / nu))
    of_levels = [0.0, *effects[[c for c, name in enumerate(columns) if name == factor]]]
    spread = float(max(of_levels) - min(of_levels))
    freedom = nu if chi2 > nu else int(chosen["freedom"].iloc[0])
    p = float(stats.f.sf(F, k, freedom))
    return {"spread": spread, "statistic": F, "p": p, "reason": ""}


def _design(chosen: pd.DataFrame, factors: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Columns of the fit and the factor of each: a constant, then each factor's later levels."""
    columns, names = [np.ones(len(chosen))], [""]
    for factor in factors:
        for level in sorted(chosen[factor].unique())[1:]:
            columns.append((chosen[factor] == level).to_numpy(dtype=float))
            names.append(factor)
    return np.stack(columns, axis=1), names


def _fit(design: np.ndarray, x: np.ndarray, err: np.ndarray) -> tuple[float, np.ndarray]:
    solution, *_ = np.linalg.lstsq(design / err[:, None], x / err, rcond=None)
    return float(np.sum(((x - design @ solution) / err) ** 2)), solution


def holm(probabilities: npt.ArrayLike) -> np.ndarray:
    """(n,) probabilities corrected by Holm's method; NaN stays NaN and is not counted."""
    p = np.asarray(probabilities, dtype=float)
    corrected = np.full(len(p), np.nan)
    order = np.argsort(np.where(np.isnan(p), np.inf, p))[: np.count_nonzero(~np.isnan(p))]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def outliers(values: npt.ArrayLike, errors: npt.ArrayLike, freedom: npt.ArrayLike) -> np.ndarray:
    """Which values differ significantly from the weighted mean of all others.

    Args:
        values, errors: (n,) value and standard error of each composition.
        freedom: (n,) degrees of freedom of the errors; without any there are no outliers.

    Returns:
        (n,) bool, by Holm's method at 0.05.
    """
    x, err = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    freedom = np.broadcast_to(np.asarray(freedom, dtype=float), x.shape)
    if len(x) < LEAST_COMPOSITIONS or not freedom.all():
        return np.zeros(len(x), dtype=bool)
    p = []
    for index in range(len(x)):
        others = np.arange(len(x)) != index
        weights = 1 / err[others] ** 2
        mean = float(weights @ x[others] / weights.sum())
        t = (x[index] - mean) / np.hypot(err[index], weights.sum() ** -0.5)
        p.append(2 * stats.t.sf(abs(t), freedom[index]))
    return holm(p) < SIGNIFICANCE


def _scatter(x: np.ndarray, err: np.ndarray, between: float) -> float:
    """Generalised Q: χ² about the weighted mean when compositions differ by `between`."""
    weights = 1 / (err**2 + between**2)
    return float(weights @ (x - weights @ x / weights.sum()) ** 2)


def spread_between(
    values: npt.ArrayLike, errors: npt.ArrayLike, freedom: int, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Standard deviation between compositions beyond their errors, with its interval.

    Q-profile method (Viechtbauer, Stat. Med. 26, 37, 2007): the standard deviations for which the
    generalised Q, over n − 1, takes the median and the two quantiles of F with n − 1 and `freedom`
    degrees of freedom (χ² where errors are known). The coverage is exact where values are normally
    distributed and there is no spread, and conservative with it.

    Args:
        values, errors: (n,) value and standard error of each composition.
        freedom: degrees of freedom of the errors.
        confidence: of the interval.

    Returns:
        Estimate, lower and upper end; zero where the errors explain the whole spread.
    """
    x, err = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    outside = (1 - confidence) / 2
    ends = []
    for quantile in (0.5, 1 - outside, outside):
        target = (len(x) - 1) * stats.f.ppf(quantile, len(x) - 1, freedom)
        if _scatter(x, err, 0.0) <= target:
            ends.append(0.0)
            continue
        high = max(np.ptp(x), err.max())
        while _scatter(x, err, high) > target:
            high *= 2
        ends.append(float(optimize.brentq(lambda s, t=target: _scatter(x, err, s) - t, 0, high)))
    return ends[0], ends[1], ends[2]
