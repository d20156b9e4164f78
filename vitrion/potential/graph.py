"""Bonds within 6 Å and angles between shorter bonds, in the order that the network needs.

Both graphs of CHGNet are symmetric: an edge i→j has a reverse j→i, an angle (e, f) between two
edges of one atom a reverse (f, e). Each is an `Adjacency`, rows sorted by source, so that sums over
neighbours are sums over consecutive rows and their gradients gather along `reverse`. The order of
everything follows from positions and cell alone, not from the age of the Verlet list: equal input
gives equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from vitrion.base.errors import PotentialError
from vitrion.potential.verlet import PairList, VerletList

SMALLEST_VOLUME_A3 = 2.0  # per atom


@dataclass(frozen=True)
class Adjacency:
    """A symmetric directed graph with rows sorted by source.

    Attributes:
        offsets: (nodes + 1) rows of node s are offsets[s] to offsets[s + 1].
        source: (rows) node that the row starts from.
        target: (rows) node that the row points to.
        reverse: (rows) row from `target` back to `source`.
        groups: (groups + 1) first row of each group of nodes; rows join nodes of one group. None
            where all nodes are one group.
    """

    offsets: Tensor
    source: Tensor
    target: Tensor
    reverse: Tensor
    groups: Tensor | None = None

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Graph:
    """The atom graph and the bond graph of one configuration.

    Nodes of the bond graph are the short directed edges: those within the angle cutoff.

    Attributes:
        vectors_A: (bonds, 3) float64, from start to end of each bond. The bonds within the angle
            cutoff come first.
        n_short: number of bonds within the angle cutoff.
        start, end: (bonds) atoms that the bond's vector starts from and points to.
        edges: atoms, and bonds in both directions.
        bond: (edges) bond of each edge.
        sign: (edges) +1 where the edge runs along `vectors_A`, else -1.
        angles: short directed edges, and ordered pairs of them with one central atom.
        node_edge: (angle nodes) row in `edges` of each node of `angles`.
        nodes_of_bond: (n_short, 2) the two nodes of `angles` that are directions of one bond.
        node_bond, node_center: (angle nodes) bond and central atom of each node.
    """

    vectors_A: Tensor
    n_short: int
    start: Tensor
    end: Tensor
    edges: Adjacency
    bond: Tensor
    sign: Tensor
    angles: Adjacency
    node_edge: Tensor
    nodes_of_bond: Tensor
    node_bond: Tensor
    node_center: Tensor


@final
@dataclass(frozen=True)
class Capacity:
    """Fixed sizes of a graph whose unused slots belong to dummies.

    Attributes:
        pairs: bonds of the pair list; one of them stays unused.
        short: bonds within the angle cutoff; one of them stays unused.
        long: the other bonds.
        angles: ordered pairs of short directed edges.
    """

    pairs: int
    short: int
    long: int
    angles: int

    @property
    def edges(self) -> int:
        """Directed bonds."""
        return 2 * (self.short + self.long)

    def did_overflow(self, *, short: int, long: int, angles: int) -> bool:
        """Whether a configuration with these sizes does not fit."""
        return short >= self.short or long > self.long or angles > self.angles


@dataclass(frozen=True)
class Sizes:
    """Bonds and angles that a configuration has, whether they fit the capacity or not."""

    short: int | Tensor
    long: int | Tensor
    angles: int | Tensor


class GraphBuilder:
    """Builds graphs of one system, step after step.

    A Verlet list (cutoff plus skin) is kept and renewed only when atoms or cell have moved so far
    that a bond could be missing; each graph holds just the bonds within the cutoff.

    Args:
        cutoff_A: longest bond.
        angle_cutoff_A: longest bond that makes angles.
        skin_A: list cutoff minus cutoff.
        device: where the graphs are made.
    """

    def __init__(
        self, *, cutoff_A: float, angle_cutoff_A: float, skin_A: float, device: torch.device
    ) -> None:
        self.cutoff_A, self.angle_cutoff_A, self.skin_A = cutoff_A, angle_cutoff_A, skin_A
        self.device = device
        self._verlet_list: VerletList | None = None

    def build(self, positions_A: np.ndarray, cell_A: np.ndarray) -> Graph:
        """The graph of a configuration.

        Args:
            positions_A: (n, 3) float64, wrapped or not.
            cell_A: (3, 3) float64, rows are the lattice vectors; periodic in all directions.

        Raises:
            PotentialError: numbers that are not finite, a collapsed cell, an isolated atom.
        """
        pairs = self.pairs(positions_A, cell_A)
        positions = torch.from_numpy(positions_A).to(self.device)
        return self.compact(pairs, positions, torch.from_numpy(cell_A).to(self.device)[None])

    def pairs(self, positions_A: np.ndarray, cell_A: np.ndarray) -> PairList:
        """Pairs that include all bonds of a configuration; the same object while they do.

        Raises:
            PotentialError: numbers that are not finite, a collapsed cell.
        """
        _check(positions_A, cell_A)
        verlet_list = self._verlet_list
        if verlet_list is None or not verlet_list.is_valid(
            positions_A, cell_A, cutoff_A=self.cutoff_A
        ):
            verlet_list = self._verlet_list = VerletList(
                positions_A,
                cell_A,
                list_cutoff_A=self.cutoff_A + self.skin_A,
                device=self.device,
            )
        return verlet_list.pairs

    def compact(self, pairs: PairList, positions_A: Tensor, cells_A: Tensor) -> Graph:
        """The graph of the pairs within the cutoff.

        Args:
            pairs: of one system or of several side by side.
            positions_A: (n, 3) float64 of all atoms.
            cells_A: (systems, 3, 3) float64.

        Raises:
            PotentialError: an isolated atom.
        """
        graph, _ = compact(
            pairs,
            positions_A,
            cells_A,
            cutoff_A=self.cutoff_A,
            angle_cutoff_A=self.angle_cutoff_A,
        )
        neighbors = graph.edges.offsets.diff()
        if not neighbors.all():
            raise self.isolated(int((neighbors == 0).nonzero()[0, 0]))
        return graph

    def isolated(self, atom: int) -> PotentialError:
        """The error of an atom without neighbours."""
        return PotentialError(
            f"atom {atom} has no neighbour within {self.cutoff_A:g} Å: the system flies apart"
        )


def compact(
    pairs: PairList,
    positions_A: Tensor,
    cells_A: Tensor,
    *,
    cutoff_A: float,
    angle_cutoff_A: float,
    capacity: Capacity | None = None,
) -> tuple[Graph, Sizes]:
    """The part of a pair list within the cutoff, in canonical order.

    Without a capacity the graph has the sizes of the configuration. With one its sizes are fixed
    and nothing waits for the device: unused slots hold a dummy atom after the real ones, whose
    bonds lie beyond the cutoff, so that their weights and gradients are exactly zero. Whether all
    bonds and angles fit follows from the sizes returned (`Capacity.did_overflow`); if not, the
    graph is truncated and of no use.

    Args:
        pairs: of one system or of several side by side; with a capacity, filled up to it.
        positions_A: (n, 3) float64 of all atoms.
        cells_A: (systems, 3, 3) float64.
        cutoff_A, angle_cutoff_A: longest bond, and longest bond that makes angles.
        capacity: fixed sizes.

    Returns:
        The graph, and the sizes of the configuration.
    """
    n_atoms = len(positions_A)
    vectors = positions_A[pairs.bond_target] - positions_A[pairs.bond_source]
    vectors += pairs.shifts_A(cells_A)
    squared = (vectors * vectors).sum(1)
    within, makes_angles = squared < cutoff_A**2, squared < angle_cutoff_A**2

    short = _Chosen.of(makes_angles, capacity and capacity.short)
    long = _Chosen.of(within & ~makes_angles, capacity and capacity.long)
    bonds = short.followed_by(long)
    number = bonds.slot_of_each(len(within), dummy=len(short.entries) - 1)

    edges = _Chosen.of(within[pairs.bond], capacity and capacity.edges)
    rows, edge = edges.entries, _range_like(edges.entries)
    slots = edges.slot_of_each(len(pairs.source), dummy=len(rows) - 1)
    source = edges.filled(pairs.source[rows], dummy=n_atoms)
    target = edges.filled(pairs.target[rows], dummy=n_atoms)
    reverse = edges.filled(slots[pairs.reverse[rows]], dummy=edge)
    bond = edges.filled(number[pairs.bond[rows]], dummy=len(short.entries) - 1)
    forward = edge <= reverse
    n_nodes = n_atoms if capacity is None else n_atoms + 1

    nodes = _Chosen.of(edges.only_used(bond < len(short.entries)), capacity and 2 * capacity.short)
    node_edge = nodes.filled(nodes.entries, dummy=len(rows) - 1)
    nodes_of_bond = torch.full(
        (len(short.entries), 2), len(node_edge) - 1, dtype=torch.int64, device=rows.device
    )
    node_bond, node_center = bond[node_edge], nodes.filled(source[node_edge], dummy=n_atoms)
    nodes_of_bond[node_bond, (~forward[node_edge]).long()] = _range_like(node_edge)
    angles, n_angles = _ordered_pairs(node_center, n_nodes, nodes, capacity)

    graph = Graph(
        vectors_A=bonds.filled(vectors[bonds.entries], dummy=2 * cutoff_A),
        n_short=len(short.entries),
        start=bonds.filled(pairs.bond_source[bonds.entries], dummy=n_atoms),
        end=bonds.filled(pairs.bond_target[bonds.entries], dummy=n_atoms),
        edges=Adjacency(_offsets(source, n_nodes), source, target, reverse),
        bond=bond,
        sign=forward.to(vectors.dtype) * 2 - 1,
        angles=angles,
        node_edge=node_edge,
        nodes_of_bond=nodes_of_bond,
        node_bond=node_bond,
        node_center=node_center,
    )
    return graph, Sizes(short.count, long.count, n_angles)


def atomic_forces(graph: Graph, dE_dr: Tensor) -> Tensor:
    """Forces (nodes, 3) in eV/Å from the bond gradients (bonds, 3), dE/d(`graph.vectors_A`)."""
    edges = graph.edges
    forces = dE_dr.new_zeros((edges.nodes, 3))
    return forces.index_add(0, edges.source, dE_dr[graph.bond] * graph.sign[:, None])


def virials(graph: Graph, dE_dr: Tensor, n_atoms: Sequence[int]) -> Tensor:
    """dE/dstrain (systems, 3, 3) in eV from the bond gradients.

    Args:
        graph: of systems side by side.
        dE_dr: (bonds, 3), dE/d(`graph.vectors_A`).
        n_atoms: number of atoms of each system.
    """
    products = graph.vectors_A.detach()[:, :, None] * dE_dr[:, None, :]
    # By atoms first: on a GPU additions to a few systems would queue for the same addresses.
    by_atom = dE_dr.new_zeros((graph.edges.nodes, 9)).index_add(0, graph.start, products.flatten(1))
    parts = by_atom[: sum(n_atoms)].split(list(n_atoms))
    return torch.stack([part.sum(0) for part in parts]).view(-1, 3, 3)


@dataclass(frozen=True)
class _Chosen:
    """The true entries of a mask, in order, in as many slots or in a fixed number of slots.

    Attributes:
        entries: (slots) index of the entry in each slot; 0 in unused slots.
        used: (slots) which slots hold an entry; None where all do.
        count: number of true entries, which may exceed the slots.
    """

    entries: Tensor
    used: Tensor | None
    count: int | Tensor

    @classmethod
    def of(cls, mask: Tensor, slots: int | None) -> _Chosen:
        if slots is None:
            entries = mask.nonzero()[:, 0]
            return cls(entries, None, len(entries))
        place = mask.cumsum(0) - 1
        slot = torch.where(mask & (place < slots), place, slots)
        entries = torch.zeros(slots + 1, dtype=torch.int64, device=mask.device)
        entries[slot] = _range_like(mask)
        count = place[-1] + 1
        used = torch.arange(slots, device=mask.device) < count
        return cls(torch.where(used, entries[:slots], 0), used, count)

    def followed_by(self, other: _Chosen) -> _Chosen:
        """The slots of both, one after the other."""
        entries = torch.cat((self.entries, other.entries))
        if self.used is None or other.used is None:
            return _Chosen(entries, None, self.count + other.count)
        return _Chosen(entries, torch.cat((self.used, other.used)), self.count + other.count)

    def filled(self, values: Tensor, *, dummy: float | Tensor) -> Tensor:
        """Values by slot, (slots, ...), with the dummy's in unused slots."""
        if self.used is None:
            return values
        return torch.where(self.used.view(-1, *(1,) * (values.dim() - 1)), values, dummy)

    def only_used(self, mask: Tensor) -> Tensor:
        """A mask by slot, false in unused slots."""
        return mask if self.used is None else mask & self.used

    def slot_of_each(self, entries: int, *, dummy: int) -> Tensor:
        """The slot of each of so many entries; the dummy's for entries that were not chosen."""
        slots = torch.full((entries + 1,), dummy, dtype=torch.int64, device=self.entries.device)
        slots[self.filled(self.entries, dummy=entries)] = _range_like(self.entries)
        return slots[:entries]


def _ordered_pairs(
    center: Tensor, n_centers: int, nodes: _Chosen, capacity: Capacity | None
) -> tuple[Adjacency, Tensor]:
    """All ordered pairs of different nodes that share a central atom, and their number.

    Args:
        center: (nodes) central atom of each node, ascending.
        n_centers: number of central atoms.
        nodes: which nodes are used.
        capacity: fixed sizes.
    """
    of_center = _offsets(center, n_centers)
    first = of_center[center]
    per_node = nodes.filled(of_center[center + 1] - first - 1, dummy=0)
    offsets = torch.nn.functional.pad(per_node.cumsum(0), (1, 0))
    last = len(center) - 1
    size = int(offsets[-1]) if capacity is None else capacity.angles

    angle = torch.arange(size, device=center.device)
    # The source of an angle is how many nodes have all of their pairs before it.
    ends = torch.zeros(size + 1, dtype=torch.int64, device=center.device)
    ends.index_add_(0, offsets[1:].clamp(max=size), torch.ones_like(center))
    source = ends[:size].cumsum(0)
    if capacity is not None:
        source = source.clamp(max=last)
    place = source - first[source]
    other = angle - offsets[source]
    other += other >= place
    target = first[source] + other
    if capacity is not None:
        used = angle < offsets[-1]
        source, target = torch.where(used, source, last), torch.where(used, target, last)
    reverse = offsets[target] + place - (place > other).long()
    if capacity is not None:
        reverse = torch.where(used, reverse, angle)
        # All remaining rows belong to the dummy node.
        used_offsets = offsets[:-1].clamp(max=size)
        row_offsets = torch.cat((used_offsets, offsets.new_full((1,), size)))
    else:
        row_offsets = offsets
    angles = Adjacency(row_offsets, source, target, reverse, groups=row_offsets[of_center])
    return angles, offsets[-1]


def _range_like(slots: Tensor) -> Tensor:
    return torch.arange(len(slots), device=slots.device)


def _offsets(values: Tensor, n_groups: int) -> Tensor:
    """Where each value from 0 to n_groups begins in ascending values, (n_groups + 1)."""
    return torch.searchsorted(values, torch.arange(n_groups + 1, device=values.device))


def _check(positions_A: np.ndarray, cell_A: np.ndarray) -> None:
    if not (np.isfinite(positions_A).all() and np.isfinite(cell_A).all()):
        raise PotentialError("positions or cell are not finite: the system blew up")
    volume_A3 = abs(np.linalg.det(cell_A)) / len(positions_A)
    if volume_A3 < SMALLEST_VOLUME_A3:
        raise PotentialError(f"the cell collapsed to {volume_A3:.3g} Å³ per atom")
