"""Slopes that the long lags support, and whether there is diffusion.

Mean squared displacements at different lags share their data. Their covariance under diffusion is
known (`relative_covariance`), and with it the error of any weighted slope. Generalised least
squares with that covariance alone puts nearly all weight on the first two lags of its window, where
cages still relax in a glass: such a slope is precise and wrong. Here relaxations that are not yet
over are part of the model. Curves A (1 − exp(−τ/τ_c)) are added to the line as random effects, at
times τ_c within the window, with an excess A/τ_c of 0.3 of the slope (a linear mixed model:
Henderson, Biometrics 31, 423, 1975). The resulting weights use early lags no more than such
relaxations allow. They do not depend on the data, so slopes of sums are sums of slopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrion.transport.blocks import halves
from vitrion.transport.msd import Displacements, relative_covariance

# Lags of a fit, over the length of the trajectory. Beyond a quarter there are too few time origins.
FIT_START = 1 / 40
FIT_STOP = 1 / 4
# Relaxation times of the model over the length, and the share of the slope that each may add.
RELAXATION_TIMES = (1 / 40, 1 / 20, 1 / 10)
RELAXATION_EXCESS = 0.3
# Fewer lags show no curvature.
LEAST_LAGS = 4
# Standard errors by which a slope may fall with the lag (one-sided 97 %), and by which it may rise,
# or differ between the halves of the trajectory (two-sided 99 %).
LARGEST_FALL = 1.85
LARGEST_CHANGE = 2.576


def fit_window(lags: np.ndarray, n_frames: int) -> slice:
    """Indices of the lags of a fit, from `FIT_START` to `FIT_STOP` of the length.

    Args:
        lags: (lags,) in frames, increasing.
        n_frames: length of the trajectory.
    """
    start = int(np.searchsorted(lags, FIT_START * (n_frames - 1)))
    stop = int(np.searchsorted(lags, FIT_STOP * (n_frames - 1), "right"))
    return slice(min(start, max(stop - 1, 0)), max(stop, 1))


def slope_weights(lags: np.ndarray, n_frames: int, walkers: float) -> np.ndarray:
    """Weights whose product with mean squared displacements is their slope per frame.

    Args:
        lags: (lags,) of the fit, in frames.
        n_frames: length of the trajectory.
        walkers: number of independent walkers, 1 for a collective displacement. The fewer there
            are, the larger the noise of long lags and the more weight of early ones.

    Returns:
        (lags,), NaN for a single lag, which determines no line.
    """
    if len(lags) < 2:
        return np.full(len(lags), np.nan)
    covariance = relative_covariance(lags, n_frames) * np.outer(lags, lags) / walkers
    for time in np.array(RELAXATION_TIMES) * (n_frames - 1):
        relaxed = RELAXATION_EXCESS * time * (1 - np.exp(-lags / time))
        covariance += np.outer(relaxed, relaxed)
    return _generalised_least_squares(covariance, np.stack([lags, np.ones(len(lags))], axis=1))[0]


def late_weights(lags: np.ndarray, n_frames: int, walkers: float) -> np.ndarray:
    """`slope_weights` of the later half of the lags, on a logarithmic scale; others have none."""
    weights, late = np.zeros(len(lags)), later_half(lags)
    weights[late] = slope_weights(lags[late], n_frames, walkers)
    return weights


def later_half(lags: np.ndarray) -> slice:
    """Indices of the lags beyond the geometric mean of the first and the last."""
    return slice(int(np.searchsorted(lags, np.sqrt(float(lags[0]) * lags[-1]))), None)


def fall_weights(lags: np.ndarray, n_frames: int) -> np.ndarray:
    """Weights whose product with mean squared displacements is the fall of their slope.

    That of a parabola by generalised least squares, which is the most sensitive test of whether
    the slope per frame falls between the first and the last lag.

    Args:
        lags: (lags,) of the fit, in frames.
        n_frames: length of the trajectory.

    Returns:
        (lags,), NaN for fewer than `LEAST_LAGS`.
    """
    if len(lags) < LEAST_LAGS:
        return np.full(len(lags), np.nan)
    scaled = lags / lags[-1]
    covariance = relative_covariance(lags, n_frames) * np.outer(scaled, scaled)
    parabola = np.stack([scaled**2, scaled, np.ones(len(lags))], axis=1)
    curvature = _generalised_least_squares(covariance, parabola)[0]
    return -2 * curvature * (lags[-1] - lags[0]) / lags[-1] ** 2


def _generalised_least_squares(covariance: np.ndarray, design: np.ndarray) -> np.ndarray:
    """(parameters, lags) weights of the best linear unbiased estimate."""
    weighted = np.linalg.solve(covariance, design)
    return np.linalg.solve(design.T @ weighted, weighted.T)


def fitted_line(lags: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The line of a fit at its lags. Errors come from it, since it is less noisy than the data.

    Args:
        lags: (lags,).
        values: (lags, ...).
        weights: (lags,) from `slope_weights`.
    """
    growth = np.multiply.outer(lags, np.tensordot(weights, values, 1))
    return growth + np.mean(values - growth, axis=0)


@dataclass(frozen=True)
class Diffusion:
    """Tracer diffusion of one element.

    Attributes:
        select: lags of the fit, indices into the lag grid.
        fit_start_ps, fit_stop_ps: the first and the last of them.
        slope_A2_ps: slope/6, whether or not the motion is diffusive.
        slope_err_A2_ps: one standard error of it.
        late_slope_A2_ps: slope/6 of the later half of the lags.
        fall_A2_ps: by how much slope/6 falls between the first and the last lag.
        fall_err_A2_ps: one standard error of it.
        loglog_slope: d ln MSD / d ln lag in the later half of the window.
        diffusive: whether slope/6 is a diffusion coefficient.
        transient: whether it certainly is not: by more than a fall of the slope that is significant
            at 3 % alone.
    """

    select: slice
    fit_start_ps: float
    fit_stop_ps: float
    slope_A2_ps: float
    slope_err_A2_ps: float
    late_slope_A2_ps: float
    fall_A2_ps: float
    fall_err_A2_ps: float
    loglog_slope: float
    diffusive: bool
    transient: bool

    @property
    def transient_A2_ps(self) -> float:
        """How much of the late slope may not last; zero unless `transient`.

        All of it where the slope falls with certainty. Otherwise the difference between the slope
        of all and of late lags.
        """
        if not self.transient:
            return 0.0
        lag_dependence = abs(self.slope_A2_ps - self.late_slope_A2_ps)
        if self.fall_A2_ps > LARGEST_CHANGE * self.fall_err_A2_ps:
            return max(lag_dependence, abs(self.late_slope_A2_ps))
        return lag_dependence

    @property
    def D_A2_ps(self) -> float:
        """Diffusion coefficient; NaN unless diffusive."""
        return self.slope_A2_ps if self.diffusive else float("nan")

    @property
    def D_err_A2_ps(self) -> float:
        """One standard error; NaN unless diffusive."""
        return self.slope_err_A2_ps if self.diffusive else float("nan")


def diffusion(
    moments: Displacements,
    *,
    frame_interval_ps: float,
    tolerance: float,
    least_displacement_A: float,
) -> Diffusion:
    """D of one element, and whether it diffuses.

    It does where the root mean squared displacement is large enough, the slope neither falls nor
    rises with the lag nor differs between the two halves of the trajectory beyond errors, and the
    log-log slope of the later lags is one.

    Args:
        moments: its displacements.
        frame_interval_ps: time between frames.
        tolerance: largest deviation of the log-log slope from one, beside its standard error.
        least_displacement_A: least root mean squared displacement at the last lag.
    """
    select = fit_window(moments.lags, moments.n_frames)
    lags, msd_A2 = moments.lags[select], moments.msd_A2[select]
    weights = slope_weights(lags, moments.n_frames, moments.n_atoms)
    line_A2 = fitted_line(lags, msd_A2, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.nan_to_num(line_A2 / msd_A2)
    covariance = moments.covariance(select) * np.outer(relative, relative)
    fall = fall_weights(lags, moments.n_frames)
    scale = 1 / (6 * frame_interval_ps)

    def estimate(factors: np.ndarray) -> tuple[float, float]:
        variance = max(float(factors @ covariance @ factors), 0.0)
        return float(factors @ msd_A2) * scale, float(np.sqrt(variance)) * scale

    slope_A2_ps, slope_err_A2_ps = estimate(weights)
    fall_A2_ps, fall_err_A2_ps = estimate(fall)
    by_half = moments.by_block.mean(halves())[:, select] @ weights * scale
    change = abs(float(by_half[1] - by_half[0]))
    loglog, loglog_err = _loglog_slope(lags, msd_A2, covariance)
    moves = bool(
        msd_A2[-1] >= least_displacement_A**2
        and slope_A2_ps > 0
        # Each half has twice the variance, and so has their difference again.
        and change <= LARGEST_CHANGE * 2 * slope_err_A2_ps
        and abs(loglog - 1) <= tolerance + loglog_err
    )
    return Diffusion(
        select=select,
        fit_start_ps=float(lags[0]) * frame_interval_ps,
        fit_stop_ps=float(lags[-1]) * frame_interval_ps,
        slope_A2_ps=slope_A2_ps,
        slope_err_A2_ps=slope_err_A2_ps,
        late_slope_A2_ps=estimate(late_weights(lags, moments.n_frames, moments.n_atoms))[0],
        fall_A2_ps=fall_A2_ps,
        fall_err_A2_ps=fall_err_A2_ps,
        loglog_slope=loglog,
        diffusive=moves and is_linear(fall_A2_ps, fall_err_A2_ps),
        transient=not (moves and abs(fall_A2_ps) <= LARGEST_CHANGE * fall_err_A2_ps),
    )


def is_linear(fall: float, fall_err: float) -> bool:
    """Whether a slope is the same at early and late lags, within errors; not where it is NaN."""
    return -LARGEST_CHANGE * fall_err <= fall <= LARGEST_FALL * fall_err


def _loglog_slope(
    lags: np.ndarray, msd_A2: np.ndarray, covariance: np.ndarray
) -> tuple[float, float]:
    """Slope of ln MSD against ln lag of the later half of the lags, and its standard error."""
    late = later_half(lags)
    if len(lags[late]) < 2 or not np.all(msd_A2[late] > 0):
        return float("nan"), float("nan")
    x = np.log(lags[late])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    per_lag = weights / msd_A2[late]
    error = np.sqrt(max(float(per_lag @ covariance[late, late] @ per_lag), 0.0))
    return float(weights @ np.log(msd_A2[late])), float(error)
