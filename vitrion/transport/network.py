"""Fragments: polyhedra that are joined by shared ligands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vitrion.structure.neighbors import bonds
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import evenly_spaced

NETWORK_FRAMES = 1000


def components(n_atoms: int, i: np.ndarray, j: np.ndarray) -> tuple[int, np.ndarray]:
    """Connected components of bonded atoms.

    Args:
        n_atoms: number of atoms.
        i, j: (bonds,) atoms of each bond.

    Returns:
        Number of components, and the component of each atom (atoms,).
    """
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(n_atoms, n_atoms))
    return connected_components(graph, directed=False)


@dataclass(frozen=True)
class Network:
    """Fragments of polyhedra, averaged over frames.

    Attributes:
        sizes: (sizes,) number of centres in a fragment.
        fraction: (sizes,) mean fraction of the centres in fragments of that size.
        bridging_fraction: fraction of the bridging atoms that are bonded to two centres or more.
        mean_fragment_size: mean number of centres over fragments.
        n_frames: frames averaged over.
    """

    sizes: np.ndarray
    fraction: np.ndarray
    bridging_fraction: float
    mean_fragment_size: float
    n_frames: int


def network(trajectory: Trajectory, center: str, bridges_A: Mapping[str, float]) -> Network:
    """Fragments of centres that share bridging ligands, over snapshots.

    Args:
        trajectory: the frames.
        center: element of the centres.
        bridges_A: first-shell cutoff by element that joins centres.
    """
    n_centers = trajectory.counts()[center]
    is_center = trajectory.symbols == center
    is_bridge = np.isin(trajectory.symbols, list(bridges_A))
    centers_by_size = np.zeros(n_centers + 1)
    bridging, fragments = 0, 0
    frames = evenly_spaced(trajectory.n_frames, NETWORK_FRAMES)
    pairs_A = {(center, bridge): cutoff_A for bridge, cutoff_A in bridges_A.items()}
    for _, positions_A, cell_A in trajectory.snapshots(frames):
        ((i, j),) = bonds(trajectory.symbols, positions_A, cell_A, pairs_A)
        _, component = components(trajectory.n_atoms, i, j)
        size = np.bincount(component[is_center], minlength=component.max() + 1)
        size = size[size > 0]
        centers_by_size += np.bincount(size, weights=size, minlength=n_centers + 1)
        fragments += len(size)
        # Two images of the same centre are one centre.
        bridge = np.where(is_bridge[i], i, j)
        centers = np.where(is_bridge[i], j, i)
        joined = np.unique(centers * trajectory.n_atoms + bridge) % trajectory.n_atoms
        bridging += int(np.count_nonzero(np.bincount(joined) >= 2))
    sizes = np.flatnonzero(centers_by_size)
    total = n_centers * len(frames)
    return Network(
        sizes=sizes,
        fraction=centers_by_size[sizes] / total,
        bridging_fraction=bridging / max(1, int(np.count_nonzero(is_bridge)) * len(frames)),
        mean_fragment_size=total / fragments,
        n_frames=len(frames),
    )
