"""The network of polyhedra: fragments, bridges, percolation and angles between bonds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, islice

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vitrion.structure.neighbors import bond_vectors
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import evenly_spaced
from vitrion.transport.contacts import ContactIntervals
from vitrion.transport.environments import EnvironmentSpells

NETWORK_FRAMES = 1000
# Snapshots of which angles are taken, and whose fragments are followed through the cell's faces.
ANGLE_FRAMES = 200
ANGLE_BIN_DEG = 2.0
# Kinds of clusters whose lifetimes are told apart, the most frequent ones.
CLUSTER_KINDS = 20
OTHER_CLUSTERS = -1
# In the place of the set of ions for all but one of a cluster's centres, below every other.
COUNTED_ELSEWHERE = np.iinfo(np.int64).min
# Copies of the cell in a row, for percolation.
COPIES = 3
# Atoms of frames whose components are found together.
ATOMS_AT_A_TIME = 20_000


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


def components_of_frames(
    n_atoms: int, frames: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[np.ndarray]:
    """`components` of one frame after another, found for many frames at a time.

    One graph of many frames costs a small cell far less than as many graphs.

    Args:
        n_atoms: number of atoms.
        frames: bonds i, j of each frame.

    Yields:
        The component of each atom (atoms,), numbered from zero in each frame.
    """
    frames = iter(frames)
    while several := list(islice(frames, max(1, ATOMS_AT_A_TIME // n_atoms))):
        first = n_atoms * np.arange(len(several))
        i, j = (
            np.concatenate([bonds[end] + at for bonds, at in zip(several, first, strict=True)])
            for end in (0, 1)
        )
        _, found = components(n_atoms * len(several), i, j)
        # Components are numbered in the order of their first atoms, so frame after frame.
        for component in found.reshape(len(several), n_atoms):
            yield component - component.min()


@dataclass(frozen=True)
class Shares:
    """How atoms divide among whole numbers, averaged over frames.

    Attributes:
        numbers: (numbers,) that occur.
        fraction: (numbers,) mean share of the atoms; they sum to 1.
        fraction_err: (numbers,) one standard error, from the spread between atoms.
    """

    numbers: np.ndarray
    fraction: np.ndarray
    fraction_err: np.ndarray

    @property
    def mean(self) -> float:
        """Mean number."""
        return float(self.numbers @ self.fraction)


@dataclass(frozen=True)
class Network:
    """Polyhedra and what joins them, averaged over frames.

    Attributes:
        sizes: (sizes,) number of centres in a fragment.
        fraction: (sizes,) mean fraction of the centres in fragments of that size.
        bridging_fraction: fraction of the bridging atoms that are bonded to two centres or more.
        mean_fragment_size: mean number of centres over fragments.
        bridges: number n of bridging atoms of a centre (Qⁿ).
        centers: by ligand, number of centres that it is bonded to: 0 free, 1 terminal, 2 bridging.
        percolation: (4,) share of the snapshots in which fragments go on for ever in none, one, two
            or three directions.
        angle_deg: (bins,) middles.
        angles: by `Cl-Al-O` (apex in the middle), (bins,) probability density per degree.
        spells: intervals of snapshots during which a cluster stays the same ions, centres joined by
            any of their ligands, at its first centre. Codes are kinds of clusters.
        cluster_names: formula of each kind.
        every_frames: frames between snapshots.
        n_frames: frames averaged over.
    """

    sizes: np.ndarray
    fraction: np.ndarray
    bridging_fraction: float
    mean_fragment_size: float
    bridges: Shares
    centers: dict[str, Shares]
    percolation: np.ndarray
    angle_deg: np.ndarray
    angles: dict[str, np.ndarray]
    spells: ContactIntervals
    cluster_names: dict[int, str]
    every_frames: int
    n_frames: int


def network(
    trajectory: Trajectory, lengths_A: Mapping[tuple[str, str], float], joining: Sequence[str]
) -> Network:
    """Fragments of centres that share bridging ligands, bridges and angles, over snapshots.

    Args:
        trajectory: the frames.
        lengths_A: first-shell cutoffs by elements of the centre and of the ligand.
        joining: ligands that join centres to fragments.
    """
    n_atoms = trajectory.n_atoms
    centers, ligands = (list(dict.fromkeys(one)) for one in zip(*lengths_A, strict=True))
    is_center = np.isin(trajectory.symbols, centers)
    n_centers = int(np.count_nonzero(is_center))
    is_bridge = np.isin(trajectory.symbols, joining)
    centers_by_size = np.zeros(n_centers + 1)
    fragments, percolating = 0, np.zeros(4)
    of_center, of_ligand = (
        _Tally(is_center),
        {s: _Tally(trajectory.symbols == s) for s in ligands},
    )
    angles = _Angles(trajectory.symbols, centers, ligands)
    frames = evenly_spaced(trajectory.n_frames, NETWORK_FRAMES)
    members = _Members(trajectory, is_center, len(frames))
    every = -(-len(frames) // ANGLE_FRAMES)

    def bonds() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Those with bridging ligands, then all, of each snapshot; the rest is counted here."""
        for number, (_, positions_A, cell_A) in enumerate(trajectory.snapshots(frames)):
            i, j, vectors_A, shifts = bond_vectors(
                trajectory.symbols, positions_A, cell_A, lengths_A
            )
            # Two images of the same centre are one centre.
            pair = np.unique(i * n_atoms + j)
            one, other = np.divmod(pair, n_atoms)
            n_joined = np.bincount(other, minlength=n_atoms)
            for tally in of_ligand.values():
                tally.add(n_joined)
            bridges = is_bridge[other] & (n_joined[other] >= 2)
            of_center.add(np.bincount(one[bridges], minlength=n_atoms))
            joined = is_bridge[j]
            if number % every == 0:
                angles.add(i, j, vectors_A)
                directions = _directions(n_atoms, i[joined], j[joined], shifts[joined])
                percolating[directions] += 1
            yield i[joined], j[joined]
            yield i, j

    in_turn = components_of_frames(n_atoms, bonds())
    for fragment, cluster in zip(in_turn, in_turn, strict=True):
        size = np.bincount(fragment[is_center], minlength=fragment.max() + 1)
        size = size[size > 0]
        centers_by_size += np.bincount(size, weights=size, minlength=n_centers + 1)
        fragments += len(size)
        members.add(cluster)
    sizes = np.flatnonzero(centers_by_size)
    total = n_centers * len(frames)
    n_bridge = max(1, int(np.count_nonzero(is_bridge)))
    counted = {s: tally.result(len(frames)) for s, tally in of_ligand.items()}
    bridging = sum(
        counted[s].fraction[counted[s].numbers >= 2].sum()
        * np.count_nonzero(trajectory.symbols == s)
        for s in joining
    )
    return Network(
        sizes=sizes,
        fraction=centers_by_size[sizes] / total,
        bridging_fraction=float(bridging) / n_bridge,
        mean_fragment_size=total / fragments,
        bridges=of_center.result(len(frames)),
        centers=counted,
        percolation=percolating / percolating.sum(),
        angle_deg=angles.middles_deg,
        angles=angles.densities(),
        spells=members.spells(),
        cluster_names=members.names(),
        every_frames=frames.step,
        n_frames=len(frames),
    )


class _Members:
    """Which ions are in each cluster, snapshot by snapshot, kept at its first centre."""

    def __init__(self, trajectory: Trajectory, is_center: np.ndarray, n_snapshots: int) -> None:
        self._species, self._kinds = trajectory.species, trajectory.kinds
        self._centers = np.flatnonzero(is_center)
        self._sets = EnvironmentSpells(len(self._centers), n_snapshots)
        self._formulas: dict[tuple[int, ...], int] = {}
        self._codes = np.empty((len(self._centers), n_snapshots), dtype=np.int64)
        self._seen, self._elsewhere = 0, False
        # Sums of random numbers (modulo 2^64) name sets of atoms.
        self._name = np.random.default_rng(0).integers(2**62, size=len(is_center))

    def add(self, component: np.ndarray) -> None:
        """Add a snapshot: the component of each atom (atoms,)."""
        n_species, n = len(self._species), int(component.max()) + 1
        order = np.argsort(component, kind="stable")
        starts = np.searchsorted(component[order], np.arange(n))
        names = np.add.reduceat(self._name[order], starts)
        own = component[self._centers]
        first = np.zeros(len(own), dtype=bool)
        first[np.unique(own, return_index=True)[1]] = True
        self._elsewhere |= not first.all()
        self._sets.add(np.where(first, names[own], COUNTED_ELSEWHERE)[:, None])
        counts = np.bincount(component * n_species + self._kinds, minlength=n * n_species)
        rows, which = np.unique(counts.reshape(n, n_species)[own], axis=0, return_inverse=True)
        number = [self._formulas.setdefault(tuple(r), len(self._formulas)) for r in rows.tolist()]
        self._codes[:, self._seen] = np.array(number)[which.reshape(-1)]
        self._seen += 1

    def spells(self) -> ContactIntervals:
        """Intervals of snapshots during which each cluster stays the same ions."""
        kinds, count = np.unique(self._codes, return_counts=True)
        frequent = kinds[np.argsort(-count, kind="stable")[:CLUSTER_KINDS]]
        codes = np.where(np.isin(self._codes, frequent), self._codes, OTHER_CLUSTERS)
        found = self._sets.result()
        if self._elsewhere:
            # Sets are in the order of their names, and this is the lowest.
            kept = found.pair % found.n_mobile != 0
            found = replace(
                found, pair=found.pair[kept], start=found.start[kept], stop=found.stop[kept]
            )
        return replace(found, codes=codes)

    def names(self) -> dict[int, str]:
        """Formula of each kind of cluster, e.g. AlCl3O."""
        named = {
            number: "".join(
                f"{s}{n if n > 1 else ''}" for s, n in zip(self._species, counts, strict=True) if n
            )
            for counts, number in self._formulas.items()
        }
        return {**named, OTHER_CLUSTERS: "other"}


class _Tally:
    """Counts how often each of some atoms has each number."""

    def __init__(self, atoms: np.ndarray) -> None:
        self.atoms = np.flatnonzero(atoms)
        self._times: dict[int, np.ndarray] = {}

    def add(self, numbers: np.ndarray) -> None:
        """Add a frame: a number of each atom of the cell."""
        own = numbers[self.atoms]
        for number in np.unique(own).tolist():
            times = self._times.setdefault(number, np.zeros(len(own)))
            times += own == number

    def result(self, n_frames: int) -> Shares:
        numbers = sorted(self._times)
        shares = np.array([self._times[number] for number in numbers]) / n_frames
        n = len(self.atoms)
        spread = shares.std(axis=1, ddof=1) if n > 1 else np.full(len(numbers), np.nan)
        return Shares(np.array(numbers), shares.mean(axis=1), spread / np.sqrt(n))


def _directions(n_atoms: int, i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> int:
    """Along how many cell vectors some fragment is bonded to its own periodic image.

    The cell is repeated in a closed row of three along each vector. A fragment that comes back to
    itself in another cell of the row joins the copies of an atom.

    Args:
        n_atoms: number of atoms.
        i, j: (bonds,) atoms of each bond.
        shifts: (bonds, 3) cell vectors from i to the image of j.
    """
    copies = np.arange(COPIES)[:, None]
    start = (copies * n_atoms + i).ravel()
    rows = ((start, ((copies + along) % COPIES * n_atoms + j).ravel()) for along in shifts.T)
    return sum(
        bool((component[:n_atoms] == component[n_atoms : 2 * n_atoms]).any())
        for component in components_of_frames(COPIES * n_atoms, rows)
    )


class _Angles:
    """Histograms of the angles between two bonds of one atom."""

    def __init__(self, symbols: np.ndarray, centers: Sequence[str], ligands: Sequence[str]) -> None:
        self.symbols, self.centers, self.ligands = symbols, centers, ligands
        self.edges_deg = np.arange(0, 180 + ANGLE_BIN_DEG / 2, ANGLE_BIN_DEG)
        self.middles_deg = (self.edges_deg[1:] + self.edges_deg[:-1]) / 2
        self._counts: dict[str, np.ndarray] = {}

    def add(self, centers: np.ndarray, ligands: np.ndarray, vectors_A: np.ndarray) -> None:
        """Add the bonds of a frame, whose vectors go from centre to ligand."""
        unit = vectors_A / np.linalg.norm(vectors_A, axis=1, keepdims=True)
        self._add_pairs(centers, ligands, unit, self.centers, self.ligands)
        self._add_pairs(ligands, centers, -unit, self.ligands, self.centers)

    def _add_pairs(
        self,
        apex: np.ndarray,
        ends: np.ndarray,
        unit: np.ndarray,
        of_apex: Sequence[str],
        of_ends: Sequence[str],
    ) -> None:
        """Add the angles at one end of each bond, (bonds,) atoms, among elements of both ends."""
        one, other, angle_deg = _pairs_of_bonds(apex, unit)
        at = _places(of_apex, self.symbols[apex])[one]
        kind = _places(of_ends, self.symbols[ends])
        low, high = np.minimum(kind[one], kind[other]), np.maximum(kind[one], kind[other])
        for place, middle in enumerate(of_apex):
            for a, b in combinations_with_replacement(range(len(of_ends)), 2):
                name = f"{of_ends[a]}-{middle}-{of_ends[b]}"
                self._add(name, angle_deg[(at == place) & (low == a) & (high == b)])

    def _add(self, name: str, angles_deg: np.ndarray) -> None:
        counts = self._counts.setdefault(name, np.zeros(len(self.middles_deg)))
        counts += np.histogram(angles_deg, self.edges_deg)[0]

    def densities(self) -> dict[str, np.ndarray]:
        """Probability densities of the angles that occur."""
        return {
            name: counts / (counts.sum() * ANGLE_BIN_DEG)
            for name, counts in self._counts.items()
            if counts.any()
        }


def _places(elements: Sequence[str], symbols: np.ndarray) -> np.ndarray:
    """Place of each symbol in a list of elements."""
    order = np.argsort(elements)
    return order[np.searchsorted(elements, symbols, sorter=order)]


def _pairs_of_bonds(
    apex: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of bonds of the same atom, each once.

    Args:
        apex: (bonds,) that atom.
        unit: (bonds, 3) directions.

    Returns:
        First and second bond (pairs,), and the angle between them in degrees.
    """
    order = np.argsort(apex, kind="stable")
    _, start, count = np.unique(apex[order], return_index=True, return_counts=True)
    pairs = []
    for degree in np.unique(count).tolist():
        bonds = start[count == degree][:, None] + np.arange(degree)
        first, second = np.triu_indices(degree, 1)
        pairs.append(np.stack([bonds[:, first].ravel(), bonds[:, second].ravel()]))
    one, other = order[np.concatenate(pairs, axis=1)] if pairs else np.zeros((2, 0), dtype=int)
    cosine = np.clip(np.einsum("bx,bx->b", unit[one], unit[other]), -1, 1)
    return one, other, np.degrees(np.arccos(cosine))
