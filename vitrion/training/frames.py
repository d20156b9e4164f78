"""Labelled frames, and the graphs and targets that chgnet trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read
from chgnet.graph import CrystalGraph, CrystalGraphConverter
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor

from vitrion.errors import InputError
from vitrion.units import EV_A3_TO_GPA

Sample = tuple[CrystalGraph, dict[str, Tensor]]


def read_frames(path: Path | str) -> list[Atoms]:
    """Read labelled frames (extxyz; an empty file holds none).

    Raises:
        InputError: the file is missing, is not extxyz, or a frame lacks energy, forces or stress.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("frames", str(path), "no such file; give labelled frames as extxyz")
    if path.stat().st_size == 0:
        return []
    try:
        frames = read(path, index=":", format="extxyz")
    except Exception as error:  # ASE's parser raises anything from IndexError to its own classes
        raise InputError("frames", str(path), f"cannot be read as extxyz ({error})") from error
    for number, frame in enumerate(frames):
        try:
            frame.get_potential_energy(), frame.get_forces(), frame.get_stress()
        except (RuntimeError, PropertyNotImplementedError):
            name = frame.info.get("frame_id", f"number {number}")
            raise InputError(
                f"frame {name} of {path}", "no label", "every frame needs energy, forces and stress"
            ) from None
    return frames


def to_samples(frames: Sequence[Atoms], converter: CrystalGraphConverter) -> list[Sample]:
    """Graphs and targets as `chgnet.data.dataset.collate_graphs` takes them.

    chgnet's `StructureData` makes the same, but puts a random other frame in the place of one
    that fails; here a failure is told.

    Returns:
        For each frame the graph and its targets: e in eV/atom, f (n, 3) in eV/Å, s (3, 3) in GPa.
    """
    samples = []
    for frame in frames:
        graph = converter(AseAtomsAdaptor.get_structure(frame))
        targets = {
            "e": torch.tensor(frame.get_potential_energy() / len(frame), dtype=torch.float32),
            "f": torch.tensor(frame.get_forces(), dtype=torch.float32),
            "s": torch.tensor(frame.get_stress(voigt=False) * EV_A3_TO_GPA, dtype=torch.float32),
        }
        samples.append((graph, targets))
    return samples
