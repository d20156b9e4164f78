"""Density guesses of the 27 glasses: the volume of 0.625 AMX4 + 0.375 AMO2.

Usage: python make_density_guesses.py CRYSTALS SUBSTITUTES

Prints composition, guess and whether both crystals were measured. Substitutes have the density that
is in their file, of a relaxation.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from vitrion.base.units import U_A3_TO_G_CM3

AMOUNTS = {"X4": 0.625, "O2": 0.375}


def main(crystals: Path, substitutes: Path) -> None:
    """Print one row for each glass."""
    known = {a.info["name"].split("-")[0]: (a, True) for a in ase.io.read(crystals, ":")}
    known = {a.info["name"]: (a, False) for a in ase.io.read(substitutes, ":")} | known
    for a, m, x in itertools.product(("Li", "Na", "K"), ("Al", "Ga", "In"), ("Cl", "Br", "I")):
        halide, is_halide_measured = known[f"{a}{m}{x}4"]
        oxide, is_oxide_measured = known[f"{a}{m}O2"]
        volume_A3 = AMOUNTS["X4"] * _volume_A3(halide, m) + AMOUNTS["O2"] * _volume_A3(oxide, m)
        mass_u = sum(
            n * atomic_masses[atomic_numbers[e]] for e, n in {a: 1, m: 1, x: 2.5, "O": 0.75}.items()
        )
        density = mass_u * U_A3_TO_G_CM3 / volume_A3
        note = "measured" if is_halide_measured and is_oxide_measured else "relaxed"
        print(f"{a}{m}{x}\t{density:.2f}\t{note}")


def _volume_A3(crystal: Atoms, metal: str) -> float:
    """Volume per central cation, at the density of the file."""
    mass_u = crystal.get_masses().sum() / crystal.get_chemical_symbols().count(metal)
    return float(mass_u * U_A3_TO_G_CM3 / crystal.info["density_g_cm3"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
