"""LAMMPS text dumps, and data files as topology.

Own parsing: ASE drops the step, the time and the image flags. Layout after the LAMMPS manual,
`dump` and `read_data` (docs.lammps.org).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request
from vitrion.trajectory.readers.labels import element, element_of_mass, labels_of_masses
from vitrion.trajectory.readers.text import Lines, count_of, table

# Å and ps per unit of length and time, by `units` command; `lj` has neither.
UNITS = {
    "real": (1.0, 1e-3),
    "metal": (1.0, 1.0),
    "si": (1e10, 1e12),
    "cgs": (1e8, 1e12),
    "electron": (0.529177210544, 1e-3),
    "micro": (1e4, 1e6),
    "nano": (10.0, 1e3),
}
_POSITIONS = (
    # columns, scaled by the cell, never folded
    (("xu", "yu", "zu"), False, True),
    (("xsu", "ysu", "zsu"), True, True),
    (("x", "y", "z"), False, False),
    (("xs", "ys", "zs"), True, False),
)
_IMAGES = ("ix", "iy", "iz")


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a text dump."""
    types = _types_of_topology(request)
    ids: np.ndarray | None = None
    units: tuple[float, float] | None = None
    with Lines(path) as lines:
        while (line := lines.next_filled()) is not None:
            lines.give_back(line)
            try:
                block = _block(lines, request, path, None if ids is None else len(ids))
                if block is None:
                    continue
                if "UNITS" in block.items:
                    units = _units(block.items["UNITS"][0].strip())
                frame, own_ids = _frame(block, types, units, request, path)
            except Damaged as error:
                raise Damaged(f"near line {lines.number}: {error}") from None
            if ids is not None and not np.array_equal(ids, own_ids):
                raise Damaged(f"near line {lines.number}: the atoms change from frame to frame")
            ids = own_ids
            yield frame


class _Block:
    """The items of one frame and the lines below each."""

    def __init__(self) -> None:
        self.items: dict[str, list[str]] = {}
        self.bounds = self.columns = ""


def _block(lines: Lines, request: Request, path: Path, expected: int | None) -> _Block | None:
    """The next frame; None where one is left unfinished and another follows.

    A killed run that continues in the same file leaves such a frame.
    """
    block, n_atoms = _Block(), 0
    while True:
        line = lines.next()
        if line is None:
            raise Cut("it ends within it")
        if not line.startswith("ITEM: "):
            if block.items and "ITEM: " in line:
                _go_to_next(lines, [line], request, path)
                return None
            raise Damaged(f"{line[:60]!r} where `ITEM:` is expected")
        name = line[len("ITEM: ") :].strip()
        if name == "TIMESTEP" and "TIMESTEP" in block.items:
            _go_to_next(lines, [line], request, path)
            return None
        if name.startswith("BOX BOUNDS"):
            block.bounds, name, count = name[len("BOX BOUNDS") :], "BOX BOUNDS", 3
        elif name.startswith(("ATOMS", "ENTRIES")):
            block.columns, name, count = name.partition(" ")[2], "ATOMS", n_atoms
            if "BOX BOUNDS" not in block.items or "TIMESTEP" not in block.items:
                raise Damaged("atoms before their step, number and box")
        elif name in {"TIMESTEP", "NUMBER OF ATOMS", "UNITS", "TIME"}:
            count = 1
        else:
            raise Damaged(f"unknown item {name[:60]!r}")
        found = lines.take(count)
        if any("ITEM: " in text for text in found):
            _go_to_next(lines, found, request, path)
            return None
        if name == "NUMBER OF ATOMS":
            n_atoms = count_of(found[0], expected)
        block.items[name] = found
        if name == "ATOMS":
            return block


def _go_to_next(lines: Lines, found: list[str], request: Request, path: Path) -> None:
    """Go back to where the next frame begins."""
    at = next(i for i, text in enumerate(found) if "ITEM: " in text)
    rest = found[at][found[at].index("ITEM: ") :]
    if not rest.startswith(("ITEM: TIMESTEP", "ITEM: UNITS", "ITEM: TIME")):
        raise Damaged(f"{rest.strip()[:60]!r} within a frame")
    lines.give_back(rest, *found[at + 1 :])
    request.note(f"{path.name}: a frame near line {lines.number} is cut and left out")


def _units(name: str) -> tuple[float, float]:
    if name not in UNITS:
        raise Damaged(f"units {name!r} have no length in Å; use real or metal")
    return UNITS[name]


def _frame(
    block: _Block,
    types: Mapping[str, str],
    units: tuple[float, float] | None,
    request: Request,
    path: Path,
) -> tuple[Frame, np.ndarray]:
    """The frame sorted by the numbers of its atoms, and these numbers."""
    columns, words = block.columns.split(), table(block.items["ATOMS"])
    if words.shape[1] != len(columns):
        raise Damaged(f"{words.shape[1]} values in the columns {' '.join(columns)}")
    column = {name: words[:, at] for at, name in enumerate(columns)}
    ids = np.arange(len(words))
    if "id" in column:
        ids = column["id"].astype(np.int64)
        order = np.argsort(ids, kind="stable")
        ids, column = ids[order], {name: values[order] for name, values in column.items()}
        if len(ids) > 1 and not np.diff(ids).all():
            raise Damaged("an atom is there twice")
    else:
        request.note(
            f"{path.name}: has no column `id`; the atoms are taken to keep their order "
            "(dump_modify "
            "sort id)"
        )
    cell, origin, periodic = _box(block)
    if not periodic:
        request.note(
            f"{path.name}: the box is not periodic everywhere; it is analysed as if it was"
        )
    positions, is_unwrapped = _positions(column, cell, origin)
    length_A, time_ps = units or (1.0, float("nan"))
    time = float(block.items["TIME"][0]) if "TIME" in block.items else None
    frame = Frame(
        positions_A=positions * length_A,
        cell_A=cell * length_A,
        labels=_labels(column, types, request, path),
        time_ps=time * time_ps if time is not None and units else None,
        bare_time=time if not units else None,
        step=int(block.items["TIMESTEP"][0]),
        is_unwrapped=is_unwrapped,
        charges=column["q"].astype(float) if "q" in column else None,
    )
    return frame, ids


def _box(block: _Block) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cell, its origin, and whether it is periodic in all directions."""
    bounds = table(block.items["BOX BOUNDS"]).astype(float)
    words = block.bounds.split()
    periodic = all(word == "pp" for word in words if re.fullmatch("[pfsm]{2}", word))
    if "abc" in words:  # general triclinic: a vector and a coordinate of the origin in each row
        if bounds.shape != (3, 4):
            raise Damaged("the box has not four numbers in a row")
        return bounds[:, :3], bounds[:, 3], periodic
    if bounds.shape == (3, 2):
        return np.diag(bounds[:, 1] - bounds[:, 0]), bounds[:, 0], periodic
    if bounds.shape != (3, 3):
        raise Damaged("the box has not two or three numbers in a row")
    xy, xz, yz = bounds[:, 2]  # the bounds are those of the box around the tilted cell
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    cell = np.diag(high - low)
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell, low, periodic


def _positions(
    column: Mapping[str, np.ndarray], cell: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Positions relative to the origin, and whether they were never folded."""
    for names, scaled, is_unwrapped in _POSITIONS:
        if not all(name in column for name in names):
            continue
        found = np.stack([column[name] for name in names], axis=1).astype(float)
        positions = found @ cell if scaled else found - origin
        if not is_unwrapped and all(name in column for name in _IMAGES):
            images = np.stack([column[name] for name in _IMAGES], axis=1).astype(float)
            return positions + images @ cell, True
        return positions, is_unwrapped
    raise Damaged("has no columns of positions; dump x y z, xu yu zu or xs ys zs")


def _labels(
    column: Mapping[str, np.ndarray], types: Mapping[str, str], request: Request, path: Path
) -> np.ndarray:
    """Names of the atoms: elements, or types of which the element is known."""
    if "type" in column and set(np.unique(column["type"])) <= set(request.elements):
        return column["type"]
    if "element" in column and not _all_carbon(column):
        return column["element"]
    if "type" in column:
        kinds = np.unique(column["type"])
        known = {**types, **request.elements}
        if all(kind in known or element(kind) for kind in kinds):
            return np.array([types.get(kind, kind) for kind in kinds])[
                np.searchsorted(kinds, column["type"])
            ]
    if "mass" in column:
        return labels_of_masses(column["mass"].astype(float))
    raise InputError(
        "trajectory",
        str(path),
        "has no column `element`; give --elements 1=Li,2=Al or --topology with a data file that "
        "has masses, or dump it with `dump ... custom ... id element x y z` and "
        "`dump_modify ... element Li Al Cl O`",
    )


def _all_carbon(column: Mapping[str, np.ndarray]) -> bool:
    """LAMMPS writes C for every type where `dump_modify element` was not given."""
    return (
        "type" in column
        and len(np.unique(column["type"])) > 1
        and bool((column["element"] == "C").all())
    )


def _types_of_topology(request: Request) -> dict[str, str]:
    """Elements of the types, where the topology is a data file."""
    if request.topology is None or not is_data_file(request.topology):
        return {}
    request.used_topology = True
    return _elements_of_types(_sections(request.topology))


def is_data_file(path: Path) -> bool:
    """Whether a file is a LAMMPS data file."""
    try:
        with Lines(path) as lines:
            head = [lines.next() or "" for _ in range(60)]
    except Exception:  # whatever a file of another kind raises
        return False
    return any(re.fullmatch(r"\s*\d+\s+atoms\s*", line) for line in head)


def topology(path: Path, request: Request) -> tuple[np.ndarray, np.ndarray | None]:
    """Names of the atoms of a data file in order of their numbers, and their charges."""
    sections = _sections(path)
    style, lines = sections.get("Atoms", ("", []))
    if not lines:
        raise Damaged("has no section `Atoms`")
    words = table(lines)
    elements = {**_elements_of_types(sections), **request.elements}
    at = _type_column(
        style, words, {line.split()[0] for line in sections.get("Masses", ("", []))[1]}
    )
    words = words[np.argsort(words[:, 0].astype(np.int64))]
    kinds = np.unique(words[:, at])
    labels = np.array([elements.get(kind, kind) for kind in kinds])
    charge_at = {"charge": 2, "full": 3}.get(style)
    charges = words[:, charge_at].astype(float) if charge_at else None
    return labels[np.searchsorted(kinds, words[:, at])], charges


def _sections(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Hint and lines of the sections that name atoms."""
    found: dict[str, tuple[str, list[str]]] = {}
    current: list[str] | None = None
    with Lines(path) as lines:
        lines.next()
        while (line := lines.next()) is not None:
            title, _, hint = (part.strip() for part in line.partition("#"))
            if re.fullmatch(r"[A-Z][A-Za-z /]*", title):
                current = []
                found[title] = (hint, current)
            elif title and current is not None:
                current.append(
                    line if "Masses" in found and current is found["Masses"][1] else title
                )
    return found


def _elements_of_types(sections: Mapping[str, tuple[str, list[str]]]) -> dict[str, str]:
    """Elements of the types: from their labels, the comments behind their masses, or the masses."""
    names: dict[str, str] = {}
    for line in sections.get("Masses", ("", []))[1]:
        numbers, _, comment = line.partition("#")
        kind, mass = numbers.split()[:2]
        words = comment.split()
        symbol = (element(words[0]) if words else None) or element_of_mass(float(mass))
        if symbol:
            names[kind] = symbol
    for line in sections.get("Atom Type Labels", ("", []))[1]:
        kind, label = line.split()[:2]
        symbol = element(label) or names.get(kind)
        if symbol:
            names[kind] = names[label] = symbol
    return names


def _type_column(style: str, words: np.ndarray, types: set[str]) -> int:
    """Column of the type: after the number, or after the molecule."""
    if style in {"full", "molecular", "bond", "angle"}:
        return 2
    if style in {"atomic", "charge", "sphere", "dpd"} or words.shape[1] in {5, 8}:
        return 1
    third = set(words[:, 2])
    return 2 if third <= types and all(word.isdigit() for word in third) else 1
