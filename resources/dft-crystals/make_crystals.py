"""Frames of crystals for labelling: compressed, stretched and rattled.

Usage: python make_crystals.py CRYSTALS SUBSTITUTES OUT

CRYSTALS get five volumes from 0.90 to 1.10 of the measured one, SUBSTITUTES two of four from 0.93
to 1.08, taking turns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

VOLUMES = (0.90, 0.95, 1.00, 1.05, 1.10)
SUBSTITUTE_VOLUMES = ((0.93, 1.03), (0.97, 1.08))
METALS = {"Al", "Ga", "In"}
# Standard deviation of the displacements, taking turns. The short bonds of Al, Ga and In would have
# forces of tens of eV/Å with those of ionic crystals, and so would coordinates that carry noise.
RATTLES_A = {"ionic": (0.08, 0.15), "bonded": (0.04, 0.08), "noisy": (0.02, 0.04)}


def main(crystals: Path, substitutes: Path, out: Path) -> None:
    """Write the frames of all crystals, in random order.

    Args:
        crystals, substitutes: extxyz with `name`, `density_g_cm3` and `source` in each frame's
            info.
        out: extxyz to write; its folder is made.
    """
    frames = []
    for crystal in ase.io.read(crystals, ":"):
        frames += _frames(crystal, VOLUMES)
    for number, crystal in enumerate(ase.io.read(substitutes, ":")):
        frames += _frames(crystal, SUBSTITUTE_VOLUMES[number % 2])
    order = np.random.default_rng(1).permutation(len(frames))
    out.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(out, [frames[i] for i in order], format="extxyz")
    print(len(frames), "frames")


def _frames(crystal: Atoms, volumes: Sequence[float]) -> list[Atoms]:
    name, source = crystal.info["name"], crystal.info["source"]
    kind = "bonded" if METALS & set(crystal.symbols) else "ionic"
    rattles_A = RATTLES_A["noisy" if "noise" in source else kind]
    frames = []
    for number, volume in enumerate(volumes):
        frame = crystal.copy()
        frame.calc = None
        frame.set_cell(frame.cell * volume ** (1 / 3), scale_atoms=True)
        frame.rattle(rattles_A[number % 2], seed=number + 1)
        frame.wrap()
        frame.info = {
            "frame_id": f"crystal-{name}-v{round(100 * volume):03d}",
            "composition": crystal.get_chemical_formula(mode="metal", empirical=True),
            "trajectory": f"crystal-{name}",
            "relative_volume": volume,
            "rattle_A": rattles_A[number % 2],
            "density_g_cm3": round(crystal.info["density_g_cm3"] / volume, 4),
            "source": source,
        }
        frames.append(frame)
    return frames


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
