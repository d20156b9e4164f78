"""Which pairs of ions are within their cutoff, frame by frame.

`follow_contacts` finds them, `ContactRecorder` keeps the intervals of time, `ContactIntervals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitrion.structure.neighbors import neighbor_pairs
from vitrion.trajectory.unwrapping import Trajectory

# Frames for which one list of nearby pairs is used.
STRETCH_FRAMES = 64
# Origins of survival curves; more of them, nearer in time, add little that is independent.
RESIDENCE_ORIGINS = 4000


@dataclass(frozen=True)
class Contacts:
    """Which pairs of a centre and a neighbour are within the cutoff, over a stretch of frames.

    Attributes:
        start: first frame.
        center, neighbor: (pairs,) indices within their element; each pair is listed once.
        inside: (pairs, frames) bool.
    """

    start: int
    center: np.ndarray
    neighbor: np.ndarray
    inside: np.ndarray


def follow_contacts(
    trajectory: Trajectory, center: str, neighbors_A: Mapping[str, float]
) -> Iterator[dict[str, Contacts]]:
    """Contacts between a centre and other elements at every frame of a trajectory.

    One list of pairs is used for a short stretch of frames, like a Verlet list. It holds every pair
    within the cutoff plus the largest displacements of both atoms during the stretch, so no contact
    is missed.

    Args:
        trajectory: the trajectory.
        center: element of the centres.
        neighbors_A: first-shell cutoff for each neighbouring element.

    Yields:
        Contacts by neighbouring element, for one stretch of frames after another.
    """
    slices = [trajectory.slices[s] for s in [center, *neighbors_A]]
    for start, blocks in trajectory.stretches(*slices, frames=STRETCH_FRAMES):
        cells_A = trajectory.cells(start, start + blocks[0].shape[2])
        found = {}
        for (species, cutoff_A), block in zip(neighbors_A.items(), blocks[1:], strict=True):
            (found[species],) = _contacts(
                start,
                _Stretch.of(trajectory, trajectory.slices[center], blocks[0]),
                _Stretch.of(trajectory, trajectory.slices[species], block),
                cells_A,
                [cutoff_A],
                same=species == center,
            )
        yield found


def follow_by_cutoff(
    trajectory: Trajectory, centers: slice, neighbor: str, cutoffs_A: Sequence[float]
) -> Iterator[list[Contacts]]:
    """Contacts of some centres with one other element, by each of several cutoffs.

    Args:
        trajectory: the trajectory.
        centers: consecutive atoms of one element.
        neighbor: the other element.
        cutoffs_A: first-shell cutoffs.

    Yields:
        Contacts by cutoff, for one stretch of frames after another.
    """
    neighbors = trajectory.slices[neighbor]
    for start, blocks in trajectory.stretches(centers, neighbors, frames=STRETCH_FRAMES):
        yield _contacts(
            start,
            _Stretch.of(trajectory, centers, blocks[0]),
            _Stretch.of(trajectory, neighbors, blocks[1]),
            trajectory.cells(start, start + blocks[0].shape[2]),
            cutoffs_A,
            same=False,
        )


@dataclass(frozen=True)
class _Stretch:
    """Atoms over a stretch of frames.

    Attributes:
        first_A: (atoms, 3) positions in the first frame.
        displacement_A: (atoms, 3, frames) since then.
        largest_A: (atoms,) length of the largest displacement.
    """

    first_A: np.ndarray
    displacement_A: np.ndarray
    largest_A: np.ndarray

    @classmethod
    def of(cls, trajectory: Trajectory, atoms: slice, block: np.ndarray) -> _Stretch:
        displacement_A = block - block[:, :, :1]
        squared = np.einsum("axf,axf->af", displacement_A, displacement_A)
        return cls(
            first_A=trajectory.start_A[atoms] + block[:, :, 0],
            displacement_A=displacement_A,
            largest_A=np.sqrt(squared.max(axis=1)),
        )


def _contacts(
    start: int,
    a: _Stretch,
    b: _Stretch,
    cells_A: np.ndarray,
    cutoffs_A: Sequence[float],
    *,
    same: bool,
) -> list[Contacts]:
    cutoff_A, n_frames = max(cutoffs_A), a.displacement_A.shape[2]
    positions_A = a.first_A if same else np.concatenate([a.first_A, b.first_A])
    # In a changing cell an atom far outside moves by many times the cell's change; folded ones do
    # not.
    images = np.floor(positions_A @ np.linalg.inv(cells_A[0])).astype(int)
    folded_A = positions_A - images @ cells_A[0]
    deformation_A = np.linalg.norm(cells_A - cells_A[0], axis=(1, 2)).max() * 3
    list_cutoff_A = cutoff_A + a.largest_A.max() + b.largest_A.max() + deformation_A
    i, j, vectors_A, shifts = neighbor_pairs(folded_A, cells_A[0], list_cutoff_A)
    n_centers = len(a.first_A)
    wanted = i < n_centers if same else (i < n_centers) & (j >= n_centers)
    i, j, vectors_A, shifts = i[wanted], j[wanted], vectors_A[wanted], shifts[wanted]
    other = j if same else j - n_centers
    near = (
        np.einsum("px,px->p", vectors_A, vectors_A)
        <= (cutoff_A + a.largest_A[i] + b.largest_A[other] + deformation_A) ** 2
    )
    i, j, other, vectors_A, shifts = i[near], j[near], other[near], vectors_A[near], shifts[near]
    squared = np.zeros((len(i), n_frames), dtype=np.float32)
    if len(cells_A) > 1:
        changes = np.einsum(
            "px,fxy->pyf", (shifts + images[i] - images[j]).astype(float), cells_A - cells_A[0]
        )
    for axis in range(3):
        vector = b.displacement_A[other, axis] - a.displacement_A[i, axis]
        vector += vectors_A[:, axis, None].astype(np.float32)
        if len(cells_A) > 1:
            vector += changes[:, axis]
        squared += vector**2
    return [
        _merge_images(start, i, other, squared < np.float32(cutoff_A**2), len(b.first_A))
        for cutoff_A in cutoffs_A
    ]


def _merge_images(
    start: int, i: np.ndarray, j: np.ndarray, inside: np.ndarray, n_neighbors: int
) -> Contacts:
    """One row per pair of atoms, sorted by centre: in contact when any of its images is."""
    key = i * n_neighbors + j
    order = np.argsort(key, kind="stable")
    key, inside = key[order], inside[order]
    unique, first = np.unique(key, return_index=True)
    if len(unique) < len(key):
        inside = np.logical_or.reduceat(inside, first, axis=0)
    return Contacts(start, unique // n_neighbors, unique % n_neighbors, inside)


class ContactRecorder:
    """Collects the contact intervals of pairs from one stretch of frames after another.

    Memory: 16 bytes per interval, then 12 in `ContactIntervals`, about 80 at the peak (measured, in
    benchmarks/analyze.md), and eight bytes per centre and time origin for environments.
    """

    def __init__(self, n_centers: int, n_mobile: int, n_frames: int) -> None:
        self.n_centers, self.n_mobile, self.n_frames = n_centers, n_mobile, n_frames
        self.stride = max(1, -(-n_frames // RESIDENCE_ORIGINS))
        self._in_contact = np.zeros(n_centers * n_mobile, dtype=bool)
        self._starts: list[np.ndarray] = []
        self._stops: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def add(self, contacts: Contacts, codes: np.ndarray) -> None:
        """Add a stretch: contacts of centres with mobile ions, and codes (centers, frames)."""
        pair = contacts.center * self.n_mobile + contacts.neighbor
        before = self._in_contact.copy()
        self._in_contact[:] = False
        if len(pair):
            self._in_contact[pair] = contacts.inside[:, -1]
        known = np.concatenate([before[pair][:, None], contacts.inside], axis=1)
        for found, change in (
            (self._starts, ~known[:, :-1] & known[:, 1:]),
            (self._stops, known[:, :-1] & ~known[:, 1:]),
        ):
            row, frame = np.nonzero(change)
            found.append(self._key(pair[row], frame + contacts.start))
        # Contacts of pairs that this stretch does not list ended with the previous stretch.
        before[pair] = False
        self._stops.append(self._key(np.flatnonzero(before), contacts.start))
        offset = -contacts.start % self.stride
        self._codes.append(codes[:, offset :: self.stride])

    def _key(self, pair: np.ndarray, frame: np.ndarray | int) -> np.ndarray:
        return pair * (self.n_frames + 1) + frame

    def _sorted(self, keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs and frames of the keys, sorted; the list is empty afterwards."""
        every = np.concatenate(keys)
        keys.clear()
        every.sort()
        pair = (every // (self.n_frames + 1)).astype(np.int32)
        every %= self.n_frames + 1
        return pair, every.astype(np.int32)

    def result(self) -> ContactIntervals:
        """All intervals; the recorder is empty afterwards."""
        self._stops.append(self._key(np.flatnonzero(self._in_contact), self.n_frames))
        pair, start = self._sorted(self._starts)
        _, stop = self._sorted(self._stops)
        return ContactIntervals(
            pair=pair,
            start=start,
            stop=stop,
            codes=np.concatenate(self._codes, axis=1),
            stride=self.stride,
            n_mobile=self.n_mobile,
            n_frames=self.n_frames,
        )


@dataclass(frozen=True)
class ContactIntervals:
    """Intervals of time during which a pair is in contact, sorted by pair and time.

    Attributes:
        pair: (intervals,) centre times n_mobile plus mobile ion, int32.
        start: (intervals,) first frame in contact, int32.
        stop: (intervals,) first frame without contact, int32.
        codes: (centers, origins) environment of each centre at every time origin, int64.
        stride: frames between time origins.
        n_mobile: number of mobile ions.
        n_frames: length of the trajectory.
    """

    pair: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    codes: np.ndarray
    stride: int
    n_mobile: int
    n_frames: int

    def first(self, n_frames: int) -> ContactIntervals:
        """The intervals of the trajectory's first frames."""
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
        """When the ion of each interval leaves for longer than `tolerance` frames.

        Returns:
            (intervals,) the first frame of that absence, and whether the interval is the last one
            before it. Of absences that begin within `tolerance` of the trajectory's end the length
            is unknown.
        """
        last = np.ones(len(self.pair), dtype=bool)
        last[:-1] = self.pair[1:] != self.pair[:-1]
        last[:-1] |= self.start[1:] - self.stop[:-1] > tolerance
        ends = self.stop[last]
        return ends[np.cumsum(last, dtype=np.int32) - last], last

    def key(self, interval: np.ndarray | slice) -> np.ndarray:
        """Sort keys of intervals at frame 0; a frame may be added."""
        return self.pair[interval].astype(np.int64) * (self.n_frames + 1)

    def origins(self, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Interval and frame of every time origin, a multiple of `stride`, within an interval."""
        first, stop = -(-self.start // stride), -(-self.stop // stride)
        count = stop - first
        interval = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(interval)) - np.repeat(np.cumsum(count) - count, count)
        return interval, (first[interval] + within) * stride
