"""Pairs of atoms that are near each other in one frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vesin import NeighborList


def neighbor_pairs(
    positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs (i, j) within a cutoff. Every periodic image is a pair of its own.

    Args:
        positions_A: (atoms, 3), folded into the cell or not.
        cell_A: (3, 3), rows are cell vectors; periodic in all directions.
        cutoff_A: largest distance.

    Returns:
        i (pairs,), j (pairs,), vectors from i to j (pairs, 3) in Å, and the integer numbers of
        cell vectors (pairs, 3) that each vector includes: r_j + shift · cell − r_i.
    """
    search_A = _search_radius_A(positions_A, cell_A, cutoff_A)
    lists = _neighbor_list(search_A, full_list=True)
    i, j, vectors_A, shifts = lists.compute(positions_A, cell_A, True, "ijDS")
    if search_A > cutoff_A:
        near = np.einsum("px,px->p", vectors_A, vectors_A) <= cutoff_A**2
        i, j, vectors_A, shifts = i[near], j[near], vectors_A[near], shifts[near]
    return i.astype(np.int64), j.astype(np.int64), vectors_A, shifts


def neighbor_distances(
    positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs within a cutoff, each once, with every periodic image a pair of its own.

    Args:
        positions_A: (atoms, 3), folded into the cell or not.
        cell_A: (3, 3), rows are cell vectors; periodic in all directions.
        cutoff_A: largest distance.

    Returns:
        i (pairs,), j (pairs,) and distances (pairs,) in Å.
    """
    search_A = _search_radius_A(positions_A, cell_A, cutoff_A)
    lists = _neighbor_list(search_A, full_list=False)
    i, j, distances_A = lists.compute(positions_A, cell_A, True, "ijd")
    near = distances_A <= cutoff_A
    return i[near].astype(np.int64), j[near].astype(np.int64), distances_A[near]


def bonds(
    symbols: Sequence[str] | np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    *definitions: Mapping[tuple[str, str], float],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bonds by distance, by each of several definitions, from one neighbour search.

    Args:
        symbols: (atoms,) element of each atom.
        positions_A: (atoms, 3).
        cell_A: (3, 3).
        definitions: the length in Å below which two elements are bonded, by pair of elements.

    Yields:
        Atoms i (bonds,) and j (bonds,) of each bond, once, for one definition after the other.
    """
    longest_A = max(cutoff_A for cutoffs_A in definitions for cutoff_A in cutoffs_A.values())
    i, j, distances_A = neighbor_distances(positions_A, cell_A, longest_A)
    elements, kinds = np.unique(symbols, return_inverse=True)
    number = {element: place for place, element in enumerate(elements.tolist())}
    pair = kinds[i] * len(elements) + kinds[j]
    for cutoffs_A in definitions:
        limit_A = np.zeros((len(elements), len(elements)))
        for (a, b), cutoff_A in cutoffs_A.items():
            limit_A[number[a], number[b]] = limit_A[number[b], number[a]] = cutoff_A
        bonded = distances_A < limit_A.ravel()[pair]
        yield i[bonded], j[bonded]


def bond_vectors(
    symbols: Sequence[str] | np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    lengths_A: Mapping[tuple[str, str], float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bonds of the centres with other elements, each once.

    Args:
        symbols: (atoms,) element of each atom.
        positions_A: (atoms, 3).
        cell_A: (3, 3).
        lengths_A: the length in Å below which they are bonded, by elements of the centre and of the
            other atom; no element is both.

    Returns:
        Centres (bonds,), the other atoms (bonds,), vectors from the centre in Å (bonds, 3), and the
        integer numbers of cell vectors (bonds, 3) that each vector includes.
    """
    symbols = np.asarray(symbols)
    search_A = _search_radius_A(positions_A, cell_A, max(lengths_A.values()))
    lists = _neighbor_list(search_A, full_list=False)
    i, j, vectors_A, shifts = lists.compute(positions_A, cell_A, True, "ijDS")
    elements, kinds = np.unique(symbols, return_inverse=True)
    number = {element: place for place, element in enumerate(elements.tolist())}
    limit_A = np.zeros((len(elements), len(elements)))
    for (center, other), length_A in lengths_A.items():
        limit_A[number[center], number[other]] = length_A
    outward = np.isin(symbols, [center for center, _ in lengths_A])[i]
    centers, others = np.where(outward, i, j), np.where(outward, j, i)
    sign = np.where(outward, 1, -1)[:, None]
    squared_A2 = np.einsum("bx,bx->b", vectors_A, vectors_A)
    bonded = squared_A2 < limit_A[kinds[centers], kinds[others]] ** 2
    return (
        centers[bonded].astype(np.int64),
        others[bonded].astype(np.int64),
        (sign * vectors_A)[bonded],
        (sign * shifts)[bonded],
    )


def _neighbor_list(cutoff_A: float, *, full_list: bool) -> NeighborList:
    from vesin import NeighborList  # imports torch, which analyses of displacements do not need

    return NeighborList(cutoff=cutoff_A, full_list=full_list, n_threads=1)


def _search_radius_A(positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float) -> float:
    # vesin divides the cell into boxes of the search radius. In a dilute system a short radius
    # makes many empty boxes, whose visits take longer than a few pairs that are then left out.
    return max(float(cutoff_A), float(np.cbrt(abs(np.linalg.det(cell_A)) / len(positions_A))))
