"""Collective transport: Onsager coefficients, conductivities, transference numbers, Haven ratio.

All slopes use the same weights of the same lags, so that coefficients add up to the conductivity
exactly, and errors of ratios take the correlation of numerator and denominator into account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitrion.transport.blocks import (
    BLOCKS,
    BlockSums,
    JointEstimate,
    block_edges,
    resampling_weights,
)
from vitrion.transport.diffusion import line_weights
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
    """

    species: tuple[str, ...]
    joint: JointEstimate

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
    select: slice,
    frame_interval_ps: float,
) -> Onsager:
    """Onsager coefficients from the slopes in the fit window.

    Args:
        data: the correlations.
        charges: formal charge of each element.
        select: fit window, indices into the lag grid.
        frame_interval_ps: time between frames.
    """
    first = next(iter(data.moments.values()))
    lags = first.lags[select]
    fit = line_weights(lags, first.n_frames)
    slope = fit[0] / (6 * frame_interval_ps)
    z = np.asarray(charges, dtype=float)

    def estimate(weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        total, own = data.mean(weights)
        total, own = total[..., select, :, :] * np.outer(z, z), own[..., select, :] * z**2
        L = np.einsum("l,...lab->...ab", slope, total)
        L_own = np.einsum("l,...la->...a", slope, own)
        return np.concatenate([L.reshape(*L.shape[:-2], -1), L_own], axis=-1), total

    value, total = estimate()
    # The covariance is that of the fitted line, which is less noisy than the data.
    line = np.stack([lags, np.ones(len(lags))], axis=1) @ fit
    covariance = _covariance(
        np.einsum("kl,lab->kab", line, total),
        np.outer(slope, slope) * relative_covariance(lags, first.n_frames),
        data.counts,
        [
            (charge**2 * m.n_atoms) ** 2 * slope @ m.covariance(select) @ slope
            for charge, m in zip(z, data.moments.values(), strict=True)
        ],
    )
    return Onsager(
        species=data.species,
        joint=JointEstimate(
            value=value,
            covariance=covariance,
            samples=estimate(resampling_weights())[0],
        ),
    )


def _covariance(
    total: np.ndarray, kernel: np.ndarray, counts: np.ndarray, own_variance: Sequence[float]
) -> np.ndarray:
    """Covariance of all L_ab and self parts for Gaussian displacements.

    By Isserlis' theorem Cov(X_a·X_b, X_c·X_d) = (⟨ac⟩⟨bd⟩ + ⟨ad⟩⟨bc⟩)/3 for vectors with
    ⟨ac⟩ = ⟨X_a·X_c⟩; with `kernel` holding the time correlation this is the covariance of slopes.
    The correlation of one ion with a sum is that of its element's sum, divided by its number of
    ions.

    Args:
        total: (lags, species, species) ⟨ΔR_a · ΔR_b⟩ times charges.
        kernel: (lags, lags) products of slope weights times the relative covariance of one walker.
        counts: (species,) atoms of each element.
        own_variance: (species,) variance of each self part.

    Returns:
        (species² + species, species² + species), in the order of `Onsager.joint`.
    """
    n = len(counts)
    cross = np.einsum("ij,iac,jbd->abcd", kernel, total, total)
    collective = (cross + cross.transpose(0, 1, 3, 2)) / 2
    mixed = np.einsum("ij,iac,jad->acd", kernel, total, total) / counts[:, None, None]
    own = np.einsum("ij,iab,jab->ab", kernel, total, total) / np.outer(counts, counts)
    np.fill_diagonal(own, own_variance)
    return np.block(
        [
            [collective.reshape(n * n, n * n), mixed.reshape(n, n * n).T],
            [mixed.reshape(n, n * n), own],
        ]
    )
