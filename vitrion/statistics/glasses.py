"""Means over a few independent glasses, whose variance all compositions share.

Three glasses determine their variance with two degrees of freedom, far too few to tell whether two
compositions differ. Glasses of all compositions are made alike, so one variance between glasses is
taken from all of them together (as the mean square of an analysis of variance); its degrees of
freedom add up, and tests are Student's t or F with that number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

# The probability that a normally distributed number lies within one standard deviation.
ONE_SIGMA = float(stats.norm.cdf(1) - stats.norm.cdf(-1))


@dataclass(frozen=True)
class GlassMeans:
    """Means over the glasses of each composition.

    Attributes:
        mean: (compositions,).
        err: (compositions,) one standard error.
        n: (compositions,) number of glasses.
        between: variance between glasses beyond their own errors.
        freedom: degrees of freedom of that variance; 0 for one glass of each composition.
    """

    mean: np.ndarray
    err: np.ndarray
    n: np.ndarray
    between: float
    freedom: int


def glass_means(
    composition: npt.ArrayLike, values: npt.ArrayLike, errors: npt.ArrayLike
) -> GlassMeans:
    """Mean of each composition with the variance between glasses of all of them.

    The variance of a glass is the sum of two: that of its own error, and that between glasses,
    which is what the mean square within compositions has beyond the mean square of the errors
    (never negative).

    Args:
        composition: (glasses,) number of each glass's composition, from 0.
        values, errors: (glasses,) value and standard error, all finite.
    """
    which = np.asarray(composition, dtype=int)
    x, err = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    n = np.bincount(which)
    mean = np.bincount(which, x) / n
    freedom = int(np.sum(n - 1))
    between = 0.0
    if freedom:
        # Glasses of a composition with one glass say nothing about the variance.
        several = n[which] > 1
        square = float(np.sum((x - mean[which])[several] ** 2)) / freedom
        between = max(square - float(np.mean(err[several] ** 2)), 0.0)
    total = np.bincount(which, err**2 + between) / n**2
    return GlassMeans(mean, np.sqrt(total), n, between, freedom)


def one_sigma(freedom: npt.ArrayLike) -> np.ndarray:
    """Standard errors that cover 68 %, as one of a known variance does; 1 without any freedom."""
    freedom = np.asarray(freedom, dtype=float)
    quantile = stats.t.ppf(0.5 + ONE_SIGMA / 2, np.maximum(freedom, 1))
    return np.where(freedom > 0, quantile, 1.0)


def ratio_parts(
    values: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of several glasses as numbers whose mean is the ratio of the means.

    To first order the ratio R = Σ w r / Σ w of denominators w and ratios r is the mean of
    R + n w (r − R)/Σ w, which scatter as R does.

    Args:
        values, errors: (n,) ratio and standard error of each glass.
        weights: (n,) denominators; equal ones leave everything as it is.

    Returns:
        (n,) numbers and their errors; NaN where the denominators may add up to zero (their mean is
        less than two of its errors).
    """
    x, err, w = (np.asarray(part, dtype=float) for part in (values, errors, weights))
    n = len(w)
    noise = float(np.std(w, ddof=1)) / np.sqrt(n) if n > 1 else 0.0
    if not n or not abs(w.mean()) > 2 * noise:
        return np.full(n, np.nan), np.full(n, np.nan)
    share = w / w.mean()
    ratio = float(np.mean(share * x))
    return ratio + share * (x - ratio), np.abs(share) * err
