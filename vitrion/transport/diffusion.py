"""Slopes that the long lags support, and whether there is diffusion.

Mean squared displacements at different lags share their data. Their covariance under diffusion is
known (`relative_covariance`), and with it the error of any weighted slope. Generalised least
squares with that covariance alone puts nearly all weight on the first two lags of its window, where
cages still relax in a glass: such a slope is precise and wrong. Two things prevent it.

*Weights.* Relaxations that are not yet over at the first lag s are part of the model: curves
A (1 − exp(−τ/τ_c)) are added to the line as random effects (a linear mixed model: Henderson,
Biometrics 31, 423, 1975), at times τ_c from s/2 to 4 s, whose slope at s is 0.3 of the line's. An
excess of a tenth at s then changes the slope by a quarter of its error or less for up to a hundred
ions, whatever its time from s/4 to 4 s. Weights do not depend on the data, so slopes of sums are
sums of slopes.

*First lag.* Slopes are taken from a series of first lags, each twice the one before. The shortest
whose slope agrees with those from all later ones ends the relaxation that the data show; the fit
begins at 16 times that lag or the next one, where relaxations that are too slow and too weak to be
seen from the shortest are still within reach of the weights. Slopes from nested windows differ by
what is hardly correlated with the more precise of them (Hausman, Econometrica 46, 1251, 1978), so
that this choice leaves its error as it is. Where late slopes are not known well enough for such a
comparison, and where none agrees, the fit begins at the latest first lag. Where the slope still
falls there, it is that of the later half of the lags, by least squares: ligands that turn in place
have nothing left of it then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import truncnorm

from vitrion.transport.blocks import (
    bootstrap_error,
    halves,
    resampling_weights,
    standard_error,
)
from vitrion.transport.msd import Displacements, relative_covariance

# Lags, over the length of the trajectory: the latest first lag of a fit, and the last one. Beyond a
# quarter there are too few time origins.
LATEST_START = 1 / 35
FIT_STOP = 1 / 4
# Relaxation times of the model over the first lag, and the share of the slope that each may add
# there.
RELAXATION_TIMES = (0.5, 1.0, 2.0, 4.0)
RELAXATION_EXCESS = 0.3
# First lag of the fit over the shortest lag whose slope agrees with the later ones.
MARGIN = 16
# Standard errors by which slopes that agree may differ (two-sided 99.7 %).
AGREEMENT = 3.0
# Largest relative error of the slope from half the latest first lag with which slopes are compared:
# an excess of a third is then seen.
COMPARABLE_ERROR = 1 / 9
# Relaxation time, over the first lag of a fit, of motion in bounds that the fit does not see: it is
# within 2 % of its end at a quarter of that lag.
FORGOTTEN = 1 / 16
# Fewer lags show no curvature.
LEAST_LAGS = 4
# Standard errors by which a slope may rise with the lag, or differ between the halves of the
# trajectory (two-sided 99 %), and by which it may fall (one-sided 97 %).
LARGEST_CHANGE = 2.576
LARGEST_FALL = 1.85
# Variance of a standard normal variable between these two.
LINEAR_VARIANCE = float(truncnorm.var(-LARGEST_CHANGE, LARGEST_FALL))


def fit_windows(lags: np.ndarray, n_frames: int) -> list[slice]:
    """Lags of possible fits as indices, by first lags a factor of two apart.

    Args:
        lags: (lags,) in frames, increasing.
        n_frames: length of the trajectory.

    Returns:
        One window or more; the last begins at the latest first lag.
    """
    stop = max(int(np.searchsorted(lags, FIT_STOP * (n_frames - 1), "right")), 1)
    latest = min(int(np.searchsorted(lags, LATEST_START * (n_frames - 1))), stop - 1)
    earlier = int(np.log2(max(lags[latest] / lags[0], 1)))
    starts = np.searchsorted(lags, lags[latest] / 2.0 ** np.arange(earlier + 1))
    return [slice(int(start), stop) for start in np.unique(starts)]


def latest_window(lags: np.ndarray, n_frames: int) -> slice:
    """The window that begins at `LATEST_START`, whatever the data."""
    return fit_windows(lags, n_frames)[-1]


def late_window(lags: np.ndarray, n_frames: int) -> slice:
    """The later half of `latest_window`, on a logarithmic scale."""
    latest = latest_window(lags, n_frames)
    middle = np.sqrt(float(lags[latest][0]) * lags[latest][-1])
    return slice(int(np.searchsorted(lags, middle)), latest.stop)


def choose_window(
    lags: np.ndarray,
    n_frames: int,
    walkers: float,
    msd: np.ndarray,
    covariance: np.ndarray,
) -> slice:
    """The window whose first lag follows the relaxation that a mean squared displacement shows.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.
        walkers: number of independent walkers.
        msd: (lags,) in any unit.
        covariance: (lags, lags) of it.
    """
    windows = fit_windows(lags, n_frames)
    found = compare_windows(lags, n_frames, walkers, msd, covariance)
    if not found.comparable:
        return windows[-1]
    shortest = int(np.argmax(found.agree))
    if shortest == len(windows) - 1:
        return windows[-1]
    first_lags = lags[[window.start for window in windows]]
    chosen = int(np.searchsorted(first_lags, MARGIN * first_lags[shortest]))
    return windows[min(chosen, len(windows) - 1)]


@dataclass(frozen=True)
class WindowSlopes:
    """Slopes from each of `fit_windows`.

    Attributes:
        slopes: (windows,) per frame.
        covariance: (windows, windows) of them.
    """

    slopes: np.ndarray
    covariance: np.ndarray

    @cached_property
    def apart(self) -> np.ndarray:
        """(windows, windows) slope of one window minus that of another, in standard errors."""
        variance = np.diag(self.covariance)
        of_difference = np.maximum(variance[:, None] + variance - 2 * self.covariance, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.slopes[:, None] - self.slopes) / np.sqrt(of_difference)

    @property
    def agree(self) -> np.ndarray:
        """(windows,) whether the slope of each agrees with those of all later ones."""
        return ~np.triu(np.abs(self.apart) > AGREEMENT, 1).any(axis=1)

    @property
    def comparable(self) -> bool:
        """Whether late slopes are known well enough to be compared with earlier ones."""
        if len(self.slopes) < 2:
            return False
        error = np.sqrt(max(float(self.covariance[-2, -2]), 0.0))
        return bool(error <= COMPARABLE_ERROR * self.slopes[-2])


def compare_windows(
    lags: np.ndarray, n_frames: int, walkers: float, msd: np.ndarray, covariance: np.ndarray
) -> WindowSlopes:
    """Slopes from each of `fit_windows`.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.
        walkers: number of independent walkers.
        msd: (lags,) in any unit.
        covariance: (lags, lags) of it.
    """
    windows = fit_windows(lags, n_frames)
    weights = np.stack([slope_weights(lags, n_frames, walkers, window) for window in windows])
    return WindowSlopes(weights @ msd, weights @ covariance @ weights.T)


def slope_weights(lags: np.ndarray, n_frames: int, walkers: float, window: slice) -> np.ndarray:
    """Weights whose product with mean squared displacements is their slope per frame.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.
        walkers: number of independent walkers, 1 for a collective displacement. The fewer there
            are, the larger the noise of long lags and the more weight of early ones.
        window: lags of the fit.

    Returns:
        (lags,), zero outside of the window; NaN for a single lag, which determines no line.
    """
    return _of_window(lags, window, 2, lambda fit: _line_weights(fit, n_frames, walkers))


def fall_weights(lags: np.ndarray, n_frames: int, window: slice) -> np.ndarray:
    """Weights whose product with mean squared displacements is the fall of their slope.

    That of a parabola by generalised least squares, which is the most sensitive test of whether
    the slope per frame falls between the first and the last lag.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.
        window: lags of the fit.

    Returns:
        (lags,), zero outside of the window; NaN for fewer than `LEAST_LAGS`.
    """
    return _of_window(lags, window, LEAST_LAGS, lambda fit: _parabola_weights(fit, n_frames))


def local_slopes(lags: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the slopes between two lags each, a factor of two apart.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.

    Returns:
        (points,) geometric mean of the two lags, two points an octave up to `FIT_STOP`, and
        (points, lags) weights.
    """
    last = max(FIT_STOP * (n_frames - 1), 2.0)
    wanted = np.geomspace(2, last, int(2 * np.log2(last / 2)) + 1)
    first, second = np.searchsorted(lags, wanted / 2), np.searchsorted(lags, wanted)
    pairs = np.unique(np.stack([first, second], axis=1)[second < len(lags)], axis=0)
    early, late = lags[pairs.T].astype(float)
    weights, rows = np.zeros((len(pairs), len(lags))), np.arange(len(pairs))
    weights[rows, pairs[:, 0]] = -1 / (late - early)
    weights[rows, pairs[:, 1]] = 1 / (late - early)
    return np.sqrt(early * late), weights


def _of_window(
    lags: np.ndarray, window: slice, least: int, weights: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Weights of the lags of a window, zero for the others, NaN for fewer lags than `least`."""
    found = np.zeros(len(lags))
    fit = lags[window].astype(float)
    found[window] = weights(fit) if len(fit) >= least else np.nan
    return found


def _line_weights(lags: np.ndarray, n_frames: int, walkers: float) -> np.ndarray:
    covariance = relative_covariance(lags, n_frames) * np.outer(lags, lags) / walkers
    for time in np.array(RELAXATION_TIMES) * lags[0]:
        excess = RELAXATION_EXCESS * np.exp(lags[0] / time)
        relaxed = excess * time * (1 - np.exp(-lags / time))
        covariance += np.outer(relaxed, relaxed)
    return _generalised_least_squares(covariance, np.stack([lags, np.ones(len(lags))], axis=1))[0]


def _plain_weights(lags: np.ndarray) -> np.ndarray:
    """Of least squares, for motion in bounds, whose noise does not grow with the lag."""
    return (lags - lags.mean()) / np.sum((lags - lags.mean()) ** 2)


def _parabola_weights(lags: np.ndarray, n_frames: int) -> np.ndarray:
    scaled = lags / lags[-1]
    covariance = relative_covariance(lags, n_frames) * np.outer(scaled, scaled)
    parabola = np.stack([scaled**2, scaled, np.ones(len(lags))], axis=1)
    curvature = _generalised_least_squares(covariance, parabola)[0]
    return -2 * curvature * (lags[-1] - lags[0]) / lags[-1] ** 2


def _generalised_least_squares(covariance: np.ndarray, design: np.ndarray) -> np.ndarray:
    """(parameters, lags) weights of the best linear unbiased estimate."""
    weighted = np.linalg.solve(covariance, design)
    return np.linalg.solve(design.T @ weighted, weighted.T)


def fitted_line(
    lags: np.ndarray, values: np.ndarray, weights: np.ndarray, window: slice
) -> np.ndarray:
    """The line of a fit at all lags. Errors come from it, since it is less noisy than the data.

    Args:
        lags: (lags,).
        values: (lags, ...).
        weights: (lags,) from `slope_weights`.
        window: lags of the fit, which give the offset.
    """
    growth = np.multiply.outer(lags, np.tensordot(weights, values, 1))
    return growth + np.mean((values - growth)[window], axis=0)


@dataclass(frozen=True)
class Diffusion:
    """Tracer diffusion of one element.

    Attributes:
        window: lags of the fit, indices into the lag grid.
        weights: (lags,) whose product with mean squared displacements is their slope per frame.
        fit_start_ps, fit_stop_ps: the first and the last of them.
        slope_A2_ps: slope/6, whether or not the motion is diffusive.
        slope_err_A2_ps: one standard error of it.
        fall_A2_ps: by how much slope/6 falls between the first and the last lag of the latest
            window.
        fall_err_A2_ps: one standard error of it.
        loglog_slope: d ln(MSD − offset) / d ln lag in the later half of that window; the offset is
            that of the fitted line where it is positive.
        diffusive: whether slope/6 is a diffusion coefficient.
        transient: whether it certainly is not: by more than a fall of the slope that is significant
            at 3 % alone.
    """

    window: slice
    weights: np.ndarray
    fit_start_ps: float
    fit_stop_ps: float
    slope_A2_ps: float
    slope_err_A2_ps: float
    fall_A2_ps: float
    fall_err_A2_ps: float
    loglog_slope: float
    diffusive: bool
    transient: bool

    @property
    def transient_A2_ps(self) -> float:
        """How much of the slope may not last; zero unless `transient`.

        All of it where the slope falls with certainty, otherwise as much as it falls.
        """
        if not self.transient:
            return 0.0
        whole = abs(self.slope_A2_ps)
        certain = self.fall_A2_ps > LARGEST_CHANGE * self.fall_err_A2_ps
        return whole if certain else min(whole, abs(self.fall_A2_ps))

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

    It does where its slope moves it far enough by the last lag, the slope neither falls nor
    rises with the lag nor differs between the two halves of the trajectory beyond errors, and the
    log-log slope of the later lags is one.

    Args:
        moments: its displacements.
        frame_interval_ps: time between frames.
        tolerance: largest deviation of the log-log slope from one, beside two standard errors.
        least_displacement_A: least root mean squared displacement at the last lag, without offset.
    """
    lags, msd_A2, n_frames = moments.lags, moments.msd_A2, moments.n_frames
    latest, late = latest_window(lags, n_frames), late_window(lags, n_frames)
    scale = 1 / (6 * frame_interval_ps)
    latest_weights = slope_weights(lags, n_frames, moments.n_atoms, latest)
    of_latest_A4 = line_covariance(moments, latest_weights, latest)
    fall = fall_weights(lags, n_frames, latest)
    fall_A2_ps = float(fall @ msd_A2) * scale
    fall_err_A2_ps = _root(fall @ of_latest_A4 @ fall) * scale
    linear = is_linear(fall_A2_ps, fall_err_A2_ps)
    if fall_A2_ps > LARGEST_CHANGE * fall_err_A2_ps:
        window = late
        weights = _of_window(lags, late, 2, _plain_weights)
    else:
        window = latest
        if linear:
            window = choose_window(lags, n_frames, moments.n_atoms, msd_A2, moments.covariance())
        weights = slope_weights(lags, n_frames, moments.n_atoms, window)
    of_window_A4 = line_covariance(moments, weights, window)
    variance_A4 = weights @ of_window_A4 @ weights
    if linear:
        variance_A4 -= lost_variance(weights @ of_latest_A4 @ fall, fall @ of_latest_A4 @ fall)
    slope_A2_ps, slope_err_A2_ps = float(weights @ msd_A2) * scale, _root(variance_A4) * scale
    resampled, by_half = (
        np.nan_to_num(moments.by_block.mean(often)) @ weights * scale
        for often in (resampling_weights(), halves())
    )
    change = abs(float(by_half[1] - by_half[0]))
    offset_A2 = max(float(msd_A2[window][0] - weights @ msd_A2 * lags[window][0]), 0.0)
    loglog, loglog_err = _loglog_slope(
        lags[late], msd_A2[late] - np.nan_to_num(offset_A2), of_latest_A4[late, late]
    )
    moves = bool(
        6 * slope_A2_ps * frame_interval_ps * lags[window][-1] >= least_displacement_A**2
        # Each half has twice the variance, and so has their difference again.
        and change <= LARGEST_CHANGE * 2 * slope_err_A2_ps
        and abs(loglog - 1) <= tolerance + 2 * loglog_err
    )
    return Diffusion(
        window=window,
        weights=weights,
        fit_start_ps=float(lags[window][0]) * frame_interval_ps,
        fit_stop_ps=float(lags[window][-1]) * frame_interval_ps,
        slope_A2_ps=slope_A2_ps,
        slope_err_A2_ps=standard_error(slope_err_A2_ps, bootstrap_error(resampled)),
        fall_A2_ps=fall_A2_ps,
        fall_err_A2_ps=fall_err_A2_ps,
        loglog_slope=loglog,
        diffusive=moves and linear,
        transient=not (moves and abs(fall_A2_ps) <= LARGEST_CHANGE * fall_err_A2_ps),
    )


def line_covariance(moments: Displacements, weights: np.ndarray, window: slice) -> np.ndarray:
    """(lags, lags) covariance of mean squared displacements in Å⁴, from the line of a fit.

    What moves in bounds is taken to be forgotten after `FORGOTTEN` of the first lag.

    Args:
        moments: displacements of one element.
        weights: (lags,) from `slope_weights`.
        window: lags of the fit.
    """
    lags, msd_A2 = moments.lags, moments.msd_A2
    slope_A2 = float(weights @ msd_A2)
    offset_A2 = float(np.mean((msd_A2 - slope_A2 * lags)[window]))
    return moments.line_covariance(slope_A2, offset_A2, FORGOTTEN * float(lags[window][0]))


def diffusion_curve(
    moments: Displacements, frame_interval_ps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D as the slope between two lags each, a factor of two apart.

    Args:
        moments: displacements of one element.
        frame_interval_ps: time between frames.

    Returns:
        (points,) lags in ps, slope/6 in Å²/ps and its standard errors.
    """
    middles, weights = local_slopes(moments.lags, moments.n_frames)
    weights /= 6 * frame_interval_ps
    variance = np.einsum("pi,ij,pj->p", weights, moments.covariance(), weights)
    errors = np.sqrt(np.maximum(variance, 0.0))
    return middles * frame_interval_ps, weights @ moments.msd_A2, errors


def is_linear(fall: float, fall_err: float) -> bool:
    """Whether a slope is the same at early and late lags, within errors; not where it is NaN."""
    return -LARGEST_CHANGE * fall_err <= fall <= LARGEST_FALL * fall_err


def lost_variance(with_fall: float, of_fall: float) -> float:
    """What the variance of an estimate loses where its `is_linear` is known.

    Late slopes decide whether a slope falls, and an estimate from long lags is correlated with that
    by some −0.9. Estimates of those trajectories that pass scatter less than those of all: the
    fall's own variance is that of a truncated normal distribution (Tallis, J. R. Stat. Soc. B 23,
    223, 1961).

    Args:
        with_fall: covariance of the estimate with the fall of the slope.
        of_fall: variance of that fall.
    """
    return (1 - LINEAR_VARIANCE) * with_fall**2 / of_fall if of_fall > 0 else 0.0


def _root(variance: float) -> float:
    """Square root of a variance that rounding may have made negative, or zero where it is NaN."""
    return float(np.sqrt(np.fmax(variance, 0.0)))


def _loglog_slope(
    lags: np.ndarray, msd_A2: np.ndarray, covariance_A4: np.ndarray
) -> tuple[float, float]:
    """Slope of ln MSD against ln lag and its standard error."""
    if len(lags) < 2 or not np.all(msd_A2 > 0):
        return float("nan"), float("nan")
    x = np.log(lags)
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    per_lag = weights / msd_A2
    error = np.sqrt(max(float(per_lag @ covariance_A4 @ per_lag), 0.0))
    return float(weights @ np.log(msd_A2)), float(error)
