"""Collective transport: Onsager coefficients, conductivities, transference numbers, Haven ratio.

All collective slopes have the same weights, so that coefficients add up to the conductivity
exactly. Errors of ratios take the correlation of numerator and denominator into account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product, zip_longest

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
    fall_weights,
    fit_window,
    fitted_line,
    is_linear,
    late_weights,
    slope_weights,
)
from vitrion.transport.msd import Displacements, relative_covariance


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
        for block in range(BLOCKS):
            part = step_A[:, edges[block] : edges[block + 1]]
            sums[block, column] = np.tensordot(part, part, ((1, 2), (1, 2)))
            terms[block, column] = part.shape[1]
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

    def haven(self, a: int) -> tuple[float, float]:
        """L_aa^self / L_aa and its error."""
        return self.joint.ratio(self.own(a), self.L(a, a))

    def transference(self, a: int) -> tuple[float, float]:
        """Σ_b L_ab / Σ_cb L_cb and its error."""
        return self.joint.ratio(self.row(a), self.einstein)

    def transference_nernst_einstein(self, a: int) -> tuple[float, float]:
        """L_aa^self / Σ_b L_bb^self and its error."""
        return self.joint.ratio(self.own(a), self.nernst_einstein)


def onsager(
    data: Correlations,
    charges: Sequence[float],
    frame_interval_ps: float,
    self_diffusion: Sequence[Diffusion] = (),
    select: slice | None = None,
) -> Onsager:
    """Onsager coefficients from the slopes that the long lags support.

    L_ab uses the weights of one walker, L_aa^self those of N_a, as D_a does. The self part of an
    element that does not diffuse is its slope at late lags, and its error includes the part of that
    which may not last (`Diffusion.transient_A2_ps`).

    Args:
        data: the correlations.
        charges: formal charge of each element in e.
        frame_interval_ps: time between frames.
        self_diffusion: of each element; by default all diffuse.
        select: lags of the fit, indices into the lag grid; by default `fit_window`.
    """
    moments = list(data.moments.values())
    first = moments[0]
    select = fit_window(first.lags, first.n_frames) if select is None else select
    lags = first.lags[select]
    scale = 1 / (6 * frame_interval_ps)
    slope = slope_weights(lags, first.n_frames, walkers=1) * scale
    own_slopes = np.stack(
        [
            (slope_weights if one is None or not one.transient else late_weights)(
                lags, first.n_frames, m.n_atoms
            )
            * scale
            for m, one in zip_longest(moments, self_diffusion)
        ]
    )
    z = np.asarray(charges, dtype=float)

    def estimate(weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        total, own = data.mean(weights)
        total, own = total[..., select, :, :] * np.outer(z, z), own[..., select, :] * z**2
        L = np.einsum("l,...lab->...ab", slope, total)
        L_self = np.einsum("al,...la->...a", own_slopes, own)
        return np.concatenate([L.reshape(*L.shape[:-2], -1), L_self], axis=-1), total

    value, total = estimate()
    return Onsager(
        species=data.species,
        joint=JointEstimate(
            value=value,
            covariance=_covariance(
                fitted_line(lags, total, slope / scale),
                slope,
                own_slopes,
                relative_covariance(lags, first.n_frames),
                data.counts,
                _self_covariance(moments, z, own_slopes, select, self_diffusion),
            ),
            samples=estimate(resampling_weights())[0],
        ),
        linear=_linear(lags, first.n_frames, total, slope / scale),
    )


def _linear(lags: np.ndarray, n_frames: int, total: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Whether the slopes of L_aa (species,) and, last, of Σ L_ab are the same at all lags."""
    fall = fall_weights(lags, n_frames)
    squares = np.concatenate([np.einsum("laa->la", total), total.sum(axis=(1, 2))[:, None]], axis=1)
    kernel = np.outer(fall, fall) * relative_covariance(lags, n_frames)
    line = fitted_line(lags, squares, weights)
    errors = np.sqrt(np.maximum(np.einsum("ij,ik,jk->k", kernel, line, line), 0.0))
    return np.array([is_linear(*pair) for pair in zip(fall @ squares, errors, strict=True)])


def _self_covariance(
    moments: Sequence[Displacements],
    z: np.ndarray,
    slopes: np.ndarray,
    select: slice,
    self_diffusion: Sequence[Diffusion],
) -> np.ndarray:
    """(species, species) covariance of the self parts.

    Atoms of two elements that move together make their self parts fluctuate together. Where an
    element does not diffuse, the part of its slope that may not last is added to its error.
    """
    kernel = relative_covariance(moments[0].lags[select], moments[0].n_frames)
    found = np.zeros((len(moments), len(moments)))
    charge2 = z**2 * np.array([m.n_atoms for m in moments])
    for (a, one), (b, other) in product(enumerate(moments), repeat=2):
        errors_A4 = np.outer(one.single_err_A2[select], other.single_err_A2[select])
        share = max(one.concerted(one), 1.0) if a == b else one.concerted(other)
        found[a, b] = (
            charge2[a] * charge2[b] * share * (slopes[a] @ (kernel * errors_A4) @ slopes[b])
        )
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
