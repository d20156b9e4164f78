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
from pathlib import Path

import h5py
import numpy as np

from vitrion import __version__
from vitrion.dynamics.checkpoint import sync_folder
from vitrion.dynamics.samples import Samples
from vitrion.dynamics.state import State, checksum
from vitrion.errors import InputError
from vitrion.tables import TABLES

# A chunk is one coordinate of one atom over this many frames: such a coordinate stays within an
# Å or two, so that few bits tell it to 0.001 Å. Longer chunks gain little in size (5 % at 500) and
# make single frames slow to read.
CHUNK_FRAMES = 250
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
        n_frames: number of samples in all parts.
        timestep_ps: time of one step.
        precision_A: positions are rounded to multiples of the power of ten not above this.
        metadata: what the segment was made from; stored as JSON.
    """
    digits = max(0, math.ceil(-math.log10(precision_A) - 1e-9))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        # Chunks of equal length, so that no short one is left over.
        chunk = math.ceil(n_frames / math.ceil(n_frames / CHUNK_FRAMES)) if n_frames else 1
        writer = _Writer(file, state, timestep_ps, digits, chunk)
        for part in _rechunk(parts, chunk):
            writer.append(part)
        _write_checkpoint(file, state, metadata)
    _publish(partial, path)


def write_checkpoint(path: Path, state: State, metadata: Mapping[str, object]) -> None:
    """Write a state without frames; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with h5py.File(partial, "w", libver=_HDF5) as file:
        _write_heading(file)
        file.create_dataset("particles/all/species", data=state.numbers.astype(np.int32))
        _write_checkpoint(file, state, metadata)
    _publish(partial, path)


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
        raise InputError(
            "segment", str(path), f"is damaged ({error}); remove the file to make it again"
        ) from None


class _Writer:
    """Appends samples to the groups of an open file."""

    def __init__(
        self, file: h5py.File, state: State, timestep_ps: float, digits: int, chunk: int
    ) -> None:
        n_atoms = len(state.numbers)
        self._timestep_ps, self._digits = timestep_ps, digits
        self._masses_u = state.masses_u
        particles = file.create_group("particles/all")
        particles.create_dataset("species", data=state.numbers.astype(np.int32))
        box = particles.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = np.array([b"periodic"] * 3)
        self._step = particles.create_dataset(
            "position/step", (0,), np.int64, maxshape=(None,), chunks=(4096,), compression="gzip"
        )
        self._time = particles.create_dataset(
            "position/time", (0,), np.float64, maxshape=(None,), chunks=(4096,), compression="gzip"
        )
        self._time.attrs["unit"] = "ps"
        self._positions = _create_positions(particles["position"], n_atoms, chunk, digits)
        self._positions.attrs["unit"] = "Angstrom"
        self._cells = box.create_dataset(
            "edges/value",
            (0, 3, 3),
            np.float64,
            maxshape=(None, 3, 3),
            chunks=(chunk, 3, 3),
            compression="gzip",
            shuffle=True,
        )
        self._cells.attrs["unit"] = "Angstrom"
        self._observables = {}
        for name, column in TABLES["thermo"].items():
            if name == "time_ps":
                continue
            group = file.create_group(f"observables/{name}")
            group["step"], group["time"] = self._step, self._time
            self._observables[name] = group.create_dataset(
                "value",
                (0,),
                "S32" if column.dtype == "str" else np.float64,
                maxshape=(None,),
                chunks=(4096,),
                compression="gzip",
                shuffle=True,
            )
            if column.unit:
                self._observables[name].attrs["unit"] = column.unit
        box["edges/step"], box["edges/time"] = self._step, self._time

    def append(self, samples: Samples) -> None:
        """Add samples; a multiple of the chunk length but for the last."""
        rounded = np.round(samples.positions_A.astype(np.float64), self._digits)
        _extend(self._positions, rounded.astype(np.float32))
        _extend(self._cells, samples.cell_A)
        _extend(self._step, samples.step)
        _extend(self._time, samples.step * self._timestep_ps)
        thermo = samples.thermo(masses_u=self._masses_u, timestep_ps=self._timestep_ps)
        for name, dataset in self._observables.items():
            values = thermo[name].to_numpy()
            _extend(dataset, values.astype("S32") if name == "stage" else values)


def _create_positions(group: h5py.Group, n_atoms: int, chunk: int, digits: int) -> h5py.Dataset:
    """An empty dataset of positions, packed to the bits that its precision needs.

    h5py's own interface refuses a checksum behind the packing, where it protects what is stored.
    """
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((chunk, 1, 1))
    how.set_scaleoffset(h5py.h5z.SO_FLOAT_DSCALE, digits)
    how.set_fletcher32()
    space = h5py.h5s.create_simple((0, n_atoms, 3), (h5py.h5s.UNLIMITED, n_atoms, 3))
    h5py.h5d.create(group.id, b"value", h5py.h5t.NATIVE_FLOAT, space, dcpl=how)
    return group["value"]


def _extend(dataset: h5py.Dataset, values: np.ndarray) -> None:
    start = len(dataset)
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values


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


def _publish(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)
