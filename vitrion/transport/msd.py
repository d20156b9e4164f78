"""Mean squared displacements over all time origins, their covariance, and higher moments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft

from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import BLOCKS, BlockSums, block_edges

LAGS_PER_DECADE = 20
# Sums by block use this many origins per lag: more of them overlap and add little.
ORIGINS_PER_LAG = 8
# Lags, over the length, at which the fluctuation of an element's mean squared displacement in time
# is measured: long enough for slow concerted motion, with 25 to 100 independent windows each.
FLUCTUATION_START, FLUCTUATION_STOP = 1 / 100, 1 / 25
FLUCTUATION_LAGS = 4
# Atoms count as moving together where their mean squared displacement fluctuates by more than this
# factor over that of independent ones, whose factor has a standard deviation of 0.12 about 1.
CONCERTED = 1.25
# Least share of the diffusing part in that fluctuation by which the rest is divided.
LEAST_SHARE = 1 / 4
VAN_HOVE_LAGS = 8
VAN_HOVE_ORIGINS = 2000


def lag_grid(n_frames: int, *, longest: float = 0.5) -> np.ndarray:
    """Lags in frames: every one up to 10, then evenly spaced in the logarithm.

    Args:
        n_frames: length of the trajectory.
        longest: largest lag over the length; beyond a half there are too few origins.

    Returns:
        (lags,) int, increasing.
    """
    last = max(1, int((n_frames - 1) * longest))
    count = max(2, round(LAGS_PER_DECADE * np.log10(max(last, 2))))
    spaced = np.geomspace(1, last, count).round().astype(int)
    return np.unique(np.concatenate([np.arange(1, min(last, 10) + 1), spaced]))


def fluctuation_lags(lags: np.ndarray, n_frames: int) -> list[int]:
    """Indices of up to `FLUCTUATION_LAGS` lags for the fluctuation in time."""
    start, stop = np.searchsorted(
        lags, np.array([FLUCTUATION_START, FLUCTUATION_STOP]) * (n_frames - 1)
    )
    chosen = np.linspace(min(start, len(lags) - 1), max(stop - 1, start), FLUCTUATION_LAGS)
    return sorted({min(int(column), len(lags) - 1) for column in chosen})


def relative_covariance(lags: np.ndarray, n_frames: int) -> np.ndarray:
    """Cov(MSD_i, MSD_j) / (MSD_i MSD_j) of one walker that diffuses in three dimensions.

    For lags m ≤ n in frames, m + n ≤ K, and K frames

        2/3 [m − (m² − 1)/(3 n) − m (m² − 1)/(6 n (K − n))] / (K − m),

    the sum over all pairs of windows of the square of their overlap (Bullerjahn, von Bülow and
    Hummer, J. Chem. Phys. 153, 024116, 2020, without noise of the positions). The first term is
    var_i n_i/n_j of independent windows; the last comes from the ends of the trajectory.

    Args:
        lags: (lags,) in frames.
        n_frames: length of the trajectory.

    Returns:
        (lags, lags), without unit.
    """
    m, n = np.minimum.outer(lags, lags).astype(float), np.maximum.outer(lags, lags)
    overlap = m - (m**2 - 1) / (3 * n) - m * (m**2 - 1) / (6 * n * (n_frames - n))
    return 2 / 3 * overlap / (n_frames - m)


@dataclass(frozen=True)
class LineCovariance:
    """Cov(MSD_i, MSD_j) of one walker that diffuses and moves about its path in bounds.

    Its mean squared displacement is b τ + a at lags τ beyond the bounded motion's relaxation time
    τ_c. Positions in bounds are forgotten after τ_c, so that a does not fluctuate as b τ does. For
    an Ornstein-Uhlenbeck process the covariance of displacements over two windows is b/3 times
    their overlap, plus a/6 exp(−u/τ_c) for each two of their ends, u apart, that are both first or
    both last. By Isserlis' theorem the sum of its squares over all pairs of windows gives

        b² `diffusing` + 2 a b `mixed` + a² `bounded`

    (with τ_c of a frame, noise of the positions: Bullerjahn, von Bülow and Hummer, J. Chem. Phys.
    153, 024116, 2020).

    Attributes:
        diffusing: (lags, lags) in frames², for b per frame.
        mixed: (lags, lags) in frames.
        bounded: (lags, lags), without unit.
    """

    diffusing: np.ndarray
    mixed: np.ndarray
    bounded: np.ndarray

    @classmethod
    def of(cls, lags: np.ndarray, n_frames: int, relaxation: float) -> LineCovariance:
        """Kernels of a trajectory.

        Args:
            lags: (lags,) in frames, beyond the relaxation time.
            n_frames: length of the trajectory.
            relaxation: τ_c in frames.
        """
        shorter = np.minimum.outer(lags, lags).astype(float)
        apart = np.abs(np.subtract.outer(lags, lags)) / relaxation
        independent = relaxation / (n_frames - shorter)
        return cls(
            diffusing=relative_covariance(lags, n_frames) * np.outer(lags, lags),
            mixed=4 / 3 * shorter * independent,
            bounded=(2 + (1 + apart) * np.exp(-apart)) / 3 * independent,
        )

    def total(self, slope: float, offset: float, together: float = 1.0) -> np.ndarray:
        """The covariance for b = `slope` per frame, a = `offset` and paths of `together` atoms."""
        return (
            together * slope**2 * self.diffusing
            + 2 * slope * offset * self.mixed
            + offset**2 * self.bounded
        )


@dataclass(frozen=True)
class Displacements:
    """Moments of the displacements of one element's atoms.

    Attributes:
        lags: (lags,) in frames.
        n_atoms: number of atoms.
        n_frames: length of the trajectory.
        msd_A2: (lags,) mean squared displacement over all atoms and time origins.
        by_block: (lags,) mean squared displacement of one atom in Å², by block of time origins.
        kurtosis: (lags,) ⟨r⁴⟩ / ⟨r²⟩².
        in_time_A2: by index of a few lags, (origins,) mean squared displacement over the atoms.
        collective_A: (frames, 3) sum of the displacements of all atoms.
        collective_msd_A2: (lags,) mean squared displacement of that sum.
        van_hove_lags: lags of the self part of the van Hove function.
        van_hove_r_A: (bins + 1,) edges.
        van_hove: (lags, bins) probability density of r.
    """

    lags: np.ndarray
    n_atoms: int
    n_frames: int
    msd_A2: np.ndarray
    by_block: BlockSums
    kurtosis: np.ndarray
    in_time_A2: dict[int, np.ndarray]
    collective_A: np.ndarray
    collective_msd_A2: np.ndarray
    van_hove_lags: np.ndarray
    van_hove_r_A: np.ndarray
    van_hove: np.ndarray

    @property
    def non_gaussian(self) -> np.ndarray:
        """α₂ = 3⟨r⁴⟩ / 5⟨r²⟩² − 1 (Rahman, Phys. Rev. 136, A405, 1964); zero for a Gaussian."""
        return 0.6 * self.kurtosis - 1

    @property
    def spread(self) -> np.ndarray:
        """Variance of r² over the Gaussian's 2/3 ⟨r²⟩²."""
        return 1.5 * (self.kurtosis - 1)

    @property
    def single_err_A2(self) -> np.ndarray:
        """(lags,) error of the mean squared displacement from one window, of independent atoms."""
        spread = np.maximum(np.nan_to_num(self.spread, nan=1.0), 1e-3)
        return self.msd_A2 * np.sqrt(spread / self.n_atoms)

    def concerted(self, other: Displacements) -> float:
        """Covariance of two mean squared displacements over that of independent atoms.

        From their fluctuation in time about the mean of each half of the trajectory. It is 1 for an
        element with itself if its atoms are independent, g if they move in groups of g, and 0
        between independent elements.
        """
        found = []
        for column, series_A2 in self.in_time_A2.items():
            if self.lags[column] >= self.n_frames // 2:
                continue
            expected_A4 = 2 / 3 * self.single_err_A2[column] * other.single_err_A2[column]
            # The mean of each half takes part in the fluctuation.
            lag = self.lags[column : column + 1]
            taken = 1.5 * float(relative_covariance(lag, self.n_frames // 2)[0, 0])
            measured_A4 = np.mean(
                _about_halves(series_A2) * _about_halves(other.in_time_A2[column])
            )
            if expected_A4 > 0 and taken < 1:
                found.append(float(measured_A4) / (expected_A4 * (1 - taken)))
        return float(np.mean(found)) if found else float(self is other)

    @cached_property
    def together(self) -> float:
        """How many atoms move together: `concerted` of the element where significant, else 1."""
        found = self.concerted(self)
        return found if found > CONCERTED else 1.0

    def covariance(self, select: slice = slice(None)) -> np.ndarray:
        """Cov(MSD_i, MSD_j) of the mean over atoms, (lags, lags) in Å⁴.

        That of independent walkers with the fourth moment that was measured, times the number of
        atoms that move together.

        Args:
            select: which lags.
        """
        single_A2 = self.single_err_A2[select]
        independent = relative_covariance(self.lags[select], self.n_frames)
        return independent * np.outer(single_A2, single_A2) * self.together

    def line_covariance(self, slope_A2: float, offset_A2: float, relaxation: float) -> np.ndarray:
        """`covariance` of a mean squared displacement that is a line, (lags, lags) in Å⁴.

        Args:
            slope_A2: of the line per frame.
            offset_A2: of the line; a negative one is noise.
            relaxation: time in frames after which the motion in bounds is forgotten.
        """
        line = LineCovariance.of(self.lags, self.n_frames, relaxation)
        slope_A2, columns = abs(slope_A2), list(self.in_time_A2)
        with np.errstate(invalid="ignore", divide="ignore"):
            single = np.nan_to_num(self.single_err_A2 / self.msd_A2)
            of_diffusion = np.minimum(slope_A2 * self.lags[columns] / self.msd_A2[columns], 1.0)
        share = np.fmax(np.mean(of_diffusion**2), LEAST_SHARE)
        # Atoms move together along their paths; where they are in their cages dilutes that.
        together = 1 + (self.together - 1) / share
        return line.total(slope_A2, max(offset_A2, 0.0), together) * np.outer(single, single)

    @property
    def msd_err_A2(self) -> np.ndarray:
        """One standard error of the mean squared displacement, (lags,)."""
        return np.sqrt(np.diag(self.covariance()))


def _about_halves(series: np.ndarray) -> np.ndarray:
    """A series in time, less the mean of each of its halves."""
    return np.concatenate([half - half.mean() for half in np.array_split(series, 2) if len(half)])


def displacements(
    trajectory: Trajectory, species: str, lags: np.ndarray | None = None
) -> Displacements:
    """Moments of the displacements of one element, in one pass over its atoms.

    Mean squared displacements over all time origins come from the correlation theorem (Calandrini
    et al., Collection SFN 12, 201, 2011). Power spectra are added up over the atoms, so that one
    inverse transform serves for all of them.

    Args:
        trajectory: the frames.
        species: the element.
        lags: in frames; by default `lag_grid`.
    """
    n_frames = trajectory.n_frames
    lags = lag_grid(n_frames) if lags is None else np.asarray(lags)
    padded = fft.next_fast_len(n_frames + int(lags[-1]) + 1, real=True)
    power = np.zeros(padded // 2 + 1)
    squares = np.zeros(n_frames)
    collective_A = np.zeros((n_frames, 3))
    blocks = _BlockMoments(lags, n_frames)
    van_hove = _VanHove(lags, n_frames)
    n_atoms = 0
    for history_A in trajectory.histories(species):
        n_atoms += len(history_A)
        collective_A += history_A.sum(axis=0, dtype=float).T
        blocks.add(history_A)
        van_hove.add(history_A)
        for atom_A in history_A:
            # Two sums of squares are subtracted below; centring keeps both small.
            centred = atom_A - atom_A.mean(axis=1, keepdims=True, dtype=float)
            squares += np.einsum("xf,xf->f", centred, centred)
            spectrum = fft.rfft(centred, padded, axis=1, overwrite_x=True)
            power += np.einsum("xk,xk->k", spectrum.real, spectrum.real)
            power += np.einsum("xk,xk->k", spectrum.imag, spectrum.imag)
    correlation = fft.irfft(power, padded)[lags]
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    origins = n_frames - lags
    both_ends = sums[origins] + sums[-1] - sums[lags]
    return Displacements(
        lags=lags,
        n_atoms=n_atoms,
        n_frames=n_frames,
        msd_A2=np.maximum((both_ends - 2 * correlation) / (origins * n_atoms), 0.0),
        by_block=BlockSums(blocks.squares, blocks.terms),
        kurtosis=blocks.kurtosis(),
        in_time_A2={c: series / n_atoms for c, series in blocks.in_time.items()},
        collective_A=collective_A,
        collective_msd_A2=np.array(
            [np.mean(np.sum((collective_A[m:] - collective_A[:-m]) ** 2, axis=1)) for m in lags]
        ),
        van_hove_lags=van_hove.lags,
        van_hove_r_A=van_hove.edges_A,
        van_hove=van_hove.density(),
    )


class _BlockMoments:
    """Sums of r² by block of time origins and, at a few lags, by origin; and of r⁴."""

    def __init__(self, lags: np.ndarray, n_frames: int) -> None:
        self.lags, self.edges = lags, block_edges(n_frames)
        self.squares = np.zeros((BLOCKS, len(lags)))
        self.terms = np.zeros((BLOCKS, len(lags)))
        self.fourth = np.zeros(len(lags))
        self.in_time: dict[int, np.ndarray] = {
            column: np.zeros(1) for column in fluctuation_lags(lags, n_frames)
        }

    def add(self, history_A: np.ndarray) -> None:
        n_frames = history_A.shape[2]
        for column, lag in enumerate(self.lags):
            stride = max(1, lag // ORIGINS_PER_LAG)
            step_A = history_A[:, :, lag::stride] - history_A[:, :, : n_frames - lag : stride]
            squared = np.einsum("axf,axf->af", step_A, step_A)
            self.fourth[column] += np.einsum("af,af->", squared, squared, dtype=float)
            block = np.searchsorted(self.edges, np.arange(0, n_frames - lag, stride), "right") - 1
            by_frame = squared.sum(axis=0, dtype=float)
            if column in self.in_time:
                self.in_time[column] = self.in_time[column] + by_frame
            self.squares[:, column] += np.bincount(block, by_frame, BLOCKS)
            self.terms[:, column] += np.bincount(block, minlength=BLOCKS) * len(history_A)

    def kurtosis(self) -> np.ndarray:
        terms, squares = self.terms.sum(axis=0), self.squares.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(squares > 0, self.fourth * terms / squares**2, np.nan)


class _VanHove:
    """Histogram of the distance travelled, at a few lags and up to `VAN_HOVE_ORIGINS` origins."""

    def __init__(self, lags: np.ndarray, n_frames: int) -> None:
        self.lags = np.unique(lags[np.linspace(0, len(lags) - 1, VAN_HOVE_LAGS).astype(int)])
        self.edges_A = np.arange(0, 15.05, 0.1)
        self.counts = np.zeros((len(self.lags), len(self.edges_A) - 1))
        self.terms = np.zeros(len(self.lags))

    def add(self, history_A: np.ndarray) -> None:
        n_frames = history_A.shape[2]
        for row, lag in enumerate(self.lags):
            stride = max(1, (n_frames - lag) // VAN_HOVE_ORIGINS)
            step_A = history_A[:, :, lag::stride] - history_A[:, :, : n_frames - lag : stride]
            distance_A = np.sqrt(np.einsum("axf,axf->af", step_A, step_A))
            bins, ends_A = self.counts.shape[1], (self.edges_A[0], self.edges_A[-1])
            self.counts[row] += np.histogram(distance_A, bins, ends_A)[0]
            self.terms[row] += distance_A.size

    def density(self) -> np.ndarray:
        return self.counts / (self.terms[:, None] * np.diff(self.edges_A))
