"""Random packings of atoms in a periodic cubic cell, the start of every melt."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import atomic_numbers
from packmol.cli import get_binary_path

from vitrion.errors import InputError

# Spheres of this diameter (over the cube root of the volume per atom) fill 32 % of the cell, which
# packmol reaches at once; random close packing is 64 %.
RELATIVE_DISTANCE = 0.85
# Two atoms closer than this start a melt with forces that no integrator should meet.
LEAST_DISTANCE_A = 1.0


def random_packing(counts: Mapping[str, int], volume_A3: float, seed: int) -> Atoms:
    """Pack atoms at random into a periodic cubic cell, none too close to another.

    The distance kept between any two atoms, across the faces of the cell too, starts at
    0.85 (V/N)^(1/3) and is lowered by a tenth until packmol succeeds (Martinez et al., J. Comput.
    Chem. 30, 2157, 2009); the distance that was used is in ``info["packing_distance_A"]``.

    Args:
        counts: atoms of each element.
        volume_A3: volume of the cell.
        seed: seed of packmol's generator; the same seed gives the same packing.

    Raises:
        InputError: unknown element, no atoms, or a cell too small for them.
    """
    counts = {element: count for element, count in counts.items() if count > 0}
    n_atoms = sum(counts.values())
    if n_atoms == 0:
        raise InputError("counts", dict(counts), "give at least one atom")
    for element in counts:
        if element not in atomic_numbers:
            raise InputError("counts", element, "not an element; use its symbol")
    if not volume_A3 > 0:
        raise InputError("volume_A3", volume_A3, "must be positive")
    distance_A = RELATIVE_DISTANCE * (volume_A3 / n_atoms) ** (1 / 3)
    while distance_A >= LEAST_DISTANCE_A:
        atoms = _packmol(counts, volume_A3 ** (1 / 3), distance_A, seed)
        if atoms is not None:
            atoms.info["packing_distance_A"] = distance_A
            return atoms
        distance_A *= 0.9
    raise InputError(
        "volume_A3",
        volume_A3,
        f"too small to keep {n_atoms} atoms {LEAST_DISTANCE_A:g} Å apart; use a lower density",
    )


def _packmol(
    counts: Mapping[str, int], edge_A: float, distance_A: float, seed: int
) -> Atoms | None:
    """One run of packmol; None when it cannot keep the distance."""
    lines = [
        f"tolerance {distance_A:.4f}",
        "filetype xyz",
        "output packed.xyz",
        f"seed {seed}",
        f"pbc {edge_A:.8f} {edge_A:.8f} {edge_A:.8f}",
    ]
    with tempfile.TemporaryDirectory(prefix="vitrion-packing-") as folder:
        for element, count in counts.items():
            Path(folder, f"{element}.xyz").write_text(f"1\n\n{element} 0 0 0\n")
            lines += [f"structure {element}.xyz", f"  number {count}", "end structure"]
        script = Path(folder, "packmol.inp")
        script.write_text("\n".join(lines) + "\n")
        with script.open() as stdin:  # packmol rewinds its input, so it must be a file
            run = subprocess.run(
                [get_binary_path()], stdin=stdin, cwd=folder, capture_output=True, check=False
            )
        packed = Path(folder, "packed.xyz")
        # Exit code 173: the distances could not be kept; packmol then writes its best try.
        if run.returncode != 0 or not packed.is_file():
            return None
        atoms = ase.io.read(packed)
    atoms.set_cell([edge_A] * 3)
    atoms.pbc = True
    atoms.info.clear()
    return atoms
