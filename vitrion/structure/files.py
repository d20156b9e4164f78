"""Files of single structures."""

from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from vitrion.base.errors import InputError
from vitrion.base.files import whole_file


def read_structure(path: Path, key: str = "structure") -> Atoms:
    """A periodic structure from any file that ASE reads, the last of several.

    Args:
        path: the file.
        key: what asks for it, for messages.

    Raises:
        InputError: no such file, not readable, not periodic in three directions, or with
            constraints, coordinates or masses that dynamics cannot have.
    """
    if not path.is_file():
        raise InputError(key, str(path), "no such file")
    try:
        atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise many kinds of errors
        reason = str(error) or type(error).__name__
        raise InputError(key, str(path), f"ASE cannot read it ({reason})") from None
    if not (isinstance(atoms, Atoms) and atoms.cell.rank == 3 and len(atoms) > 1):
        raise InputError(key, str(path), "give at least two atoms in a periodic cell")
    if not atoms.pbc.all():
        open_axes = [
            axis for axis, is_periodic in zip("abc", atoms.pbc, strict=True) if not is_periodic
        ]
        raise InputError(
            key,
            str(path),
            f"is not periodic along {', '.join(open_axes)}, but dynamics is in all directions; "
            'mark it as such (pbc="T T T") if a vacuum inside the cell does as well',
        )
    if atoms.constraints:
        kinds = ", ".join(sorted({type(one).__name__ for one in atoms.constraints}))
        raise InputError(
            key,
            str(path),
            f"has constraints ({kinds}), which dynamics does not keep; remove them",
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(key, str(path), "has coordinates that are not finite")
    if not (atoms.get_masses() > 0).all():
        raise InputError(key, str(path), "has a mass that is not above zero")
    return atoms


def comment_word(path: Path, key: str) -> str:
    """A word of the comment of an extended XYZ file, as it is written; empty where there is none.

    ASE takes words such as 12e34567 for numbers.
    """
    with path.open(encoding="utf-8") as file:
        file.readline()
        comment = file.readline()
    found = re.search(rf'(?:^|\s){key}=(?:"([^"]*)"|(\S+))', comment)
    return (found[1] or found[2]) if found else ""


def write_structure(path: Path, atoms: Atoms) -> None:
    """Write extended XYZ; the file appears whole or not at all."""
    with whole_file(path) as partial:
        ase.io.write(partial, atoms, format="extxyz")
