"""A trajectory prepared for analysis: unwrapped, without drift, on disk.

Reading is streamed. Memory holds at most the cell of each frame, 72 bytes. Displacements are in an
unnamed scratch file, in single precision and blocks of (atoms, 3, frames), so that both the history
of a few atoms and a few frames of all atoms are cheap to read.

Where the cell changes, two kinds of unwrapped positions differ, and both are kept.
*Positions* fold back into the cell (`snapshots`, `stretches`), so that distances between atoms are
right. Such a position is that of an image some cells away from the origin, and it is shifted by
every change of the cell in between. *Displacements* leave this image shift out (`histories`,
`displacements_A`), so that they say how far an atom has moved: the toroidal-view-preserving scheme
of Bullerjahn, von Bülow, Heidari, Hénin and Hummer, J. Chem. Theory Comput. 19, 3406 (2023).
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.formula import Formula

from vitrion.base.errors import InputError
from vitrion.base.units import U_A3_TO_G_CM3

ReferenceFrame = Literal["center_of_mass", "framework", "none"]

# Largest step between two frames, as a fraction of the cell, for which unwrapping is safe. Beyond
# 1/2 the nearest image is the wrong one; where a step is beyond 1/3, others may be beyond 1/2.
SAFE_STEP = 1 / 3
BLOCK_VALUES = 3_000_000  # of one block of the scratch file


@dataclass(frozen=True)
class Frames:
    """Consecutive frames as they are in a file.

    Attributes:
        positions_A: (frames, atoms, 3).
        cells_A: (frames, 3, 3), rows are cell vectors.
    """

    positions_A: np.ndarray
    cells_A: np.ndarray


@dataclass(frozen=True)
class Source:
    """Frames of one trajectory, to be read once.

    Attributes:
        symbols: element of each atom.
        frame_interval_ps: time between frames.
        wrapped: whether atoms may have been folded back into the cell between frames.
        chunks: the frames, a few at a time.
        name: name of the source in messages.
        n_frames: number of frames, if known beforehand.
        charges: charge of each element in e, where the file holds charges.
        notes: what was left out or assumed, for the user to know.
    """

    symbols: tuple[str, ...]
    frame_interval_ps: float
    wrapped: bool
    chunks: Iterable[Frames]
    name: str
    n_frames: int | None = None
    charges: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_arrays(
        cls,
        symbols: Sequence[str],
        positions_A: np.ndarray,
        cell_A: np.ndarray,
        frame_interval_ps: float,
        *,
        wrapped: bool = False,
    ) -> Source:
        """Frames in memory.

        Args:
            symbols: element of each atom.
            positions_A: (frames, atoms, 3).
            cell_A: (3, 3), or (frames, 3, 3).
            frame_interval_ps: time between frames.
            wrapped: whether atoms may have been folded back into the cell.
        """
        cells_A = np.broadcast_to(np.asarray(cell_A, dtype=float), (len(positions_A), 3, 3))
        return cls(
            symbols=tuple(symbols),
            frame_interval_ps=frame_interval_ps,
            wrapped=wrapped,
            chunks=(Frames(positions_A, cells_A),),
            name="arrays",
        )

    @property
    def formula(self) -> str:
        """Reduced formula of the atoms."""
        return Formula.from_dict(Counter(self.symbols)).reduce()[0].format("hill")


class _Scratch:
    """Vectors of all atoms at every frame in an unnamed file, in blocks of (atoms, 3, frames).

    Blocks are complete but for the last, so their places are known without an index.
    """

    def __init__(self, folder: Path | None, n_atoms: int) -> None:
        self.folder, self.n_atoms, self.n_frames = folder, n_atoms, 0
        self.block = int(np.clip(BLOCK_VALUES // (3 * n_atoms), 8, 1024))
        self._pending: list[np.ndarray] = []
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def append(self, vectors_A: np.ndarray) -> None:
        """Add frames (frames, atoms, 3); those of the last block are written by `finish`."""
        self._pending.append(vectors_A.astype(np.float32))
        self.n_frames += len(vectors_A)
        if sum(map(len, self._pending)) >= self.block:
            ready = np.concatenate(self._pending)
            full = len(ready) // self.block * self.block
            for first in range(0, full, self.block):
                self._write(ready[first : first + self.block])
            self._pending = [ready[full:].copy()]

    def finish(self) -> None:
        """Write the last block; no frames can be added afterwards."""
        self._write(np.concatenate(self._pending))
        self._pending = []

    def copy(self) -> _Scratch:
        """The same frames in a file of their own."""
        other = _Scratch(self.folder, self.n_atoms)
        self._file.seek(0)
        shutil.copyfileobj(self._file, other._file, 1 << 24)
        self._file.seek(0, 2)
        other.n_frames, other._pending = self.n_frames, list(self._pending)
        return other

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def read(self, number: int, atoms: slice) -> np.ndarray:
        """Consecutive atoms in one block, (atoms, 3, frames)."""
        first = number * self.block
        frames = min(self.block, self.n_frames - first)
        count = (atoms.stop - atoms.start) * 3 * frames
        self._file.seek(4 * 3 * (first * self.n_atoms + atoms.start * frames))
        return np.fromfile(self._file, dtype=np.float32, count=count).reshape(-1, 3, frames)

    def _write(self, vectors_A: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(vectors_A.transpose(1, 2, 0)).tobytes())


class Trajectory:
    """Drift-free displacements from the first frame, with atoms sorted by element.

    Made by `Trajectory.read`. Use as a context manager; the scratch file goes away at the end.

    Attributes:
        species: elements in order of first appearance.
        slices: the atoms of each element, in this trajectory's order of atoms.
        symbols: (atoms,) element of each atom.
        kinds: (atoms,) its place in `species`.
        masses_u: (atoms,).
        start_A: (atoms, 3) positions in the first frame.
        cells_A: (frames, 3, 3), or (1, 3, 3) when the cell never changes.
        frame_interval_ps: time between frames.
        n_frames: number of frames.
        reference_frame: whose drift was removed.
        drift_A: length of the drift that was removed between first and last frame.
    """

    def __init__(
        self,
        *,
        species: Sequence[str],
        slices: dict[str, slice],
        symbols: np.ndarray,
        start_A: np.ndarray,
        frame_interval_ps: float,
        reference_frame: ReferenceFrame,
        scratch: Path | None,
    ) -> None:
        self.species, self.slices, self.symbols = tuple(species), slices, symbols
        self.kinds = np.array([self.species.index(s) for s in symbols])
        self.masses_u = np.array([atomic_masses[atomic_numbers[s]] for s in symbols])
        self.start_A, self.frame_interval_ps = start_A, frame_interval_ps
        self.reference_frame = reference_frame
        self.cells_A = np.empty((0, 3, 3))
        self.drift_A = 0.0
        self.n_frames = 0
        self._displacements = _Scratch(scratch, len(symbols))
        # The same file while the cell does not change.
        self._positions = self._displacements

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self._displacements.close()
        self._positions.close()

    @classmethod
    def read(
        cls,
        source: Source,
        *,
        discard_ps: float = 0.0,
        reference_frame: ReferenceFrame = "center_of_mass",
        mobile: Sequence[str] = (),
        scratch: Path | None = None,
    ) -> Trajectory:
        """Stream a source into a trajectory.

        Args:
            source: the frames.
            discard_ps: left out at the start (equilibration).
            reference_frame: centre of mass of all atoms, mean of all but `mobile`, or as it is.
            mobile: elements that do not belong to the framework.
            scratch: folder of the scratch file; 12 bytes per atom and frame, and as many again
                where the cell changes.

        Raises:
            InputError: fewer than two frames left, or frames too far apart to unwrap.
        """
        symbols = np.array(source.symbols)
        species = list(dict.fromkeys(source.symbols))
        order = np.concatenate([np.flatnonzero(symbols == s) for s in species])
        symbols = symbols[order]
        ends = np.cumsum([np.count_nonzero(symbols == s) for s in species])
        slices = {
            s: slice(int(end - np.count_nonzero(symbols == s)), int(end))
            for s, end in zip(species, ends, strict=True)
        }
        chunks = _with_image_shifts(_discard(source, discard_ps))
        first = next(chunks)
        trajectory = cls(
            species=species,
            slices=slices,
            symbols=symbols,
            start_A=first[0][0, order],
            frame_interval_ps=source.frame_interval_ps,
            reference_frame=reference_frame,
            scratch=scratch,
        )
        weights = trajectory._drift_weights(mobile)
        cells: list[np.ndarray] = []
        for positions_A, image_shift_A, cells_A in chain([first], chunks):
            cells.append(cells_A)
            trajectory._append(positions_A[:, order], image_shift_A[:, order], weights)
        trajectory._finish(np.concatenate(cells))
        return trajectory

    def _append(
        self, positions_A: np.ndarray, image_shift_A: np.ndarray, weights: np.ndarray
    ) -> None:
        """Add frames: positions that fold into the cell, and their image shifts."""
        relative_A = positions_A - self.start_A
        displacement_A = relative_A - image_shift_A
        drift_A = np.einsum("a,fax->fx", weights, displacement_A)
        if self._positions is self._displacements and image_shift_A.any():
            self._positions = self._displacements.copy()
        self._displacements.append(displacement_A - drift_A[:, None])
        if self._positions is not self._displacements:
            self._positions.append(relative_A - drift_A[:, None])
        self.drift_A = float(np.linalg.norm(drift_A[-1]))
        self.n_frames += len(positions_A)

    def _finish(self, cells_A: np.ndarray) -> None:
        self._displacements.finish()
        if self._positions is not self._displacements:
            self._positions.finish()
        constant = np.allclose(cells_A, cells_A[0], rtol=0, atol=1e-9)
        self.cells_A = cells_A[:1] if constant else cells_A

    def _drift_weights(self, mobile: Sequence[str]) -> np.ndarray:
        weights = self.masses_u.copy()
        if self.reference_frame == "none":
            return np.zeros_like(weights)
        if self.reference_frame == "framework":
            # Every atom alike, as in kinisi: a lattice has sites, not masses.
            weights = (~np.isin(self.symbols, mobile)).astype(float)
            if not weights.any():
                raise InputError(
                    "reference_frame", "framework", "all atoms are mobile; use center_of_mass"
                )
        return weights / weights.sum()

    def first(self, n_frames: int) -> Trajectory:
        """The trajectory of the first frames alone; shares the scratch files of this one."""
        shorter = copy.copy(self)
        shorter.n_frames, shorter.cells_A = n_frames, self.cells_A[:n_frames]
        return shorter

    def __len__(self) -> int:
        return self.n_frames

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)

    @property
    def length_ps(self) -> float:
        """Time between the first and the last frame."""
        return (self.n_frames - 1) * self.frame_interval_ps

    @property
    def volume_A3(self) -> float:
        """Mean volume of the cell."""
        return float(np.abs(np.linalg.det(self.cells_A)).mean())

    @property
    def density_g_cm3(self) -> float:
        """Mass density at the mean volume."""
        return float(self.masses_u.sum() * U_A3_TO_G_CM3 / self.volume_A3)

    def counts(self) -> dict[str, int]:
        """Number of atoms of each element."""
        return {s: self.slices[s].stop - self.slices[s].start for s in self.species}

    def cells(self, start: int, stop: int) -> np.ndarray:
        """Cells of a stretch of frames, (frames or 1, 3, 3)."""
        return self.cells_A if len(self.cells_A) == 1 else self.cells_A[start:stop]

    def history(self, atoms: slice) -> np.ndarray:
        """Displacements of consecutive atoms over all frames, (atoms, 3, frames), float32."""
        out = np.empty((atoms.stop - atoms.start, 3, self.n_frames), dtype=np.float32)
        for first, block in self._blocks(self._displacements, atoms):
            out[:, :, first : first + block.shape[2]] = block
        return out

    def histories(self, species: str, *, values: int = 6_000_000) -> Iterator[np.ndarray]:
        """Histories of an element, as many atoms at a time as hold about `values` numbers."""
        atoms = self.slices[species]
        batch = max(1, values // (3 * self.n_frames))
        for first in range(atoms.start, atoms.stop, batch):
            yield self.history(slice(first, min(first + batch, atoms.stop)))

    def displacements_A(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """Displacements of all atoms at some frames in increasing order, (frames, atoms, 3)."""
        found = self._at(self._displacements, frames)
        return np.stack([displacement_A.copy() for _, displacement_A in found])

    def stretches(
        self, *atoms: slice, frames: int | None = None
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Positions less `start_A`, which fold back into the cell, over short stretches of time.

        Args:
            atoms: slices of atoms wanted.
            frames: most frames of a stretch.

        Yields:
            The first frame of the stretch and one array (atoms, 3, frames) per slice.
        """
        for parts in zip(*(self._blocks(self._positions, part) for part in atoms), strict=True):
            first, length = parts[0][0], parts[0][1].shape[2]
            step = min(frames or length, length)
            for offset in range(0, length, step):
                yield first + offset, [block[:, :, offset : offset + step] for _, block in parts]

    def snapshots(
        self, frames: Sequence[int] | np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Whole frames, in increasing order: frame, positions (atoms, 3), cell (3, 3)."""
        for frame, relative_A in self._at(self._positions, frames):
            yield frame, self.start_A + relative_A, self.cells(frame, frame + 1)[0]

    def _blocks(self, scratch: _Scratch, atoms: slice) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, self.n_frames, scratch.block):
            block = scratch.read(first // scratch.block, atoms)
            yield first, block[:, :, : self.n_frames - first]

    def _at(
        self, scratch: _Scratch, frames: Sequence[int] | np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        wanted = np.asarray(frames)
        for number in np.unique(wanted // scratch.block):
            block = scratch.read(int(number), slice(0, self.n_atoms))
            for frame in wanted[wanted // scratch.block == number]:
                yield int(frame), block[:, :, frame - number * scratch.block]


def _discard(source: Source, discard_ps: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unwrapped frames after the first `discard_ps`.

    Raises:
        InputError: fewer than two are left.
    """
    left = skip = round(discard_ps / source.frame_interval_ps)
    seen = 0
    for positions_A, cells_A in _unwrap(source):
        seen += len(positions_A)
        left_out = min(left, len(positions_A))
        left -= left_out
        if left_out < len(positions_A):
            yield positions_A[left_out:], cells_A[left_out:]
    if seen < 2:
        raise InputError("trajectory", source.name, "holds fewer than two frames; give them all")
    if seen - skip < 2:
        raise InputError(
            "discard_ps",
            discard_ps,
            f"leaves fewer than two of the {seen} frames of {source.name}; use less",
        )


def _unwrap(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (frames, atoms, 3) that fold back into the cells (frames, 3, 3) and never jump.

    Raises:
        InputError: a step too long for its image to be certain.
    """
    folded: np.ndarray | None = None
    shift = np.empty(0)
    for chunk in source.chunks:
        positions_A = np.array(chunk.positions_A, dtype=float)
        cells_A = np.asarray(chunk.cells_A, dtype=float)
        if source.wrapped:
            if folded is None:
                folded, shift = positions_A[0], np.zeros(positions_A[0].shape)
            steps_A = np.diff(positions_A, axis=0, prepend=folded[None])
            fractional = np.einsum("fax,fxy->fay", steps_A, np.linalg.inv(cells_A))
            images = np.round(fractional)
            longest = float(np.abs(fractional - images).max())
            if longest > SAFE_STEP:
                raise InputError(
                    "trajectory",
                    source.name,
                    f"an atom moves {longest:.2f} cell lengths between frames, too long to unwrap "
                    f"safely (limit {SAFE_STEP:.2f}); store frames more often, or give unwrapped "
                    "positions and say so (--unwrapped)",
                )
            folded = positions_A[-1].copy()
            shifts = shift - np.cumsum(images, axis=0)  # in cell vectors
            shift = shifts[-1]
            positions_A += np.einsum("fax,fxy->fay", shifts, cells_A)
        yield positions_A, cells_A


def _with_image_shifts(
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames with the image shift of each atom, (frames or 1, atoms, 3), since the first frame.

    A position n cells away from the origin is shifted by n times every change of the cell.

    Args:
        frames: positions (frames, atoms, 3) and cells (frames, 3, 3).

    Yields:
        Positions, image shifts and cells.
    """
    last: tuple[np.ndarray, np.ndarray] | None = None
    for positions_A, cells_A in frames:
        if last is None:
            last, image_shift_A = (positions_A[0], cells_A[0]), np.zeros((1, *positions_A[0].shape))
        changes_A = np.diff(cells_A, axis=0, prepend=last[1][None])
        if changes_A.any():
            at_A = np.concatenate([last[0][None], positions_A[:-1]])
            inverse = np.linalg.inv(cells_A - changes_A)
            cells_away = np.floor(np.einsum("fax,fxy->fay", at_A, inverse))
            steps_A = np.einsum("fax,fxy->fay", cells_away, changes_A)
            image_shift_A = image_shift_A[-1] + np.cumsum(steps_A, axis=0)
        else:
            image_shift_A = image_shift_A[-1:]
        last = positions_A[-1], cells_A[-1]
        yield positions_A, image_shift_A, cells_A
