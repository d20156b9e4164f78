"""Pairs of atoms near each other: in one snapshot, and followed over every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from vesin import NeighborList

from vitrion.trajectory.unwrapping import Trajectory

# Frames over which one list of candidate pairs serves.
STRETCH_FRAMES = 64


def neighbor_pairs(
    positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs (i, j) within a cutoff, images counted one by one.

    Returns:
        i, j, the vector from i to j (pairs, 3) and the cell shift (pairs, 3) that it includes.
    """
    reach_A = _reach_A(positions_A, cell_A, cutoff_A)
    lists = NeighborList(cutoff=reach_A, full_list=True, n_threads=1)
    i, j, vectors_A, shifts = lists.compute(positions_A, cell_A, True, "ijDS")
    if reach_A > cutoff_A:
        near = np.einsum("px,px->p", vectors_A, vectors_A) <= cutoff_A**2
        i, j, vectors_A, shifts = i[near], j[near], vectors_A[near], shifts[near]
    return i.astype(np.int64), j.astype(np.int64), vectors_A, shifts


def neighbor_distances(
    positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms i, j of all pairs within a cutoff, each once, images one by one, and distances in Å."""
    lists = NeighborList(
        cutoff=_reach_A(positions_A, cell_A, cutoff_A), full_list=False, n_threads=1
    )
    i, j, distances_A = lists.compute(positions_A, cell_A, True, "ijd")
    near = distances_A <= cutoff_A
    return i[near].astype(np.int64), j[near].astype(np.int64), distances_A[near]


def _reach_A(positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float) -> float:
    # In a sparse system a list of the cutoff's reach would spend its time on empty cells.
    return max(float(cutoff_A), float(np.cbrt(abs(np.linalg.det(cell_A)) / len(positions_A))))


@dataclass(frozen=True)
class Contacts:
    """Which centre–neighbour pairs are within the cutoff, over a stretch of frames.

    Attributes:
        start: first frame.
        center, neighbor: (pairs,) indices within their own element; no pair is listed twice.
        inside: (pairs, frames).
    """

    start: int
    center: np.ndarray
    neighbor: np.ndarray
    inside: np.ndarray


def follow_contacts(
    trajectory: Trajectory, center: str, neighbors: dict[str, float]
) -> Iterator[dict[str, Contacts]]:
    """Contacts between a centre and other elements at every frame of a trajectory.

    A list of candidates serves for a short stretch of frames. It is complete: it holds every pair
    that is near enough at the stretch's start for the largest excursions within the stretch.

    Args:
        trajectory: the trajectory.
        center: element of the centres.
        neighbors: first-shell cutoff in Å for each neighbouring element.

    Yields:
        Contacts by neighbouring element, stretch after stretch.
    """
    slices = [trajectory.slices[s] for s in (center, *neighbors)]
    for start, blocks in trajectory.stretches(*slices, frames=STRETCH_FRAMES):
        cells_A = trajectory.cells(start, start + blocks[0].shape[2])
        found = {}
        for (species, cutoff_A), block in zip(neighbors.items(), blocks[1:], strict=True):
            found[species] = _contacts(
                start,
                _Stretch.of(trajectory, center, blocks[0]),
                _Stretch.of(trajectory, species, block),
                cells_A,
                cutoff_A,
                same=species == center,
            )
        yield found


@dataclass(frozen=True)
class _Stretch:
    """First positions (atoms, 3), motion since (atoms, 3, frames), longest excursion (atoms,)."""

    first_A: np.ndarray
    motion_A: np.ndarray
    excursion_A: np.ndarray

    @classmethod
    def of(cls, trajectory: Trajectory, species: str, block: np.ndarray) -> _Stretch:
        motion_A = block - block[:, :, :1]
        squared = np.einsum("axf,axf->af", motion_A, motion_A)
        return cls(
            first_A=trajectory.start_A[trajectory.slices[species]] + block[:, :, 0],
            motion_A=motion_A,
            excursion_A=np.sqrt(squared.max(axis=1)),
        )


def _contacts(
    start: int, a: _Stretch, b: _Stretch, cells_A: np.ndarray, cutoff_A: float, *, same: bool
) -> Contacts:
    n_frames = a.motion_A.shape[2]
    positions_A = a.first_A if same else np.concatenate([a.first_A, b.first_A])
    # Folding keeps image numbers small, so that a changing cell moves candidates little.
    images = np.floor(positions_A @ np.linalg.inv(cells_A[0])).astype(int)
    folded_A = positions_A - images @ cells_A[0]
    deformation_A = np.linalg.norm(cells_A - cells_A[0], axis=(1, 2)).max() * 3
    reach_A = cutoff_A + a.excursion_A.max() + b.excursion_A.max() + deformation_A
    i, j, vectors_A, shifts = neighbor_pairs(folded_A, cells_A[0], reach_A)
    n_centers = len(a.first_A)
    wanted = i < n_centers if same else (i < n_centers) & (j >= n_centers)
    i, j, vectors_A, shifts = i[wanted], j[wanted], vectors_A[wanted], shifts[wanted]
    other = j if same else j - n_centers
    near = (
        np.einsum("px,px->p", vectors_A, vectors_A)
        <= (cutoff_A + a.excursion_A[i] + b.excursion_A[other] + deformation_A) ** 2
    )
    i, j, other, vectors_A, shifts = i[near], j[near], other[near], vectors_A[near], shifts[near]
    squared = np.zeros((len(i), n_frames), dtype=np.float32)
    if len(cells_A) > 1:
        changes = np.einsum(
            "px,fxy->pyf", (shifts + images[i] - images[j]).astype(float), cells_A - cells_A[0]
        )
    for axis in range(3):
        vector = b.motion_A[other, axis] - a.motion_A[i, axis]
        vector += vectors_A[:, axis, None].astype(np.float32)
        if len(cells_A) > 1:
            vector += changes[:, axis]
        squared += vector**2
    inside = squared < np.float32(cutoff_A**2)
    return _merge_images(start, i, other, inside, len(b.first_A))


def _merge_images(
    start: int, i: np.ndarray, j: np.ndarray, inside: np.ndarray, n_neighbors: int
) -> Contacts:
    """One row per pair of atoms, sorted by centre: inside when any of its images is."""
    key = i * n_neighbors + j
    order = np.argsort(key, kind="stable")
    key, inside = key[order], inside[order]
    unique, first = np.unique(key, return_index=True)
    if len(unique) < len(key):
        inside = np.logical_or.reduceat(inside, first, axis=0)
    return Contacts(start, unique // n_neighbors, unique % n_neighbors, inside)
