"""DCD, as CHARMM, NAMD, OpenMM, MDAnalysis, LAMMPS and CP2K write it.

Own parsing of its Fortran records: MDAnalysis believes the number of frames in the head, which a
killed run leaves wrong, and takes every time for CHARMM's unit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request, cell_of_lengths

AKMA_PS = 0.04888821  # CHARMM's unit of time


@dataclass(frozen=True)
class _Head:
    order: str  # of the bytes
    n_atoms: int
    has_cell: bool
    first: int
    stride: int
    interval_ps: float | None


def frames(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a file."""
    with path.open("rb") as file:
        head = _head(file)
        number = 0
        while (first := file.read(4)) != b"":
            file.seek(-len(first), 1)
            cell_A = _cell(_record(file, head.order, 48), head.order) if head.has_cell else None
            size = 4 * head.n_atoms
            axes = [
                np.frombuffer(_record(file, head.order, size), head.order + "f4") for _ in "xyz"
            ]
            step = head.first + number * head.stride
            yield Frame(
                positions_A=np.stack(axes, axis=1).astype(float),
                cell_A=cell_A,
                time_ps=None if head.interval_ps is None else step / head.stride * head.interval_ps,
                step=step,
            )
            number += 1


def _head(file: BinaryIO) -> _Head:
    first = file.read(8)
    order = next((o for o in "<>" if first == struct.pack(o + "i4s", 84, b"CORD")), None)
    if order is None:
        raise Damaged("does not begin as a DCD of positions in 4-byte records")
    file.seek(0)
    numbers = np.frombuffer(_record(file, order, 84)[4:], order + "i4")
    title = _record(file, order, None)
    n_atoms = int(np.frombuffer(_record(file, order, 4), order + "i4")[0])
    if not 0 < n_atoms < 10**9:
        raise Damaged(f"{n_atoms} atoms")
    if numbers[8]:
        raise Damaged(f"{numbers[8]} fixed atoms have no positions after the first frame")
    is_charmm = bool(numbers[19])
    if is_charmm and numbers[11]:
        raise Damaged("positions in four dimensions")
    delta = (
        float(numbers[9:10].view(order + "f4")[0])
        if is_charmm
        else float(np.frombuffer(numbers[9:11].tobytes(), order + "f8")[0])
    )
    stride = max(int(numbers[2]), 1)
    if b"LAMMPS" in title.upper():
        unit_ps = None  # its `units` are not in the file
    elif b"CP2K" in title.upper():
        unit_ps = 1e-3
    else:
        unit_ps = AKMA_PS
    known = unit_ps is not None and np.isfinite(delta) and delta > 0
    return _Head(
        order=order,
        n_atoms=n_atoms,
        has_cell=is_charmm and bool(numbers[10]),
        first=int(numbers[1]),
        stride=stride,
        interval_ps=delta * stride * (unit_ps or 0.0) if known else None,
    )


def _record(file: BinaryIO, order: str, size: int | None) -> bytes:
    """Content of the next record, of known size or any up to a few kB."""
    mark = file.read(4)
    if len(mark) < 4:
        raise Cut("it ends within it")
    length = struct.unpack(order + "i", mark)[0]
    if length != size and (size is not None or not 0 < length <= 80 * 1000 + 4):
        raise Damaged(f"a record of {length} bytes where {size or 'a title'} is expected")
    content, end = file.read(length), file.read(4)
    if len(content) + len(end) < length + 4:
        raise Cut("it ends within it")
    if end != mark:
        raise Damaged(f"a record that does not end after {length} bytes")
    return content


def _cell(record: bytes, order: str) -> np.ndarray | None:
    """Cell of a, γ, b, β, α, c (degrees or cosines), or of CHARMM's symmetric matrix."""
    a, gamma, b, beta, alpha, c = (float(v) for v in np.frombuffer(record, order + "f8"))
    if not any((a, b, c)):
        return None
    angles = np.array([alpha, beta, gamma])
    if not np.isfinite([a, b, c, *angles]).all():
        raise Damaged("a cell that is no numbers")
    if (np.abs(angles) <= 1).all():
        angles = np.degrees(np.arccos(angles))
    elif (angles < 0).any() or (angles > 180).any():
        return np.array([[a, gamma, beta], [gamma, b, alpha], [beta, alpha, c]])
    return cell_of_lengths(a, b, c, *angles)
