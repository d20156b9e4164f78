"""Crystals of the glasses' elements without a measured cell here: prototypes with other elements.

Usage: python make_substitutes.py CRYSTALS OUT

Every AMX4, AMO2, M2O3, MX3 and A2O of A = Li, Na, K, M = Al, Ga, In and X = Cl, Br, I that is not
in CRYSTALS takes the structure of one that is, and every MOX that of FeOCl. Cell and positions are
relaxed with CHGNet's r2scan model, whose densities of the measured crystals are within 3 % of
experiment for all but three (benchmarks/crystals.md). So these are places to compute labels at and
no predictions of structures: many are not the stable ones.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.data import atomic_numbers, covalent_radii
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.potential import CHGNetCalculator

ALKALIS, METALS, HALOGENS = ("Li", "Na", "K"), ("Al", "Ga", "In"), ("Cl", "Br", "I")
LARGEST_FORCE_eV_A = 0.05
MOST_STEPS = 400


def main(crystals: Path, out: Path) -> None:
    """Substitute, relax and write every crystal that CRYSTALS lacks."""
    known = {a.info["name"]: a for a in ase.io.read(crystals, ":")}
    calculator = CHGNetCalculator("r2scan")
    relaxed = []
    for name, prototype, atoms in _starts(known):
        if any(name == k.split("-")[0] for k in known):
            continue
        atoms.calc = calculator
        converged = FIRE(FrechetCellFilter(atoms), logfile=None).run(
            fmax=LARGEST_FORCE_eV_A, steps=MOST_STEPS
        )
        atoms.calc = None
        atoms.wrap()
        density = atoms.get_masses().sum() * U_A3_TO_G_CM3 / atoms.get_volume()
        atoms.info = {
            "name": name,
            "density_g_cm3": round(float(density), 4),
            "source": f"structure of {prototype}, relaxed with CHGNet r2scan"
            + ("" if converged else f" (not below {LARGEST_FORCE_eV_A} eV/A)"),
        }
        relaxed.append(atoms)
        print(name, atoms.info["density_g_cm3"], converged, flush=True)
        ase.io.write(out, relaxed, format="extxyz")


def _starts(known: dict[str, Atoms]) -> Iterator[tuple[str, str, Atoms]]:
    """Name, name of the prototype and unrelaxed structure of each crystal."""
    for a, m, x in itertools.product(ALKALIS, METALS, HALOGENS):
        prototype = "LiAlCl4" if a == "Li" else "NaAlCl4"
        elements = {"Li": a, "Na": a, "Al": m, "Cl": x}
        yield f"{a}{m}{x}4", prototype, _substituted(known[prototype], elements)
    for a, m in itertools.product(ALKALIS, METALS):
        prototype = "LiAlO2-gamma" if a == "Li" else "NaGaO2"
        yield (
            f"{a}{m}O2",
            prototype,
            _substituted(known[prototype], {"Li": a, "Na": a, "Al": m, "Ga": m}),
        )
    for m, x in itertools.product(METALS, HALOGENS):
        yield f"{m}{x}3", "AlCl3", _substituted(known["AlCl3"], {"Al": m, "Cl": x})
    for m in METALS:
        yield f"{m}2O3", "Al2O3-alpha", _substituted(known["Al2O3-alpha"], {"Al": m})
    for a in ALKALIS:
        yield f"{a}2O", "Li2O", _substituted(known["Li2O"], {"Li": a})
    for m, x in itertools.product(METALS, HALOGENS):
        yield f"{m}O{x}", "FeOCl", _substituted(_oxychloride(), {"In": m, "Cl": x})


def _oxychloride() -> Atoms:
    """InOCl (FeOCl type, Pmmn), 24 atoms: InOCl's cell, FeOCl's coordinates."""
    layer = Atoms(
        "In2O2Cl2",
        scaled_positions=[
            [0.0, 0.5, 0.116],
            [0.5, 0.0, 0.884],
            [0.0, 0.0, 0.952],
            [0.5, 0.5, 0.048],
            [0.0, 0.0, 0.330],
            [0.5, 0.5, 0.670],
        ],
        cell=[4.065, 3.523, 8.080],
        pbc=True,
    )
    return make_supercell(layer, np.diag([2, 2, 1]))


def _substituted(prototype: Atoms, elements: dict[str, str]) -> Atoms:
    """A prototype with other elements, its lengths scaled by the mean of their covalent radii."""
    atoms = Atoms(prototype.symbols, prototype.positions, cell=prototype.cell, pbc=True)
    atoms.set_chemical_symbols([elements.get(s, s) for s in prototype.get_chemical_symbols()])
    means = [
        np.mean([covalent_radii[atomic_numbers[s]] for s in a.get_chemical_symbols()])
        for a in (prototype, atoms)
    ]
    atoms.set_cell(atoms.cell * means[1] / means[0], scale_atoms=True)
    return atoms


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
