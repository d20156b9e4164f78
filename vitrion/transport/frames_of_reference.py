"""Displacements in the two frames of reference that a solid has.

In the frame of the network (all ions but the mobile ones, with equal weights, as lattice sites
have) transport coefficients are those that an experiment on a solid sees. In the frame of the
centre of mass the network moves against the mobile ions, so that their Haven ratio and transference
number depend on their share w of the mass: 1/(1 − w)² and 1 − w for uncorrelated ions in a rigid
network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from vitrion.transport.blocks import BLOCKS, BlockSums, block_edges
from vitrion.transport.msd import ORIGINS_PER_LAG, Displacements

NETWORK, CENTER_OF_MASS = "network", "center_of_mass"


def drift_weights(
    moments: Mapping[str, Displacements], mobile: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Weight of one atom of each element in the mean displacement of a frame, by frame.

    Args:
        moments: displacements of each element.
        mobile: the mobile ions, which are no part of the network.
    """
    masses_u = {s: float(atomic_masses[atomic_numbers[s]]) for s in moments}
    alike = {s: float(s not in mobile) for s in moments}
    found = {}
    for name, weights in ((NETWORK, alike), (CENTER_OF_MASS, masses_u)):
        total = sum(weights[s] * m.n_atoms for s, m in moments.items())
        if total > 0:
            found[name] = {s: weight / total for s, weight in weights.items()}
    return found


def drift_A(moments: Mapping[str, Displacements], weights: Mapping[str, float]) -> np.ndarray:
    """(frames, 3) mean displacement of a frame of reference.

    Args:
        moments: displacements of each element.
        weights: of one atom of each element.
    """
    return np.sum([weights[s] * m.collective_A for s, m in moments.items()], axis=0)


def relative_to(
    moments: Mapping[str, Displacements], drift: np.ndarray
) -> dict[str, Displacements]:
    """Displacements relative to a moving frame of reference.

    They follow from the sums over each element: Σ |r_i − u|² = Σ |r_i|² − 2 R·u + N u², with R the
    sum of the r_i. Kurtosis and van Hove function, which do not, stay as they are.

    Args:
        moments: displacements of each element.
        drift: (frames, 3) of the frame of reference in Å.
    """
    return {s: _relative_to(m, drift) for s, m in moments.items()}


def _relative_to(m: Displacements, drift: np.ndarray) -> Displacements:
    n = m.n_atoms
    collective_A = m.collective_A - n * drift
    edges = block_edges(m.n_frames)
    msd_A2, collective_msd_A2 = m.msd_A2.copy(), np.empty(len(m.lags))
    sums, in_time_A2 = m.by_block.sums.copy(), dict(m.in_time_A2)
    for column, lag in enumerate(m.lags):
        step_A, moved_A = m.collective_A[lag:] - m.collective_A[:-lag], drift[lag:] - drift[:-lag]
        # Change of Σ |r_i|² at each time origin.
        change_A2 = np.einsum("fx,fx->f", n * moved_A - 2 * step_A, moved_A)
        step_A -= n * moved_A
        collective_msd_A2[column] = np.einsum("fx,fx->", step_A, step_A) / len(step_A)
        msd_A2[column] += change_A2.mean() / n
        # The other sums are over fewer origins.
        stride = max(1, int(lag) // ORIGINS_PER_LAG)
        origins = np.arange(0, len(change_A2), stride)
        block = np.searchsorted(edges, origins, "right") - 1
        sums[:, column] += np.bincount(block, change_A2[origins], BLOCKS)
        if column in in_time_A2:
            in_time_A2[column] = in_time_A2[column] + change_A2[origins] / n
    return replace(
        m,
        msd_A2=np.maximum(msd_A2, 0.0),
        by_block=BlockSums(sums, m.by_block.terms),
        in_time_A2=in_time_A2,
        collective_A=collective_A,
        collective_msd_A2=collective_msd_A2,
    )
