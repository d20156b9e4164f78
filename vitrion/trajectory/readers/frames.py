"""What a reader yields, what it is told, and how it says that a file is cut or damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


class Cut(Exception):
    """The file ends within a frame, as when its writer was killed; the frames before are whole."""


class Damaged(Exception):
    """The file is not what its format prescribes, as one phrase."""


@dataclass(frozen=True)
class Frame:
    """One frame as a file gives it.

    Attributes:
        positions_A: (atoms, 3), relative to the origin of the cell.
        cell_A: (3, 3), rows are cell vectors; None where the file gives none.
        labels: (atoms,) names of the atoms, from which elements are taken; None where the format
            has none.
        time_ps: time, where the file gives one with a unit.
        bare_time: time, where the file gives one without a unit.
        step: number of the step or of the frame.
        is_unwrapped: whether the positions were never folded back into the cell.
        charges: (atoms,) in e, where the file gives some.
    """

    positions_A: np.ndarray
    cell_A: np.ndarray | None = None
    labels: np.ndarray | None = None
    time_ps: float | None = None
    bare_time: float | None = None
    step: int | None = None
    is_unwrapped: bool = False
    charges: np.ndarray | None = None


@dataclass
class Request:
    """What is to be read, and notes on what was found.

    Attributes:
        paths: the files, in order.
        elements: element of names and types that the files use.
        topology: file that names the atoms, for formats that do not.
        group: particle group of an H5MD file.
        used_topology: whether the topology was needed; set by readers.
        notes: what the user should know, in order; readers add to it.
    """

    paths: Sequence[Path]
    elements: Mapping[str, str] = field(default_factory=dict)
    topology: Path | None = None
    group: str | None = None
    used_topology: bool = False
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)


def cell_of_lengths(
    a: float, b: float, c: float, alpha: float = 90.0, beta: float = 90.0, gamma: float = 90.0
) -> np.ndarray:
    """Cell (3, 3) of three lengths and the angles between them in degrees.

    The first vector lies along x, the second in the plane of x and y.

    Raises:
        Damaged: no cell has these angles.
    """
    from ase.geometry import cellpar_to_cell

    try:
        with np.errstate(all="ignore"):
            cell = np.asarray(cellpar_to_cell([a, b, c, alpha, beta, gamma]), dtype=float)
    except (AssertionError, ValueError, ZeroDivisionError):
        cell = np.full((3, 3), np.nan)
    if not np.isfinite(cell).all():
        raise Damaged(f"no cell has the angles {alpha:g}, {beta:g} and {gamma:g} degrees")
    return cell
