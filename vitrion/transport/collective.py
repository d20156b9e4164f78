"""Collective transport: Onsager coefficients, conductivities, transference numbers, Haven ratio.

All slopes use the same weights of the same lags, so that coefficients add up to the conductivity
exactly and ratios know how their two parts are correlated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitrion.transport.blocks import BLOCKS, BlockSums, Joint, block_edges, resampling_weights
from vitrion.transport.diffusion import line_weights
from vitrion.transport.msd import Displacements, relative_covariance


@dataclass(frozen=True)
class Correlations:
    """⟨ΔR_a · ΔR_b⟩ of the summed displacements R_a = Σ_i∈a r_i of each element.

    Attributes:
        moments: displacements of each element.
        total: (lags, species, species) collective part in Å², by block of origins.
        own: per element, (lags,) Σ_i |Δr_i|² / N in Å², by block of origins.
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
        """Collective (..., lags, species, species) and self (..., lags, species) parts in Å².

        Args:
            weights: (..., blocks) how often each block counts; once by default.
        """
        own = [m.n_atoms * m.by_block.mean(weights) for m in self.moments.values()]
        return self.total.mean(weights), np.stack(own, axis=-1)


def correlations(moments: Mapping[str, Displacements]) -> Correlations:
    """Correlations of the collective displacements on the lag grid, over all origins."""
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
        joint: all L_ab, row by row, then the self parts.
    """

    species: tuple[str, ...]
    joint: Joint

    def _one(self, position: int) -> np.ndarray:
        out = np.zeros(len(self.joint.value))
        out[position] = 1
        return out

    def L(self, a: int, b: int) -> np.ndarray:
        """Factors that pick L_ab out of the joint estimate."""
        return self._one(a * len(self.species) + b)

    def own(self, a: int) -> np.ndarray:
        """Factors that pick the self part of L_aa."""
        return self._one(len(self.species) ** 2 + a)

    @cached_property
    def einstein(self) -> np.ndarray:
        """Factors of Σ_ab L_ab."""
        every = range(len(self.species))
        return sum(self.L(a, b) for a in every for b in every)

    @cached_property
    def nernst_einstein(self) -> np.ndarray:
        """Factors of Σ_a L_aa^self."""
        return sum(self.own(a) for a in range(len(self.species)))

    def row(self, a: int) -> np.ndarray:
        """Factors of Σ_b L_ab."""
        return sum(self.L(a, b) for b in range(len(self.species)))

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
    # The line through the data, not the data, gives the covariance: it is less noisy.
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
        joint=Joint(
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
    An ion is correlated with a sum as its element's sum is, divided by the number of ions.

    Args:
        total: (lags, species, species) collective part.
        kernel: (lags, lags) products of slope weights times the relative covariance of one walker.
        counts: (species,) atoms.
        own_variance: variance of each self part.
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
