"""NetCDF trajectories after Amber's convention, as Amber, OpenMM and LAMMPS write them.

Own parsing of the classic format: libraries map the file whole and fail where it is cut. Layout
after the NetCDF classic format specification (Unidata) and ambermd.org/netcdf/nctraj.xhtml.
NetCDF-4 files are HDF5 and read by `hdf5`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request, cell_of_lengths
from vitrion.trajectory.readers.units import length_A, time_ps

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 10: ">i8"}
_STREAMING = 0xFFFFFFFF  # the number of frames was never written


@dataclass(frozen=True)
class _Variable:
    dtype: np.dtype
    shape: tuple[int, ...]  # of one frame
    begin: int
    size: int  # bytes of one frame, padded
    is_record: bool
    attributes: Mapping[str, Any]


class _Head:
    """The head of a file: its variables and where their frames lie."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if file.read(3) != b"CDF":
            raise Damaged("is not NetCDF")
        version = file.read(1)
        if version not in (b"\x01", b"\x02", b"\x05"):
            raise Damaged("is of an unknown NetCDF version")
        self._wide = version == b"\x05"
        self._wide_offsets = version != b"\x01"
        self.n_frames = self._count()
        dimensions = [(self._name(), self._count()) for _ in range(self._list(10))]
        self.attributes = self._attributes()
        self.variables = dict(self._variable(dimensions) for _ in range(self._list(11)))
        records = [v for v in self.variables.values() if v.is_record]
        sizes = [v.size for v in records]
        if len(records) == 1:
            sizes = [prod(records[0].shape) * records[0].dtype.itemsize]
        self.frame_bytes = sum(sizes)

    def _number(self, width: int) -> int:
        content = self._file.read(width)
        if len(content) < width:
            raise Damaged("its head is cut")
        return int.from_bytes(content, "big")

    def _count(self) -> int:
        return self._number(8 if self._wide else 4)

    def _list(self, tag: int) -> int:
        found, count = self._number(4), self._count()
        if (found != tag and (found or count)) or count > 1000:
            raise Damaged("its head is damaged")
        return count

    def _padded(self, count: int) -> bytes:
        if count > 1 << 20:
            raise Damaged("its head is damaged")
        content = self._file.read(-(-count // 4) * 4)
        if len(content) < count:
            raise Damaged("its head is cut")
        return content[:count]

    def _name(self) -> str:
        return self._padded(self._count()).decode("utf-8", "replace")

    def _attributes(self) -> dict[str, Any]:
        return {self._name(): self._value() for _ in range(self._list(12))}

    def _value(self) -> Any:
        dtype = self._type()
        content = self._padded(self._count() * dtype.itemsize)
        return (
            content.decode("utf-8", "replace")
            if dtype.kind == "S"
            else np.frombuffer(content, dtype)
        )

    def _type(self) -> np.dtype:
        number = self._number(4)
        if number not in _TYPES:
            raise Damaged("its head is damaged")
        return np.dtype(_TYPES[number])

    def _variable(self, dimensions: list[tuple[str, int]]) -> tuple[str, _Variable]:
        name = self._name()
        which = [self._count() for _ in range(self._count_small())]
        if any(number >= len(dimensions) for number in which):
            raise Damaged("its head is damaged")
        attributes, dtype = self._attributes(), self._type()
        self._count()  # size, which a large variable overflows
        begin = self._number(8 if self._wide_offsets else 4)
        shape = [dimensions[number][1] for number in which]
        is_record = bool(shape) and shape[0] == 0
        own = tuple(shape[1:] if is_record else shape)
        size = -(-prod(own) * dtype.itemsize // 4) * 4
        return name, _Variable(dtype, own, begin, size, is_record, attributes)

    def _count_small(self) -> int:
        count = self._count()
        if count > 16:
            raise Damaged("its head is damaged")
        return count

    def read(self, variable: _Variable, frame: int) -> np.ndarray:
        """One frame of a variable."""
        self._file.seek(variable.begin + frame * self.frame_bytes * variable.is_record)
        count = prod(variable.shape)
        content = self._file.read(count * variable.dtype.itemsize)
        if len(content) < count * variable.dtype.itemsize:
            raise Cut("it ends within it")
        found = np.frombuffer(content, variable.dtype).reshape(variable.shape)
        factor = variable.attributes.get("scale_factor")
        return found if factor is None else found * float(np.ravel(factor)[0])


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a file in the classic format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = _Head(file)
        coordinates = head.variables.get("coordinates")
        if coordinates is None or not coordinates.is_record or coordinates.shape[1:] != (3,):
            raise Damaged("has no coordinates after Amber's convention")
        begin = min(v.begin for v in head.variables.values() if v.is_record)
        in_file = -(-max(size - begin, 0) // head.frame_bytes)
        n_frames = in_file if head.n_frames >= _STREAMING else head.n_frames
        if in_file > n_frames:
            request.note(f"{path.name}: holds more bytes than its {n_frames} frames need")
        for number in range(n_frames):
            if begin + (number + 1) * head.frame_bytes > size + 3:  # but for padding
                raise Cut(f"{n_frames} are announced")
            values = {
                name: head.read(variable, number)
                for name, variable in head.variables.items()
                if name in VARIABLES
            }
            units = {name: str(v.attributes.get("units", "")) for name, v in head.variables.items()}
            yield frame_of(values, units)


VARIABLES = ("coordinates", "time", "cell_lengths", "cell_angles", "cell_origin", "id", "type")


def frame_of(values: Mapping[str, Any], units: Mapping[str, str]) -> Frame:
    """The frame of one set of Amber's variables."""
    positions = np.asarray(values["coordinates"], dtype=float)
    cell = None
    if "cell_lengths" in values and np.any(values["cell_lengths"]):
        angles = values.get("cell_angles", (90.0, 90.0, 90.0))
        factor = length_A(units.get("cell_lengths") or "angstrom")
        cell = cell_of_lengths(
            *(float(v) * factor for v in values["cell_lengths"]), *(float(v) for v in angles)
        )
    if "cell_origin" in values:
        positions = positions - np.asarray(values["cell_origin"], dtype=float)
    labels = None if "type" not in values else np.asarray(values["type"]).astype(int).astype(str)
    if "id" in values:  # LAMMPS does not keep the order
        order = np.argsort(np.asarray(values["id"]), kind="stable")
        positions, labels = positions[order], None if labels is None else labels[order]
    time = float(np.ravel(values["time"])[0]) if "time" in values else None
    unit = units.get("time", "")
    return Frame(
        positions_A=positions * length_A(units.get("coordinates") or "angstrom"),
        cell_A=cell,
        labels=labels,
        time_ps=time * time_ps(unit) if time is not None and unit else None,
        bare_time=time if not unit else None,
    )
