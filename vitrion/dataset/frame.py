"""A frame of a dataset, where it came from, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
from ase import Atoms

from vitrion.base.files import whole_file


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
    with whole_file(path) as partial:
        ase.io.write(partial, list(frames), format="extxyz")


def write_json(path: Path, values: object) -> None:
    """Write readable JSON whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
