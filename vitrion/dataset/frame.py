"""Frames of a dataset: what one is, why one is left out, and the files that hold them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import ase.io
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from vitrion.base.errors import InputError
from vitrion.base.files import whole_file

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


# Begins the level of theory of frames that do not name theirs, which is that of their folder.
FOLDER_LEVEL = "folder "


class LabelError(Exception):
    """A calculation that gave no label; the message is the reason."""


@dataclass
class Frame:
    """One frame as imported.

    Attributes:
        source: file it came from.
        index: its number in that file, from 0.
        atoms: positions, cell and labels (energy in eV, forces in eV/Å, stress in eV/Å³ with ASE's
            sign) in a `SinglePointCalculator`; no atoms when it could not be read.
        rejection_reason: why it is left out; empty for a frame that is used.
        energy_deviation_eV_atom: how far its energy is off the others of its level of theory, for
            a frame that is rejected because of it.
    """

    source: Path
    index: int
    atoms: Atoms = field(default_factory=Atoms)
    rejection_reason: str = ""
    energy_deviation_eV_atom: float | None = None

    @property
    def name(self) -> str:
        """The frame's own name, or the file and index where it has none."""
        own = self.atoms.info.get("frame_id")
        return str(own) if own else f"{self.source}#{self.index}"


def open_text(path: Path, encoding: str = "utf-8") -> IO[str]:
    """Open a text file, compressed (gz, xz, bz2) or not."""
    return _OPENERS.get(path.suffix, open)(path, "rt", encoding=encoding)


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary one of its content where it is compressed.

    ASE looks for each frame from the start of a compressed file, which takes minutes for thousands.
    """
    if path.suffix not in _OPENERS:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with _OPENERS[path.suffix](path, "rb") as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        yield plain


def read_frames(path: Path | str) -> list[Atoms]:
    """The frames of a file in any format of ASE, labelled or not, without their constraints.

    Raises:
        InputError: the file is missing, empty, damaged or of unknown format.
    """
    return _read(Path(path), slice(None))


def read_frame(path: Path | str, index: int) -> Atoms:
    """One frame of such a file; the same errors, and no frame of this index."""
    return _read(Path(path), slice(index, index + 1))[0]


def _read(path: Path, index: slice) -> list[Atoms]:
    if not path.is_file():
        raise InputError("frames", str(path), "no such file")
    try:
        with _plain(path) as plain:
            frames = list(ase.io.iread(plain, index=index))
    except Exception as error:  # ASE's parsers raise anything from IndexError to their own classes
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            "frames", str(path), f"cannot be read ({reason}); write or copy the file again"
        ) from error
    for atoms in frames:
        atoms.set_constraint()  # with which `get_forces` would zero the forces of fixed atoms
    if not frames:
        raise InputError("frames", str(path), f"holds no frame {index.start or ''}".rstrip())
    return frames


def read_labelled_frames(path: Path | str) -> list[Atoms]:
    """Frames of one of the files that `prepare_dataset` writes; an empty file holds none.

    Raises:
        InputError: the file is missing or damaged, or a frame lacks energy or forces.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:
        return []
    frames = read_frames(path)
    for number, frame in enumerate(frames):
        try:
            frame.get_potential_energy(), frame.get_forces()
        except (RuntimeError, PropertyNotImplementedError):
            name = frame.info.get("frame_id", f"number {number}")
            raise InputError(
                f"frame {name} of {path}", "no label", "every frame needs energy and forces"
            ) from None
    return frames


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write an extxyz file whole or not at all."""
    with whole_file(path) as partial:
        ase.io.write(partial, list(frames), format="extxyz")
