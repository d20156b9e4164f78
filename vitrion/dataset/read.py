"""Import labelled frames made elsewhere: VASP runs, extxyz, ASE databases, CHGNet's JSON.

Inside Vitrion labels are in eV, eV/Å and eV/Å³, and stress has ASE's sign (positive under tension,
so that the pressure is minus its mean diagonal). What is read must be in these units:

===============  ======  ====================================================================
format           labels  units and sign of stress
===============  ======  ====================================================================
extxyz, ASE db   energy  eV, the whole cell
..               forces  eV/Å
..               stress  eV/Å³, positive under tension; 6 (Voigt), 9 or 3 × 3 numbers
..               virial  eV, minus stress times volume; 9 or 3 × 3 numbers
vasprun, OUTCAR  all     VASP's own, converted here (kBar, positive under compression)
CHGNet JSON      all     eV, eV/Å, kBar positive under compression, as in MPtrj
===============  ======  ====================================================================
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import IO, Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from vitrion.base.errors import InputError
from vitrion.dataset.frame import Frame
from vitrion.dataset.vasp import read_vasprun

# The first name found counts: where a file has REF_energy, its `energy` is often a prediction.
KEYS = {
    "energy": ("REF_energy", "DFT_energy", "dft_energy", "energy"),
    "forces": ("REF_forces", "DFT_forces", "dft_forces", "forces", "force"),
    "stress": ("REF_stress", "DFT_stress", "dft_stress", "stress"),
    "virial": ("REF_virial", "DFT_virial", "dft_virial", "virial", "virials"),
}
KBAR_TO_EV_A3 = -0.1 * GPa
COMPRESSED = r"(\.(gz|xz|bz2))?"


def import_frames(source: Path | str) -> list[Frame]:
    """Import every frame of a file, or of all files of known kinds below a folder.

    A file or frame that cannot be read becomes a `Frame` with the reason; nothing is left out
    silently. In a folder with a vasprun.xml, OUTCAR is not read as well. Frames that do not name
    their `trajectory` belong to one trajectory per file (in MPtrj's layout, per material). Frames
    that do not name their `level` of theory share an energy zero per folder.

    Raises:
        InputError: no such path, a file of unknown kind, or a folder with no file of known kind.
    """
    source = Path(source)
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.is_file() and _is_data(p))
        if not files:
            raise InputError("dataset.sources", str(source), f"holds no {', '.join(READERS)}")
    elif source.is_file():
        files = [source]
        if _reader(source) is None:
            raise InputError(
                "dataset.sources", str(source), f"is of no known kind ({', '.join(READERS)})"
            )
    else:
        raise InputError("dataset.sources", str(source), "no such file or folder")
    return [frame for file in files for frame in _read_file(file)]


def _read_file(path: Path) -> Iterator[Frame]:
    reader = _reader(path)
    assert reader is not None
    index = -1
    try:
        for index, (atoms, reason) in enumerate(reader(path)):
            if atoms is None:
                yield Frame(path, index, rejection_reason=reason)
                continue
            atoms.info.setdefault("engine", "unknown")
            atoms.info.setdefault("level", str(path.parent))
            atoms.info.setdefault("trajectory", str(path))
            yield Frame(path, index, atoms, reason)
    except Exception as error:  # parsers raise anything; the other files are read all the same
        yield Frame(path, index + 1, rejection_reason=_unreadable(error))
    else:
        if index < 0:
            yield Frame(path, 0, rejection_reason="no frame in the file")


def _unreadable(error: Exception) -> str:
    """The rejection reason of a damaged file or frame, with what to do."""
    return (
        f"cannot be read ({type(error).__name__}: {error}): damaged, cut short or of another "
        "format; copy it again or leave it out"
    )


def _reader(path: Path) -> Callable[[Path], Iterator[tuple[Atoms | None, str]]] | None:
    for pattern, reader in _PATTERNS:
        if pattern.fullmatch(path.name):
            return reader
    return None


def _is_data(path: Path) -> bool:
    """Whether a file found in a folder holds frames; other files may have such a name as well."""
    reader = _reader(path)
    if path.name.startswith(".") or reader is None:
        return False
    if reader is _read_outcar:
        return not any(path.parent.glob("vasprun*.xml*"))
    if reader is _read_chgnet_json:
        try:
            with _open_text(path) as file:
                return '"structure"' in file.read(100_000)
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error):
            return True  # damaged, which reading it reports
    return True


def _open_text(path: Path) -> IO[str]:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    return openers.get(path.suffix, open)(path, "rt")


def _read_extxyz(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    """Frame by frame, so that the frames before and after a damaged one are read."""
    with _open_text(path) as file:
        while header := file.readline():
            if not header.strip():
                continue
            try:
                n_atoms = int(header)
            except ValueError:
                yield None, f"a number of atoms was expected, not {header.strip()[:40]!r}"
                return
            lines = [file.readline() for _ in range(n_atoms + 1)]
            if not lines[-1].strip():
                yield None, f"file ends within a frame of {n_atoms} atoms: copy it again"
                return
            if not lines[-1].endswith("\n"):
                yield None, "file ends within a line: copy it again, or end it with a line break"
                return
            try:
                (atoms,) = ase.io.iread(StringIO(header + "".join(lines)), format="extxyz")
                yield with_labels(atoms), ""
            except Exception as error:
                yield None, _unreadable(error)


def _read_database(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    with ase.db.connect(path) as database:
        for row in database.select():
            try:
                atoms = row.toatoms()
                atoms.info = {**row.key_value_pairs, **row.data}
                yield with_labels(atoms), ""
            except Exception as error:
                yield None, f"row {row.id} {_unreadable(error)}"


def _read_outcar(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    frames = ase.io.read(path, index=":", format="vasp-out")
    with _open_text(path) as file:
        ends = [line for line in file if "aborting loop" in line]
    for index, atoms in enumerate(frames):
        if index < len(ends) and "not reached" in ends[index]:
            yield None, "SCF not converged"
            continue
        results = dict(atoms.calc.results)
        results["energy"] = results.get("free_energy", results.get("energy"))
        atoms.info |= {"engine": "vasp"}
        atoms.calc = None
        yield with_labels(atoms, results), ""


def _read_chgnet_json(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    """MPtrj's layout ({material: {frame: labels}}) and that of chgnet's parse_vasp_dir (lists)."""
    with _open_text(path) as file:
        data = json.load(file)
    if isinstance(data, dict) and isinstance(data.get("structure"), list):
        count = len(data["structure"])
        columns = {k: v for k, v in data.items() if isinstance(v, list) and len(v) == count}
        rows = [("", {k: v[i] for k, v in columns.items()}) for i in range(count)]
    else:
        rows = [(name, row) for name, frames in data.items() for row in frames.values()]
    for material, row in rows:
        try:
            structure = row["structure"]
            if isinstance(structure, dict):
                structure = Structure.from_dict(structure)
            atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
            atoms.info = {"trajectory": f"{path}:{material}"} if material else {}
            labels = {"forces": row.get("force")}
            # The raw energy where there is one: corrections belong to the alignment.
            if row.get("uncorrected_total_energy") is not None:
                labels["energy"] = row["uncorrected_total_energy"]
            elif row.get("energy_per_atom") is not None:
                labels["energy"] = row["energy_per_atom"] * len(atoms)
            if row.get("stress") is not None:
                labels["stress"] = np.asarray(row["stress"], dtype=float) * KBAR_TO_EV_A3
            atoms.calc = None
            yield with_labels(atoms, labels), ""
        except Exception as error:
            yield None, _unreadable(error)


def with_labels(atoms: Atoms, labels: Mapping[str, Any] | None = None) -> Atoms:
    """Move labels of known names into one calculator.

    Args:
        atoms: structure; its info, arrays and calculator are searched for `KEYS`.
        labels: labels by the same names, which come before those of `atoms`.

    Raises:
        ValueError: a stress or virial of wrong shape.
    """
    found = {
        **atoms.info,
        **atoms.arrays,
        **(atoms.calc.results if atoms.calc is not None else {}),
        **(labels or {}),
    }
    values = {}
    for label, names in KEYS.items():
        value = next((found[name] for name in names if found.get(name) is not None), None)
        if value is not None:
            values[label] = value
    virial = values.pop("virial", None)
    if "stress" in values:
        values["stress"] = voigt_stress(values["stress"])
    elif virial is not None:
        values["stress"] = -voigt_stress(virial) / atoms.get_volume()
    if "energy" in values:
        values["energy"] = float(values["energy"])
    known = {name for names in KEYS.values() for name in names}
    for name in known & set(atoms.info):
        del atoms.info[name]
    for name in known & set(atoms.arrays):
        del atoms.arrays[name]
    atoms.set_constraint()  # with which ASE would zero the forces of fixed atoms
    atoms.calc = SinglePointCalculator(atoms)
    # Not passed to the constructor, which refuses wrong shapes; `check_frames` reports them.
    atoms.calc.results = values
    return atoms


def voigt_stress(value: Any) -> np.ndarray:
    """A stress as xx yy zz yz xz xy, from those 6 numbers or from 9 or 3 × 3.

    Raises:
        ValueError: another shape, or a tensor that is not symmetric.
    """
    stress = np.asarray(value, dtype=float)
    if stress.shape == (6,):
        return stress
    if stress.shape not in ((9,), (3, 3)):
        raise ValueError(f"stress of shape {stress.shape} instead of 6, 9 or 3 × 3 numbers")
    stress = stress.reshape(3, 3)
    if not np.allclose(stress, stress.T, rtol=1e-2, atol=1e-3, equal_nan=True):
        raise ValueError("stress is not symmetric")
    return full_3x3_to_voigt_6_stress(stress)


READERS = {
    "vasprun*.xml": (r"vasprun.*\.xml", read_vasprun),
    "OUTCAR": (r"OUTCAR.*?", _read_outcar),
    "*.extxyz": (r".*\.(ext)?xyz", _read_extxyz),
    "*.db": (r".*\.db", _read_database),
    "*.json (CHGNet's layout)": (r".*\.json", _read_chgnet_json),
}
_PATTERNS = [(re.compile(pattern + COMPRESSED), reader) for pattern, reader in READERS.values()]
