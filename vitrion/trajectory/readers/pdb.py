"""PDB files of one or several models.

Own parsing: ASE drops what tells a cut model from a whole one, and MDAnalysis the times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request, cell_of_lengths
from vitrion.trajectory.readers.gromacs import label_of_name
from vitrion.trajectory.readers.labels import element
from vitrion.trajectory.readers.text import Lines
from vitrion.trajectory.readers.xyz import NUMBER

_TIME = re.compile(rf"\bt=\s*{NUMBER}(?:\s+step=\s*(\d+))?")  # as GROMACS writes it


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The models of a file; those without MODEL end at END."""
    cell_A: np.ndarray | None = None
    time_ps, step, in_model, last = None, None, False, ""
    atoms: list[str] = []

    def frame() -> Frame:
        return Frame(
            positions_A=_positions(atoms),
            cell_A=cell_A,
            labels=np.array([_label(line, request) for line in atoms]),
            time_ps=time_ps,
            step=step,
        )

    with Lines(path) as lines:
        try:
            while (line := lines.next()) is not None:
                record = line[:6].strip()
                if record in {"ATOM", "HETATM"}:
                    atoms.append(line)
                elif record == "CRYST1":
                    cell_A = _cell(line)
                elif record in {"TITLE", "REMARK"} and (match := _TIME.search(line)):
                    time_ps, step = float(match[1]), int(match[2]) if match[2] else None
                elif record == "MODEL":
                    if atoms:
                        raise Damaged("a model without ENDMDL")
                    in_model = True
                elif record in {"END", "ENDMDL"} and atoms:
                    if record == "END" and in_model:
                        raise Damaged("a model without ENDMDL")
                    yield frame()
                    atoms, in_model = [], False
                last = record
            if in_model or (lines.has_no_end and last not in {"END", "ENDMDL"}):
                raise Cut("it has no end")
            if atoms:
                yield frame()
        except ValueError as error:
            raise Damaged(f"near line {lines.number}: {error}") from None


def _positions(atoms: list[str]) -> np.ndarray:
    for line in atoms:
        if line[34:35] + line[42:43] + line[50:51] != "...":
            raise Damaged(f"{line.strip()!r} has its coordinates in other columns")
    return np.array([[line[30:38], line[38:46], line[46:54]] for line in atoms]).astype(float)


def _cell(line: str) -> np.ndarray | None:
    values = [float(line[6 + 9 * n : 15 + 9 * n]) for n in range(3)]
    angles = [float(line[33 + 7 * n : 40 + 7 * n]) for n in range(3)]
    # 1 Å or nothing stands for no cell.
    return None if values in ([1.0] * 3, [0.0] * 3) else cell_of_lengths(*values, *angles)


def _label(line: str, request: Request) -> str:
    """Element column, otherwise the name, whose element is right-justified in two columns."""
    name, residue, symbol = line[12:16], line[17:21].strip(), line[76:78].strip()
    if name.strip() in request.elements:
        return name.strip()
    if element(symbol):
        return symbol
    if name[:1] in " 0123456789" and len(name.strip()) > 1 and name.strip() != residue:
        return name.strip().lstrip("0123456789")[:1]
    return label_of_name(name.strip(), residue, request.elements)
