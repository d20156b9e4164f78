"""Jumps of the mobile ion from one resting place to the next, and how many of them are undone.

Resting places are found from the motion itself, since a glass has no sites that are known before:
enduring displacements as of Keys, Hedges, Garrahan, Glotzer and Chandler, Phys. Rev. X 1, 021013
(2011). An ion has jumped when the mean of its positions over two windows of time in a row is
farther from its resting place than the jump length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrion.trajectory.unwrapping import Trajectory

# Most windows of time that a trajectory is divided into.
WINDOWS = 5000
LENGTH_BIN_A = 0.1
LONGEST_A = 10.0


@dataclass(frozen=True)
class Jumps:
    """Jumps of one element's ions.

    Attributes:
        window_ps: time that positions are averaged over; faster returns are not seen.
        n_jumps: number of jumps.
        rate_1_ps, rate_err_1_ps: jumps of an ion per time.
        length_A: root mean square distance between the resting places before and after a jump.
        back_fraction, back_fraction_err: share of the jumps after which the next one leads back.
        cosine, cosine_err: mean cosine of the angle between a jump and the next one.
        edges_A: (bins + 1,) of lengths.
        density_1_A: (bins,) probability density of the lengths.
    """

    window_ps: float
    n_jumps: int
    rate_1_ps: float
    rate_err_1_ps: float
    length_A: float
    back_fraction: float
    back_fraction_err: float
    cosine: float
    cosine_err: float
    edges_A: np.ndarray
    density_1_A: np.ndarray

    @property
    def D_A2_ps(self) -> float:
        """Rate times squared length over six: D if successive jumps were independent."""
        return self.rate_1_ps * self.length_A**2 / 6 if self.n_jumps else 0.0


def jumps(trajectory: Trajectory, species: str, *, length_A: float, window_ps: float) -> Jumps:
    """Find the jumps of an element's ions.

    Args:
        trajectory: the frames.
        species: the element.
        length_A: smallest distance of a jump.
        window_ps: time that positions are averaged over; more where there would be more than
            `WINDOWS` windows.
    """
    n_frames, interval_ps = trajectory.n_frames, trajectory.frame_interval_ps
    window = max(1, round(window_ps / interval_ps), -(-n_frames // WINDOWS))
    # Long windows would leave too few of them in a short trajectory.
    window = min(window, max(1, n_frames // 8))
    n_windows = n_frames // window
    sites: list[list[np.ndarray]] = []
    for history_A in trajectory.histories(species):
        parts_A = history_A[:, :, : n_windows * window]
        shape = (*parts_A.shape[:2], n_windows, window)
        sites += resting_places(parts_A.reshape(shape).mean(axis=3, dtype=float), length_A)
    return _statistics(sites, n_windows * window * interval_ps, window * interval_ps, length_A)


def resting_places(positions_A: np.ndarray, length_A: float) -> list[list[np.ndarray]]:
    """Resting places of each ion, in the order in which they are visited.

    Args:
        positions_A: (ions, 3, windows).
        length_A: smallest distance of a jump.

    Returns:
        By ion, mean positions (3,) of its stays; at least one.
    """
    n_ions, _, n_windows = positions_A.shape
    found: list[list[np.ndarray]] = [[] for _ in range(n_ions)]
    total_A, count = positions_A[:, :, 0].copy(), np.ones(n_ions)
    away, away_A = np.zeros(n_ions, dtype=bool), np.zeros((n_ions, 3))
    for window in range(1, n_windows):
        at_A = positions_A[:, :, window]
        far = _farther(at_A, total_A / count[:, None], length_A)
        jumped = far & away & ~_farther(at_A, away_A, length_A)
        for ion in np.flatnonzero(jumped).tolist():
            found[ion].append(total_A[ion] / count[ion])
        total_A = np.where(jumped[:, None], away_A + at_A, total_A)
        count = np.where(jumped, 2.0, count)
        near = ~far
        total_A[near] += at_A[near]
        count[near] += 1
        away, away_A = far & ~jumped, at_A
    for ion in range(n_ions):
        found[ion].append(total_A[ion] / count[ion])
    return found


def _farther(a_A: np.ndarray, b_A: np.ndarray, length_A: float) -> np.ndarray:
    return np.einsum("ix,ix->i", a_A - b_A, a_A - b_A) > length_A**2


def _statistics(
    sites: list[list[np.ndarray]], length_ps: float, window_ps: float, length_A: float
) -> Jumps:
    number = np.array([len(visited) - 1 for visited in sites])
    steps, followed, back, cosines = [], [], [], []
    for visited in sites:
        step_A = np.diff(np.array(visited), axis=0)
        steps.append(step_A)
        first_A, next_A = step_A[:-1], step_A[1:]
        returned = np.linalg.norm(first_A + next_A, axis=1) < length_A
        norms = np.linalg.norm(first_A, axis=1) * np.linalg.norm(next_A, axis=1)
        followed.append(len(first_A))
        back.append(int(returned.sum()))
        cosines.append(float((np.einsum("jx,jx->j", first_A, next_A) / norms).sum()))
    lengths_A = np.linalg.norm(np.concatenate(steps), axis=1)
    edges_A = np.arange(0, LONGEST_A + LENGTH_BIN_A / 2, LENGTH_BIN_A)
    n_jumps, n_ions = int(number.sum()), len(sites)
    rate, rate_err = _ratio(number, np.full(n_ions, length_ps))
    share, share_err = _ratio(np.array(back), np.array(followed))
    cosine, cosine_err = _ratio(np.array(cosines), np.array(followed))
    counts = np.histogram(lengths_A, edges_A)[0]
    return Jumps(
        window_ps=window_ps,
        n_jumps=n_jumps,
        rate_1_ps=rate,
        rate_err_1_ps=rate_err,
        length_A=float(np.sqrt(np.mean(lengths_A**2))) if n_jumps else float("nan"),
        back_fraction=share,
        back_fraction_err=share_err,
        cosine=cosine,
        cosine_err=cosine_err,
        edges_A=edges_A,
        density_1_A=counts / (max(n_jumps, 1) * LENGTH_BIN_A),
    )


def _ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Ratio of two sums over ions and its standard error, from the spread between ions."""
    if not below.sum():
        return float("nan"), float("nan")
    ratio, n = above.sum() / below.sum(), len(above)
    if n < 2:
        return float(ratio), float("nan")
    squares = np.sum((above - ratio * below) ** 2) * n / (n - 1)
    return float(ratio), float(np.sqrt(squares) / below.sum())
