"""Fragments of polyhedra that share ligands, and clusters of bonded ions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vitrion.structure.neighbors import bonds
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import evenly_spaced

NETWORK_FRAMES = 1000


def components(n_atoms: int, i: np.ndarray, j: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of connected components and the component of each atom."""
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(n_atoms, n_atoms))
    return connected_components(graph, directed=False)


@dataclass(frozen=True)
class Network:
    """Fragments of corner-sharing polyhedra, averaged over frames.

    Attributes:
        sizes: centres in a fragment.
        fraction: (sizes,) mean share of the centres in fragments of that size.
        bridging_fraction: share of the bridging element's atoms that join two centres or more.
        mean_fragment_size: mean over fragments.
        n_frames: snapshots averaged over.
    """

    sizes: np.ndarray
    fraction: np.ndarray
    bridging_fraction: float
    mean_fragment_size: float
    n_frames: int


def network(
    trajectory: Trajectory, center: str, bridges: Sequence[str], cutoffs_A: Mapping[str, float]
) -> Network:
    """Fragments of centres joined by shared atoms of the elements in `bridges`."""
    n_centers = trajectory.counts()[center]
    is_center = trajectory.symbols == center
    is_bridge = np.isin(trajectory.symbols, list(bridges))
    centers_by_size = np.zeros(n_centers + 1)
    bridging = fragments = 0
    frames = evenly_spaced(trajectory.n_frames, NETWORK_FRAMES)
    pairs = {(center, bridge): cutoffs_A[bridge] for bridge in bridges}
    for _, positions_A, cell_A in trajectory.snapshots(frames):
        ((i, j),) = bonds(trajectory.symbols, positions_A, cell_A, pairs)
        _, component = components(trajectory.n_atoms, i, j)
        size = np.bincount(component[is_center], minlength=component.max() + 1)
        size = size[size > 0]
        centers_by_size += np.bincount(size, weights=size, minlength=n_centers + 1)
        fragments += len(size)
        # An image of the same centre is no second centre.
        bridge, other = np.where(is_bridge[i], (i, j), (j, i))
        joined = np.unique(other * trajectory.n_atoms + bridge) % trajectory.n_atoms
        bridging += np.count_nonzero(np.bincount(joined) >= 2)
    sizes = np.flatnonzero(centers_by_size)
    total = n_centers * len(frames)
    return Network(
        sizes=sizes,
        fraction=centers_by_size[sizes] / total,
        bridging_fraction=bridging / max(1, np.count_nonzero(is_bridge) * len(frames)),
        mean_fragment_size=total / fragments,
        n_frames=len(frames),
    )
