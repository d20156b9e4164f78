"""Everything else that ASE reads: .traj, OUTCAR, CASTEP, FHI-aims, Quantum ESPRESSO and others."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request
from vitrion.trajectory.readers.xyz import time_and_step

KNOWN = (
    "use extxyz, .traj, XDATCAR, vasprun.xml, vaspout.h5, a LAMMPS dump, CP2K's xyz, gro, PDB, "
    "H5MD, "
    "or XTC, TRR, DCD or NetCDF with --topology"
)
_MADE_FOR_WRITING = {"db", "json"}  # ASE locks these files and may write into them


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a file, read under another name.

    ASE takes an @ in a name for a selection, and puts lock files beside the file.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name.replace("@", "_")
        plain.symlink_to(path.absolute())
        try:
            kind = filetype(str(plain))
            if kind not in ioformats:
                raise UnknownFileTypeError(kind)
        except UnknownFileTypeError:
            raise InputError("trajectory", str(path), f"of unknown format; {KNOWN}") from None
        if kind in _MADE_FOR_WRITING:
            plain.unlink()
            shutil.copyfile(path, plain)
        yield from _traj(plain) if kind == "traj" else _any(plain, kind, request)


def _any(path: Path, kind: str, request: Request) -> Iterator[Frame]:
    from ase.io import iread

    for atoms in iread(str(path), index=":", format=kind):
        yield _frame(atoms)


def _traj(path: Path) -> Iterator[Frame]:
    """Frames of an ASE trajectory; what follows the whole ones may be cut, but not damaged."""
    from ase.io.trajectory import Trajectory

    with Trajectory(str(path)) as trajectory:
        count = len(trajectory)
        for number in range(count):
            try:
                frame = _frame(trajectory[number])
            except Exception as error:
                if number and not any(_is_whole(trajectory, n) for n in range(number + 1, count)):
                    raise Cut(f"frame {number + 1} of {count} is not whole") from None
                raise Damaged(f"frame {number + 1}: {error or type(error).__name__}") from None
            yield frame


def _is_whole(trajectory: Any, number: int) -> bool:
    try:
        _frame(trajectory[number])
    except Exception:
        return False
    return True


def _frame(atoms: Any) -> Frame:
    charges = atoms.get_initial_charges() if atoms.has("initial_charges") else None
    time_ps, bare_time, step = time_and_step(atoms.info)
    return Frame(
        positions_A=np.array(atoms.positions, dtype=float),
        cell_A=np.array(atoms.cell.array) if atoms.cell.rank == 3 else None,
        labels=np.array(atoms.get_chemical_symbols()),
        time_ps=time_ps,
        bare_time=bare_time,
        step=step,
        charges=charges,
    )
