"""Bring prepared frames to SevenNet's energy zero, to fine-tune it on them.

    python prepare.py DATASET OUT

DATASET is a folder that `vitrion dataset prepare` wrote; OUT gets train.extxyz, val.extxyz and
test.extxyz for `sevenn train`. It needs vitrion and sevenn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from sevenn.calculator import SevenNetCalculator

from vitrion.dataset.align import Alignment, fit_alignment

CHECKPOINT = "7net-l3i5"


def align(frames: list[Atoms]) -> Alignment:
    """The shift between labels and the checkpoint."""
    calculator = SevenNetCalculator(CHECKPOINT, device="cpu")
    residual_eV_atom = []
    for atoms in frames:
        calculator.calculate(atoms, ["energy"])
        predicted_eV = calculator.results["energy"]
        residual_eV_atom.append((atoms.get_potential_energy() - predicted_eV) / len(atoms))
    return fit_alignment([list(atoms.symbols) for atoms in frames], residual_eV_atom)


def main(dataset: Path, out: Path) -> None:
    """Fit the shift on the training frames and take it off all."""
    frames = {
        part: ase.io.read(dataset / f"{part}.extxyz", ":") for part in ("train", "val", "test")
    }
    alignment = align(frames["train"])
    out.mkdir(parents=True, exist_ok=True)
    for part, members in frames.items():
        for atoms in members:
            energy = atoms.get_potential_energy() - alignment.total_shift_eV(list(atoms.symbols))
            atoms.calc = SinglePointCalculator(atoms, **{**atoms.calc.results, "energy": energy})
            atoms.info = {}  # sevenn wants the same keys in every frame
        ase.io.write(out / f"{part}.extxyz", members)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
