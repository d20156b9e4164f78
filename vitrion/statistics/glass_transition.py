"""Glass transition temperature: where two straight lines cross along a quench."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from vitrion.tables import TABLES
from vitrion.tables.io import typed

# Averages by temperature, long enough to be nearly independent of each other.
BINS = 40
LEAST_BINS = 10
# Fewest bins on either side of the crossing.
LEAST_BESIDE = 3
CANDIDATES = 1000
# Two lines are told from one below this probability of such an improvement by chance.
SIGNIFICANT = 0.01
# The quench at constant volume, and what follows of it at constant pressure.
QUENCH, QUENCH_NPT = "quench", "quench_npt"
QUANTITIES = {"energy": "potential_energy_eV_atom", "density": "density_g_cm3"}


@dataclass(frozen=True)
class Transition:
    """Two straight lines that meet.

    Attributes:
        Tg_K, Tg_err_K: where they cross; NaN where one line is as good, the line above is not
            the steeper one, or the crossing may lie beyond the quench.
        slope_below, slope_above: of the lines, per K.
        p: probability of so much better a fit than one line by chance.
        centers_K, means: (bins,) what was fitted.
    """

    Tg_K: float
    Tg_err_K: float
    slope_below: float
    slope_above: float
    p: float
    centers_K: np.ndarray
    means: np.ndarray


def glass_transition(temperature_K: np.ndarray, values: np.ndarray) -> Transition:
    """Fit two lines that meet at T_g by least squares, to averages over bins of temperature.

    The error is that of the profile of the sum of squares: temperatures at which it is larger than
    its minimum by less than the residual variance.

    Args:
        temperature_K: (samples,) of the thermostat along the quench.
        values: (samples,) energy, density or volume.
    """
    nan = float("nan")
    unknown = Transition(nan, nan, nan, nan, nan, np.empty(0), np.empty(0))
    temperature_K, values = np.asarray(temperature_K, float), np.asarray(values, float)
    if len(values) < LEAST_BINS or not np.ptp(temperature_K) or not np.ptp(values):
        return unknown
    edges_K = np.linspace(temperature_K.min(), temperature_K.max(), min(BINS, len(values) // 2) + 1)
    which = np.clip(np.searchsorted(edges_K, temperature_K, "right") - 1, 0, len(edges_K) - 2)
    count = np.bincount(which, minlength=len(edges_K) - 1)
    filled = count > 0
    centers_K = np.bincount(which, temperature_K, len(count))[filled] / count[filled]
    means = np.bincount(which, values, len(count))[filled] / count[filled]
    n = len(means)
    if n < LEAST_BINS:
        return unknown
    candidates_K = np.linspace(centers_K[LEAST_BESIDE], centers_K[-1 - LEAST_BESIDE], CANDIDATES)
    fits = [_two_lines(centers_K, means, at_K) for at_K in candidates_K]
    squares = np.array([square for _, square in fits])
    best = int(squares.argmin())
    # Values that lie on lines exactly have no residual.
    least = max(float(squares[best]), 1e-24 * float(np.sum(means**2)))
    (_, below, change), _ = fits[best]
    from_mean_K = centers_K - centers_K.mean()
    straight = np.polyval(np.polyfit(from_mean_K, means, 1), from_mean_K)
    improvement = (float(np.sum((means - straight) ** 2)) - least) / 2 / (least / (n - 4))
    p = float(f_distribution.sf(max(improvement, 0.0), 2, n - 4))
    near_K = candidates_K[squares <= squares[best] + least / (n - 4)]
    inside = near_K[0] > candidates_K[0] and near_K[-1] < candidates_K[-1]
    # A melt's energy and density change faster with temperature than a glass's.
    steeper = below * change > 0
    known = 1.0 if p < SIGNIFICANT and inside and steeper else nan
    step_K = candidates_K[1] - candidates_K[0]
    return Transition(
        Tg_K=float(candidates_K[best]) * known,
        Tg_err_K=(float(np.ptp(near_K)) + float(step_K)) / 2 * known,
        slope_below=float(below),
        slope_above=float(below + change),
        p=p,
        centers_K=centers_K,
        means=means,
    )


def _two_lines(
    temperature_K: np.ndarray, values: np.ndarray, at_K: float
) -> tuple[np.ndarray, float]:
    """Value at the crossing, slope below and change of slope, and the sum of squared residuals."""
    from_K = temperature_K - at_K
    design = np.column_stack([np.ones(len(from_K)), from_K, np.maximum(from_K, 0)])
    found, *_ = np.linalg.lstsq(design, values, rcond=None)
    return found, float(np.sum((values - design @ found) ** 2))


def cooling_rows(thermo: pd.DataFrame) -> pd.DataFrame:
    """Rows of one glass's `thermo` along its quench, at constant pressure where a part of it is.

    Where the volume becomes free the curves bend too.
    """
    is_free = thermo["stage"] == QUENCH_NPT
    return thermo[is_free if is_free.any() else thermo["stage"] == QUENCH]


def glass_transition_table(
    glasses: Iterable[tuple[Mapping[str, object], pd.DataFrame]],
) -> pd.DataFrame:
    """The table `glass_transition`.

    Args:
        glasses: composition key with `glass` (number of the replica), and its table `thermo`.
    """
    rows = []
    for key, thermo in glasses:
        cooling = cooling_rows(thermo)
        for quantity, column in QUANTITIES.items():
            found = glass_transition(
                cooling["target_temperature_K"].to_numpy(), cooling[column].to_numpy()
            )
            if len(found.means):
                rows.append(
                    {
                        **key,
                        "quantity": quantity,
                        "Tg_K": found.Tg_K,
                        "Tg_err_K": found.Tg_err_K,
                        "slope_below": found.slope_below,
                        "slope_above": found.slope_above,
                        "p": found.p,
                    }
                )
    columns = list(TABLES["glass_transition"])
    return typed("glass_transition", pd.DataFrame(rows, columns=columns))
