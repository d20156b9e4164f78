"""Clusters of bonded ions and the cluster Nernst-Einstein conductivity.

France-Lanord and Grossman, Phys. Rev. Lett. 122, 136001 (2019): clusters rather than ions are the
independent carriers, σ = e²/(V k_B T) Σ_c z_c² α_c D_c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np

from vitrion.structure.neighbors import bonds
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import (
    BLOCKS,
    BlockSums,
    JointEstimate,
    evenly_spaced,
    resampling_weights,
)
from vitrion.transport.diffusion import slope_weights
from vitrion.transport.msd import relative_covariance
from vitrion.transport.network import components_of_frames

# Snapshots in which clusters are found; their positions are kept in memory.
CLUSTER_FRAMES = 500
CLUSTER_LAGS = 10


@dataclass(frozen=True)
class Clusters:
    """Cluster types, the most frequent first.

    Attributes:
        species: elements, the order of `counts` and `charges`.
        charges: (species,) formal charges in e.
        counts: (types, species) ions of each element in a cluster.
        charge: (types,) in e.
        mean_count: (types,) α_c, mean number in the cell.
        D_A2_ps: (types,) of the cluster's centre of mass.
        conduction: Σ_c z_c² α_c D_c, and of each element a its part Σ_c z_a n_a z_c α_c D_c, Å²/ps.
        largest_share: mean share of the atoms in a snapshot's largest cluster.
    """

    species: tuple[str, ...]
    charges: np.ndarray
    counts: np.ndarray
    charge: np.ndarray
    mean_count: np.ndarray
    D_A2_ps: np.ndarray
    conduction: JointEstimate
    largest_share: float

    @property
    def nernst_einstein(self) -> tuple[float, float]:
        """Σ_c z_c² α_c D_c in Å²/ps and its error."""
        return self.conduction.combination(self._factors([0]))

    def transference(self, *elements: int) -> tuple[float, float]:
        """Transference number of some elements (places in `species`) together, and its error."""
        return self.conduction.ratio(self._factors([1 + a for a in elements]), self._factors([0]))

    def _factors(self, places: Sequence[int]) -> np.ndarray:
        out = np.zeros(1 + len(self.species))
        out[list(places)] = 1
        return out

    def formula(self, row: int) -> str:
        """Formula of a cluster type, e.g. AlCl3O1."""
        return "".join(
            f"{s}{n if n > 1 else ''}"
            for s, n in zip(self.species, self.counts[row], strict=True)
            if n
        )


def clusters(
    trajectory: Trajectory,
    *definitions: Mapping[tuple[str, str], float],
    charges: Mapping[str, float],
    fit_start: int,
    fit_stop: int,
    drifts_A: Sequence[np.ndarray],
) -> list[list[Clusters]]:
    """Find the clusters of each snapshot and follow their centres, by each definition of a bond.

    A cluster is the set of ions that are connected at the time origin. The displacement of their
    centre of mass counts at every lag of the fit window, also after the cluster has changed.

    Args:
        trajectory: the trajectory.
        definitions: the length in Å below which two elements are bonded, by pair of elements.
        charges: formal charge of each element.
        fit_start, fit_stop: first and last lag of the fit in frames.
        drifts_A: (frames, 3) displacement of each frame of reference.

    Returns:
        By frame of reference, by definition; in all but the first frame the first definition alone.
    """
    frames = evenly_spaced(trajectory.n_frames, CLUSTER_FRAMES)
    stride = frames.step
    last = min(max(fit_stop // stride, 2), len(frames) - 1)
    first = min(-(-fit_start // stride), max(last // 2, 1))
    lags = np.unique(np.geomspace(first, last, CLUSTER_LAGS).round().astype(int))
    found = [_Types(trajectory) for _ in definitions]
    every = (
        pairs
        for _, positions_A, cell_A in trajectory.snapshots(frames)
        for pairs in bonds(trajectory.symbols, positions_A, cell_A, *definitions)
    )
    by_definition = cycle(found)
    for component in components_of_frames(trajectory.n_atoms, every):
        next(by_definition).add(component)
    displacement_A = trajectory.displacements_A(frames)
    z = np.array([charges[s] for s in trajectory.species])
    interval_ps = stride * trajectory.frame_interval_ps
    by_frame: list[list[Clusters]] = []
    for drift_A in drifts_A:
        relative_A = displacement_A - drift_A[frames][:, None]
        by_frame.append(
            [
                _follow_centers(types, relative_A, lags, interval_ps, trajectory.masses_u, z)
                for types in (found[:1] if by_frame else found)
            ]
        )
    return by_frame


def _follow_centers(
    found: _Types,
    displacement_A: np.ndarray,
    lags: np.ndarray,
    interval_ps: float,
    masses_u: np.ndarray,
    charges: np.ndarray,
) -> Clusters:
    """Follow the centres of the clusters found in each snapshot.

    Args:
        found: the clusters.
        displacement_A: (snapshots, atoms, 3).
        lags: in snapshots.
        interval_ps: between snapshots.
        masses_u: (atoms,).
        charges: (species,) in e.
    """
    n_frames = len(displacement_A)
    counts = np.array(list(found.types))
    charge = counts @ charges
    conducts = np.vstack([charge**2, charge * (counts * charges).T]).astype(float)
    alpha = np.bincount(np.concatenate(found.kinds), minlength=len(counts)) / n_frames
    squared, seen = np.zeros((len(lags), len(counts))), np.zeros((len(lags), len(counts)))
    sums, terms = np.zeros((BLOCKS, len(lags), len(conducts))), np.zeros((BLOCKS, len(lags)))
    for row, (component, kinds) in enumerate(zip(found.components, found.kinds, strict=True)):
        block = row * BLOCKS // n_frames
        later = row + lags[lags < n_frames - row]
        columns = slice(len(later))
        order = np.argsort(component, kind="stable")
        starts = np.searchsorted(component[order], np.arange(len(kinds)))
        weights = masses_u[order] / np.bincount(component, masses_u)[component[order]]
        moved_A = (displacement_A[later] - displacement_A[row])[:, order] * weights[:, None]
        r2 = np.square(np.add.reduceat(moved_A, starts, axis=1)).sum(axis=2)
        of_type = kinds + len(counts) * np.arange(len(later))[:, None]
        shape, size = (len(later), len(counts)), len(later) * len(counts)
        squared[columns] += np.bincount(of_type.ravel(), r2.ravel(), size).reshape(shape)
        seen[columns] += np.bincount(kinds, minlength=len(counts))
        sums[block, columns] += r2 @ conducts[:, kinds].T
        terms[block, columns] += 1
    slope = slope_weights(lags, n_frames, float(alpha.sum()), slice(None)) / (6 * interval_ps)
    with np.errstate(invalid="ignore", divide="ignore"):
        msd_A2 = squared / seen
    by_block = BlockSums(sums, terms)
    # Clusters are taken to move independently, so their variances add up.
    growth = np.nan_to_num(msd_A2)[:, None] * conducts * np.sqrt(alpha)
    kernel = np.outer(slope, slope) * relative_covariance(lags, n_frames)
    order = np.argsort(-alpha, kind="stable")
    return Clusters(
        species=found.species,
        charges=charges,
        counts=counts[order],
        charge=charge[order],
        mean_count=alpha[order],
        D_A2_ps=(slope @ msd_A2)[order],
        conduction=JointEstimate(
            value=slope @ by_block.mean(),
            covariance=np.einsum("ij,ikc,jmc->km", kernel, growth, growth),
            samples=np.einsum("l,rlk->rk", slope, by_block.mean(resampling_weights())),
        ),
        largest_share=found.largest_share,
    )


class _Types:
    """Cluster types in order of their first appearance, and the clusters of each snapshot."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.species, self.kind_of_atom = trajectory.species, trajectory.kinds
        self.types: dict[tuple[int, ...], int] = {}
        self.components: list[np.ndarray] = []
        self.kinds: list[np.ndarray] = []

    def add(self, component: np.ndarray) -> None:
        """Add a snapshot: the cluster of each atom (atoms,)."""
        n_species, n_clusters = len(self.species), int(component.max()) + 1
        counts = np.bincount(
            component * n_species + self.kind_of_atom, minlength=n_clusters * n_species
        ).reshape(n_clusters, n_species)
        unique, inverse = np.unique(counts, axis=0, return_inverse=True)
        number = [self.types.setdefault(tuple(row), len(self.types)) for row in unique.tolist()]
        self.components.append(component)
        self.kinds.append(np.array(number)[inverse.reshape(-1)])

    @property
    def largest_share(self) -> float:
        """Mean share of the atoms in a snapshot's largest cluster."""
        largest = [np.bincount(component).max() for component in self.components]
        return float(np.mean(largest)) / len(self.kind_of_atom)


def bonded_pairs(
    centers: Sequence[str], ligands: Sequence[str], cutoffs_A: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """Bonds of centres with their ligands: their first-shell cutoffs by pair of elements."""
    return {pair: cutoffs_A[pair] for pair in product(centers, ligands)}
