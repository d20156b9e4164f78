"""Bonds within 6 Å and angles between bonds within 3 Å, in the order the network wants them.

Both graphs of CHGNet are symmetric: an edge i→j has a reverse j→i, an angle (e, f) between two
edges of one atom a reverse (f, e). Both are kept as an `Adjacency`, rows sorted by source, so that
sums over neighbours are sums over consecutive rows and their gradients gather along `reverse`.
The order of everything follows from positions and cell alone, never from the age of the candidate
list: equal input gives equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from vitrion.base.errors import PotentialError

LEAST_VOLUME_A3 = 2.0


@dataclass(frozen=True)
class Adjacency:
    """A symmetric directed graph with rows sorted by source.

    Attributes:
        offsets: (nodes + 1) rows of node s are offsets[s] to offsets[s + 1].
        source: (rows) node the row starts from.
        target: (rows) node the row points to.
        reverse: (rows) row from `target` back to `source`.
    """

    offsets: Tensor
    source: Tensor
    target: Tensor
    reverse: Tensor

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Graph:
    """The two graphs of one configuration.

    Attributes:
        vectors_A: (bonds, 3) float64, from one end of each bond to the other. The bonds within
            the angle cutoff come first; there are `short` of them.
        short: number of bonds within the angle cutoff.
        edges: atoms and directed bonds.
        bond: (edges) bond of each edge.
        sign: (edges) +1 where the edge runs along `vectors_A`, else -1.
        angles: edges within the angle cutoff, and pairs of them that start from one atom.
        spoke: (angle nodes) row in `edges` of each node of `angles`.
        spokes_of_bond: (short, 2) the two nodes of `angles` that are directions of one bond.
    """

    vectors_A: Tensor
    short: int
    edges: Adjacency
    bond: Tensor
    sign: Tensor
    angles: Adjacency
    spoke: Tensor
    spokes_of_bond: Tensor


class GraphBuilder:
    """Builds graphs of one system, step after step.

    A list of candidates (cutoff plus skin) is kept and renewed only when atoms or cell have moved
    so far that a bond could be missing; each graph holds just the bonds within the cutoff.

    Args:
        cutoff_A: longest bond.
        angle_cutoff_A: longest bond that makes angles.
        skin_A: how much farther candidates reach.
        device: where the graphs are made.
    """

    def __init__(
        self, *, cutoff_A: float, angle_cutoff_A: float, skin_A: float, device: torch.device
    ) -> None:
        self.cutoff_A, self.angle_cutoff_A, self.skin_A = cutoff_A, angle_cutoff_A, skin_A
        self.device = device
        self._candidates: _Candidates | None = None

    def build(self, positions_A: np.ndarray, cell_A: np.ndarray) -> Graph:
        """The graph of a configuration.

        Args:
            positions_A: (n, 3) float64, wrapped or not.
            cell_A: (3, 3) float64, rows are the lattice vectors; periodic in all directions.

        Raises:
            PotentialError: numbers that are not finite, a collapsed cell, an atom without any
                neighbour.
        """
        candidates = self.candidates(positions_A, cell_A)
        positions = torch.from_numpy(positions_A).to(self.device)
        return self.compact(candidates, positions, torch.from_numpy(cell_A).to(self.device)[None])

    def candidates(self, positions_A: np.ndarray, cell_A: np.ndarray) -> Candidates:
        """Pairs among which are all bonds of a configuration; kept while they are.

        Raises:
            PotentialError: numbers that are not finite, a collapsed cell.
        """
        _check(positions_A, cell_A)
        if self._candidates is None or not self._candidates.cover(
            positions_A, cell_A, self.cutoff_A
        ):
            reach_A = self.cutoff_A + self.skin_A
            self._candidates = _Candidates(positions_A, cell_A, reach_A, self.device)
        return self._candidates

    def compact(self, all_: Candidates, positions: Tensor, cells: Tensor) -> Graph:
        """The part of the candidates that is within the cutoff, in canonical order.

        Args:
            all_: candidates of one system or of several side by side.
            positions: (n, 3) float64 of all atoms, Å.
            cells: (systems, 3, 3) float64, Å.

        Raises:
            PotentialError: an atom without any neighbour.
        """
        vectors = positions[all_.bond_target] - positions[all_.bond_source]
        vectors += all_.shifts_A(cells)
        squared = (vectors * vectors).sum(1)
        near = squared < self.cutoff_A**2
        close = squared < self.angle_cutoff_A**2
        short_bonds, long_bonds = close.nonzero()[:, 0], (near & ~close).nonzero()[:, 0]
        order = torch.cat((short_bonds, long_bonds))
        number = _inverse(order, len(near))

        rows = near[all_.bond].nonzero()[:, 0]
        source, target = all_.source[rows], all_.target[rows]
        counts = torch.bincount(source, minlength=len(positions))
        if not counts.all():
            raise PotentialError(self.lonely(int((counts == 0).nonzero()[0, 0])))
        reverse = _inverse(rows, len(all_.source))[all_.reverse[rows]]
        edges = Adjacency(offsets_of(counts), source, target, reverse)
        bond = number[all_.bond[rows]]
        forward = torch.arange(len(rows), device=self.device) < reverse

        spoke = (bond < len(short_bonds)).nonzero()[:, 0]
        spokes_of_bond = torch.empty((len(short_bonds), 2), dtype=torch.int64, device=self.device)
        nodes = torch.arange(len(spoke), device=self.device)
        spokes_of_bond[bond[spoke], (~forward[spoke]).long()] = nodes
        return Graph(
            vectors_A=vectors[order],
            short=len(short_bonds),
            edges=edges,
            bond=bond,
            sign=forward.to(vectors.dtype) * 2 - 1,
            angles=_pairs(source[spoke], len(positions)),
            spoke=spoke,
            spokes_of_bond=spokes_of_bond,
        )

    def lonely(self, atom: int) -> str:
        """What to say of an atom without neighbours."""
        return f"atom {atom} has no neighbour within {self.cutoff_A:g} Å: the system flies apart"


@dataclass
class Candidates:
    """Pairs of atoms, as sorted directed rows and as undirected bonds.

    Attributes:
        source, target, reverse, bond: (rows) as in `Adjacency` and `Graph`.
        bond_source, bond_target: (bonds) atoms at its ends.
        bond_shift: (bonds, 3) float64, cells between its ends.
        bond_system: (bonds) which system it is in; None where there is one.
    """

    source: Tensor
    target: Tensor
    reverse: Tensor
    bond: Tensor
    bond_source: Tensor
    bond_target: Tensor
    bond_shift: Tensor
    bond_system: Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence[Candidates], atoms: Sequence[int]) -> Candidates:
        """The pairs of systems side by side; `atoms` are their numbers of atoms."""
        first_atom = np.cumsum([0, *atoms])
        first_row = np.cumsum([0, *(len(part.source) for part in parts)])
        first_bond = np.cumsum([0, *(len(part.bond_source) for part in parts)])

        def joined(name: str, first: np.ndarray) -> Tensor:
            return torch.cat(
                [getattr(p, name) + int(f) for p, f in zip(parts, first, strict=False)]
            )

        return cls(
            source=joined("source", first_atom),
            target=joined("target", first_atom),
            reverse=joined("reverse", first_row),
            bond=joined("bond", first_bond),
            bond_source=joined("bond_source", first_atom),
            bond_target=joined("bond_target", first_atom),
            bond_shift=torch.cat([part.bond_shift for part in parts]),
            bond_system=torch.cat(
                [torch.full_like(part.bond_source, k) for k, part in enumerate(parts)]
            ),
        )

    def shifts_A(self, cells: Tensor) -> Tensor:
        """(bonds, 3) lattice vectors between the ends; `cells` are (systems, 3, 3)."""
        if self.bond_system is None:
            return self.bond_shift @ cells[0]
        return torch.einsum("bi,bij->bj", self.bond_shift, cells[self.bond_system])


class _Candidates(Candidates):
    """Every pair of one system within a reach at some time."""

    def __init__(
        self, positions_A: np.ndarray, cell_A: np.ndarray, reach_A: float, device: torch.device
    ) -> None:
        self._positions_A, self._cell_A, self._reach_A = positions_A.copy(), cell_A.copy(), reach_A
        # Half a list, doubled: so every row has its reverse, whatever rounding does at the reach.
        i, j, shift = NeighborList(cutoff=reach_A, full_list=False).compute(
            points=positions_A, box=cell_A, periodic=True, quantities="ijS", copy=True
        )
        i, j, shift = i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64)
        source, target = np.concatenate((i, j)), np.concatenate((j, i))
        shift = np.concatenate((shift, -shift))
        # One number for each row sorts several times faster than five.
        farthest = int(abs(shift).max(initial=0))
        digits = (2 * farthest + 1) ** np.arange(2, -1, -1)
        first, second = (
            (a * len(positions_A) + b) * (2 * farthest + 1) ** 3 + (farthest + s) @ digits
            for a, b, s in ((source, target, shift), (target, source, -shift))
        )
        order = np.argsort(first)
        source, target, shift = source[order], target[order], shift[order]
        rows = np.arange(len(source))
        reverse = np.empty_like(rows)
        reverse[np.argsort(second[order])] = rows
        forward = rows < reverse
        bond = np.cumsum(forward) - 1
        bond = np.where(forward, bond, bond[reverse])

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        super().__init__(
            *map(tensor, (source, target, reverse, bond, source[forward], target[forward])),
            tensor(shift[forward].astype(np.float64)),
        )

    def cover(self, positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float) -> bool:
        """Whether no pair outside this list can have come within the cutoff.

        A pair beyond the reach, deformed with the cell, is still at least the smallest stretch
        times the reach apart; what the atoms moved on top can shorten it by twice the largest.
        """
        if len(positions_A) != len(self._positions_A):
            return False
        if np.array_equal(cell_A, self._cell_A):
            stretch, moved = 1.0, positions_A - self._positions_A
        else:
            deformation = np.linalg.solve(self._cell_A, cell_A)
            stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
            moved = positions_A - self._positions_A @ deformation
        moved -= moved.mean(0)
        largest = np.sqrt((moved * moved).sum(1).max())
        return stretch * self._reach_A - 2 * largest > cutoff_A


def _check(positions_A: np.ndarray, cell_A: np.ndarray) -> None:
    if not (np.isfinite(positions_A).all() and np.isfinite(cell_A).all()):
        raise PotentialError("positions or cell are not finite: the system blew up")
    volume_A3 = abs(np.linalg.det(cell_A)) / len(positions_A)
    if volume_A3 < LEAST_VOLUME_A3:
        raise PotentialError(f"the cell collapsed to {volume_A3:.3g} Å³ an atom")


def offsets_of(counts: Tensor) -> Tensor:
    """Where each of consecutive groups begins, and where the last one ends."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _inverse(chosen: Tensor, size: int) -> Tensor:
    """Where each of `size` things went when `chosen` were kept in that order (-1: left out)."""
    inverse = torch.full((size,), -1, dtype=torch.int64, device=chosen.device)
    inverse[chosen] = torch.arange(len(chosen), device=chosen.device)
    return inverse


def _pairs(center: Tensor, atoms: int) -> Adjacency:
    """All ordered pairs of different nodes that share a centre.

    Args:
        center: (nodes) centre of each node, ascending.
        atoms: number of centres.
    """
    device = center.device
    counts = torch.bincount(center, minlength=atoms)
    first = offsets_of(counts)[center]
    place = torch.arange(len(center), device=device) - first
    offsets = offsets_of(counts[center] - 1)
    source = torch.repeat_interleave(torch.arange(len(center), device=device), counts[center] - 1)
    other = torch.arange(len(source), device=device) - offsets[source]
    other += other >= place[source]
    target = first[source] + other
    reverse = offsets[target] + place[source] - (place[source] > place[target]).long()
    return Adjacency(offsets, source, target, reverse)
