"""Collective transport: Onsager coefficients, conductivities, transference numbers, Haven ratio.

All slopes use the same weights of the same lags, so that coefficients add up to the conductivity
exactly and their errors can be resampled together: numerator and denominator of a ratio come from
the same resampled blocks of origins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitrion.transport.diffusion import slope_weights
from vitrion.transport.msd import Displacements, block_edges

RESAMPLES = 1000


@dataclass(frozen=True)
class Correlations:
    """⟨ΔR_a · ΔR_b⟩ of the summed displacements R_a of each element, by block of origins.

    Attributes:
        species: elements, the order of the last two axes.
        sums_A2: (blocks, lags, species, species) summed over the origins of a block.
        origins: (blocks, lags).
        self_sums_A2: (blocks, lags, species) Σ_i |Δr_i|² over the atoms, summed likewise.
        self_origins: (blocks, lags, species).
    """

    species: tuple[str, ...]
    sums_A2: np.ndarray
    origins: np.ndarray
    self_sums_A2: np.ndarray
    self_origins: np.ndarray

    def mean(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Collective (..., lags, species, species) and self (..., lags, species) averages.

        Args:
            weights: (..., blocks) how often each block counts; once by default.
        """
        if weights is None:
            weights = np.ones(len(self.sums_A2))
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.tensordot(weights, self.sums_A2, 1)
            total /= np.tensordot(weights, self.origins, 1)[..., None, None]
            own = np.tensordot(weights, self.self_sums_A2, 1)
            own /= np.tensordot(weights, self.self_origins, 1)
        return total, own


def correlations(moments: Mapping[str, Displacements], n_blocks: int) -> Correlations:
    """Correlations of the collective displacements on the lag grid, over all origins."""
    species = tuple(moments)
    first = moments[species[0]]
    lags, n_frames = first.lags, first.n_frames
    collective_A = np.stack([moments[s].collective_A for s in species])
    edges = block_edges(n_frames, n_blocks)
    sums = np.zeros((n_blocks, len(lags), len(species), len(species)))
    origins = np.zeros((n_blocks, len(lags)))
    for column, lag in enumerate(lags):
        step_A = collective_A[:, lag:] - collective_A[:, : n_frames - lag]
        for block in range(n_blocks):
            part = step_A[:, edges[block] : edges[block + 1]]
            sums[block, column] = np.einsum("atx,btx->ab", part, part)
            origins[block, column] = part.shape[1]
    counts = np.array([moments[s].n_atoms for s in species])
    return Correlations(
        species=species,
        sums_A2=sums,
        origins=origins,
        self_sums_A2=np.stack([moments[s].msd_blocks_A2 for s in species], axis=-1),
        self_origins=np.stack([moments[s].origins_blocks for s in species], axis=-1) / counts,
    )


@dataclass(frozen=True)
class Coefficients:
    """Slopes in e² Å²/ps, before the factor 1/(V k_B T).

    Attributes:
        total: (..., species, species) z_a z_b d⟨ΔR_a · ΔR_b⟩/6dτ.
        own: (..., species) z_a² N_a D_a.
    """

    total: np.ndarray
    own: np.ndarray

    def einstein(self) -> np.ndarray:
        """Σ_ab L_ab."""
        return self.total.sum(axis=(-2, -1))

    def nernst_einstein(self) -> np.ndarray:
        """Σ_a L_aa^self."""
        return self.own.sum(axis=-1)

    def haven(self, mobile: int) -> np.ndarray:
        """L_AA^self / L_AA."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.own[..., mobile] / self.total[..., mobile, mobile]

    def transference(self, mobile: int) -> np.ndarray:
        """Σ_b L_Ab / Σ_ab L_ab."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total[..., mobile, :].sum(axis=-1) / self.einstein()

    def transference_nernst_einstein(self, mobile: int) -> np.ndarray:
        """L_AA^self / Σ_a L_aa^self."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.own[..., mobile] / self.nernst_einstein()


def coefficients(
    data: Correlations,
    *,
    charges: Sequence[float],
    lags: np.ndarray,
    select: slice,
    n_frames: int,
    frame_interval_ps: float,
    weights: np.ndarray | None = None,
) -> Coefficients:
    """Slopes of the correlations in the fit window.

    Args:
        data: the correlations.
        charges: formal charge of each element.
        lags: lag grid in frames.
        select: fit window.
        n_frames: length of the trajectory.
        frame_interval_ps: time between frames.
        weights: (..., blocks) resampling weights.
    """
    fit = slope_weights(lags[select], n_frames) / (6 * frame_interval_ps)
    total, own = data.mean(weights)
    z = np.asarray(charges, dtype=float)
    return Coefficients(
        total=np.einsum("l,...lab->...ab", fit, total[..., select, :, :]) * np.outer(z, z),
        own=np.einsum("l,...la->...a", fit, own[..., select, :]) * z**2,
    )


def resamples(n_blocks: int, seed: int = 0) -> np.ndarray:
    """(RESAMPLES, blocks) how often each block is drawn, with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), RESAMPLES).astype(float)


def spread(samples: np.ndarray, n_blocks: int) -> np.ndarray:
    """One standard error from resampled values (first axis), robust to tails of ratios.

    Half the distance of the 16th and 84th percentile, with Bessel's factor for the blocks.
    """
    low, high = np.nanpercentile(samples, [15.865, 84.135], axis=0)
    return (high - low) / 2 * np.sqrt(n_blocks / (n_blocks - 1))
