"""Import labelled frames made elsewhere: VASP runs, extxyz, ASE databases, CHGNet's JSON.

Inside Vitrion labels are in eV, eV/Å and eV/Å³, and stress has ASE's sign (positive under tension,
so that the pressure is minus its mean diagonal). What is read must be in these units:

===============  ===========  =================================================================
format           label        names, unit and sign
===============  ===========  =================================================================
extxyz, ASE db   energy       `free_energy`, else `energy`: eV, the whole cell
..               forces       `forces`, `force`: eV/Å
..               stress       `stress`: eV/Å³, positive under tension; 6 numbers in the order xx
                              yy zz yz xz xy, 9 or 3 × 3
..               virial       `virial`, `virials`: eV, minus stress times volume; 9 or 3 × 3
vasprun, OUTCAR  all          VASP's own, converted here (kBar, positive under compression)
CHGNet JSON      all          eV, eV/Å, kBar positive under compression, as in MPtrj
===============  ===========  =================================================================

In extxyz and ASE db a name may begin with REF_, DFT_ or dft_ (`vitrion.dataset.labels`).
"""

from __future__ import annotations

import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.units import GPa
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from vitrion.base.errors import InputError
from vitrion.dataset.frame import FOLDER_LEVEL, Frame, open_text
from vitrion.dataset.labels import with_labels
from vitrion.dataset.vasp_output import read_outcar, read_vasprun

KBAR_TO_EV_A3 = -0.1 * GPa
COMPRESSED = r"(\.(gz|xz|bz2))?"


def import_frames(source: Path | str) -> list[Frame]:
    """Import every frame of a file, or of all files of known kinds below a folder.

    A file or frame that cannot be read becomes a `Frame` with the reason; nothing is left out
    silently. Beside a vasprun.xml, an OUTCAR is read only if the former holds no whole ionic step.
    Frames that do not name their `trajectory` belong to one trajectory per file (in MPtrj's layout,
    per material). Frames that do not name their `level` of theory share an energy zero per folder.

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
            atoms.info["level"] = str(atoms.info.get("level", f"{FOLDER_LEVEL}{path.parent}"))
            atoms.info.setdefault("trajectory", str(path))
            yield Frame(path, index, atoms, reason)
    except Exception as error:  # parsers raise anything; the other files are read all the same
        reason, outcars = _unreadable(error), []
        if reader is read_vasprun and index < 0:
            outcars = sorted(p for p in path.parent.iterdir() if _reader(p) is read_outcar)
        if outcars:
            reason = f"no whole ionic step ({error}); {outcars[0].name} beside it is read instead"
        yield Frame(path, index + 1, rejection_reason=reason)
        for outcar in outcars[:1]:
            yield from _read_file(outcar)
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
    if reader is read_outcar:
        return not any(path.parent.glob("vasprun*.xml*"))
    if reader is _read_chgnet_json:
        try:
            with open_text(path) as file:
                return '"structure"' in file.read(100_000)
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error):
            return True  # damaged, which reading it reports
    return True


def _read_extxyz(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    """Frame by frame, so that the frames before and after a damaged one are read."""
    with open_text(path) as file:
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


def _read_chgnet_json(path: Path) -> Iterator[tuple[Atoms | None, str]]:
    """MPtrj's layout ({material: {frame: labels}}) and that of chgnet's parse_vasp_dir (lists)."""
    with open_text(path) as file:
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


READERS = {
    "vasprun*.xml": (r"vasprun.*\.xml", read_vasprun),
    "OUTCAR": (r"OUTCAR.*?", read_outcar),
    "*.extxyz": (r".*\.(ext)?xyz", _read_extxyz),
    "*.db": (r".*\.db", _read_database),
    "*.json (CHGNet's layout)": (r".*\.json", _read_chgnet_json),
}
_PATTERNS = [(re.compile(pattern + COMPRESSED), reader) for pattern, reader in READERS.values()]
