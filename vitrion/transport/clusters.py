"""Clusters of bonded ions and the cluster Nernst-Einstein conductivity.

France-Lanord and Grossman, Phys. Rev. Lett. 122, 136001 (2019): clusters, not ions, are taken as
the independent carriers, σ = e²/(V k_B T) Σ_c z_c² α_c D_c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitrion.transport.diffusion import slope_weights
from vitrion.transport.network import bonds, components
from vitrion.transport.trajectory import Trajectory

# Snapshots kept in memory for clusters.
CLUSTER_FRAMES = 500
CLUSTER_LAGS = 10


@dataclass(frozen=True)
class Clusters:
    """Cluster types, the most frequent first.

    Attributes:
        species: elements, the order of `counts`.
        counts: (types, species) ions of each element in a cluster.
        charge: (types,) in e.
        mean_count: (types,) α_c, mean number in the cell.
        D_A2_ps: (types,) of the cluster's centre of mass.
        conducting_A2_ps: Σ_c z_c² α_c D_c.
        mobile_A2_ps: Σ_c z_A n_A z_c α_c D_c, the mobile ions' share of it.
        blocks: (blocks, 2) the two sums in each block of origins, for resampling.
    """

    species: tuple[str, ...]
    counts: np.ndarray
    charge: np.ndarray
    mean_count: np.ndarray
    D_A2_ps: np.ndarray
    conducting_A2_ps: float
    mobile_A2_ps: float
    blocks: np.ndarray

    def formula(self, row: int) -> str:
        """Formula of a cluster type, e.g. AlCl3O1."""
        return "".join(
            f"{s}{n if n > 1 else ''}"
            for s, n in zip(self.species, self.counts[row], strict=True)
            if n
        )


def clusters(
    trajectory: Trajectory,
    cutoffs_A: Mapping[tuple[str, str], float],
    *,
    charges: Mapping[str, float],
    mobile: str,
    fit_start: int,
    fit_stop: int,
    n_blocks: int,
) -> Clusters:
    """Find the clusters of each snapshot and follow their centres.

    The ions that form a cluster at an origin define it; the displacement of their centre of mass
    over the lags of the fit window is taken whether or not the cluster lives on.

    Args:
        trajectory: the trajectory.
        cutoffs_A: pairs of elements that bond, and how near.
        charges: formal charge of each element.
        mobile: element whose share of the conduction is wanted.
        fit_start, fit_stop: first and last lag of the diffusive window in frames.
        n_blocks: blocks of origins.
    """
    stride = max(1, -(-trajectory.n_frames // CLUSTER_FRAMES))
    frames = np.arange(0, trajectory.n_frames, stride)
    first = max(1, -(-fit_start // stride))
    last = min(max(fit_stop // stride, first + 1), len(frames) - 1)
    lags = np.unique(np.geomspace(first, max(last, first), CLUSTER_LAGS).round().astype(int))
    species = trajectory.species
    z = np.array([charges[s] for s in species], dtype=float)
    kind = np.array([species.index(s) for s in trajectory.symbols])
    displacement_A = np.empty((len(frames), trajectory.n_atoms, 3), dtype=np.float32)
    types: dict[tuple[int, ...], int] = {}
    members: list[tuple[np.ndarray, np.ndarray]] = []
    number: list[np.ndarray] = []
    for row, (_, positions_A, cell_A) in enumerate(trajectory.snapshots(frames)):
        displacement_A[row] = positions_A - trajectory.start_A
        i, j = bonds(trajectory, positions_A, cell_A, cutoffs_A)
        n_clusters, component = components(trajectory.n_atoms, i, j)
        counts = np.zeros((n_clusters, len(species)), dtype=int)
        np.add.at(counts, (component, kind), 1)
        unique, inverse = np.unique(counts, axis=0, return_inverse=True)
        known = np.array([types.setdefault(tuple(map(int, u)), len(types)) for u in unique])
        members.append((component, known[inverse.reshape(-1)]))
        number.append(known[inverse.reshape(-1)])
    counts = np.array(list(types))
    charge = counts @ z
    conduct = np.stack(
        [charge**2, charge * counts[:, species.index(mobile)] * z[species.index(mobile)]]
    )
    alpha = np.bincount(np.concatenate(number), minlength=len(types)) / len(frames)
    squared = np.zeros((len(lags), len(types)))
    seen = np.zeros((len(lags), len(types)))
    sums = np.zeros((n_blocks, len(lags), 2))
    origins = np.zeros((n_blocks, len(lags)))
    for row, (component, kinds) in enumerate(members):
        block = row * n_blocks // len(frames)
        mass = np.bincount(component, trajectory.masses_u)
        for column, lag in enumerate(lags):
            if row + lag >= len(frames):
                break
            step_A = displacement_A[row + lag] - displacement_A[row]
            r2 = sum(
                (np.bincount(component, trajectory.masses_u * step_A[:, axis]) / mass) ** 2
                for axis in range(3)
            )
            squared[column] += np.bincount(kinds, r2, len(types))
            seen[column] += np.bincount(kinds, minlength=len(types))
            sums[block, column] += conduct[:, kinds] @ r2
            origins[block, column] += 1
    weights = slope_weights(lags, len(frames)) if len(lags) > 1 else np.full(1, np.nan)
    weights = weights / (6 * stride * trajectory.frame_interval_ps)
    with np.errstate(invalid="ignore", divide="ignore"):
        D_A2_ps = weights @ (squared / seen)
        total = weights @ (sums.sum(axis=0) / origins.sum(axis=0)[:, None])
        blocks = np.einsum("l,blk->bk", weights, sums / origins[..., None])
    order = np.argsort(-alpha, kind="stable")
    return Clusters(
        species=tuple(species),
        counts=counts[order],
        charge=charge[order],
        mean_count=alpha[order],
        D_A2_ps=D_A2_ps[order],
        conducting_A2_ps=float(total[0]),
        mobile_A2_ps=float(total[1]),
        blocks=blocks,
    )


def bonded_pairs(
    center: str, ligands: Sequence[str], cutoffs_A: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """The bonds that make a cluster by default: each centre with its ligands."""
    return {(center, ligand): cutoffs_A[center, ligand] for ligand in ligands}
