"""Readers: our segments, and whatever ASE or MDAnalysis can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.unwrapping import Frames, Source

CHUNK_FRAMES = 256
# Formats that only MDAnalysis reads; they know no elements and need a topology.
MDANALYSIS_SUFFIXES = {".xtc", ".trr", ".dcd", ".nc", ".ncdf"}
LAMMPS_DUMP = "lammps-dump-text"


def read_segments(paths: Sequence[Path]) -> Source:
    """Consecutive H5MD segments of one trajectory, in order.

    Where some were thinned (`production.keep_every`), only frames that all would have are used.

    Raises:
        InputError: missing or damaged files, other atoms, frames missing, repeated or removed.
    """
    import h5py

    if not paths:
        raise InputError("segments", [], "give at least one file")
    symbols: tuple[str, ...] = ()
    used: list[np.ndarray] = []
    steps: list[np.ndarray] = []
    times_ps: list[np.ndarray] = []
    wrapped = False
    metadata: dict[str, object] = {}
    common = _common_interval(paths)
    for path in map(Path, paths):
        with _open(path) as file:
            try:
                group = file["particles/all"]
                position = group["position"]
                n_frames = len(position["value"])
                own = _symbols(group["species"], file)
                step = _series(position["step"], n_frames).astype(np.int64)
                used.append(np.flatnonzero(step % common == 0))
                steps.append(step[used[-1]])
                times_ps.append(_series(position["time"], n_frames)[used[-1]])
                if not metadata:
                    wrapped = "vitrion" not in file
                    metadata = _metadata(file)
            except KeyError as error:
                raise InputError(
                    "trajectory", str(path), f"is not H5MD with particles/all ({error})"
                ) from error
        if symbols and own != symbols:
            raise InputError("trajectory", str(path), "holds other atoms than the first segment")
        symbols = own
    interval_ps = _check_spacing([str(path) for path in paths], steps, times_ps)

    def chunks() -> Iterator[Frames]:
        for path, rows in zip(paths, used, strict=True):
            with h5py.File(path) as file:
                group = file["particles/all"]
                values, edges = group["position/value"], group["box/edges"]
                # Whole storage chunks, so that none is decompressed twice.
                stored = (values.chunks or (1,))[0]
                step = max(stored, CHUNK_FRAMES // stored * stored)
                for first in range(0, len(values), step):
                    positions_A = values[first : first + step]
                    own = rows[(rows >= first) & (rows < first + step)] - first
                    cells_A = _cells(edges, first, len(positions_A))
                    if len(own):
                        yield Frames(positions_A[own], cells_A[own])

    return Source(
        symbols=symbols,
        frame_interval_ps=interval_ps,
        wrapped=wrapped,
        chunks=chunks(),
        name=str(paths[0]),
        n_frames=sum(map(len, steps)),
        metadata=metadata,
    )


def _common_interval(paths: Sequence[Path]) -> int:
    """Steps between the frames that all of our segments have; 1 where none was thinned.

    Raises:
        InputError: the frames of a segment were removed.
    """
    interval, every = 1, 1
    for path in map(Path, paths):
        with _open(path) as file:
            metadata = _metadata(file).get("metadata", {})
        if "retention" in metadata:
            every = math.lcm(every, metadata["retention"]["keep_every"])
            interval = round(1000 * metadata["frame_interval_ps"] / metadata["timestep_fs"])
        if not every:
            raise InputError(
                "trajectory",
                str(path),
                "holds no frames: they were removed after the analysis (production.keep_every: 0), "
                "whose tables stay as they are; to analyse anew, remove this segment and those "
                "after it, retention.parquet beside them and the trajectory's tables in transport; "
                "all are made again",
            )
    return every * interval


def _open(path: Path):
    import h5py

    if not path.is_file():
        raise InputError("trajectory", str(path), "no such file")
    try:
        return h5py.File(path)
    except OSError as error:
        raise InputError("trajectory", str(path), f"cannot be read as HDF5 ({error})") from error


def _symbols(species, file) -> tuple[str, ...]:
    import h5py
    from ase.data import chemical_symbols

    enumeration = h5py.check_enum_dtype(species.dtype)
    values = species[()]
    if values.ndim > 1:
        values = values[0]
    if enumeration:
        names = {number: name for name, number in enumeration.items()}
        return tuple(names[int(value)] for value in values)
    if values.dtype.kind in "iu":
        return tuple(chemical_symbols[int(value)] for value in values)
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values)


def _series(dataset, n_frames: int) -> np.ndarray:
    """An H5MD step or time, stored in full or as an increment with an offset."""
    if dataset.shape:
        return dataset[:n_frames].astype(float)
    return dataset.attrs.get("offset", 0) + dataset[()] * np.arange(n_frames, dtype=float)


def _metadata(file) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in file["vitrion"].attrs.items() if "vitrion" in file else ():
        text = value.decode() if isinstance(value, bytes) else value
        try:
            found[key] = json.loads(text) if isinstance(text, str) else np.asarray(text).tolist()
        except json.JSONDecodeError:
            found[key] = text
    return found


def _cells(edges, first: int, count: int) -> np.ndarray:
    values = edges["value"][first : first + count] if "value" in edges else edges[()]
    values = np.asarray(values, dtype=float)
    if values.ndim == 1 or (values.ndim == 2 and len(values) == count and count != 3):
        values = values[..., None] * np.eye(3)
    return np.broadcast_to(values, (count, 3, 3))


def _check_spacing(
    names: Sequence[str], steps: Sequence[np.ndarray], times_ps: Sequence[np.ndarray]
) -> float:
    """The time between frames, after checking that every frame follows the one before.

    Raises:
        InputError: names the file and the steps where frames are missing or repeated.
    """
    every_step, every_time_ps = np.concatenate(steps), np.concatenate(times_ps)
    if len(every_step) < 2:
        raise InputError("trajectory", list(names), "holds fewer than two frames")
    owner = np.repeat(np.arange(len(names)), list(map(len, steps)))
    gaps = np.diff(every_step)
    usual = int(np.median(gaps))
    wrong = np.flatnonzero(gaps != usual)
    if len(wrong):
        at = int(wrong[0])
        problem = "repeats or goes back behind" if gaps[at] <= 0 else "leaves a gap after"
        raise InputError(
            "trajectory",
            names[owner[at + 1]],
            f"step {every_step[at + 1]} {problem} step {every_step[at]} of {names[owner[at]]} "
            f"(frames are {usual} steps apart); give every segment once, in order",
        )
    return float((every_time_ps[-1] - every_time_ps[0]) / (len(every_time_ps) - 1))


def read_files(
    paths: Sequence[Path],
    *,
    frame_interval_ps: float,
    topology: Path | None = None,
    unwrapped: bool = False,
    cell_volume_A3: float | None = None,
) -> Source:
    """Any trajectory that ASE or MDAnalysis reads; several files are consecutive pieces.

    Args:
        paths: extxyz, .traj, XDATCAR, LAMMPS dump, .h5 and more; XTC, TRR or DCD with `topology`.
        frame_interval_ps: time between frames.
        topology: file with the elements, for formats without.
        unwrapped: positions are never folded back into the cell.
        cell_volume_A3: volume of a cubic cell, for files without one.

    Raises:
        InputError: files that are missing, cannot be read, or do not fit each other.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        if not path.is_file():
            raise InputError("trajectory", str(path), "no such file")
    if paths[0].suffix in {".h5", ".h5md", ".hdf5"}:
        source = read_segments(paths)
        if not np.isclose(source.frame_interval_ps, frame_interval_ps, rtol=1e-3):
            raise InputError(
                "frame-interval-ps",
                frame_interval_ps,
                f"the file says {source.frame_interval_ps:g}; use that",
            )
        return source
    if paths[0].suffix in MDANALYSIS_SUFFIXES:
        if topology is None:
            raise InputError(
                "topology", None, f"{paths[0].suffix} files know no elements; give --topology FILE"
            )
        symbols, frames = _mdanalysis_frames(paths, topology)
    else:
        symbols, frames = _ase_frames(paths)
    return Source(
        symbols=symbols,
        frame_interval_ps=frame_interval_ps,
        wrapped=not unwrapped,
        chunks=_collect(frames, len(symbols), cell_volume_A3, paths[0]),
        name=str(paths[0]),
    )


def _ase_frames(paths: Sequence[Path]):
    """Elements, and an iterator of (path, positions, cell)."""
    from ase.io import iread
    from ase.io.formats import UnknownFileTypeError

    def frames():
        for path in paths:
            try:
                kind = _ase_format(path)
                if kind == LAMMPS_DUMP:
                    _check_elements(path)
                for atoms in iread(str(path), index=":", format=kind):
                    yield path, atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array
            except UnknownFileTypeError as error:
                raise InputError(
                    "trajectory",
                    str(path),
                    "of unknown format; use extxyz, .traj, XDATCAR, a LAMMPS dump, our .h5, or "
                    "XTC or DCD with --topology",
                ) from error
            except (ValueError, KeyError, IndexError, OSError, EOFError, AssertionError) as error:
                raise InputError(
                    "trajectory", str(path), f"cannot be read ({error or type(error).__name__})"
                ) from error

    stream = frames()
    first = next(stream, None)
    if first is None:
        raise InputError("trajectory", str(paths[0]), "holds no frame")
    symbols = tuple(first[1])

    def checked():
        yield first[0], first[2], first[3]
        for path, own, positions_A, cell_A in stream:
            if tuple(own) != symbols:
                raise InputError(
                    "trajectory",
                    str(path),
                    "the atoms change from frame to frame; keep their order",
                )
            yield path, positions_A, cell_A

    return symbols, checked()


def _check_elements(path: Path) -> None:
    """Refuse a LAMMPS dump whose atoms are numbered types: ASE takes type 1 for hydrogen.

    Raises:
        InputError: names the file and how to write its elements.
    """
    with path.open() as lines:
        columns = next((line for line in lines if line.startswith("ITEM: ATOMS")), "")
    if columns and "element" not in columns.split():
        raise InputError(
            "trajectory",
            str(path),
            "has no column `element`; dump it with `dump ... custom ... id element x y z` and "
            "`dump_modify ... element Li Al Cl O`",
        )


def _ase_format(path: Path) -> str | None:
    if "XDATCAR" in path.name:
        return "vasp-xdatcar"
    if path.suffix in {".dump", ".lammpstrj"}:
        return LAMMPS_DUMP
    if path.suffix in {".xyz", ".extxyz", ".exyz"}:
        return "extxyz"
    return None


def _mdanalysis_frames(paths: Sequence[Path], topology: Path):
    try:
        import MDAnalysis
    except ImportError as error:
        raise InputError(
            "trajectory", str(paths[0]), "needs MDAnalysis; pip install 'vitrion[formats]'"
        ) from error
    if not Path(topology).is_file():
        raise InputError("topology", str(topology), "no such file")
    try:
        universe = MDAnalysis.Universe(str(topology), [str(path) for path in paths])
    except (ValueError, OSError, TypeError, EOFError) as error:
        raise InputError("trajectory", str(paths[0]), f"cannot be read ({error})") from error
    symbols = tuple(_elements(universe, topology))

    def frames():
        from MDAnalysis.lib.mdamath import triclinic_vectors

        for step in universe.trajectory:
            cell_A = (
                np.zeros((3, 3)) if step.dimensions is None else triclinic_vectors(step.dimensions)
            )
            yield paths[0], step.positions.astype(float), np.asarray(cell_A, dtype=float)

    return symbols, frames()


def _elements(universe, topology: Path) -> list[str]:
    from ase.data import atomic_numbers

    for attribute in ("elements", "names", "types"):
        values = [str(v).strip().capitalize() for v in getattr(universe.atoms, attribute, ())]
        if values and all(value in atomic_numbers for value in values):
            return values
    raise InputError("topology", str(topology), "names no elements; use one with chemical symbols")


def _collect(
    frames: Iterator[tuple[Path, np.ndarray, np.ndarray]],
    n_atoms: int,
    cell_volume_A3: float | None,
    first: Path,
) -> Iterator[Frames]:
    """Chunks of frames, with cells checked and files that overlap refused."""
    length = max(1, min(CHUNK_FRAMES, 2_000_000 // n_atoms))
    path_before, positions_before = first, None
    while batch := list(islice(frames, length)):
        for path, positions_A, cell_A in batch:
            if not np.isfinite(positions_A).all():
                raise InputError("trajectory", str(path), "holds positions that are not numbers")
            if path != path_before and np.array_equal(positions_A, positions_before):
                raise InputError(
                    "trajectory",
                    str(path),
                    f"starts with the last frame of {path_before}; remove the repeated frame",
                )
            if abs(np.linalg.det(cell_A)) < 1e-6 and cell_volume_A3 is None:
                raise InputError(
                    "trajectory", str(path), "has no cell; give --cell-volume-A3 (cubic)"
                )
            path_before, positions_before = path, positions_A
        cells_A = np.stack([cell for *_, cell in batch])
        if cell_volume_A3 is not None:
            cells_A = np.broadcast_to(np.eye(3) * cell_volume_A3 ** (1 / 3), cells_A.shape)
        yield Frames(np.stack([positions for _, positions, _ in batch]), cells_A)
