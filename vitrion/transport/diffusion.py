"""Slopes of mean squared displacements by generalised least squares, and where to take them.

Mean squared displacements at different lags share their data. Their covariance under diffusion is
known (Bullerjahn, von Bülow and Hummer, J. Chem. Phys. 153, 024116, 2020); for lags far apart it is
var_i n_i/n_j (McCluskey, Coles and Morgan, J. Chem. Theory Comput. 21, 79, 2025). With it the error
of a slope is that of the trajectory, whatever lags are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrion.transport.msd import Displacements, relative_covariance

# A window shorter than this factor in lag says nothing about a slope.
LEAST_WINDOW = 4.0
# A log-log slope known no better than this is no sign of diffusion.
LARGEST_SLOPE_ERROR = 0.25
# Longest lag of a fit over the length: beyond it origins are too few to matter.
LONGEST_LAG = 0.25


def line_weights(lags: np.ndarray, n_frames: int) -> np.ndarray:
    """(2, lags) weights whose products with an MSD are its slope per frame and its offset.

    Generalised least squares with the covariance of pure diffusion. It does not depend on the data,
    so slopes of sums are sums of slopes, and noise in the data cannot bias the fit. NaN for a
    single lag, which determines no line.
    """
    if len(lags) < 2:
        return np.full((2, len(lags)), np.nan)
    covariance = relative_covariance(lags, n_frames) * np.outer(lags, lags)
    design = np.stack([lags, np.ones(len(lags))], axis=1).astype(float)
    weighted = np.linalg.solve(covariance, design)
    return np.linalg.solve(design.T @ weighted, weighted.T)


def slope_weights(lags: np.ndarray, n_frames: int) -> np.ndarray:
    """The first row of `line_weights`."""
    return line_weights(lags, n_frames)[0]


@dataclass(frozen=True)
class Window:
    """The lags of a fit.

    Attributes:
        select: indices into the lag grid.
        loglog_slope: d ln MSD / d ln lag in the window.
        diffusive: whether that is one within the tolerance, and the displacement large enough.
    """

    select: slice
    loglog_slope: float
    diffusive: bool


def loglog_slope(
    lags: np.ndarray, msd_A2: np.ndarray, n_frames: int, samples: float
) -> tuple[float, float]:
    """Slope of ln MSD against ln lag and its standard error, by generalised least squares.

    Args:
        lags: in frames.
        msd_A2: mean squared displacements at them.
        n_frames: length of the trajectory.
        samples: how many independent Gaussian walkers the data are worth.
    """
    covariance = relative_covariance(lags, n_frames) / samples
    design = np.stack([np.log(lags), np.ones(len(lags))], axis=1)
    weighted = np.linalg.solve(covariance, design)
    parameters = np.linalg.inv(design.T @ weighted)
    slope = (parameters @ weighted.T @ np.log(msd_A2))[0]
    return float(slope), float(np.sqrt(parameters[0, 0]))


def find_window(
    lags: np.ndarray,
    msd_A2: np.ndarray,
    n_frames: int,
    *,
    samples: float,
    tolerance: float,
    least_displacement_A: float,
) -> Window:
    """The earliest start from which the displacement grows linearly to the last usable lag.

    Both the whole window and its later half must have a log-log slope of one, so that neither the
    passage from ballistic motion to a cage nor a late plateau is taken for diffusion.

    Args:
        lags: lag grid in frames.
        msd_A2: mean squared displacement on it.
        n_frames: length of the trajectory.
        samples: as in `loglog_slope`.
        tolerance: deviation of the slope from one that is allowed, beside its standard error.
        least_displacement_A: least root mean squared displacement at the window's end.
    """
    stop = int(np.searchsorted(lags, LONGEST_LAG * (n_frames - 1), "right"))
    fallback = slice(stop // 2, max(stop, 1))
    moved = stop > 0 and bool(np.all(msd_A2[:stop] > 0))
    if not moved or stop < 4 or lags[stop - 1] < LEAST_WINDOW * lags[0]:
        return Window(fallback, float("nan"), False)
    far = bool(msd_A2[stop - 1] >= least_displacement_A**2)
    last = lags[stop - 1]
    for start in range(stop - 3):
        if last < LEAST_WINDOW * lags[start]:
            break
        middle = int(np.searchsorted(lags, np.sqrt(float(lags[start]) * last)))
        parts = slice(start, stop), slice(min(middle, stop - 3), stop)
        slopes = [loglog_slope(lags[p], msd_A2[p], n_frames, samples) for p in parts]
        if all(
            abs(slope - 1) <= tolerance + err and err <= LARGEST_SLOPE_ERROR
            for slope, err in slopes
        ):
            return Window(parts[0], slopes[0][0], far)
    start = int(np.searchsorted(lags, last / LEAST_WINDOW, "right")) - 1
    select = slice(min(start, stop - 3), stop)
    slope, _ = loglog_slope(lags[select], msd_A2[select], n_frames, samples)
    return Window(select, slope, False)


def plateau_window(
    lags: np.ndarray, msd_A2: np.ndarray, n_frames: int, window: Window, *, samples: float,
    tolerance: float,
) -> Window:  # fmt: skip
    """The part of a window in which a sum over elements has a slope that no longer changes.

    Rattling of ions that do not diffuse adds to the sum until it has saturated; conductivities need
    lags beyond that. The slope over the whole part must agree with that over its later half.

    Args:
        lags: lag grid in frames.
        msd_A2: charge-weighted sum of mean squared displacements on it.
        n_frames: length of the trajectory.
        window: of the mobile ion.
        samples: independent walkers.
        tolerance: relative change allowed.
    """
    stop = window.select.stop
    for start in range(window.select.start, stop - 3):
        if lags[stop - 1] < LEAST_WINDOW * lags[start]:
            break
        middle = int(np.searchsorted(lags, np.sqrt(float(lags[start]) * lags[stop - 1])))
        whole, late = slice(start, stop), slice(min(middle, stop - 3), stop)
        weights = np.zeros(len(lags))
        weights[whole] = slope_weights(lags[whole], n_frames)
        slope = weights @ msd_A2
        weights[late] -= slope_weights(lags[late], n_frames)
        change = weights @ msd_A2
        # Only what grows is random between walkers; an offset is not.
        growth = slope * lags[whole]
        covariance = relative_covariance(lags[whole], n_frames) * np.outer(growth, growth) / samples
        error = np.sqrt(weights[whole] @ covariance @ weights[whole])
        if slope > 0 and abs(change) <= tolerance * slope + 2 * error:
            return Window(whole, window.loglog_slope, window.diffusive)
    start = min(int(np.searchsorted(lags, lags[stop - 1] / LEAST_WINDOW, "right")) - 1, stop - 3)
    return Window(
        slice(max(start, window.select.start), stop), window.loglog_slope, window.diffusive
    )


@dataclass(frozen=True)
class Diffusion:
    """Tracer diffusion of one element.

    Attributes:
        window: where the slope was taken.
        slope_A2_ps: D = slope/6 in Å²/ps, whether or not the motion is diffusive.
        slope_err_A2_ps: one standard error of it.
        fit_start_ps, fit_stop_ps: ends of the window.
    """

    window: Window
    slope_A2_ps: float
    slope_err_A2_ps: float
    fit_start_ps: float
    fit_stop_ps: float

    @property
    def D_A2_ps(self) -> float:
        """Diffusion coefficient; NaN unless diffusive."""
        return self.slope_A2_ps if self.window.diffusive else float("nan")

    @property
    def D_err_A2_ps(self) -> float:
        """One standard error; NaN unless diffusive."""
        return self.slope_err_A2_ps if self.window.diffusive else float("nan")


def diffusion(
    moments: Displacements,
    *,
    frame_interval_ps: float,
    tolerance: float,
    least_displacement_A: float,
    window: Window | None = None,
) -> Diffusion:
    """D of one element, in its own diffusive window or in a given one."""
    if window is None:
        variance = np.diag(moments.covariance()) / np.diag(
            relative_covariance(moments.lags, moments.n_frames)
        )
        window = find_window(
            moments.lags,
            moments.msd_A2,
            moments.n_frames,
            samples=float(np.median(moments.msd_A2**2 / np.maximum(variance, 1e-300))),
            tolerance=tolerance,
            least_displacement_A=least_displacement_A,
        )
    lags = moments.lags[window.select]
    weights = slope_weights(lags, moments.n_frames)
    error = np.sqrt(weights @ moments.covariance(window.select) @ weights)
    return Diffusion(
        window=window,
        slope_A2_ps=float(weights @ moments.msd_A2[window.select]) / (6 * frame_interval_ps),
        slope_err_A2_ps=float(error) / (6 * frame_interval_ps),
        fit_start_ps=float(lags[0]) * frame_interval_ps,
        fit_stop_ps=float(lags[-1]) * frame_interval_ps,
    )
