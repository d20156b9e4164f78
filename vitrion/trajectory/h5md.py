"""Trajectory segments and checkpoints in HDF5: H5MD, readable by MDAnalysis as they are.

Layout, after de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014):
/particles/all/{species, position, box/edges} with Å and ps, /observables/<column> with the rows of
the table `thermo`, and /vitrion with metadata (JSON) and the state at the end (checkpoint).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.tables import TABLES
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State, checksum

# A chunk is one coordinate of one atom over this many frames: such a coordinate stays within a few
# Å, so that few bits tell it to 0.001 Å. Shorter chunks need fewer bits, but cost 40 bytes each;
# 500 to 800 are the smallest for LiAlCl at 600 to 800 K. The longer, the slower to read one frame.
CHUNK_FRAMES = 500
_HDF5 = ("v110", "v110")  # file format of HDF5 1.10 (2016), whose index of chunks is compact


def write_segment(
    path: Path,
    parts: Iterable[Samples],
    state: State,
    *,
    n_frames: int,
    timestep_ps: float,
    precision_A: float,
    metadata: Mapping[str, object],
) -> None:
    """Write a segment; it appears whole or not at all.

    Args:
        path: file to write; its folder is made.
        parts: the samples in order, in parts of any length.
        state: the state at the end.
        n_frames: number of samples in all parts, at least one.
        timestep_ps: time of one step.
        precision_A: positions are rounded to multiples of the power of ten not above this.
        metadata: what the segment was made from; stored as JSON.
    """
    digits = max(0, math.ceil(-math.log10(precision_A) - 1e-9))
    with whole_file(path) as partial, h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        _write_samples(file, parts, state, n_frames, timestep_ps, digits)
        _write_checkpoint(file, state, metadata)


def write_checkpoint(path: Path, state: State, metadata: Mapping[str, object]) -> None:
    """Write a state without frames; the file appears whole or not at all."""
    with whole_file(path) as partial, h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        file.create_dataset("particles/all/species", data=state.numbers.astype(np.int32))
        _write_checkpoint(file, state, metadata)


def read_checkpoint(path: Path | str) -> tuple[State, dict[str, object]]:
    """State and metadata of a segment or checkpoint file.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file["vitrion/checkpoint"]
            arrays = {name: group[name][()] for name in group}
            expected = group.attrs["sha256"]
            metadata = json.loads(file["vitrion"].attrs["metadata"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            "checkpoint", str(path), f"cannot be read ({error}); remove the file to make it again"
        ) from None
    if checksum(arrays) != expected:
        raise InputError("checkpoint", str(path), "is damaged; remove the file to make it again")
    return State.from_arrays(arrays), metadata


def read_samples(path: Path | str) -> Samples:
    """All samples of a segment, positions with their stored precision.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
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
    except (OSError, KeyError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path | str, error: Exception) -> InputError:
    remedy = f"is damaged ({error}); remove the file to make it again"
    return InputError("segment", str(path), remedy)


@dataclass(frozen=True)
class Thinning:
    """What became of a segment's frames.

    Attributes:
        frames: that it had when it was made.
        frames_kept: that it has.
        bytes: size of its file before.
        bytes_kept: size of its file.
    """

    frames: int
    frames_kept: int
    bytes: int
    bytes_kept: int


def thin_segment(path: Path, keep_every: int) -> Thinning:
    """Leave out frames of a segment; what is needed to go on with the trajectory stays.

    The file is replaced whole, and keeps its time of modification: nothing that was made from it
    is out of date. Its metadata tells what was done.

    Args:
        path: a segment that `write_segment` wrote.
        keep_every: keep the frames at multiples of so many frame intervals, counted from the start
            of the trajectory; 0 keeps none.

    Raises:
        InputError: no such file, not one of ours, or damaged.
    """
    state, metadata = read_checkpoint(path)
    before = path.stat()
    with h5py.File(path) as old:
        step = old["particles/all/position/step"][()] if "particles/all/position" in old else []
        interval = round(1000 * metadata["frame_interval_ps"] / metadata["timestep_fs"])
        kept = np.flatnonzero(np.asarray(step) % (interval * keep_every) == 0) if keep_every else []
        had = metadata.get("retention", {"frames": len(step), "keep_every": 1})
        every = math.lcm(had["keep_every"], keep_every)
        if len(kept) < len(step):
            metadata["retention"] = {"frames": had["frames"], "keep_every": every}
            with whole_file(path) as partial:
                with h5py.File(partial, "w", libver=_HDF5) as new:
                    _write_heading(new)
                    new["particles/all/species"] = old["particles/all/species"][()]
                    if len(kept):
                        _copy_frames(old, new, kept)
                    _write_checkpoint(new, state, metadata)
                os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Thinning(had["frames"], len(kept), before.st_size, path.stat().st_size)


def _copy_frames(old: h5py.File, new: h5py.File, kept: np.ndarray) -> None:
    """Copy some frames: positions with their stored precision, the rest bit by bit."""
    position = old["particles/all/position"]
    values, chunk = position["value"], _chunk_frames(len(kept))
    group = new.create_group("particles/all/position")
    shape, digits = (len(kept), *values.shape[1:]), values.scaleoffset
    thinned = _create_positions(group, shape, chunk, digits)
    thinned.attrs["unit"] = values.attrs["unit"]
    for first in range(0, len(kept), chunk):
        rows = kept[first : first + chunk]
        try:
            read_A = values[rows[0] : rows[-1] + 1][rows - rows[0]]
        except OSError as error:  # its checksum does not fit
            raise _damaged(old.filename, error) from None
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


def _write_checkpoint(file: h5py.File, state: State, metadata: Mapping[str, object]) -> None:
    arrays = state.to_arrays()
    group = file.create_group("vitrion/checkpoint")
    for name, array in arrays.items():
        group.create_dataset(name, data=array)
    group.attrs["sha256"] = checksum(arrays)
    file["vitrion"].attrs["metadata"] = json.dumps(
        {"code_version": __version__, **metadata}, default=str
    )
