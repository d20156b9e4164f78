"""Trajectories in formats of other programs: what `vitrion analyze` reads.

docs/trajectories.md has the table of formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.h5md import read_segments
from vitrion.trajectory.motion import Motion, folding_jump
from vitrion.trajectory.oddities import odd_frame
from vitrion.trajectory.readers import Request, format_of
from vitrion.trajectory.readers.cells import cells_of, given_cell, last_has_no_cell
from vitrion.trajectory.recording import Recording, record
from vitrion.trajectory.timeline import Timeline, arrange
from vitrion.trajectory.unwrapping import Frames, Source

CHUNK_FRAMES = 256


def read_files(
    paths: Path | str | Sequence[Path | str],
    *,
    frame_interval_ps: float | None = None,
    ignore_times: bool = False,
    topology: Path | str | None = None,
    elements: Mapping[str, str] | None = None,
    group: str | None = None,
    unwrapped: bool = False,
    cell_A: Sequence[float] | None = None,
    cell_file: Path | str | None = None,
    cell_volume_A3: float | None = None,
    scratch: Path | None = None,
) -> Source:
    """Any trajectory of docs/trajectories.md; several files are consecutive pieces of one.

    Args:
        paths: one or more files.
        frame_interval_ps: time between frames, where the files do not hold it.
        ignore_times: whether times and steps in the files are wrong.
        topology: file that names the atoms, for formats that do not.
        elements: element of types and names in the files, as `{"1": "Li"}`.
        group: particle group of an H5MD file.
        unwrapped: positions are never folded back into the cell.
        cell_A: lengths of the cell, or lengths and angles in degrees, for files without one.
        cell_file: file of cells that CP2K writes beside its trajectory, for files without cells.
        cell_volume_A3: volume of a cubic cell, for files without one.
        scratch: folder of an unnamed file of 12 bytes per atom and frame, by default the system's.

    Raises:
        InputError: files that are missing, damaged, do not fit each other, or whose frames are not
            evenly spaced.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not files:
        raise InputError("trajectory", [], "give at least one file")
    formats = [format_of(path) for path in files]
    if formats[0].name == "HDF5" and _is_ours(files[0]):
        others = {
            "topology": topology,
            "elements": elements or None,
            "group": group,
            "cell": cell_A,
            "cell-file": cell_file,
            "cell-volume-A3": cell_volume_A3,
            "ignore-times": ignore_times or None,
        }
        return _segments(files, frame_interval_ps, others)
    if group is not None and not any(kind.name == "HDF5" for kind in formats):
        raise InputError("group", group, "is for H5MD files; leave it out")
    request = Request(
        paths=files,
        elements=dict(elements or {}),
        topology=None if topology is None else Path(topology),
        group=group,
    )
    cell = given_cell(cell_A, cell_file, cell_volume_A3)
    recording = record(request, scratch)
    if last_has_no_cell(recording, cell):
        recording = recording.without_last(
            f"the last frame has no cell in {Path(str(cell_file)).name}; it is left out"
        )
    cells_A = cells_of(recording, files, cell)
    motion = Motion(recording.positions_A, cells_A, recording.file)
    timeline = arrange(
        recording,
        motion,
        files,
        frame_interval_ps=frame_interval_ps,
        ignore_times=ignore_times,
    )
    odd = odd_frame(recording.positions_A, cells_A, timeline.rows, motion)
    if odd is not None:
        raise _odd(recording, timeline, files, *odd)
    is_wrapped, notes = _is_wrapped(recording, cells_A, timeline, files, unwrapped)
    return Source(
        symbols=recording.symbols,
        frame_interval_ps=timeline.frame_interval_ps,
        wrapped=is_wrapped,
        chunks=_chunks(recording, cells_A, timeline),
        name=str(files[0]),
        n_frames=len(timeline.rows),
        charges=recording.charges,
        notes=(*recording.notes, *timeline.notes, *notes),
    )


def _odd(
    recording: Recording, timeline: Timeline, files: Sequence[Path], place: int, what: str
) -> InputError:
    row = timeline.rows[place]
    path = files[int(recording.file[row])]
    return InputError(
        "trajectory",
        str(path),
        f"{what} in frame {row + 1}, as no atom does; the frame is damaged: copy the file again, "
        "or "
        "cut it there",
    )


def _is_wrapped(
    recording: Recording,
    cells_A: np.ndarray,
    timeline: Timeline,
    files: Sequence[Path],
    unwrapped: bool,
) -> tuple[bool, tuple[str, ...]]:
    """Whether atoms were folded back into the cell, and a note where the file says otherwise.

    Raises:
        InputError: they were, although the user says that they were not.
    """
    rows = timeline.rows
    if not unwrapped and not recording.is_unwrapped[rows].all():
        return True, ()
    jump = folding_jump(recording.positions_A, cells_A, rows)
    if jump is None:
        return False, ()
    place, step = jump
    path = files[int(recording.file[rows[place]])]
    what = f"an atom moves {step:.2f} cell lengths before frame {rows[place] + 1} and others little"
    if unwrapped:
        raise InputError("unwrapped", str(path), f"{what}: positions are folded; leave it out")
    return True, (f"{path.name}: {what}; its positions are unwrapped again",)


def _is_ours(path: Path) -> bool:
    """Whether a file is a segment of Vitrion's."""
    try:
        with h5py.File(path, "r") as file:
            return "vitrion" in file
    except (OSError, RuntimeError, ValueError):
        return False


def _segments(
    files: Sequence[Path], frame_interval_ps: float | None, others: Mapping[str, object]
) -> Source:
    for option, value in others.items():
        if value is not None:
            raise InputError(option, value, f"{files[0]} holds all that is needed; leave it out")
    source = read_segments(files)
    own_ps = source.frame_interval_ps
    if frame_interval_ps is not None and not np.isclose(own_ps, frame_interval_ps, rtol=1e-3):
        raise InputError(
            "frame-interval-ps", frame_interval_ps, f"the file says {own_ps:g} ps; leave it out"
        )
    return source


def _chunks(recording: Recording, cells_A: np.ndarray, timeline: Timeline) -> Iterator[Frames]:
    """The frames that are used, a few at a time."""
    length = max(1, min(CHUNK_FRAMES, 2_000_000 // len(recording.symbols)))
    for first in range(0, len(timeline.rows), length):
        rows = timeline.rows[first : first + length]
        yield Frames(np.asarray(recording.positions_A[rows], dtype=float), cells_A[rows])
