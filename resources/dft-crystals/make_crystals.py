"""Frames of crystals for labelling: volumes from 0.90 to 1.10 of experiment, rattled.

Usage: python make_crystals.py CRYSTALS OUT
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import ase.io
import numpy as np

VOLUMES = (0.90, 0.95, 1.00, 1.05, 1.10)
RATTLES_A = (0.08, 0.15)


def main(crystals: Path, out: Path) -> None:
    """Write the frames of all crystals, in random order.

    Args:
        crystals: extxyz with `name`, `density_g_cm3` and `source` in each frame's info.
        out: extxyz to write; its folder is made.
    """
    frames = []
    known = {a.info["name"]: a for a in ase.io.read(crystals, ":")}
    for (name, crystal), (number, volume) in itertools.product(known.items(), enumerate(VOLUMES)):
        frame = crystal.copy()
        frame.calc = None
        frame.set_cell(frame.cell * volume ** (1 / 3), scale_atoms=True)
        rattle_A = RATTLES_A[number % 2]
        frame.rattle(rattle_A, seed=number + 1)
        frame.wrap()
        density = crystal.info["density_g_cm3"] / volume
        frame.info = {
            "frame_id": f"crystal-{name}-v{round(100 * volume):03d}",
            "composition": crystal.get_chemical_formula(mode="metal", empirical=True),
            "trajectory": f"crystal-{name}",
            "relative_volume": volume,
            "rattle_A": rattle_A,
            "density_g_cm3": round(density, 4),
            "source": crystal.info["source"],
        }
        frames.append(frame)
    order = np.random.default_rng(1).permutation(len(frames))
    out.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(out, [frames[i] for i in order], format="extxyz")
    print(len(frames), "frames")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
