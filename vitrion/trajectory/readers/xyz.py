"""XYZ: extended, CP2K's, i-PI's, and plain.

Own parsing: the comment line holds the time and the cell in each program's own way, and a file that
ends within a frame keeps the frames before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitrion.trajectory.readers.frames import Damaged, Frame, Request, cell_of_lengths
from vitrion.trajectory.readers.text import Lines, count_of, table

BOHR_A = 0.529177210544
NUMBER = r"([-+]?[\d.]+(?:[eEdD][-+]?\d+)?)"
_CP2K = re.compile(rf"i\s*=\s*(\d+)\s*,\s*time\s*=\s*{NUMBER}")
_IPI = re.compile(rf"CELL\(abcABC\):((?:\s*{NUMBER}){{6}})\s+(?:Traj: \S+\s+)?Step:\s*(\d+)")
_IPI_UNIT = re.compile(r"(positions|cell)\{(\w+)\}")
_GROMACS = re.compile(rf"\bt=\s*{NUMBER}(?:\s+step=\s*(\d+))?")
_LAMMPS = re.compile(r"Atoms\. Timestep:\s*(\d+)(?:\s+Time:\s*(\S+))?")
_TIME = re.compile(rf"\btime\s*[=:]\s*{NUMBER}\s*\(?(fs|ps)?\b", re.IGNORECASE)
_STEP = re.compile(r"\bstep\s*[=:]\s*(\d+)", re.IGNORECASE)
_LENGTHS_A = {"angstrom": 1.0, "atomic_unit": BOHR_A, "nanometer": 10.0}
_STEP_KEYS = ("step", "md_step", "timestep", "frame")
_CHARGE_COLUMNS = ("initial_charges", "charge", "charges")


@dataclass
class _Comment:
    """What the comment line of a frame says; columns are slices of the words of a line."""

    cell_A: np.ndarray | None = None
    length_A: float = 1.0
    time_ps: float | None = None
    bare_time: float | None = None
    step: int | None = None
    columns: dict[str, slice] = field(
        default_factory=lambda: {"species": slice(0, 1), "pos": slice(1, 4)}
    )


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a file."""
    expected: int | None = None
    with Lines(path) as lines:
        while (line := lines.next_filled()) is not None:
            try:
                n_atoms = expected = count_of(line, expected)
                comment = _comment(lines.take(1)[0], request, path)
                yield _frame(table(lines.take(n_atoms)), comment)
            except Damaged as error:
                raise Damaged(f"near line {lines.number}: {error}") from None
            except ValueError as error:
                raise Damaged(f"near line {lines.number}: {error}") from None


def _frame(words: np.ndarray, comment: _Comment) -> Frame:
    columns = comment.columns
    is_unwrapped = "unwrapped_position" in columns
    where = columns["unwrapped_position" if is_unwrapped else "pos"]
    if words.shape[1] < max(columns["species"].stop, where.stop):
        raise Damaged(f"{words.shape[1]} values where a name and three positions are expected")
    labels = words[:, columns["species"]][:, 0]
    if all(label.isdigit() for label in set(labels.tolist())) and "Z" in columns:
        from ase.data import chemical_symbols

        labels = np.array([chemical_symbols[int(label)] for label in labels])
    charges = next(
        (words[:, columns[key]][:, 0] for key in _CHARGE_COLUMNS if key in columns), None
    )
    return Frame(
        positions_A=words[:, where].astype(float) * comment.length_A,
        cell_A=comment.cell_A,
        labels=labels,
        time_ps=comment.time_ps,
        bare_time=comment.bare_time,
        step=comment.step,
        is_unwrapped=is_unwrapped,
        charges=None if charges is None else charges.astype(float),
    )


def _comment(line: str, request: Request, path: Path) -> _Comment:
    """Read a comment line in the way of the program that wrote it."""
    found = _Comment()
    if re.search(r"\b(Lattice|Properties)\s*=", line, re.IGNORECASE):
        return _extended(line, request, path)
    if match := _CP2K.search(line):
        found.step, found.time_ps = int(match[1]), _number(match[2]) * 1e-3
    elif match := _IPI.search(line):
        units = dict(_IPI_UNIT.findall(line))
        lengths = {key: _ipi_length(units.get(key, "atomic_unit")) for key in ("positions", "cell")}
        a, b, c, *angles = (_number(word) for word in match[1].split())
        scale = lengths["cell"]
        found.cell_A = cell_of_lengths(a * scale, b * scale, c * scale, *angles)
        found.length_A, found.step = lengths["positions"], int(match[3])
    elif match := _LAMMPS.search(line):
        found.step = int(match[1])
        found.bare_time = _number(match[2]) if match[2] else None
    elif match := _GROMACS.search(line):
        found.time_ps = _number(match[1])
        found.step = int(match[2]) if match[2] else None
    else:
        _free_comment(line, found)
    return found


def _free_comment(line: str, found: _Comment) -> None:
    """`time = 1.5 ps` and `step: 10` in a comment of any other program."""
    if match := _TIME.search(line):
        if match[2]:
            found.time_ps = _number(match[1]) * (1.0 if match[2].lower() == "ps" else 1e-3)
        else:
            found.bare_time = _number(match[1])
    if match := _STEP.search(line):
        found.step = int(match[1])


def _ipi_length(name: str) -> float:
    if name not in _LENGTHS_A:
        raise Damaged(f"unknown unit {name!r} of positions or cell")
    return _LENGTHS_A[name]


def _number(text: str) -> float:
    return float(text.replace("D", "E").replace("d", "e"))


def _extended(line: str, request: Request, path: Path) -> _Comment:
    """The keys and values of an extended XYZ."""
    from ase.io.extxyz import key_val_str_to_dict

    values = key_val_str_to_dict(line)
    by_name = {str(key).lower(): value for key, value in values.items()}
    found = _Comment()
    if "lattice" in by_name:
        lattice = np.asarray(by_name["lattice"], dtype=float)
        if lattice.shape != (3, 3):
            raise Damaged("Lattice has not nine numbers")
        found.cell_A = lattice.T  # ASE gives the vectors as columns
    if "pbc" in by_name and not np.all(by_name["pbc"]):
        request.note(f"{path.name}: pbc is not T T T; it is analysed as periodic in all directions")
    if "properties" in by_name:
        found.columns = _columns(str(by_name["properties"]))
    found.time_ps, found.bare_time, found.step = time_and_step(by_name)
    return found


def time_and_step(
    info: Mapping[str, Any],
) -> tuple[float | None, float | None, int | None]:
    """Time in ps, time without a unit, and step, as the keys of a frame give them."""
    values = {str(key).lower(): value for key, value in info.items()}
    time_ps = bare_time = step = None
    if "time_ps" in values:
        time_ps = _scalar(values, "time_ps")
    elif "time_fs" in values:
        time_ps = _scalar(values, "time_fs") * 1e-3
    elif "time" in values:
        bare_time = _scalar(values, "time")
    for key in _STEP_KEYS:
        value = values.get(key)
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            step = int(value)
            break
    return time_ps, bare_time, step


def _scalar(values: Mapping[str, Any], key: str) -> float:
    try:
        number = float(values[key])
    except (TypeError, ValueError):
        raise Damaged(f"{key} = {values[key]!r} is no number") from None
    if not math.isfinite(number):
        raise Damaged(f"{key} = {number}")
    return number


def _columns(properties: str) -> dict[str, slice]:
    """Columns of `species:S:1:pos:R:3`."""
    parts = properties.split(":")
    if len(parts) % 3:
        raise Damaged(f"Properties={properties}")
    found, first = {}, 0
    for name, _, count in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found[name] = slice(first, first + int(count))
        first += int(count)
    if "species" not in found and "Z" in found:
        found["species"] = found["Z"]
    if "species" not in found or not {"pos", "unwrapped_position"} & set(found):
        raise Damaged(f"Properties={properties} names no species and pos")
    return found
