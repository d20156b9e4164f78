"""GROMACS: gro text, TRR and XTC.

Own parsing: MDAnalysis leaves files of offsets beside the trajectory, crashes on damaged TRR files,
and does not tell a cut frame from a damaged one. It decompresses the positions of XTC frames.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Cut, Damaged, Frame, Request
from vitrion.trajectory.readers.labels import element
from vitrion.trajectory.readers.text import Lines, count_of

NM_A = 10.0
_TIME = re.compile(r"\bt=\s*([-+.\deE]+)(?:\s+step=\s*(\d+))?")
_TRR_MAGIC = b"\x00\x00\x07\xc9\x00\x00\x00\x0d\x00\x00\x00\x0cGMX_trn_file"
_XTC_MAGIC = {1995: 4, 2023: 8}  # and bytes of the length of its data
_LEAST_COMPRESSED_ATOMS = 10


def gro(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a gro file."""
    n_atoms: int | None = None
    with Lines(path) as lines:
        while (title := lines.next()) is not None:
            if not title.strip():
                following = lines.next_filled()
                if following is None:
                    return
                lines.give_back(following)
            try:
                n_atoms = count_of(lines.take(1)[0], n_atoms)
                atoms = lines.take(n_atoms)
                frame = _gro_frame(title, atoms, lines.take(1)[0], request)
            except (Damaged, ValueError, IndexError) as error:
                raise Damaged(f"near line {lines.number}: {error}") from None
            yield frame


def _gro_frame(title: str, atoms: list[str], box: str, request: Request) -> Frame:
    points = [at for at, sign in enumerate(atoms[0]) if sign == "." and at >= 20]
    if len(points) < 3:
        raise Damaged(f"{atoms[0].strip()!r} has no three coordinates")
    width = points[1] - points[0]
    for line in atoms:
        if any(line[at : at + 1] != "." for at in points):
            raise Damaged(f"{line.strip()!r} has its numbers in other columns")
    starts = [20 + width * n for n in range(3)]
    positions = np.array([[line[at : at + width] for at in starts] for line in atoms]).astype(float)
    edges = np.array(box.split(), dtype=float)
    if len(edges) not in (3, 9):
        raise Damaged(f"{box.strip()!r} is no box")
    cell = np.diag(edges[:3])
    if len(edges) == 9:
        (cell[0, 1], cell[0, 2], cell[1, 0], cell[1, 2], cell[2, 0], cell[2, 1]) = edges[3:]
    match = _TIME.search(title)
    return Frame(
        positions_A=positions * NM_A,
        cell_A=cell * NM_A if edges.any() else None,
        labels=np.array(
            [
                label_of_name(line[10:15].strip(), line[5:10].strip(), request.elements)
                for line in atoms
            ]
        ),
        time_ps=float(match[1]) if match else None,
        step=int(match[2]) if match and match[2] else None,
    )


def label_of_name(name: str, residue: str, mapping: Mapping[str, str]) -> str:
    """The name of an atom where its element is plain; otherwise a text that no element has.

    `CA` alone is calcium in a residue `CA`, and a carbon elsewhere: the user has to say.
    """
    letters = re.sub(r"[^A-Za-z].*", "", name)
    is_ion = re.sub(r"[^A-Za-z]", "", name) == re.sub(r"[^A-Za-z]", "", residue)
    is_doubtful = len(letters) > 1 and letters[0] in "CHNO" and letters.upper() != "CL"
    if name in mapping or (element(name) and (is_ion or not is_doubtful)):
        return name
    return f"{name} in {residue}"


def trr(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of a TRR file that hold positions."""
    first_atoms: int | None = None
    with path.open("rb") as file:
        while head := file.read(len(_TRR_MAGIC)):
            if len(head) < len(_TRR_MAGIC) and _TRR_MAGIC.startswith(head):
                raise Cut("it ends within it")
            if head != _TRR_MAGIC:
                raise Damaged(f"no frame begins at byte {file.tell() - len(head)}")
            # sizes of: input record, energies, box, virial, pressure, topology, symbols, x, v, f
            sizes = struct.unpack(">13i", _exactly(file, 52))
            *parts, n_atoms, step, _ = sizes
            first_atoms = first_atoms or n_atoms
            if min(parts) < 0 or n_atoms != first_atoms or max(parts) > 24 * max(n_atoms, 9):
                raise Damaged(f"sizes of a frame {sizes}")
            box_size, x_size = parts[2], parts[7]
            width = box_size // 9 or x_size // (3 * n_atoms)
            if width not in (4, 8) or box_size not in (0, 9 * width):
                raise Damaged(f"sizes of a frame {sizes}")
            if any(size not in (0, 3 * n_atoms * width) for size in parts[7:]):
                raise Damaged(f"sizes of a frame {sizes}")
            number = f">f{width}"
            time_ps = float(np.frombuffer(_exactly(file, 2 * width), number)[0])
            content = _exactly(file, sum(parts))
            cell = np.frombuffer(content, number, 9, sum(parts[:2])) if box_size else np.zeros(9)
            if x_size:
                start = sum(parts[:7])
                x = np.frombuffer(content, number, 3 * n_atoms, start).reshape(-1, 3)
                yield Frame(
                    positions_A=x.astype(float) * NM_A,
                    cell_A=cell.reshape(3, 3).astype(float) * NM_A if cell.any() else None,
                    time_ps=time_ps,
                    step=step,
                )


def check_can_read_xtc(path: Path) -> None:
    """Refuse an XTC file where MDAnalysis is not installed.

    Raises:
        InputError: says how to install it.
    """
    if find_spec("MDAnalysis") is None:
        raise InputError(
            "trajectory", str(path), "needs MDAnalysis; pip install 'vitrion[formats]'"
        )


def xtc(path: Path, request: Request) -> Iterator[Frame]:
    """The frames of an XTC file."""
    check_can_read_xtc(path)
    whole = list(_xtc_steps(path))  # so that the decompression meets whole frames alone
    is_cut = bool(whole) and whole[-1] is None
    steps = [step for step in whole if step is not None]
    if steps:
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        with XTCFile(str(path)) as file:
            for step in steps:
                found = file.read()
                if found.step != step:
                    raise Damaged(f"step {found.step} where {step} is expected")
                cell = np.asarray(found.box, dtype=float)
                yield Frame(
                    positions_A=np.asarray(found.x, dtype=float) * NM_A,
                    cell_A=cell * NM_A if cell.any() else None,
                    time_ps=float(found.time),
                    step=int(found.step),
                )
    if is_cut:
        raise Cut("it ends within it")


def _xtc_steps(path: Path) -> Iterator[int | None]:
    """Steps of the frames, None for one that is cut, from the heads of the frames alone."""
    size, first_atoms, longest = path.stat().st_size, None, 0
    with path.open("rb") as file:
        while file.tell() < size:
            start = file.tell()
            head = file.read(56)
            if len(head) < 56:
                yield None
                return
            magic, n_atoms, step = struct.unpack(">3i", head[:12])
            (again,) = struct.unpack(">i", head[52:])
            first_atoms = first_atoms or n_atoms
            if magic not in _XTC_MAGIC or again != n_atoms or n_atoms != first_atoms or n_atoms < 1:
                raise Damaged(f"no frame of {first_atoms} atoms begins at byte {start}")
            if n_atoms < _LEAST_COMPRESSED_ATOMS:
                length = 12 * n_atoms
            else:
                width = _XTC_MAGIC[magic]
                block = file.read(32 + width)
                if len(block) < 32 + width:
                    yield None
                    return
                length = int.from_bytes(block[32:], "big")
                if length > 24 * n_atoms + 64:
                    raise Damaged(f"{length} bytes of a frame at byte {start}")
                length = -(-length // 4) * 4
            if file.tell() + length > size:
                if longest and size - start > 2 * longest:
                    raise Damaged(f"{length} bytes of a frame at byte {start}")
                yield None
                return
            file.seek(length, 1)
            longest = max(longest, file.tell() - start)
            yield step


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise Cut("it ends within it")
    return content
