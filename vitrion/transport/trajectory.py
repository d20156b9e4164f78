"""A trajectory prepared for analysis: unwrapped, free of drift, and out of memory.

Reading is streamed. What is kept per frame in memory are at most the cell and the drift; the
displacements go into an unnamed scratch file, single precision, in blocks of (atoms, 3, frames), so
that both the history of a few atoms and a stretch of frames of all atoms are cheap to read.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.formula import Formula

from vitrion.errors import InputError
from vitrion.units import U_A3_TO_G_CM3

ReferenceFrame = Literal["center_of_mass", "framework", "none"]

# Largest step between two frames, as a fraction of the cell, that unwrapping may be trusted with:
# beyond 1/2 the nearest image is the wrong one, and a step beyond 1/3 means that some are.
SAFE_STEP = 1 / 3
BLOCK_VALUES = 3_000_000


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
    """Where frames come from.

    Attributes:
        symbols: element of each atom.
        frame_interval_ps: time between frames.
        wrapped: whether atoms may have been folded back into the cell between frames.
        chunks: the frames, once, a few at a time.
        name: what to call the source in messages.
        n_frames: number of frames, if known beforehand.
        metadata: what the files say about themselves.
    """

    symbols: tuple[str, ...]
    frame_interval_ps: float
    wrapped: bool
    chunks: Iterable[Frames]
    name: str
    n_frames: int | None = None
    metadata: dict[str, object] | None = None

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
        """Frames that are in memory already.

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
        folder: Path | None,
    ) -> None:
        self.species, self.slices, self.symbols = tuple(species), slices, symbols
        self.kinds = np.array([self.species.index(s) for s in symbols])
        self.masses_u = np.array([atomic_masses[atomic_numbers[s]] for s in symbols])
        self.start_A, self.frame_interval_ps = start_A, frame_interval_ps
        self.reference_frame = reference_frame
        self.cells_A = np.empty((0, 3, 3))
        self.drift_A = 0.0
        self.n_frames = 0
        self._block = int(np.clip(BLOCK_VALUES // (3 * len(symbols)), 8, 1024))
        # Blocks are complete but for the last, so their offsets are known without an index.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    @classmethod
    def read(
        cls,
        source: Source,
        *,
        discard_ps: float = 0.0,
        reference_frame: ReferenceFrame = "center_of_mass",
        mobile: str | None = None,
        scratch: Path | None = None,
    ) -> Trajectory:
        """Stream a source into a trajectory.

        Args:
            source: the frames.
            discard_ps: left out at the start (equilibration).
            reference_frame: centre of mass of all atoms, mean of all but `mobile`, or as it is.
            mobile: element that does not belong to the framework.
            scratch: folder of the scratch file; 12 bytes per atom and frame.

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
        skip = round(discard_ps / source.frame_interval_ps)
        trajectory: Trajectory | None = None
        cells: list[np.ndarray] = []
        pending: list[np.ndarray] = []
        n_pending = seen = 0
        for positions_A, cells_A in _unwrap(source):
            left_out = min(max(skip - seen, 0), len(positions_A))
            seen += len(positions_A)
            positions_A, cells_A = positions_A[left_out:, order], cells_A[left_out:]
            if not len(positions_A):
                continue
            if trajectory is None:
                trajectory = cls(
                    species=species,
                    slices=slices,
                    symbols=symbols,
                    start_A=positions_A[0].copy(),
                    frame_interval_ps=source.frame_interval_ps,
                    reference_frame=reference_frame,
                    folder=scratch,
                )
                weights = trajectory._drift_weights(mobile)
            displacements_A = positions_A - trajectory.start_A
            drift_A = np.einsum("a,fax->fx", weights, displacements_A)
            displacements_A -= drift_A[:, None]
            trajectory.drift_A = float(np.linalg.norm(drift_A[-1]))
            cells.append(cells_A)
            pending.append(displacements_A.astype(np.float32))
            n_pending += len(displacements_A)
            trajectory.n_frames += len(displacements_A)
            while n_pending >= trajectory._block:
                ready = np.concatenate(pending) if len(pending) > 1 else pending[0]
                trajectory._write(ready[: trajectory._block])
                pending = [ready[trajectory._block :]]
                n_pending -= trajectory._block
        if trajectory is None or trajectory.n_frames < 2:
            raise InputError(
                "discard_ps",
                discard_ps,
                f"leaves fewer than two of the {seen} frames of {source.name}; use less",
            )
        if n_pending:
            trajectory._write(np.concatenate(pending))
        trajectory.cells_A = np.concatenate(cells)
        if np.allclose(trajectory.cells_A, trajectory.cells_A[0], rtol=0, atol=1e-9):
            trajectory.cells_A = trajectory.cells_A[:1]
        return trajectory

    def _drift_weights(self, mobile: str | None) -> np.ndarray:
        weights = self.masses_u.copy()
        if self.reference_frame == "none":
            return np.zeros_like(weights)
        if self.reference_frame == "framework":
            # Every atom alike, as in kinisi: a lattice has sites, not masses.
            weights = (self.symbols != mobile).astype(float)
            if not weights.any():
                raise InputError(
                    "reference_frame", "framework", "all atoms are mobile; use center_of_mass"
                )
        return weights / weights.sum()

    def _write(self, displacements_A: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(displacements_A.transpose(1, 2, 0)).tobytes())

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
        for first in range(0, self.n_frames, self._block):
            block = self._read(first // self._block, atoms)
            out[:, :, first : first + block.shape[2]] = block
        return out

    def histories(self, species: str, *, values: int = 6_000_000) -> Iterator[np.ndarray]:
        """Histories of an element, as many atoms at a time as hold about `values` numbers."""
        atoms = self.slices[species]
        batch = max(1, values // (3 * self.n_frames))
        for first in range(atoms.start, atoms.stop, batch):
            yield self.history(slice(first, min(first + batch, atoms.stop)))

    def stretches(
        self, *atoms: slice, frames: int | None = None
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Displacements over short stretches of time.

        Args:
            atoms: slices of atoms wanted.
            frames: most frames of a stretch.

        Yields:
            The first frame of the stretch and one array (atoms, 3, frames) per slice.
        """
        for first in range(0, self.n_frames, self._block):
            blocks = [self._read(first // self._block, part) for part in atoms]
            length = min(self._block, self.n_frames - first)
            step = min(frames or length, length)
            for offset in range(0, length, step):
                yield first + offset, [block[:, :, offset : offset + step] for block in blocks]

    def snapshots(self, frames: Sequence[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Whole frames, in increasing order: frame, positions (atoms, 3), cell (3, 3)."""
        frames = np.asarray(frames)
        everything = slice(0, self.n_atoms)
        for number in np.unique(frames // self._block):
            block = self._read(int(number), everything)
            for frame in frames[frames // self._block == number]:
                positions_A = self.start_A + block[:, :, frame - number * self._block]
                yield int(frame), positions_A, self.cells(frame, frame + 1)[0]

    def _read(self, block: int, atoms: slice) -> np.ndarray:
        first = block * self._block
        frames = min(self._block, self.n_frames - first)
        count = (atoms.stop - atoms.start) * 3 * frames
        self._file.seek(4 * 3 * (first * self.n_atoms + atoms.start * frames))
        return np.fromfile(self._file, dtype=np.float32, count=count).reshape(-1, 3, frames)


def _unwrap(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (frames, atoms, 3) that never jump, and cells (frames, 3, 3).

    Each step between frames is reduced to its nearest image with the newer cell and added up, which
    keeps diffusion right under a fluctuating cell (the toroidal-view-preserving scheme: Bullerjahn,
    von Bülow, Heidari, Hénin and Hummer, J. Chem. Theory Comput. 19, 3406, 2023).

    Raises:
        InputError: a step too long for its image to be certain.
    """
    folded: np.ndarray | None = None
    unwrapped = np.empty(0)
    for chunk in source.chunks:
        positions_A = np.asarray(chunk.positions_A, dtype=float)
        cells_A = np.asarray(chunk.cells_A, dtype=float)
        if not source.wrapped:
            yield positions_A.copy(), cells_A
            continue
        if folded is None:
            folded = unwrapped = positions_A[0]
        steps_A = np.diff(positions_A, axis=0, prepend=folded[None])
        fractional = np.einsum("fax,fxy->fay", steps_A, np.linalg.inv(cells_A))
        images = np.round(fractional)
        longest = float(np.abs(fractional - images).max())
        if longest > SAFE_STEP:
            raise InputError(
                source.name,
                f"a step of {longest:.2f} cell lengths between frames",
                f"too long to unwrap safely (limit {SAFE_STEP:.2f}); store frames more often, or "
                "give unwrapped positions and say so",
            )
        steps_A -= np.einsum("fax,fxy->fay", images, cells_A)
        folded = positions_A[-1]
        positions_A = unwrapped + np.cumsum(steps_A, axis=0)
        unwrapped = positions_A[-1]
        yield positions_A, cells_A
