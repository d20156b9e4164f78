"""VASP: XDATCAR and vasprun.xml (vaspout.h5 is read by `hdf5`).

Own parsing: ASE stops an XDATCAR at a blank line and cannot part numbers that touch; a vasprun.xml
with a machine-learned force field holds most frames outside the calculations that ASE looks at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request
from vitrion.trajectory.readers.text import Lines, opened, table

_NUMBER = r"([-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eEdD][-+]?\d+)?)"
_DECIMAL = r"([-+]?\d*\.\d+(?:[eEdD][-+]?\d+)?)"
_THREE = re.compile(rf"\s*{_DECIMAL}\s*{_DECIMAL}\s*{_DECIMAL}\s*")  # they may touch
_VECTOR = re.compile(rf"\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*")
_CONFIGURATION = re.compile(
    r"\s*(\w*)\s*(?:configuration|Konfig)\s*=\s*(\d+|\*+)\s*", re.IGNORECASE
)
# Codes of expat for a document that ends too early: no element, unclosed token, partial character.
_XML_ENDS = {3, 5, 6}


@dataclass(frozen=True)
class _Header:
    cell_A: np.ndarray
    scale_A: float
    labels: np.ndarray


def xdatcar(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of an XDATCAR; several may be joined, with or without blank lines."""
    header: _Header | None = None
    with Lines(path) as lines:
        while (line := lines.next_filled()) is not None:
            try:
                match = _CONFIGURATION.fullmatch(line)
                if match is None:
                    header = _header(line, lines)
                    continue
                if header is None:
                    raise Damaged("no cell and species before the first frame")
                positions = _triples(lines.take(len(header.labels)))
            except (Damaged, ValueError) as error:
                raise Damaged(f"near line {lines.number}: {error}") from None
            is_cartesian = match[1][:1].lower() in {"c", "k"} and match[1].lower() != "konfig"
            yield Frame(
                positions_A=positions * header.scale_A
                if is_cartesian
                else positions @ header.cell_A,
                cell_A=header.cell_A,
                labels=header.labels,
                step=int(match[2]) if match[2].isdigit() else None,
            )


def _header(title: str, lines: Lines) -> _Header:
    """Title, scale, cell, species and their numbers; the title may be blank."""
    if re.fullmatch(rf"\s*{_NUMBER}\s*", title):
        following = lines.next() or ""
        blank = _VECTOR.fullmatch(following) is not None
        lines.give_back(*([title] if blank else []), following)
    scale = _floats(lines.take(1)[0])
    cell = np.array([_floats(line) for line in lines.take(3)])
    if cell.shape != (3, 3) or len(scale) not in (1, 3):
        raise Damaged("the cell is not a scale and three vectors")
    if len(scale) == 1 and scale[0] < 0:  # a volume
        scale = np.cbrt(-scale / abs(np.linalg.det(cell)))
    names = lines.take(1)[0].split()
    if all(name.isdigit() for name in names):  # VASP 4: groups are numbered
        counts, names = names, [str(number + 1) for number in range(len(names))]
    else:
        counts = lines.take(1)[0].split()
    if len(counts) != len(names) or not all(count.isdigit() for count in counts) or not counts:
        raise Damaged(
            f"species {' '.join(names)[:60]!r} and their numbers {' '.join(counts)[:60]!r}"
        )
    if not 0 < sum(map(int, counts)) < 10**9:
        raise Damaged(f"numbers of atoms {' '.join(counts)[:60]!r}")
    return _Header(cell * scale, float(scale[0]), np.repeat(names, list(map(int, counts))))


def _floats(line: str) -> np.ndarray:
    return np.array([float(word) for word in line.split()])


def _triples(lines: list[str]) -> np.ndarray:
    """Three numbers per line, (lines, 3), which may touch each other."""
    try:
        found = table(lines).astype(float)
        if found.shape == (len(lines), 3):
            return found
    except (Damaged, ValueError):
        pass
    matches = [_THREE.fullmatch(line) for line in lines]
    if None in matches:
        raise Damaged(
            f"{lines[matches.index(None)].strip()[:60]!r} where three numbers are expected"
        )
    return np.array([match.groups() for match in matches if match], dtype=float)


def vasprun(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a vasprun.xml, those of a machine-learned force field among them."""
    labels: np.ndarray | None = None
    potim_fs, step = float("nan"), 0
    with opened(path) as file:
        events = ElementTree.iterparse(file, events=("start", "end"))
        depth: list[ElementTree.Element] = []
        try:
            for event, element in events:
                if event == "start":
                    depth.append(element)
                    continue
                depth.pop()
                name = element.get("name")
                if element.tag == "i" and name == "POTIM" and np.isnan(potim_fs):
                    potim_fs = float(element.text or "nan")
                elif element.tag == "i" and name == "IBRION" and int(element.text or 0) > 0:
                    raise InputError(
                        "trajectory",
                        str(path),
                        f"IBRION = {(element.text or '').strip()} is a relaxation; give a run of "
                        "molecular dynamics (IBRION = 0)",
                    )
                elif element.tag == "array" and name == "atoms":
                    labels = np.array([(rc[0].text or "").strip() for rc in element.iter("rc")])
                elif element.tag == "structure" and name is None:
                    yield _structure(element, labels, step, potim_fs)
                    step += 1
                if element.tag in {"calculation", "structure", "scstep"} and depth:
                    depth[-1].remove(element)  # so that memory holds one frame
        except ElementTree.ParseError as error:
            if error.code in _XML_ENDS:
                raise Cut("it ends within it") from None
            raise Damaged(str(error)) from None


def _structure(
    element: ElementTree.Element, labels: np.ndarray | None, step: int, potim_fs: float
) -> Frame:
    arrays = {
        array.get("name"): [v.text or "" for v in array.iter("v")]
        for array in element.iter("varray")
    }
    if labels is None or not {"basis", "positions"} <= set(arrays):
        raise Damaged("a structure without atoms, basis or positions")
    cell, positions = _triples(arrays["basis"]), _triples(arrays["positions"])
    if cell.shape != (3, 3) or len(positions) != len(labels):
        raise Damaged(f"{len(positions)} positions of {len(labels)} atoms")
    return Frame(
        positions_A=positions @ cell,
        cell_A=cell,
        labels=labels,
        time_ps=step * potim_fs * 1e-3 if potim_fs > 0 else None,
        step=step,
    )


def species_labels(names: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Names of the atoms (atoms,) from those of the species and their numbers."""
    text = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return np.repeat(np.array([word.strip() for word in text]), counts.astype(int))
