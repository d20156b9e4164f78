"""Readers of trajectories in formats of other programs: whatever ASE or MDAnalysis can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.h5md import read_segments
from vitrion.trajectory.unwrapping import Frames, Source

CHUNK_FRAMES = 256
# Formats that only MDAnalysis reads; they know no elements and need a topology.
MDANALYSIS_SUFFIXES = {".xtc", ".trr", ".dcd", ".nc", ".ncdf"}
LAMMPS_DUMP = "lammps-dump-text"


def read_files(
    paths: Path | str | Sequence[Path | str],
    *,
    frame_interval_ps: float,
    topology: Path | None = None,
    unwrapped: bool = False,
    cell_volume_A3: float | None = None,
) -> Source:
    """Any trajectory that ASE or MDAnalysis reads; several files are consecutive pieces.

    Args:
        paths: one or more files: extxyz, .traj, XDATCAR, LAMMPS dump, .h5 and others; XTC, TRR or
            DCD with `topology`.
        frame_interval_ps: time between frames.
        topology: file with the elements, for formats without.
        unwrapped: positions are never folded back into the cell.
        cell_volume_A3: volume of a cubic cell, for files without one.

    Raises:
        InputError: files that are missing, cannot be read, or do not fit each other.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not files:
        raise InputError("trajectory", [], "give at least one file")
    for path in files:
        if not path.is_file():
            raise InputError("trajectory", str(path), "no such file")
    if files[0].suffix in {".h5", ".h5md", ".hdf5"}:
        source = read_segments(files)
        if not np.isclose(source.frame_interval_ps, frame_interval_ps, rtol=1e-3):
            raise InputError(
                "frame-interval-ps",
                frame_interval_ps,
                f"the file says {source.frame_interval_ps:g}; use that",
            )
        return source
    if files[0].suffix in MDANALYSIS_SUFFIXES:
        if topology is None:
            raise InputError(
                "topology", None, f"{files[0].suffix} files know no elements; give --topology FILE"
            )
        symbols, frames = _mdanalysis_frames(files, topology)
    else:
        symbols, frames = _ase_frames(files)
    return Source(
        symbols=symbols,
        frame_interval_ps=frame_interval_ps,
        wrapped=not unwrapped,
        chunks=_collect(frames, len(symbols), cell_volume_A3, files[0]),
        name=str(files[0]),
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
    path_before, positions_before = first, np.empty(0)
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
