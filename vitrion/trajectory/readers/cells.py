"""Cells that the user gives for files without them, and cells that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitrion.base.errors import InputError
from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.trajectory.readers.frames import Damaged, cell_of_lengths
from vitrion.trajectory.readers.text import Lines

if TYPE_CHECKING:
    from vitrion.trajectory.recording import Recording

MOST_CHANGE = 2.0  # of the volume from one frame to the next
MOST_DENSITY_G_CM3 = 50.0  # more than twice that of osmium


@dataclass(frozen=True)
class GivenCell:
    """A cell for all frames, or one for each step, and the option that gave it."""

    option: str
    cells_A: np.ndarray
    path: str = ""
    steps: np.ndarray | None = None
    times_ps: np.ndarray | None = None


def given_cell(
    cell_A: Sequence[float] | None, cell_file: Path | str | None, cell_volume_A3: float | None
) -> GivenCell | None:
    """The cell that the user gives, if any.

    Raises:
        InputError: more than one, or one that cannot be.
    """
    options = {"cell": cell_A, "cell-file": cell_file, "cell-volume-A3": cell_volume_A3}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise InputError(given[1], options[given[1]], f"give either this or --{given[0]}")
    if cell_file is not None:
        return _cp2k_cells(Path(cell_file))
    if cell_volume_A3 is not None:
        return GivenCell("cell-volume-A3", np.eye(3)[None] * cell_volume_A3 ** (1 / 3))
    if cell_A is None:
        return None
    lengths = [float(value) for value in cell_A]
    if len(lengths) not in (3, 6) or not all(0 < v < np.inf for v in lengths):
        raise InputError(
            "cell", cell_A, "give a,b,c or a,b,c,alpha,beta,gamma (Å and degrees), as 12,12,15"
        )
    try:
        cell = cell_of_lengths(*lengths)
    except Damaged as error:
        raise InputError("cell", cell_A, f"{error}; correct them") from None
    return GivenCell("cell", cell[None])


def _cp2k_cells(path: Path) -> GivenCell:
    """The cells of CP2K's file `-1.cell`: step, time in fs, nine components in Å, volume."""
    if not path.is_file():
        raise InputError("cell-file", str(path), "no such file")
    rows: list[list[float]] = []
    try:
        with Lines(path) as lines:
            while (line := lines.next_filled()) is not None:
                if line.lstrip().startswith("#"):
                    continue
                row = [float(word) for word in line.split()]
                if len(row) != 12:
                    break  # the last line of a killed run
                rows.append(row)
            rest = lines.next_filled()
    except Exception as error:  # whatever a file of another kind raises
        raise InputError(
            "cell-file", str(path), f"cannot be read ({error}); copy it again"
        ) from None
    found = np.array(rows)
    if rest is not None or not len(found) or not np.isfinite(found).all():
        raise InputError(
            "cell-file",
            str(path),
            "is no file of cells of CP2K (step, time, nine components and the volume in each line)",
        )
    cells_A = found[:, 2:11].reshape(-1, 3, 3)
    volume_A3 = np.abs(np.linalg.det(cells_A))
    if not np.allclose(volume_A3, found[:, 11], rtol=1e-3):
        raise InputError(
            "cell-file", str(path), "has cells that contradict their volumes; copy it again"
        )
    return GivenCell("cell-file", cells_A, str(path), found[:, 0], found[:, 1] * 1e-3)


def cells_of(recording: Recording, paths: Sequence[Path], given: GivenCell | None) -> np.ndarray:
    """The cell of each frame, (frames, 3, 3).

    Raises:
        InputError: a file without a cell, one with a cell beside a given one, or cells that cannot
            be: they jump, or the atoms are too dense in them.
    """
    has_cell = np.isfinite(recording.cells_A).all(axis=(1, 2))
    if given is not None:
        if has_cell.any():
            path = paths[int(recording.file[np.argmax(has_cell)])]
            raise InputError(
                given.option, str(path), f"has cells of its own; leave --{given.option} out"
            )
        cells_A = _matched(recording, given)
    elif not has_cell.all():
        path = paths[int(recording.file[np.argmin(has_cell)])]
        beside = path.with_name(path.name.replace("-pos-", "-").rpartition(".")[0] + ".cell")
        hint = f" or --cell-file {beside.name}" if beside.is_file() else ""
        raise InputError(
            "trajectory",
            str(path),
            f"has no cell; give --cell a,b,c (Å), --cell-volume-A3 (cubic){hint}",
        )
    else:
        cells_A = recording.cells_A
    _check_cells(cells_A, recording, paths)
    return cells_A


def last_has_no_cell(recording: Recording, given: GivenCell | None) -> bool:
    """Whether only the last frame is later than the file of cells, as when a run was killed."""
    if given is None or given.steps is None or len(recording) < 2:
        return False
    before, last = recording.step[-2:]
    return bool(before <= given.steps.max() < last)


def _matched(recording: Recording, given: GivenCell) -> np.ndarray:
    """The given cells of the frames, found by their step or time."""
    if given.steps is None:
        return np.broadcast_to(given.cells_A, (len(recording), 3, 3))
    own, theirs = recording.step, given.steps
    if not np.isfinite(own).all():
        raise InputError(
            given.option,
            given.path,
            "the frames of the trajectory have no steps to find their cells by",
        )
    order = np.argsort(theirs, kind="stable")
    place = (
        np.searchsorted(theirs[order], own, side="right") - 1
    )  # the later of two, as in restarts
    found = order[np.maximum(place, 0)]
    missing = np.flatnonzero(theirs[found] != own)
    if len(missing):
        raise InputError(
            given.option,
            given.path,
            f"has no cell for step {own[missing[0]]:.0f} of the trajectory; write both at the same "
            "steps",
        )
    return given.cells_A[found]


def _check_cells(cells_A: np.ndarray, recording: Recording, paths: Sequence[Path]) -> None:
    from ase.data import atomic_masses, atomic_numbers

    volumes_A3 = np.abs(np.linalg.det(cells_A))
    change = np.abs(np.diff(np.log(volumes_A3)))
    lengths = np.linalg.norm(cells_A, axis=2)
    stretch = np.abs(np.diff(np.log(lengths), axis=0)).max(axis=1, initial=0.0)
    jumps = np.flatnonzero((change > np.log(MOST_CHANGE)) | (stretch > np.log(MOST_CHANGE)))
    if len(jumps):
        at = int(jumps[0]) + 1
        raise InputError(
            "trajectory",
            str(paths[int(recording.file[at])]),
            f"the cell jumps from {volumes_A3[at - 1]:.4g} to {volumes_A3[at]:.4g} Å³ at frame "
            f"{at + 1}; "
            "give frames of one run, with cells in Å",
        )
    mass_u = sum(atomic_masses[atomic_numbers[symbol]] for symbol in recording.symbols)
    density = mass_u * U_A3_TO_G_CM3 / float(volumes_A3.min())
    if density > MOST_DENSITY_G_CM3:
        raise InputError(
            "trajectory",
            str(paths[0]),
            f"has a density of {density:.3g} g/cm³ in its cell; the cell or its unit is wrong",
        )
