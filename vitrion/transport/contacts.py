"""Which pairs of ions are within their cutoff, frame by frame.

`follow_contacts` finds them, `ContactRecorder` keeps the intervals of time, `ContactIntervals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vitrion.structure.neighbors import neighbor_pairs
from vitrion.trajectory.unwrapping import Trajectory

# Frames over which one list of candidate pairs serves.
STRETCH_FRAMES = 64
# Origins of survival curves; more of them, nearer in time, add little that is independent.
RESIDENCE_ORIGINS = 4000


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


class ContactRecorder:
    """Collects when pairs come together and part, stretch after stretch.

    Memory: 16 bytes per encounter, then 12 in `Encounters`, about 80 at the peak (measured, in
    benchmarks/analyze.md); and four bytes per centre and origin for environments.
    """

    def __init__(self, n_centers: int, n_mobile: int, n_frames: int) -> None:
        self.n_centers, self.n_mobile, self.n_frames = n_centers, n_mobile, n_frames
        self.stride = max(1, -(-n_frames // RESIDENCE_ORIGINS))
        self._together = np.zeros(n_centers * n_mobile, dtype=bool)
        self._starts: list[np.ndarray] = []
        self._stops: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def add(self, contacts: Contacts, codes: np.ndarray) -> None:
        """Add a stretch: contacts of centres with mobile ions and environment codes."""
        pair = contacts.center * self.n_mobile + contacts.neighbor
        before = self._together.copy()
        self._together[:] = False
        if len(pair):
            self._together[pair] = contacts.inside[:, -1]
        known = np.concatenate([before[pair][:, None], contacts.inside], axis=1)
        for found, change in (
            (self._starts, ~known[:, :-1] & known[:, 1:]),
            (self._stops, known[:, :-1] & ~known[:, 1:]),
        ):
            row, frame = np.nonzero(change)
            found.append(self._key(pair[row], frame + contacts.start))
        # Pairs that are no longer even candidates parted before the stretch began.
        before[pair] = False
        self._stops.append(self._key(np.flatnonzero(before), contacts.start))
        offset = -contacts.start % self.stride
        self._codes.append(codes[:, offset :: self.stride])

    def _key(self, pair: np.ndarray, frame: np.ndarray | int) -> np.ndarray:
        return pair * (self.n_frames + 1) + frame

    def _sorted(self, keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs and frames of the keys, sorted; takes the list's memory."""
        every = np.concatenate(keys)
        keys.clear()
        every.sort()
        pair = (every // (self.n_frames + 1)).astype(np.int32)
        every %= self.n_frames + 1
        return pair, every.astype(np.int32)

    def result(self) -> Encounters:
        """All encounters; the recorder is empty afterwards."""
        self._stops.append(self._key(np.flatnonzero(self._together), self.n_frames))
        pair, start = self._sorted(self._starts)
        _, stop = self._sorted(self._stops)
        return Encounters(
            pair=pair,
            start=start,
            stop=stop,
            codes=np.concatenate(self._codes, axis=1),
            stride=self.stride,
            n_mobile=self.n_mobile,
            n_frames=self.n_frames,
        )


@dataclass(frozen=True)
class Encounters:
    """Stretches of time that a pair is together, sorted by pair and time.

    Attributes:
        pair: centre times n_mobile plus mobile ion, int32.
        start, stop: first frame together, first frame apart, int32.
        codes: (centers, origins) environment of each centre at every origin.
        stride: frames between origins.
        n_mobile: mobile ions.
        n_frames: length of the trajectory.
    """

    pair: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    codes: np.ndarray
    stride: int
    n_mobile: int
    n_frames: int

    def first(self, n_frames: int) -> Encounters:
        """The encounters as they would have been seen in a shorter trajectory."""
        seen = self.start < n_frames
        return replace(
            self,
            pair=self.pair[seen],
            start=self.start[seen],
            stop=np.minimum(self.stop[seen], n_frames),
            codes=self.codes[:, : -(-n_frames // self.stride)],
            n_frames=n_frames,
        )

    def departures(self, tolerance: int) -> tuple[np.ndarray, np.ndarray]:
        """When the ion of each encounter leaves, absences up to `tolerance` frames forgiven.

        Returns:
            The frame of departure of each encounter, and whether the encounter is the last before
            it. Departures within `tolerance` of the end may yet be forgiven.
        """
        last = np.ones(len(self.pair), dtype=bool)
        last[:-1] = self.pair[1:] != self.pair[:-1]
        last[:-1] |= self.start[1:] - self.stop[:-1] > tolerance
        ends = self.stop[last]
        return ends[np.cumsum(last, dtype=np.int32) - last], last

    def key(self, encounter: np.ndarray | slice) -> np.ndarray:
        """Numbers of (pair, frame 0) that, with a frame added, sort as encounters do."""
        return self.pair[encounter].astype(np.int64) * (self.n_frames + 1)

    def origins(self, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Encounter and frame of every origin, a multiple of `stride`, that a pair is together."""
        first, stop = -(-self.start // stride), -(-self.stop // stride)
        count = stop - first
        encounter = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(encounter)) - np.repeat(np.cumsum(count) - count, count)
        return encounter, (first[encounter] + within) * stride
