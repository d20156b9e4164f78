"""Bring prepared frames to SevenNet's energy zero, to fine-tune it on them.

    python prepare.py DATASET OUT

DATASET is a folder that `vitrion dataset prepare` wrote; OUT gets train.extxyz, val.extxyz and
test.extxyz for `sevenn train`. It needs sevenn and ASE only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from sevenn.calculator import SevenNetCalculator

CHECKPOINT = "7net-l3i5"


def fit_shift(frames: list[Atoms]) -> dict[str, float]:
    """Energy in eV per atom of each element by which labels differ from the checkpoint."""
    calculator = SevenNetCalculator(CHECKPOINT, device="cpu")
    elements = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    shares = np.array([[np.mean(atoms.symbols == e) for e in elements] for atoms in frames])
    residual = []
    for atoms in frames:
        bare = Atoms(
            atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True, calculator=calculator
        )
        residual.append((atoms.get_potential_energy() - bare.get_potential_energy()) / len(atoms))
    # All glasses share one stoichiometry: the smallest of the shifts that fit equally well.
    shift = np.linalg.lstsq(shares, np.array(residual), rcond=1e-6)[0]
    return dict(zip(elements, shift.tolist(), strict=True))


def main(dataset: Path, out: Path) -> None:
    """Fit the shift on the training frames and take it off all."""
    frames = {
        part: ase.io.read(dataset / f"{part}.extxyz", ":") for part in ("train", "val", "test")
    }
    shift = fit_shift(frames["train"])
    out.mkdir(parents=True, exist_ok=True)
    for part, members in frames.items():
        for atoms in members:
            energy = atoms.get_potential_energy() - sum(shift[symbol] for symbol in atoms.symbols)
            atoms.calc = SinglePointCalculator(atoms, **{**atoms.calc.results, "energy": energy})
        ase.io.write(out / f"{part}.extxyz", members)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
