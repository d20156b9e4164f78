"""Whether numbers depend on the size of the cell, and what they are in an infinite one.

Where the matrix flows, D of a periodic cell of edge L is too small by ξ k_B T / (6 π η L), with
ξ = 2.837297 for a cube: Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student_t

from vitrion.base.units import A2_PS_TO_CM2_S, EV_A3_TO_GPA, BOLTZMANN_eV_K
from vitrion.tables import COMPOSITION_KEY, TABLES, TRAJECTORY_KEY
from vitrion.tables.io import has_role, headline, typed
from vitrion.transport.quantities import without_ion

YEH_HUMMER = 2.837297
QUANTITIES = ("D_mobile", "sigma_einstein", "haven_ratio")


@dataclass(frozen=True)
class SizeTrend:
    """A straight line in 1/L.

    Attributes:
        infinite, infinite_err: value at 1/L = 0.
        slope, slope_err: times Å.
        p: probability of such a slope where sizes do not matter.
    """

    infinite: float
    infinite_err: float
    slope: float
    slope_err: float
    p: float


def size_trend(edges_A: np.ndarray, values: np.ndarray, errors: np.ndarray) -> SizeTrend:
    """Fit values of single glasses as a line in 1/L.

    The variance is that of the scatter about the line, between glasses included, or of the errors
    where that is larger; with one glass of each of two sizes, that of the errors.

    Args:
        edges_A: (glasses,) cube root of the volume, at least two different ones.
        values, errors: (glasses,).
    """
    x = 1 / np.asarray(edges_A, float)
    values = np.asarray(values, float)
    design = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.inv(design.T @ design)
    infinite, slope = inverse @ design.T @ values
    own = float(np.mean(np.square(errors)))
    freedom = len(x) - 2
    if freedom > 0:
        scatter = float(np.sum((values - design @ [infinite, slope]) ** 2)) / freedom
        variance = np.fmax(scatter, own)
    else:
        variance = own
    infinite_err, slope_err = np.sqrt(variance * np.diag(inverse))
    distance = abs(slope) / slope_err if slope_err else float("nan")
    tail = student_t.sf(distance, freedom) if freedom > 0 else norm.sf(distance)
    return SizeTrend(
        float(infinite), float(infinite_err), float(slope), float(slope_err), float(2 * tail)
    )


def viscosity_mPa_s(slope_cm2_A_s: float, temperature_K: float) -> float:
    """Viscosity from the slope of D in 1/L; NaN where D does not grow with the cell.

    Args:
        slope_cm2_A_s: d D / d(1/L) in cm²/s · Å.
        temperature_K: of the run.
    """
    if not slope_cm2_A_s < 0:
        return float("nan")
    slope_A3_ps = -slope_cm2_A_s / A2_PS_TO_CM2_S
    eta = YEH_HUMMER * BOLTZMANN_eV_K * temperature_K / (6 * np.pi * slope_A3_ps)
    return float(eta * EV_A3_TO_GPA)  # 1 GPa ps is 1 mPa s


def finite_size_table(
    trajectories: pd.DataFrame, found: pd.DataFrame, diffusion: pd.DataFrame
) -> pd.DataFrame:
    """The table `finite_size`: a row where a composition has cells of several sizes.

    Args:
        trajectories: table of that name; gives the sizes.
        found: `quantities` of all trajectories.
        diffusion: table of that name; tells whether the central cation diffuses.
    """
    key = list(TRAJECTORY_KEY)
    sizes = trajectories[[*key, "n_atoms", "volume_A3"]]
    every = found[without_ion(found["quantity"]).isin(QUANTITIES)].dropna(subset=["value", "err"])
    every = every.merge(sizes, on=key)
    flowing = headline(diffusion)
    flowing = flowing[has_role(flowing, "center") & flowing["diffusive"]]
    rows = []
    names = [*COMPOSITION_KEY, "temperature_K", "quantity"]
    for values, group in every.groupby(names, sort=False):
        counts = np.sort(group["n_atoms"].unique())
        if len(counts) < 2:
            continue
        row = dict(zip(names, values, strict=True))
        trend = size_trend(np.cbrt(group["volume_A3"]), group["value"], group["err"])
        of_size = group.groupby("n_atoms")["value"].mean()
        flows = bool(
            (
                (flowing["composition"] == row["composition"])
                & (flowing["temperature_K"] == row["temperature_K"])
            ).any()
        )
        eta = np.nan
        if row["quantity"].startswith("D_mobile") and flows:
            eta = viscosity_mPa_s(trend.slope, float(row["temperature_K"]))
        rows.append(
            {
                **row,
                "sizes": ",".join(map(str, counts.tolist())),
                "n_glasses": len(group),
                "value_smallest": of_size.iloc[0],
                "value_largest": of_size.iloc[-1],
                "value_infinite": trend.infinite,
                "value_infinite_err": trend.infinite_err,
                "p": trend.p,
                "matrix_flows": flows,
                "viscosity_mPa_s": eta,
            }
        )
    return typed("finite_size", pd.DataFrame(rows, columns=list(TABLES["finite_size"])))
