"""The distinct part of the van Hove function: where other ions are a time later.

Van Hove, Phys. Rev. 95, 249 (1954).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrion.structure.neighbors import neighbor_distances
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import evenly_spaced

ORIGINS = 20
BIN_A = 0.1


@dataclass(frozen=True)
class DistinctVanHove:
    """G_d(r, t)/ρ of one element with itself, 1 without order.

    Attributes:
        lags: (lags,) in frames.
        r_A: (bins,) middles.
        g: (lags, bins).
    """

    lags: np.ndarray
    r_A: np.ndarray
    g: np.ndarray


def distinct_van_hove(
    trajectory: Trajectory, species: str, lags: np.ndarray, *, cutoff_A: float
) -> DistinctVanHove:
    """Distances from each ion to all others a time later, over ρ = (N − 1)/V.

    At zero lag it is g(r); where an ion moves into the place that another has left, it grows at
    r = 0. Where the cell changes, that of the time origin is used.

    Args:
        trajectory: the frames.
        species: the element.
        lags: (lags,) in frames.
        cutoff_A: largest distance.
    """
    atoms = trajectory.slices[species]
    n = atoms.stop - atoms.start
    edges_A = np.arange(0, cutoff_A + BIN_A / 2, BIN_A)
    counts, terms = np.zeros((len(lags), len(edges_A) - 1)), np.zeros(len(lags))
    wanted = {int(lag): evenly_spaced(trajectory.n_frames - int(lag), ORIGINS) for lag in lags}
    frames = sorted(
        {f + shift for lag, start in wanted.items() for f in start for shift in (0, lag)}
    )
    seen = {
        frame: (positions_A[atoms].copy(), cell_A)
        for frame, positions_A, cell_A in trajectory.snapshots(frames)
    }
    for row, (lag, origins) in enumerate(wanted.items()):
        for origin in origins:
            first_A, cell_A = seen[origin]
            both_A = np.concatenate([first_A, seen[origin + lag][0]])
            i, j, distances_A = neighbor_distances(both_A, cell_A, edges_A[-1])
            # From an ion at the origin to a different one later.
            across = ((i < n) != (j < n)) & (i % n != j % n)
            counts[row] += np.histogram(distances_A[across], edges_A)[0]
            terms[row] += n * (n - 1) / abs(np.linalg.det(cell_A))
    shells_A3 = 4 / 3 * np.pi * np.diff(edges_A**3)
    with np.errstate(invalid="ignore"):
        g = counts / (terms[:, None] * shells_A3)
    return DistinctVanHove(np.asarray(lags), (edges_A[1:] + edges_A[:-1]) / 2, g)
