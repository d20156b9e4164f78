"""The glasses of a campaign, read from a table with one row per composition."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from ase.data import atomic_masses, atomic_numbers
from pymatgen.core import Composition as Formula

from vitrion.errors import InputError
from vitrion.units import U_A3_TO_G_CM3

COLUMNS = ("composition", "alkali", "metal", "halogen", "formula", "density_guess_g_cm3")


@dataclass(frozen=True)
class Composition:
    """One glass, for example LiAlCl for LiAlCl2.5O0.75.

    Attributes:
        composition: short name, used in paths and tables.
        alkali: the mobile cation.
        metal: the centre of the tetrahedra.
        halogen: the ligand beside oxygen.
        formula: one formula unit; amounts may be fractions.
        density_guess_g_cm3: density of the ideal mixture of AX, MX3 and M2O3 crystals; packing
            starts below it and NPT dynamics finds the real one.
    """

    composition: str
    alkali: str
    metal: str
    halogen: str
    formula: str
    density_guess_g_cm3: float

    @cached_property
    def amounts(self) -> dict[str, Fraction]:
        """Atoms of each element in one formula unit, in the order of the formula."""
        return {
            element: Fraction(amount).limit_denominator(1000)
            for element, amount in Formula(self.formula).as_dict().items()
        }

    def counts(self, formula_units: int) -> dict[str, int]:
        """Atoms of each element in `formula_units` formula units.

        Raises:
            InputError: the number of formula units does not give whole atoms.
        """
        counts = {element: amount * formula_units for element, amount in self.amounts.items()}
        if any(count.denominator != 1 for count in counts.values()):
            smallest = max(amount.denominator for amount in self.amounts.values())
            raise InputError(
                "formula_units", formula_units, f"{self.formula} needs a multiple of {smallest}"
            )
        return {element: int(count) for element, count in counts.items()}

    def charge(self, charges: Mapping[str, int]) -> Fraction:
        """Net formal charge of one formula unit in e."""
        return sum((n * charges[element] for element, n in self.amounts.items()), Fraction(0))

    def volume_A3(self, formula_units: int, density_g_cm3: float) -> float:
        """Cell volume that gives a mass density."""
        mass_u = sum(
            count * atomic_masses[atomic_numbers[element]]
            for element, count in self.counts(formula_units).items()
        )
        return mass_u * U_A3_TO_G_CM3 / density_g_cm3


def read_compositions(path: Path | str) -> dict[str, Composition]:
    """Read a tab-separated table of compositions, keyed by name in the order of the file.

    Raises:
        InputError: missing file or column, unknown element, repeated name, bad density.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("compositions", str(path), "no such file; give a tab-separated table")
    with path.open(newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(
                f"columns of {path}", reader.fieldnames, f"use, tab-separated: {', '.join(COLUMNS)}"
            )
        rows = list(reader)
    if not rows:
        raise InputError("compositions", str(path), "the table is empty; add a row per composition")
    compositions: dict[str, Composition] = {}
    for row in rows:
        name = row["composition"]
        if not name.isalnum():
            raise InputError(f"composition in {path}", name, "use letters and digits only")
        if name in compositions:
            raise InputError(f"composition in {path}", name, "listed twice; remove one row")
        compositions[name] = _composition(row, path)
    return compositions


def _composition(row: dict[str, str], path: Path) -> Composition:
    where = f"of {row['composition']} in {path}"
    for role in ("alkali", "metal", "halogen"):
        if row[role] not in atomic_numbers:
            raise InputError(f"{role} {where}", row[role], "not an element; use its symbol")
    try:
        density = float(row["density_guess_g_cm3"])
    except ValueError:
        density = float("nan")
    if not 0.1 < density < 20:
        raise InputError(
            f"density_guess_g_cm3 {where}",
            row["density_guess_g_cm3"],
            "give it in g/cm³, 0.1 to 20",
        )
    composition = Composition(**{**row, "density_guess_g_cm3": density})
    try:
        elements = set(composition.amounts)
    except ValueError:
        elements = set()
    if not elements or not {row["alkali"], row["metal"], row["halogen"]} <= elements:
        raise InputError(
            f"formula {where}", row["formula"], "write a formula with the row's three elements"
        )
    return composition
