"""Verlet lists: pairs of atoms within a cutoff plus a skin, kept while no bond can be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList


@dataclass
class PairList:
    """Pairs of atoms of one system or of several side by side: directed rows and undirected bonds.

    Rows are sorted by source, target and cell shift, whatever the neighbour search's order.

    Attributes:
        source, target: (rows) atoms that the row starts from and points to.
        reverse: (rows) row from `target` back to `source`.
        bond: (rows) bond that the row and its reverse share.
        bond_source, bond_target: (bonds) atoms at its ends.
        bond_shift: (bonds, 3) float64, lattice vectors between its ends.
        bond_system: (bonds) system that the bond belongs to; None where there is one system.
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
    def join(cls, parts: Sequence[PairList], n_atoms: Sequence[int]) -> PairList:
        """The pairs of systems side by side.

        Args:
            parts: one list per system.
            n_atoms: number of atoms of each system.
        """
        first_atom = np.cumsum([0, *n_atoms])
        first_row = np.cumsum([0, *(len(part.source) for part in parts)])
        first_bond = np.cumsum([0, *(len(part.bond_source) for part in parts)])

        def joined(name: str, first: np.ndarray) -> Tensor:
            return torch.cat(
                [getattr(part, name) + int(f) for part, f in zip(parts, first, strict=False)]
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

    def shifts_A(self, cells_A: Tensor) -> Tensor:
        """Lattice vectors between the ends of each bond, (bonds, 3); cells are (systems, 3, 3)."""
        cells_A = cells_A[0] if self.bond_system is None else cells_A[self.bond_system]
        a, b, c = self.bond_shift[:, :, None].unbind(1)
        # No matrix product: its rounding depends on the number of bonds, on some processors.
        return a * cells_A[..., 0, :] + b * cells_A[..., 1, :] + c * cells_A[..., 2, :]


class VerletList:
    """Every pair of one system within a list cutoff, at the configuration it was built for.

    Args:
        positions_A: (n, 3) float64.
        cell_A: (3, 3) float64, rows are the lattice vectors; periodic in all directions.
        list_cutoff_A: longest pair of the list.
        device: where the pairs are stored.

    Attributes:
        pairs: the list.
    """

    def __init__(
        self,
        positions_A: np.ndarray,
        cell_A: np.ndarray,
        *,
        list_cutoff_A: float,
        device: torch.device,
    ) -> None:
        self._positions_A, self._cell_A = positions_A.copy(), cell_A.copy()
        self._list_cutoff_A = list_cutoff_A
        self.pairs = _pairs_within(list_cutoff_A, positions_A, cell_A, device)

    def is_valid(self, positions_A: np.ndarray, cell_A: np.ndarray, *, cutoff_A: float) -> bool:
        """Whether every pair within the cutoff, now, is in the list.

        A pair outside the list was farther apart than the list cutoff. The deformation of the cell
        shortens it at most by the smallest singular value, and the displacements relative to that
        deformation at most by twice the largest one.
        """
        if len(positions_A) != len(self._positions_A):
            return False
        if np.array_equal(cell_A, self._cell_A):
            smallest_stretch, displacement = 1.0, positions_A - self._positions_A
        else:
            deformation = np.linalg.solve(self._cell_A, cell_A)
            smallest_stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
            displacement = positions_A - self._positions_A @ deformation
        displacement -= displacement.mean(0)
        largest_A = np.sqrt((displacement * displacement).sum(1).max())
        return bool(smallest_stretch * self._list_cutoff_A - 2 * largest_A > cutoff_A)


def _pairs_within(
    cutoff_A: float, positions_A: np.ndarray, cell_A: np.ndarray, device: torch.device
) -> PairList:
    # A half list, doubled: every row has its reverse, however distances round at the cutoff.
    i, j, shift = NeighborList(cutoff=cutoff_A, full_list=False).compute(
        points=positions_A, box=cell_A, periodic=True, quantities="ijS", copy=True
    )
    i, j, shift = i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64)
    source, target = np.concatenate((i, j)), np.concatenate((j, i))
    shift = np.concatenate((shift, -shift))
    # Sorting by one number per row is several times faster than by five.
    farthest = int(abs(shift).max(initial=0))
    digits = (2 * farthest + 1) ** np.arange(2, -1, -1)
    forward_key, reverse_key = (
        (a * len(positions_A) + b) * (2 * farthest + 1) ** 3 + (farthest + s) @ digits
        for a, b, s in ((source, target, shift), (target, source, -shift))
    )
    order = np.argsort(forward_key)
    source, target, shift = source[order], target[order], shift[order]
    rows = np.arange(len(source))
    reverse = np.empty_like(rows)
    reverse[np.argsort(reverse_key[order])] = rows
    forward = rows < reverse
    bond = np.cumsum(forward) - 1
    bond = np.where(forward, bond, bond[reverse])

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return PairList(
        source=tensor(source),
        target=tensor(target),
        reverse=tensor(reverse),
        bond=tensor(bond),
        bond_source=tensor(source[forward]),
        bond_target=tensor(target[forward]),
        bond_shift=tensor(shift[forward].astype(np.float64)),
    )
