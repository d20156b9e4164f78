"""Names of the atoms from a file of another kind, for formats that have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers import Frame, Request, format_of, lammps
from vitrion.trajectory.readers.frames import Cut, Damaged
from vitrion.trajectory.readers.gromacs import label_of_name
from vitrion.trajectory.readers.labels import labels_of_masses

# Their own readers give names; the rest goes to MDAnalysis (TPR, PSF, prmtop, mol2 and others).
_OWN = {"LAMMPS dump", "XDATCAR", "vasprun.xml", "GROMACS gro", "PDB", "XYZ", "HDF5"}
_BY_ASE = {".traj", ".cif", ".vasp", ".json", ".db", ".poscar"}


def read_topology(path: Path, request: Request) -> tuple[np.ndarray, np.ndarray | None]:
    """Names (atoms,) and charges (atoms,) of the atoms.

    Raises:
        InputError: names the file, what is wrong with it and the remedy.
    """
    try:
        kind = format_of(path)
        if lammps.is_data_file(path):
            return lammps.topology(path, request)
        by_ase = path.suffix in _BY_ASE or "POSCAR" in path.name or "CONTCAR" in path.name
        if kind.name in _OWN or by_ase:
            own = Request([path], elements=request.elements, group=request.group)
            return _first(kind.frames(path, own))
        return _with_mdanalysis(path, request)
    except InputError as error:
        raise InputError("topology", str(path), error.remedy) from None
    except Exception as error:
        raise InputError(
            "topology",
            str(path),
            f"cannot be read ({error or type(error).__name__}); use gro, PDB, a LAMMPS data file "
            "or "
            "another with the names of the atoms",
        ) from None


def _first(frames: object) -> tuple[np.ndarray, np.ndarray | None]:
    frame: Frame | None
    try:
        frame = next(iter(frames))  # type: ignore[call-overload]
    except (StopIteration, Cut):
        frame = None
    if frame is None or frame.labels is None:
        raise Damaged("names no atoms")
    return frame.labels, frame.charges


def _with_mdanalysis(path: Path, request: Request) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        import MDAnalysis
    except ImportError:
        raise Damaged("needs MDAnalysis; pip install 'vitrion[formats]'") from None
    atoms = MDAnalysis.Universe(str(path)).atoms
    charges = np.asarray(atoms.charges, dtype=float) if hasattr(atoms, "charges") else None
    if hasattr(atoms, "elements") and all(str(symbol).strip() for symbol in atoms.elements):
        return np.array([str(symbol).strip() for symbol in atoms.elements]), charges
    if hasattr(atoms, "masses") and (np.asarray(atoms.masses) > 0.5).all():
        try:
            return labels_of_masses(np.asarray(atoms.masses, dtype=float)), charges
        except Damaged:  # united atoms and other masses that are no element's
            pass
    if hasattr(atoms, "names"):
        residues = getattr(atoms, "resnames", [""] * len(atoms))
        names = zip(atoms.names, residues, strict=True)
        return np.array(
            [label_of_name(str(n), str(r), request.elements) for n, r in names]
        ), charges
    raise Damaged("names no atoms")
