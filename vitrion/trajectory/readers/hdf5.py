"""HDF5: H5MD of any program, VASP's vaspout.h5, and NetCDF-4 after Amber's convention.

H5MD after de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014), and nongnu.org/h5md
with its module of units; vaspout.h5 as py4vasp reads it.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import chemical_symbols

from vitrion.base.errors import InputError
from vitrion.trajectory.readers import amber
from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request
from vitrion.trajectory.readers.labels import labels_of_masses
from vitrion.trajectory.readers.units import length_A, time_ps
from vitrion.trajectory.readers.vasp import species_labels

READ_FRAMES = 64  # at once, rounded to whole chunks
_VASP = "intermediate/ion_dynamics"


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a file, by what it holds."""
    with _opened(path) as (file, size):
        if "particles" in file:
            yield from _h5md(file, path, request, size)
        elif f"{_VASP}/position_ions" in file:
            yield from _vaspout(file, size)
        elif "coordinates" in file:
            yield from _netcdf(file)
        else:
            raise Damaged("is HDF5, but neither H5MD, vaspout.h5 nor Amber's NetCDF")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.File, int]]:
    """A file and how many of its bytes are there.

    HDF5 refuses a file that is shorter than its head says. Its missing end is filled with zeros
    in a copy, so that frames before it can be read.
    """
    size = path.stat().st_size
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        end = re.search(r"truncated file.*stored_eof = (\d+)", str(error))
        if end is None:
            raise
        with tempfile.TemporaryDirectory() as folder:
            longer = Path(folder) / "longer.h5"
            shutil.copyfile(path, longer)
            os.truncate(longer, int(end[1]))
            with h5py.File(longer, "r", locking=False) as file:
                yield file, size
        return
    with file:
        yield file, size


def _rows(dataset: h5py.Dataset, size: int) -> int:
    """How many rows of a dataset were written and lie in the part of the file that is there."""
    rows = len(dataset)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if rows and offset is not None:
            rows = min(rows, max(size - offset, 0) // (dataset.nbytes // rows))
        return rows
    there: Counter[int] = Counter()

    def count(chunk: Any) -> None:
        there[chunk.chunk_offset[0]] += chunk.byte_offset + chunk.size <= size

    dataset.id.chunk_iter(count)
    lengths = zip(dataset.shape[1:], dataset.chunks[1:], strict=True)
    needed = math.prod(-(-length // chunk) for length, chunk in lengths)
    return next((n for n in range(0, rows, dataset.chunks[0]) if there[n] < needed), rows)


def _h5md(file: h5py.File, path: Path, request: Request, size: int) -> Iterator[Frame]:
    group = _group(file, path, request)
    position = group["position"]
    values = position["value"]
    series = [
        group[name]
        for name in ("position/value", "position/step", "position/time", "image/value")
        if name in group and group[name].shape
    ]
    n_frames = min(_rows(dataset, size) for dataset in series)
    if values.ndim != 3 or values.shape[2] != 3:
        raise Damaged(f"positions of shape {values.shape}; three coordinates are needed")
    unit = _unit(values)
    if not unit:
        request.note(f"{path.name}: its lengths have no unit and are taken as Å")
    length = length_A(unit) if unit else 1.0
    steps = _times(position.get("step"), n_frames)
    times, time_unit = _times(position.get("time"), n_frames), _unit(position.get("time"))
    labels = _labels(group, values.shape[1], request)
    charges = _constant(group.get("charge"))
    cells = _Cells(group, path, request, steps, n_frames, size, length)
    images = group.get("image/value")
    for first, stop in _pieces(values, n_frames):
        found = np.asarray(values[first:stop], dtype=float) * length
        cells_A = cells.read(first, stop)
        if images is not None:
            if cells_A is None:
                raise Damaged("has image flags and no box")
            shifts = np.asarray(images[first:stop], dtype=float)
            found = found + np.einsum("fax,fxy->fay", shifts, cells_A)
        for n in range(stop - first):
            time = None if times is None else float(times[first + n])
            yield Frame(
                positions_A=found[n],
                cell_A=None if cells_A is None else cells_A[n],
                labels=labels,
                time_ps=time * time_ps(time_unit) if time is not None and time_unit else None,
                bare_time=time if not time_unit else None,
                step=None if steps is None else int(steps[first + n]),
                is_unwrapped=images is not None,
                charges=charges,
            )
    if n_frames < len(values):
        raise Cut("its last positions, steps or times are missing")


def _group(file: h5py.File, path: Path, request: Request) -> h5py.Group:
    """The particle group that holds the trajectory."""
    groups = [
        n for n, g in file["particles"].items() if isinstance(g, h5py.Group) and "position" in g
    ]
    if request.group is not None:
        if request.group not in groups:
            raise InputError("group", request.group, f"{path} has others: {', '.join(groups)}")
        return file["particles"][request.group]
    if not groups:
        raise Damaged("is H5MD without positions")
    if "all" not in groups and len(groups) > 1:
        raise InputError(
            "trajectory",
            str(path),
            f"has the particle groups {', '.join(groups)}; name one, for example --group "
            f"{groups[0]}",
        )
    return file["particles"]["all" if "all" in groups else groups[0]]


def _unit(dataset: h5py.Dataset | None) -> str:
    """The attribute `unit` of a dataset, empty where there is none."""
    unit = "" if dataset is None else dataset.attrs.get("unit", "")
    if isinstance(unit, np.ndarray):
        unit = unit.ravel()[0] if unit.size else ""
    return unit.decode() if isinstance(unit, bytes) else str(unit)


def _times(dataset: h5py.Dataset | None, n_frames: int) -> np.ndarray | None:
    """Steps or times, stored in full or as an increment with an offset."""
    if dataset is None:
        return None
    if dataset.shape:
        return np.asarray(dataset[:n_frames], dtype=float)
    return float(dataset.attrs.get("offset", 0)) + float(dataset[()]) * np.arange(n_frames)


def _constant(element: h5py.Group | h5py.Dataset | None) -> np.ndarray | None:
    """Values of the atoms (atoms,), time-independent or the same at all times."""
    if element is None:
        return None
    values = np.asarray((element["value"] if isinstance(element, h5py.Group) else element)[()])
    if values.ndim > 1:
        if not (values == values[0]).all():
            raise Damaged(f"{element.name} changes with time")
        values = values[0]
    return values


def _labels(group: h5py.Group, n_atoms: int, request: Request) -> np.ndarray | None:
    """Names of the atoms: an enumeration, texts, atomic numbers or types; else from the masses."""
    species = group.get("species")
    if species is None:
        masses = _constant(group.get("mass"))
        return None if masses is None else labels_of_masses(masses)
    dataset = species["value"] if isinstance(species, h5py.Group) else species
    enumeration = h5py.check_enum_dtype(dataset.dtype)
    values = _constant(species)
    if values is None or len(values) != n_atoms:
        raise Damaged("has not one species for each atom")
    if enumeration:
        names = {int(number): str(name) for name, number in enumeration.items()}
        return np.array([names[int(value)] for value in values])
    if values.dtype.kind not in "iuf":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values])
    numbers = values.astype(int)
    kinds = np.unique(numbers)
    if all(str(kind) in request.elements for kind in kinds):
        return numbers.astype(str)
    masses = _constant(group.get("mass"))
    if masses is not None:
        return labels_of_masses(masses)
    is_numbered = len(kinds) > 1 and np.array_equal(kinds, 1 + np.arange(len(kinds)))
    if is_numbered or kinds[0] < 1 or kinds[-1] >= len(chemical_symbols):
        return numbers.astype(str)  # types from 1, of which the user has to name the elements
    return np.array([chemical_symbols[number] for number in numbers])


class _Cells:
    """The box: edges or vectors, for all frames or for each, on its own steps or the positions'."""

    def __init__(
        self,
        group: h5py.Group,
        path: Path,
        request: Request,
        steps: np.ndarray | None,
        count: int,
        size: int,
        length: float,
    ) -> None:
        box = group.get("box")
        self._edges = edges = None if box is None else box.get("edges")
        if box is not None:
            boundary = [
                b.decode() if isinstance(b, bytes) else str(b)
                for b in box.attrs.get("boundary", ())
            ]
            if any(name != "periodic" for name in boundary):
                request.note(
                    f"{path.name}: the box is not periodic everywhere; it is analysed as if it was"
                )
        self._rows: np.ndarray | None = None
        if edges is None:
            return
        self._values = edges["value"] if isinstance(edges, h5py.Group) else edges
        own_unit = _unit(self._values)
        self._factor = length_A(own_unit) if own_unit else length
        if not isinstance(edges, h5py.Group):
            return
        if "step" in edges and steps is not None:
            own = _times(edges["step"], len(self._values))
            assert own is not None
            rows = np.searchsorted(own, steps)
            if (rows >= len(own)).any() or not np.array_equal(own[rows], steps):
                raise Damaged("the box has no edges at the steps of the positions")
            if rows.size and rows.max() >= _rows(self._values, size):
                raise Damaged("has fewer boxes than positions")
            self._rows = rows
        elif _rows(self._values, size) < count:
            raise Damaged("has fewer boxes than positions")

    def read(self, first: int, stop: int) -> np.ndarray | None:
        """Cells (frames, 3, 3) in Å, None where there is no box."""
        if self._edges is None:
            return None
        count = stop - first
        if not isinstance(self._edges, h5py.Group):
            found = np.asarray(self._values[()], dtype=float)
            found = np.broadcast_to(found, (count, *found.shape))
        elif self._rows is None:
            found = np.asarray(self._values[first:stop], dtype=float)
        else:
            rows = self._rows[first:stop]
            found = np.asarray(self._values[rows[0] : rows[-1] + 1], dtype=float)[rows - rows[0]]
        if found.ndim == 2:
            found = found[..., None] * np.eye(3)
        if found.shape != (count, 3, 3):
            raise Damaged(f"edges of shape {self._values.shape}")
        return found * self._factor


def _pieces(values: h5py.Dataset, n_frames: int) -> Iterator[tuple[int, int]]:
    """First and last frame of what is read at once: whole chunks, so that none is read twice."""
    stored = min((values.chunks or (1,))[0], max(n_frames, 1))
    length = max(stored, READ_FRAMES // stored * stored)
    for first in range(0, n_frames, length):
        yield first, min(first + length, n_frames)


def _vaspout(file: h5py.File, size: int) -> Iterator[Frame]:
    dynamics, positions = file[_VASP], file["results/positions"]
    labels = species_labels(positions["ion_types"][()], positions["number_ion_types"][()])
    scale = float(positions["scale"][()]) if "scale" in positions else 1.0
    potim_fs = float(file["input/incar/POTIM"][()]) if "input/incar/POTIM" in file else 0.0
    fractional, cells = dynamics["position_ions"], dynamics["lattice_vectors"]
    if fractional.shape[1:] != (len(labels), 3) or cells.shape[1:] != (3, 3):
        raise Damaged(f"positions of shape {fractional.shape} of {len(labels)} atoms")
    count = min(_rows(fractional, size), _rows(cells, size))
    for n in range(count):
        cell_A = np.asarray(cells[n], dtype=float) * scale
        yield Frame(
            positions_A=np.asarray(fractional[n], dtype=float) @ cell_A,
            cell_A=cell_A,
            labels=labels,
            time_ps=n * potim_fs * 1e-3 if potim_fs > 0 else None,
            step=n,
        )
    if count < len(fractional):
        raise Cut("its last positions or cells are missing")


def _netcdf(file: h5py.File) -> Iterator[Frame]:
    used = [name for name in amber.VARIABLES if name in file]
    units = {name: _text(file[name].attrs.get("units", b"")) for name in used}
    for n in range(min(len(file[name]) for name in used)):
        values = {name: file[name][n] * _scale(file[name]) for name in used}
        yield amber.frame_of(values, units)


def _scale(dataset: h5py.Dataset) -> Any:
    factor = dataset.attrs.get("scale_factor")
    return 1 if factor is None else float(np.ravel(factor)[0])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
