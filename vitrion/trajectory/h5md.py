"""Trajectory segments and checkpoints in HDF5: H5MD, readable by MDAnalysis as they are.

Layout, after de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014):
/particles/all/{species, position, box/edges} with Å and ps, /observables/<column> with the rows of
the table `thermo`, and /vitrion with metadata (JSON) and the state at the end (checkpoint).
H5MD files of other programs are read by `vitrion.trajectory.readers`.

A segment of a campaign is two files. `segment-0003.h5` is its checkpoint, from which the trajectory
continues. `segment-0003.frames.h5` beside it holds the frames. Where frames are left out after the
analysis (`production.keep_every`), `segment-0003.thinned.h5` takes the place of the frames, and the
checkpoint stays as it is. A run of `vitrion md` is one file with both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from ase.data import chemical_symbols

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.tables import TABLES
from vitrion.trajectory.metadata import SegmentMetadata, TrajectoryKey
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State, checksum
from vitrion.trajectory.unwrapping import Frames, Source

# A chunk is one coordinate of one atom over this many frames. Such a coordinate stays within a few
# Å, so that few bits store it to 0.001 Å. Shorter chunks need fewer bits, but cost 40 bytes each;
# files are smallest with 500 to 800 frames for LiAlCl at 600 to 800 K. One frame takes longer to
# read from longer chunks.
CHUNK_FRAMES = 500
READ_FRAMES = 256  # read at once, rounded to whole chunks
_HDF5 = ("v110", "v110")  # file format of HDF5 1.10 (2016), whose index of chunks is compact


def frames_path(segment: Path) -> Path:
    """The file beside a segment that holds its frames."""
    return segment.with_suffix(".frames.h5")


def thinned_path(segment: Path) -> Path:
    """The file beside a segment that holds the frames that were kept after the analysis."""
    return segment.with_suffix(".thinned.h5")


def write_segment(
    path: Path,
    parts: Iterable[Samples],
    state: State,
    metadata: SegmentMetadata,
    *,
    checkpoint: bool = True,
) -> None:
    """Write the frames of a segment, and its checkpoint; the file appears whole or not at all.

    Args:
        path: file to write; its folder is made.
        parts: the samples in order, in parts of any length.
        state: the state at the end.
        metadata: stored as JSON; positions are rounded to multiples of the power of ten not above
            its `position_precision_A`. Its `n_frames` is the number of samples in all parts.
        checkpoint: whether the state goes into the same file.

    Raises:
        ValueError: the metadata gives no precision or no number of frames.
    """
    if metadata.position_precision_A is None or not metadata.n_frames:
        raise ValueError("a segment needs position_precision_A and n_frames")
    digits = max(0, math.ceil(-math.log10(metadata.position_precision_A) - 1e-9))
    with whole_file(path) as partial, h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        _write_samples(file, parts, state, metadata.n_frames, metadata.timestep_ps, digits)
        if checkpoint:
            _write_state(file, state)
        _write_metadata(file, metadata)


def write_checkpoint(path: Path, state: State, metadata: SegmentMetadata) -> None:
    """Write a state without frames; the file appears whole or not at all."""
    with whole_file(path) as partial, h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        file.create_dataset("particles/all/species", data=state.numbers.astype(np.int32))
        _write_state(file, state)
        _write_metadata(file, metadata)


def read_checkpoint(path: Path | str) -> tuple[State, SegmentMetadata]:
    """State and metadata of a segment or checkpoint file.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    with _opened(path) as file:
        group = file["vitrion/checkpoint"]
        arrays = {name: group[name][()] for name in group}
        if checksum(arrays) != group.attrs["sha256"]:
            raise ValueError("its checksum does not fit")
        return State.from_arrays(arrays), _metadata(file)


def read_metadata(path: Path | str) -> SegmentMetadata:
    """Metadata of a segment or checkpoint file.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    with _opened(path) as file:
        return _metadata(file)


def read_samples(path: Path | str) -> Samples:
    """All samples of a segment, positions with their stored precision.

    Raises:
        InputError: no such file, not one of ours, damaged, or its frames were removed.
    """
    with _opened(_file_with_frames(Path(path))) as file:
        particles, observables = file["particles/all"], file["observables"]
        n_atoms = len(particles["species"])
        columns = {name: observables[f"{name}/value"][()] for name in observables}
        return Samples(
            step=particles["position/step"][()],
            stage=columns["stage"].astype("U"),
            target_K=columns["target_temperature_K"],
            temperature_K=columns["temperature_K"],
            energy_eV=columns["potential_energy_eV_atom"] * n_atoms,
            conserved_eV=columns["conserved_energy_eV_atom"] * n_atoms,
            pressure_GPa=columns["pressure_GPa"],
            cell_A=particles["box/edges/value"][()],
            positions_A=particles["position/value"][()],
        )


def read_segments(paths: Sequence[Path], *, expected: TrajectoryKey | None = None) -> Source:
    """Consecutive H5MD segments of one trajectory, in order.

    Where some were thinned (`production.keep_every`), only frames that all would have are used.

    Args:
        paths: the files; a segment stands for the frames beside it.
        expected: the trajectory of a campaign that the segments belong to.

    Raises:
        InputError: missing or damaged files, a segment of another trajectory, other atoms, frames
            missing, repeated or removed. Damage to positions is found when the frames are read.
    """
    if not paths:
        raise InputError("segments", [], "give at least one file")
    paths = [Path(path) for path in paths]
    for path in paths:
        _check_belongs(path, expected)
    # `segment-*.h5` names segments and their frames; each file is read once.
    paths = list(dict.fromkeys(_file_with_frames(path) for path in paths))
    metadata = [_check_belongs(path, expected) for path in paths]
    common = _common_interval(metadata)
    parts = [_read_frame_times(path) for path in paths]
    symbols = parts[0].symbols
    for path, part in zip(paths, parts, strict=True):
        if part.symbols != symbols:
            raise InputError("trajectory", str(path), "holds other atoms than the first segment")
    used = [np.flatnonzero(part.steps % common == 0) for part in parts]
    interval_ps = _check_spacing(
        [str(path) for path in paths],
        [part.steps[rows] for part, rows in zip(parts, used, strict=True)],
        [part.times_ps[rows] for part, rows in zip(parts, used, strict=True)],
    )

    def chunks() -> Iterator[Frames]:
        for path, rows in zip(paths, used, strict=True):
            yield from _read_frames(path, rows)

    return Source(
        symbols=symbols,
        frame_interval_ps=interval_ps,
        wrapped=False,
        chunks=chunks(),
        name=str(paths[0]),
        n_frames=sum(map(len, used)),
    )


@dataclass(frozen=True)
class _FrameTimes:
    """Elements of the atoms (atoms,), steps (frames,) and times (frames,) of a file's frames."""

    symbols: tuple[str, ...]
    steps: np.ndarray
    times_ps: np.ndarray


def _read_frame_times(path: Path) -> _FrameTimes:
    with _opened(path) as file:
        position = file["particles/all/position"]
        species = file["particles/all/species"][()]
        return _FrameTimes(
            symbols=tuple(chemical_symbols[int(number)] for number in species),
            steps=np.asarray(position["step"][()], dtype=np.int64),
            times_ps=np.asarray(position["time"][()], dtype=float),
        )


def _read_frames(path: Path, rows: np.ndarray) -> Iterator[Frames]:
    """Some frames of a file, a few at a time, in whole chunks so that none is read twice."""
    with _opened(path) as file:
        group = file["particles/all"]
        values, cells_A = group["position/value"], group["box/edges/value"]
        stored = (values.chunks or (1,))[0]
        step = max(stored, READ_FRAMES // stored * stored)
        for first in range(0, len(values), step):
            own = rows[(rows >= first) & (rows < first + step)] - first
            if len(own):
                part = slice(first, first + step)
                yield Frames(values[part][own], np.asarray(cells_A[part], dtype=float)[own])


def _check_belongs(path: Path, expected: TrajectoryKey | None) -> SegmentMetadata:
    """Metadata of a segment.

    Raises:
        InputError: no segment, or one of another trajectory than expected.
    """
    with _opened(path) as file:
        if "vitrion" not in file:
            raise InputError("trajectory", str(path), "is no segment of Vitrion; leave it out")
        metadata = _metadata(file)
    found = metadata.key
    if expected is not None and found != expected:
        raise InputError(
            "trajectory",
            str(path),
            f"holds {found or 'no trajectory of a campaign'}, where {expected} was expected; put "
            "the right file there, or remove this one to make it again",
        )
    return metadata


def _file_with_frames(path: Path) -> Path:
    """The file that holds the frames of a segment: itself, or one of those beside it.

    Raises:
        InputError: there is none.
    """
    with _opened(path) as file:
        if "particles/all/position" in file or "vitrion" not in file:
            return path
    for beside in (frames_path(path), thinned_path(path)):
        if beside.exists():
            return beside
    raise InputError(
        "trajectory",
        str(path),
        f"has no frames beside it ({frames_path(path).name}); production.keep_every: 0 removes "
        "them after the analysis, whose tables stay as they are. To analyse again, remove this "
        "segment and those after it, retention.parquet beside them and the trajectory's tables in "
        "transport; all are made again",
    )


def _common_interval(metadata: Sequence[SegmentMetadata]) -> int:
    """Steps between the frames that all segments have; 1 where none was thinned."""
    every = math.lcm(*(own.keep_every for own in metadata))
    return every * metadata[0].frame_interval_steps if every > 1 else 1


# What h5py and numpy raise for content that is missing, of another type, or fails its checksum.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError)
_REMEDY = "if Vitrion wrote it, remove it to make it again"


@contextmanager
def _opened(path: Path | str) -> Iterator[h5py.File]:
    """A file to read from, and from nothing else.

    Raises:
        InputError: no such file, no HDF5, not the expected content, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("trajectory", str(path), "no such file")
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            "trajectory", str(path), f"cannot be read as HDF5 ({error}); {_REMEDY}"
        ) from None
    with file, _damage_named(path):
        yield file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one message.

    Raises:
        InputError: instead.
    """
    try:
        yield
    except _DAMAGE as error:
        raise InputError("trajectory", str(path), f"is damaged ({error}); {_REMEDY}") from None


def _metadata(file: h5py.File) -> SegmentMetadata:
    return SegmentMetadata.from_json(file["vitrion"].attrs["metadata"])


def _check_spacing(
    names: Sequence[str], steps: Sequence[np.ndarray], times_ps: Sequence[np.ndarray]
) -> float:
    """The time between frames, after checking that every frame follows the one before.

    Raises:
        InputError: names the file and the steps where frames are missing or repeated.
    """
    every_step, every_time_ps = np.concatenate(steps), np.concatenate(times_ps)
    if len(every_step) < 2:
        raise InputError("trajectory", list(names), "holds fewer than two frames")
    owner = np.repeat(np.arange(len(names)), list(map(len, steps)))
    gaps = np.diff(every_step)
    usual = int(np.median(gaps))
    wrong = np.flatnonzero(gaps != usual)
    if len(wrong):
        at = int(wrong[0])
        problem = "repeats or goes back behind" if gaps[at] <= 0 else "leaves a gap after"
        raise InputError(
            "trajectory",
            names[owner[at + 1]],
            f"step {every_step[at + 1]} {problem} step {every_step[at]} of {names[owner[at]]} "
            f"(frames are {usual} steps apart); give every segment once, in order",
        )
    return float((every_time_ps[-1] - every_time_ps[0]) / (len(every_time_ps) - 1))


@dataclass(frozen=True)
class Thinning:
    """What thinning has left of a segment's frames.

    Attributes:
        frames: number of frames that the segment was made with.
        frames_kept: number of frames that are left.
        bytes: size of the file of the frames before.
        bytes_kept: size of the file of the frames that are left.
    """

    frames: int
    frames_kept: int
    bytes: int
    bytes_kept: int


def thin_segment(segment: Path, keep_every: int) -> Thinning:
    """Keep some frames of a segment in a new file, and remove the file of all frames.

    The segment itself, from which the trajectory continues, is not touched. The old file is removed
    when the new one is complete, so this can be repeated after any interruption.

    Args:
        segment: a segment of a campaign.
        keep_every: keep the frames at multiples of so many frame intervals, counted from the start
            of the trajectory; 0 keeps none.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    n_frames = read_metadata(segment).n_frames
    frames, thinned = frames_path(segment), thinned_path(segment)
    source = next((path for path in (frames, thinned) if path.exists()), None)
    if source is None:
        return Thinning(frames=n_frames, frames_kept=0, bytes=0, bytes_kept=0)
    n_bytes, metadata = source.stat().st_size, read_metadata(source)
    kept = _kept_rows(source, metadata, keep_every)
    every = math.lcm(metadata.keep_every, keep_every)
    if every != metadata.keep_every and len(kept):
        with (
            h5py.File(source) as old,
            whole_file(thinned) as partial,
            h5py.File(partial, "w", libver=_HDF5) as new,
        ):
            _write_heading(new)
            _copy_frames(old, new, kept)
            _write_metadata(new, replace(metadata, keep_every=every))
        source = thinned
    for path in (frames, thinned):
        if path != source or not len(kept):
            path.unlink(missing_ok=True)
    n_bytes_kept = source.stat().st_size if len(kept) else 0
    return Thinning(n_frames, len(kept), n_bytes, n_bytes_kept)


def _kept_rows(source: Path, metadata: SegmentMetadata, keep_every: int) -> np.ndarray:
    """Indices of the frames to keep."""
    with _opened(source) as file:
        steps = file["particles/all/position/step"][()]
    if not keep_every:
        return np.arange(0)
    return np.flatnonzero(steps % (metadata.frame_interval_steps * keep_every) == 0)


def _copy_frames(old: h5py.File, new: h5py.File, kept: np.ndarray) -> None:
    """Copy some frames: positions with their stored precision, the rest bit by bit."""
    new["particles/all/species"] = old["particles/all/species"][()]
    position = old["particles/all/position"]
    values, chunk = position["value"], _chunk_frames(len(kept))
    group = new.create_group("particles/all/position")
    shape, digits = (len(kept), *values.shape[1:]), values.scaleoffset
    thinned = _create_positions(group, shape, chunk, digits)
    thinned.attrs["unit"] = values.attrs["unit"]
    for first in range(0, len(kept), chunk):
        rows = kept[first : first + chunk]
        with _damage_named(Path(old.filename)):
            read_A = values[rows[0] : rows[-1] + 1][rows - rows[0]]
        thinned[first : first + chunk] = np.round(read_A.astype(np.float64), digits)
    step = _put(group, "step", position["step"][()][kept])
    time = _put(group, "time", position["time"][()][kept], position["time"].attrs["unit"])
    box = "particles/all/box"
    new.create_group(box).attrs.update(old[box].attrs)
    for name in (f"{box}/edges", *(f"observables/{name}" for name in old["observables"])):
        value, group = old[name]["value"], new.create_group(name)
        _put(group, "value", value[()][kept], value.attrs.get("unit", ""))
        group["step"], group["time"] = step, time


def _write_samples(
    file: h5py.File,
    parts: Iterable[Samples],
    state: State,
    n_frames: int,
    timestep_ps: float,
    digits: int,
) -> None:
    """The particles and observables groups of a file."""
    particles = file.create_group("particles/all")
    particles["species"] = state.numbers.astype(np.int32)
    chunk = _chunk_frames(n_frames)
    position = particles.create_group("position")
    values = _create_positions(position, (n_frames, len(state.numbers), 3), chunk, digits)
    values.attrs["unit"] = "Angstrom"
    written: list[Samples] = []
    first = 0
    for part in _rechunk(parts, chunk):
        values[first : first + len(part)] = np.round(part.positions_A.astype(np.float64), digits)
        first += len(part)
        written.append(part.without_positions())
    rows = Samples.join(written)

    step = _put(position, "step", rows.step)
    time = _put(position, "time", rows.step * timestep_ps, "ps")
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array([b"periodic"] * 3)
    series = {"particles/all/box/edges": (rows.cell_A, "Angstrom")}
    thermo = rows.thermo(masses_u=state.masses_u, timestep_ps=timestep_ps)
    for name, column in TABLES["thermo"].items():
        if name != "time_ps":
            array = thermo[name].to_numpy("S32" if column.dtype == "str" else np.float64)
            series[f"observables/{name}"] = (array, column.unit)
    for name, (array, unit) in series.items():
        group = file.create_group(name)
        _put(group, "value", array, unit)
        group["step"], group["time"] = step, time  # hard links


def _put(group: h5py.Group, name: str, values: np.ndarray, unit: str = "") -> h5py.Dataset:
    """A compressed dataset of known length, with its unit."""
    dataset = group.create_dataset(
        name, data=values, chunks=values.shape, compression="gzip", shuffle=True
    )
    if unit:
        dataset.attrs["unit"] = unit
    return dataset


def _create_positions(
    group: h5py.Group, shape: tuple[int, int, int], chunk: int, digits: int
) -> h5py.Dataset:
    """A dataset of positions, packed to the bits that its precision needs.

    h5py's own interface refuses a checksum behind the packing, where it protects what is stored.
    """
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((chunk, 1, 1))
    how.set_scaleoffset(h5py.h5z.SO_FLOAT_DSCALE, digits)
    how.set_fletcher32()
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, b"value", h5py.h5t.NATIVE_FLOAT, space, dcpl=how)
    return group["value"]


def _chunk_frames(n_frames: int) -> int:
    """Chunks of equal length, so that no short one is left over."""
    return math.ceil(n_frames / math.ceil(n_frames / CHUNK_FRAMES))


def _rechunk(parts: Iterable[Samples], length: int) -> Iterator[Samples]:
    """The same samples in parts of one length (the last may be shorter)."""
    waiting: list[Samples] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) < length:
            continue
        joined = Samples.join(waiting)
        whole = len(joined) // length * length
        for start in range(0, whole, length):
            yield joined.where(slice(start, start + length))
        waiting = [joined.where(slice(whole, None))]
    if sum(map(len, waiting)):
        yield Samples.join(waiting)


def _write_heading(file: h5py.File) -> None:
    heading = file.create_group("h5md")
    heading.attrs["version"] = np.array([1, 1], dtype=np.int32)
    heading.create_group("author").attrs["name"] = "vitrion"
    creator = heading.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "vitrion", __version__


def _write_state(file: h5py.File, state: State) -> None:
    arrays = state.to_arrays()
    group = file.create_group("vitrion/checkpoint")
    for name, array in arrays.items():
        group.create_dataset(name, data=array)
    group.attrs["sha256"] = checksum(arrays)


def _write_metadata(file: h5py.File, metadata: SegmentMetadata) -> None:
    file.require_group("vitrion").attrs["metadata"] = metadata.to_json()
