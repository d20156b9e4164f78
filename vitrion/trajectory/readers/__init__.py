"""Readers of other programs' trajectories, one module per family of formats.

Each reader is a function `frames(path, request)` that yields `Frame` one after another and raises
`Cut` where the file ends within one. Whatever else it raises means that the file is damaged. A
reader decides nothing about times: it passes on the time or step that the file gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Cut, Frame, Request
from vitrion.trajectory.readers.text import opened

__all__ = ["FORMATS", "Cut", "Format", "Frame", "Request", "format_of"]

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: what messages call it.
        reader: module of this package and function, as `lammps:frames`.
        is_it: whether a file is of this format, from its path and its first bytes.
        compiled: whether compiled code of others parses it, which can crash or hang.
        names_atoms: whether it can hold what the atoms are.
    """

    name: str
    reader: str
    is_it: Callable[[Path, bytes], bool]
    compiled: bool = False
    names_atoms: bool = True

    def frames(self, path: Path, request: Request) -> Iterator[Frame]:
        """The frames of a file; see this package for what it raises."""
        module, function = self.reader.split(":")
        return getattr(import_module(f"{__name__}.{module}"), function)(path, request)


def _starts(*beginnings: bytes) -> Callable[[Path, bytes], bool]:
    return lambda path, head: head.startswith(beginnings)


def _named(*suffixes: str) -> Callable[[Path, bytes], bool]:
    return lambda path, head: _suffix(path) in suffixes


def _suffix(path: Path) -> str:
    """The last part of a name in small letters, without that of a compression."""
    name = path.name.lower()
    for compression in (".gz", ".xz", ".bz2"):
        name = name.removesuffix(compression)
    return "." + name.rpartition(".")[2] if "." in name else ""


def _is_lammps(path: Path, head: bytes) -> bool:
    return head.startswith(b"ITEM:") or _suffix(path) in {".dump", ".lammpstrj"}


def _is_xdatcar(path: Path, head: bytes) -> bool:
    return "XDATCAR" in path.name or b"\nDirect configuration=" in head


def _is_vasprun(path: Path, head: bytes) -> bool:
    return b"<modeling>" in head or ("vasprun" in path.name and _suffix(path) == ".xml")


def _is_xyz(path: Path, head: bytes) -> bool:
    if _suffix(path) in {".xyz", ".extxyz", ".exyz"}:
        return True
    lines = head.split(b"\n", 2)
    return lines[0].strip().isdigit() and len(lines) > 1 and b"Properties=" in lines[1]


def _is_pdb(path: Path, head: bytes) -> bool:
    return _suffix(path) in {".pdb", ".ent"} or head.startswith((b"CRYST1", b"MODEL ", b"ATOM  "))


# The first that fits. ASE comes last: it is asked about everything that is none of the others.
FORMATS = (
    Format("HDF5", "hdf5:frames", _starts(b"\x89HDF\r\n\x1a\n"), compiled=True),
    Format("HDF5", "hdf5:frames", _named(".h5", ".h5md", ".hdf5"), compiled=True),
    Format("GROMACS XTC", "gromacs:xtc", _named(".xtc"), compiled=True, names_atoms=False),
    Format("GROMACS TRR", "gromacs:trr", _named(".trr"), names_atoms=False),
    Format("DCD", "dcd:frames", _named(".dcd"), names_atoms=False),
    Format("Amber NetCDF", "amber:frames", _named(".nc", ".ncdf", ".netcdf")),
    Format("LAMMPS dump", "lammps:frames", _is_lammps),
    Format("XDATCAR", "vasp:xdatcar", _is_xdatcar),
    Format("vasprun.xml", "vasp:vasprun", _is_vasprun),
    Format("GROMACS gro", "gromacs:gro", _named(".gro")),
    Format("PDB", "pdb:frames", _is_pdb),
    Format("XYZ", "xyz:frames", _is_xyz),
    Format("a format of ASE", "ase_formats:frames", lambda path, head: True, compiled=True),
)


def format_of(path: Path) -> Format:
    """The format of a file.

    Raises:
        InputError: no such file, a folder, an empty file, or one that cannot be opened.
    """
    if path.is_dir():
        raise InputError("trajectory", str(path), "is a folder; name the files in it")
    if not path.is_file():
        raise InputError("trajectory", str(path), "no such file")
    try:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
    except PermissionError:
        raise InputError("trajectory", str(path), "cannot be opened; allow reading it") from None
    except Exception as error:  # zlib, lzma and bz2 have exceptions of their own
        raise InputError(
            "trajectory", str(path), f"cannot be unpacked ({error}); copy it again"
        ) from None
    if not head:
        raise InputError("trajectory", str(path), "is empty and holds no frame; leave it out")
    return next(kind for kind in FORMATS if kind.is_it(path, head))
