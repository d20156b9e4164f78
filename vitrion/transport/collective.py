"""Collective transport: Onsager coefficients, conductivities, transference numbers, Haven ratio.

All collective slopes have the same weights, so that coefficients add up to the conductivity
exactly. Errors of ratios take the correlation of numerator and denominator into account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np

from vitrion.transport.blocks import (
    BLOCKS,
    BlockSums,
    JointEstimate,
    block_edges,
    resampling_weights,
)
from vitrion.transport.diffusion import (
    Diffusion,
    choose_window,
    compare_windows,
    fall_weights,
    fit_windows,
    fitted_line,
    is_linear,
    latest_window,
    local_slopes,
    slope_weights,
)
from vitrion.transport.msd import Displacements, relative_covariance

# How many first lags, each twice the one before, a collective fit may begin before that of the
# ions, and which share of its error a relaxation may then add.
EARLIER = 2
SHARE_OF_ERROR = 0.25


@dataclass(frozen=True)
class Correlations:
    """⟨ΔR_a · ΔR_b⟩ of the summed displacements R_a = Σ_i∈a r_i of each element.

    Attributes:
        moments: displacements of each element.
        total: (lags, species, species) of the sums in Å², by block of time origins.
    """

    moments: Mapping[str, Displacements]
    total: BlockSums

    @property
    def species(self) -> tuple[str, ...]:
        """Elements, the order of the last two axes of `total`."""
        return tuple(self.moments)

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each element."""
        return np.array([m.n_atoms for m in self.moments.values()])

    @cached_property
    def concerted(self) -> np.ndarray:
        """(species, species) `Displacements.concerted` of each pair, `together` of one element."""
        every = list(self.moments.values())
        found = np.array([[one.concerted(other) for other in every] for one in every])
        np.fill_diagonal(found, [one.together for one in every])
        return found

    @cached_property
    def resampled(self) -> tuple[np.ndarray, np.ndarray]:
        """`mean` of resampled blocks, (resamples, ...); zero without origins."""
        total, own = self.mean(resampling_weights())
        return np.nan_to_num(total), np.nan_to_num(own)

    def mean(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """⟨ΔR_a · ΔR_b⟩ in Å², and its self part.

        Args:
            weights: (..., blocks) how often each block counts; once by default.

        Returns:
            (..., lags, species, species), and Σ_i∈a ⟨|Δr_i|²⟩ (..., lags, species).
        """
        own = [m.n_atoms * m.by_block.mean(weights) for m in self.moments.values()]
        return self.total.mean(weights), np.stack(own, axis=-1)


def correlations(moments: Mapping[str, Displacements]) -> Correlations:
    """Correlations of the collective displacements on the lag grid, over all time origins."""
    first = next(iter(moments.values()))
    collective_A = np.stack([m.collective_A for m in moments.values()])
    edges = block_edges(first.n_frames)
    sums = np.zeros((BLOCKS, len(first.lags), len(moments), len(moments)))
    terms = np.zeros((BLOCKS, len(first.lags)))
    for column, lag in enumerate(first.lags):
        step_A = collective_A[:, lag:] - collective_A[:, : first.n_frames - lag]
        products = np.einsum("afx,bfx->fab", step_A, step_A)
        filled = edges[:-1] < len(products)
        sums[filled, column] = np.add.reduceat(products, edges[:-1][filled])
        terms[:, column] = np.diff(np.minimum(edges, len(products)))
    return Correlations(moments, BlockSums(sums, terms))


@dataclass(frozen=True)
class Onsager:
    """Onsager coefficients in e² Å²/ps, before the factor 1/(V k_B T).

    L_ab = z_a z_b d⟨ΔR_a · ΔR_b⟩ / 6 dτ, and of its diagonal the self part z_a² N_a D_a.

    Attributes:
        species: elements.
        joint: all L_ab, row by row, then the self parts L_aa^self.
        linear: (species + 1,) whether L_aa and Σ_ab L_ab have the same slope at all lags.
    """

    species: tuple[str, ...]
    joint: JointEstimate
    linear: np.ndarray

    def _factors(self, position: int) -> np.ndarray:
        out = np.zeros(len(self.joint.value))
        out[position] = 1
        return out

    def L(self, a: int, b: int) -> np.ndarray:
        """Factors of L_ab in the joint estimate."""
        return self._factors(a * len(self.species) + b)

    def own(self, a: int) -> np.ndarray:
        """Factors of L_aa^self in the joint estimate."""
        return self._factors(len(self.species) ** 2 + a)

    @cached_property
    def einstein(self) -> np.ndarray:
        """Factors of Σ_ab L_ab."""
        return np.sum([self.row(a) for a in range(len(self.species))], axis=0)

    @cached_property
    def nernst_einstein(self) -> np.ndarray:
        """Factors of Σ_a L_aa^self."""
        return np.sum([self.own(a) for a in range(len(self.species))], axis=0)

    def row(self, a: int) -> np.ndarray:
        """Factors of Σ_b L_ab."""
        return np.sum([self.L(a, b) for b in range(len(self.species))], axis=0)

    def distinct(self, a: int, b: int) -> np.ndarray:
        """Factors of L_ab without its self part."""
        return self.L(a, b) - (self.own(a) if a == b else 0)

    def haven(self, a: int) -> tuple[float, float]:
        """L_aa^self / L_aa and its error."""
        return self.joint.ratio(self.own(a), self.L(a, a))

    def transference(self, *elements: int) -> tuple[float, float]:
        """Σ_ab L_ab / Σ_cb L_cb, a over some elements (places in `species`), and its error."""
        return self.joint.ratio(np.sum([self.row(a) for a in elements], axis=0), self.einstein)

    def transference_nernst_einstein(self, *elements: int) -> tuple[float, float]:
        """Σ_a L_aa^self / Σ_b L_bb^self, a over some elements, and its error."""
        own = np.sum([self.own(a) for a in elements], axis=0)
        return self.joint.ratio(own, self.nernst_einstein)


def conduction_window(
    data: Correlations, charges: Sequence[float], self_diffusion: Sequence[Diffusion], mobile: int
) -> slice:
    """Lags from which all collective coefficients are taken.

    A collective displacement is a single walker, which shows little of a relaxation. So the window
    follows the motion of the ions: that of the mobile ion, and Σ_a z_a² N_a MSD_a, the self part of
    the conductivity (`choose_window`); the later of both. Errors of a single walker are large, and
    what matters is what a relaxation adds in comparison with them. So the window begins up to four
    times earlier, as far as collective weights give both self parts the same slope within a quarter
    of the error of L_AA and of Σ_ab L_ab. It begins later where the slopes of L_AA and of Σ_ab L_ab
    do not agree with their later ones.

    Args:
        data: the correlations.
        charges: formal charge of each element in e.
        self_diffusion: of each element.
        mobile: place of the mobile ion among the elements.
    """
    moments = list(data.moments.values())
    lags, n_frames = moments[0].lags, moments[0].n_frames
    charge2 = np.asarray(charges, dtype=float) ** 2 * data.counts
    errors_A2 = charge2[:, None] * np.stack([m.single_err_A2 for m in moments])
    own_A4 = np.einsum("ab,ai,bj->ij", data.concerted, errors_A2, errors_A2)
    kernel = relative_covariance(lags, n_frames)
    walkers = moments[mobile].n_atoms
    own_parts = charge2[:, None] * np.stack([m.msd_A2 for m in moments])
    own = own_parts.sum(axis=0)
    of_own = compare_windows(lags, n_frames, walkers, own, kernel * own_A4)
    of_ions = choose_window(lags, n_frames, walkers, own, kernel * own_A4)
    windows = fit_windows(lags, n_frames)
    latest = max(of_ions.start, self_diffusion[mobile].window.start)
    first = max(i for i, window in enumerate(windows) if window.start <= latest)
    total = data.mean()[0] * np.outer(charges, charges)
    pairs = (own_parts[mobile], total[:, mobile, mobile]), (own, total.sum(axis=(1, 2)))
    earliest = max(first - EARLIER, 0) if of_own.comparable else first
    same = np.ones(len(windows), dtype=bool)
    for part, square in pairs:
        slopes = compare_windows(lags, n_frames, 1, part, kernel).slopes
        wanted = slope_weights(lags, n_frames, walkers, windows[first]) @ part
        of_one = compare_windows(lags, n_frames, 1, square, kernel * np.outer(square, square))
        error = np.sqrt(np.maximum(np.diag(of_one.covariance), 0.0))
        same &= np.abs(slopes - wanted) <= SHARE_OF_ERROR * error
    while first > earliest and same[first - 1]:
        first -= 1
    for _, square in pairs:
        found = compare_windows(lags, n_frames, 1, square, kernel * np.outer(square, square))
        first += int(np.argmax(found.agree[first:]))
    return windows[first]


def onsager(
    data: Correlations,
    charges: Sequence[float],
    frame_interval_ps: float,
    self_diffusion: Sequence[Diffusion] = (),
    window: slice | None = None,
) -> Onsager:
    """Onsager coefficients from the slopes that the long lags support.

    L_ab uses the weights of one walker, L_aa^self those of N_a, as D_a does. The self part of an
    element that does not diffuse is its slope at the latest lags, and its error includes the part
    of that which may not last (`Diffusion.transient_A2_ps`).

    Args:
        data: the correlations.
        charges: formal charge of each element in e.
        frame_interval_ps: time between frames.
        self_diffusion: of each element; by default all diffuse, in the same window.
        window: lags of the fit, indices into the lag grid; by default the latest ones.
    """
    moments = list(data.moments.values())
    lags, n_frames = moments[0].lags, moments[0].n_frames
    window = latest_window(lags, n_frames) if window is None else window
    scale = 1 / (6 * frame_interval_ps)
    slope = slope_weights(lags, n_frames, 1, window) * scale
    own_slopes = np.stack(
        [
            (one.weights if one else slope_weights(lags, n_frames, m.n_atoms, window)) * scale
            for m, one in zip_longest(moments, self_diffusion)
        ]
    )
    total = data.mean()[0] * np.outer(charges, charges)
    line = fitted_line(lags, total, slope / scale, window)
    return Onsager(
        species=data.species,
        joint=_joint_estimate(data, charges, slope, own_slopes, line, self_diffusion),
        linear=_linear(lags, n_frames, total),
    )


def onsager_curve(
    data: Correlations, charges: Sequence[float], frame_interval_ps: float
) -> tuple[np.ndarray, list[Onsager]]:
    """Onsager coefficients as slopes between two lags each, a factor of two apart.

    Args:
        data: the correlations.
        charges: formal charge of each element in e.
        frame_interval_ps: time between frames.

    Returns:
        (points,) lags in ps, the geometric mean of the two, and the coefficients there.
    """
    moments = list(data.moments.values())
    total = data.mean()[0] * np.outer(charges, charges)
    middles, weights = local_slopes(moments[0].lags, moments[0].n_frames)
    linear = np.ones(len(moments) + 1, dtype=bool)
    found = []
    for slope in weights / (6 * frame_interval_ps):
        own_slopes = np.tile(slope, (len(moments), 1))
        joint = _joint_estimate(data, charges, slope, own_slopes, total)
        found.append(Onsager(data.species, joint, linear))
    return middles * frame_interval_ps, found


def _joint_estimate(
    data: Correlations,
    charges: Sequence[float],
    slope: np.ndarray,
    own_slopes: np.ndarray,
    line: np.ndarray,
    self_diffusion: Sequence[Diffusion] = (),
) -> JointEstimate:
    """All L_ab and self parts with their errors.

    Args:
        data: the correlations.
        charges: formal charge of each element in e.
        slope: (lags,) weights of collective slopes.
        own_slopes: (species, lags) weights of self parts.
        line: (lags, species, species) ⟨ΔR_a · ΔR_b⟩ times charges, from which errors follow.
        self_diffusion: of each element, where some do not diffuse.
    """
    z = np.asarray(charges, dtype=float)

    def estimate(total: np.ndarray, own: np.ndarray) -> np.ndarray:
        used = np.flatnonzero(slope)
        L = np.tensordot(total[..., used, :, :], slope[used], ((-3,), (0,))) * np.outer(z, z)
        L_self = np.einsum("al,...la->...a", own_slopes, own) * z**2
        return np.concatenate([L.reshape(*L.shape[:-2], -1), L_self], axis=-1)

    first = next(iter(data.moments.values()))
    own = _self_covariance(data, z, own_slopes, self_diffusion)
    kernel = relative_covariance(first.lags, first.n_frames)
    return JointEstimate(
        value=estimate(*(np.nan_to_num(part) for part in data.mean())),
        covariance=_covariance(line, slope, own_slopes, kernel, data.counts, own),
        samples=estimate(*data.resampled),
    )


def _linear(lags: np.ndarray, n_frames: int, total: np.ndarray) -> np.ndarray:
    """Whether the slopes of L_aa (species,) and, last, of Σ L_ab are the same at all late lags."""
    latest = latest_window(lags, n_frames)
    fall = fall_weights(lags, n_frames, latest)
    squares = np.concatenate([np.einsum("laa->la", total), total.sum(axis=(1, 2))[:, None]], axis=1)
    kernel = np.outer(fall, fall) * relative_covariance(lags, n_frames)
    line = fitted_line(lags, squares, slope_weights(lags, n_frames, 1, latest), latest)
    errors = np.sqrt(np.maximum(np.einsum("ij,ik,jk->k", kernel, line, line), 0.0))
    return np.array([is_linear(*pair) for pair in zip(fall @ squares, errors, strict=True)])


def _self_covariance(
    data: Correlations,
    z: np.ndarray,
    slopes: np.ndarray,
    self_diffusion: Sequence[Diffusion],
) -> np.ndarray:
    """(species, species) covariance of the self parts.

    Errors are those of the diffusion coefficients. Atoms of two elements that move together make
    their self parts fluctuate together. Where an element does not diffuse, the part of its slope
    that may not last is added to its error.
    """
    moments = list(data.moments.values())
    charge2 = z**2 * data.counts
    weighted = slopes * charge2[:, None] * np.stack([m.single_err_A2 for m in moments])
    kernel = relative_covariance(moments[0].lags, moments[0].n_frames)
    found = data.concerted * (weighted @ kernel @ weighted.T)
    if self_diffusion:
        errors = charge2 * [of.slope_err_A2_ps for of in self_diffusion]
        scale = errors / np.sqrt(np.maximum(np.diag(found), 1e-300))
        found *= np.outer(scale, scale)
    for a, of in enumerate(self_diffusion):
        if of.transient:
            found[a, a] += (charge2[a] * of.transient_A2_ps) ** 2
    return found


def _covariance(
    total: np.ndarray,
    slope: np.ndarray,
    own_slopes: np.ndarray,
    kernel: np.ndarray,
    counts: np.ndarray,
    own: np.ndarray,
) -> np.ndarray:
    """Covariance of all L_ab and self parts for Gaussian displacements.

    By Isserlis' theorem Cov(X_a·X_b, X_c·X_d) = (⟨ac⟩⟨bd⟩ + ⟨ad⟩⟨bc⟩)/3 for vectors with
    ⟨ac⟩ = ⟨X_a·X_c⟩; with `kernel` holding the time correlation this is the covariance of slopes.
    The correlation of one ion with a sum is that of its element's sum, divided by its number of
    ions.

    Args:
        total: (lags, species, species) ⟨ΔR_a · ΔR_b⟩ times charges.
        slope: (lags,) weights of collective slopes.
        own_slopes: (species, lags) weights of self parts.
        kernel: (lags, lags) relative covariance of one walker.
        counts: (species,) atoms of each element.
        own: (species, species) covariance of the self parts.

    Returns:
        (species² + species, species² + species), in the order of `Onsager.joint`.
    """
    n = len(counts)
    weighted = np.outer(slope, slope) * kernel
    cross = np.einsum("ij,iac,jbd->abcd", weighted, total, total)
    collective = (cross + cross.transpose(0, 1, 3, 2)) / 2
    mixed_weights = own_slopes[:, :, None] * kernel * slope
    mixed = np.einsum("aij,iac,jad->acd", mixed_weights, total, total) / counts[:, None, None]
    return np.block(
        [
            [collective.reshape(n * n, n * n), mixed.reshape(n, n * n).T],
            [mixed.reshape(n, n * n), own],
        ]
    )
