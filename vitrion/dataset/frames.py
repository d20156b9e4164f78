"""A frame of a dataset, where it came from, and what is wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
from ase import Atoms


class LabelError(Exception):
    """A calculation that gave no label; the message is the reason."""


@dataclass
class Frame:
    """One frame as read.

    Attributes:
        source: file it came from.
        index: its number in that file, from 0.
        atoms: positions, cell and labels (energy in eV, forces in eV/Å, stress in eV/Å³ with ASE's
            sign) in a `SinglePointCalculator`; None when it could not be read.
        fault: why it must be left out; empty when nothing is wrong.
    """

    source: Path
    index: int
    atoms: Atoms | None
    fault: str = ""

    @property
    def name(self) -> str:
        """The frame's own name, or the file and index where it has none."""
        own = self.atoms.info.get("frame_id") if self.atoms is not None else None
        return str(own) if own else f"{self.source}#{self.index}"


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write an extxyz file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        ase.io.write(file, list(frames), format="extxyz")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, values: object) -> None:
    """Write readable JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)
