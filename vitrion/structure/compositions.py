"""The glasses of a campaign, read from a table with one row per composition.

The table is tab-separated. Its columns are in `COLUMNS`; a cell that is empty or a column that is
not there takes the default, which is that of the paper's family AMX2.5O0.75.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from pathlib import Path

from ase.data import atomic_masses, atomic_numbers

from vitrion.base.errors import InputError
from vitrion.base.text import names, numbers
from vitrion.base.units import U_A3_TO_G_CM3

# Every column with its meaning; the documentation is written from this.
COLUMNS = {
    "composition": "short name, letters and digits; used in paths and tables",
    "formula": "one formula unit, for example LiAlCl2.5O0.75; amounts may be decimal fractions",
    "density_guess_g_cm3": "density of the crystals that it could be mixed from; packing starts "
    "below it and NPT dynamics finds the density of the glass",
    "mobile": "the ion whose transport is asked for, or several: Li,Na",
    "center": "central cation of the polyhedra, or several: Al,Ga",
    "ligands": "elements of its first shell, for example Cl,O",
    "charges": "formal charges in e, for example Li=1,Y=3,Cl=-1,O=-2, or Co=2.5; they go before "
    "`transport.charges`",
    "coordination": "ligands of a central cation in a sound glass, one number or a range such "
    "as 5-7; default: 4",
}
ROLES = ("mobile", "center", "ligands")
REQUIRED = ("composition", "formula", "density_guess_g_cm3", *ROLES)
RETIRED = {"alkali": "mobile", "metal": "center", "halogen": "ligands, such as Cl,O"}
# The paper's 27 glasses, named `shipped` in a configuration.
SHIPPED, SHIPPED_TABLE = "shipped", Path(__file__).parents[1] / "data/compositions.tsv"
# CHGNet has an embedding for each element up to plutonium.
HEAVIEST = 94


@dataclass(frozen=True)
class Composition:
    """One glass, for example LiAlCl for LiAlCl2.5O0.75.

    Attributes:
        composition: short name, used in paths and tables.
        mobile: the ions whose transport is asked for, mostly one.
        center: central cations of the polyhedra, mostly one element.
        ligands: elements of their first shells.
        formula: one formula unit; amounts may be fractions.
        density_guess_g_cm3: density of the crystals that it could be mixed from; packing starts
            below it and NPT dynamics finds the density of the glass.
        charges: formal charges in e that go before those of the configuration.
        coordination: least and most ligands of a central cation in a sound glass.
    """

    composition: str
    mobile: tuple[str, ...]
    center: tuple[str, ...]
    ligands: tuple[str, ...]
    formula: str
    density_guess_g_cm3: float
    charges: Mapping[str, float] = field(default_factory=dict)
    coordination: tuple[int, int] = (4, 4)

    @property
    def key(self) -> dict[str, str]:
        """The columns that identify the composition in tables."""
        return {
            "composition": self.composition,
            "mobile": ",".join(self.mobile),
            "center": ",".join(self.center),
            "ligands": ",".join(self.ligands),
        }

    def column(self, name: str) -> object:
        """A column of the table: roles as they are written there, other columns as read."""
        return self.key.get(name, getattr(self, name))

    @cached_property
    def amounts(self) -> dict[str, Fraction]:
        """Atoms of each element in one formula unit, in the order of the formula."""
        return {
            element: amount.limit_denominator(1000)
            for element, amount in parse_formula(self.formula).items()
        }

    @property
    def smallest_cell(self) -> int:
        """Formula units of the smallest cell with whole atoms."""
        return math.lcm(*(amount.denominator for amount in self.amounts.values()))

    def counts(self, formula_units: int) -> dict[str, int]:
        """Atoms of each element in `formula_units` formula units.

        Raises:
            InputError: the number of formula units does not give whole atoms.
        """
        if formula_units % self.smallest_cell:
            raise InputError(
                "formula_units",
                formula_units,
                f"{self.formula} of {self.composition} needs a multiple of {self.smallest_cell}",
            )
        return {element: int(amount * formula_units) for element, amount in self.amounts.items()}

    def all_charges(self, defaults: Mapping[str, float]) -> dict[str, float]:
        """Formal charges of the formula's elements: the row's own over the configuration's."""
        charges = {**defaults, **self.charges}
        return {element: charges[element] for element in self.amounts if element in charges}

    def net_charge(self, defaults: Mapping[str, float]) -> Fraction:
        """Charge of one formula unit in e."""
        charges = self.all_charges(defaults)
        return sum(
            (n * Fraction(str(charges[element])) for element, n in self.amounts.items()),
            Fraction(0),
        )

    def volume_A3(self, formula_units: int, density_g_cm3: float) -> float:
        """Cell volume that gives a mass density."""
        mass_u = sum(
            count * atomic_masses[atomic_numbers[element]]
            for element, count in self.counts(formula_units).items()
        )
        return mass_u * U_A3_TO_G_CM3 / density_g_cm3


_TOKEN = re.compile(r"([A-Z][a-z]?|\(|\))(\d+(?:\.\d*)?|\.\d+)?")


def parse_formula(formula: str) -> dict[str, Fraction]:
    """Amounts by element symbol, in the order of their first mention.

    Amounts are decimal numbers, groups stand in round brackets: ``LiAlCl2.5O0.75``,
    ``Li2(SO4)3``. Whether a symbol is an element is not checked.

    Raises:
        ValueError: not a formula, or an amount of zero.
    """
    groups: list[dict[str, Fraction]] = [{}]  # the innermost open bracket last
    end = 0
    while found := _TOKEN.match(formula, end):
        (symbol, number), end = found.groups(), found.end()
        amount = Fraction(number or 1)
        if symbol == "(":
            if number:
                break
            groups.append({})
            continue
        if symbol == ")":
            group = groups.pop()
            if not group or not groups:
                break
        else:
            group = {symbol: Fraction(1)}
        for element, count in group.items():
            groups[-1][element] = groups[-1].get(element, Fraction(0)) + amount * count
    if end < len(formula) or len(groups) != 1 or not all(groups[0].values()) or not groups[0]:
        raise ValueError(f"not a formula: {formula!r}")
    return groups[0]


def table_path(table: Path | str) -> Path:
    """The file of a table of compositions: the one that comes with Vitrion for `shipped`."""
    return SHIPPED_TABLE if str(table) == SHIPPED else Path(table)


def read_compositions(table: Path | str) -> dict[str, Composition]:
    """Read a tab-separated table of compositions, keyed by name in the order of the file.

    Args:
        table: the file, or `shipped` for the paper's 27 glasses.

    Raises:
        InputError: names the row, the column, the value and the remedy.
    """
    path = table_path(table)
    if not path.is_file():
        raise InputError(
            "compositions",
            str(path),
            f"no such file; give a tab-separated table, or {SHIPPED} for the paper's 27 glasses",
        )
    try:
        # Spreadsheets put a byte order mark before the first column.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", restkey="", restval="")
            _check_columns(reader.fieldnames or (), path)
            rows = list(reader)
    except UnicodeDecodeError:
        raise InputError("compositions", str(path), "is not text; save it as UTF-8") from None
    if not rows:
        raise InputError("compositions", str(path), "the table is empty; add a row per composition")
    compositions: dict[str, Composition] = {}
    for number, row in enumerate(rows, start=1):
        if "" in row:
            raise InputError(
                f"row {number} of {path}", row[""], "more cells than columns; check the tabs"
            )
        row = {column: cell.strip() for column, cell in row.items()}
        name = row["composition"]
        if not name.isalnum():
            raise InputError(f"composition in {path}", name, "use letters and digits only")
        if _is_no_name(name):
            raise InputError(
                f"composition in {path}", name, "reads as a number or a truth value; give it a name"
            )
        if name in compositions:
            raise InputError(f"composition in {path}", name, "listed twice; remove one row")
        compositions[name] = _composition(row, path)
    return compositions


def check_charges(
    composition: Composition, defaults: Mapping[str, float], path: Path | str
) -> None:
    """Refuse a composition without charges, or that is not neutral with them.

    Args:
        composition: what to check.
        defaults: charges of the elements that its row names none for.
        path: the table, for the message.

    Raises:
        InputError: names the row, the column, the value and the remedy.
    """
    where = f"of {composition.composition} in {path}"
    charges = composition.all_charges(defaults)
    if missing := [element for element in composition.amounts if element not in charges]:
        example = ",".join(f"{element}=..." for element in missing)
        raise InputError(
            f"charges {where}",
            _written(composition.charges),
            f"no charge of {', '.join(missing)}; add {example} here or to transport.charges",
        )
    for ion in composition.mobile:
        if charges[ion] == 0:
            raise InputError(
                f"charges {where}",
                _written(composition.charges),
                f"{ion} is a mobile ion, so its charge cannot be 0",
            )
    named = [*composition.mobile, *composition.center, *composition.ligands]
    refuse_cations_without_role(composition.amounts, named, charges, where=f" {where}")
    if net := composition.net_charge(defaults):
        used = _written({element: charges[element] for element in composition.amounts})
        raise InputError(
            f"formula {where}",
            composition.formula,
            f"not neutral with {used} ({float(net):+g} e); correct the formula or the charges",
        )


def shell_pairs(
    mobile: Sequence[str], center: Sequence[str], ligands: Sequence[str]
) -> list[tuple[str, str]]:
    """Pairs of elements whose first shells an analysis needs; none without a central cation."""
    if not center:
        return []
    return [*product(center, (*ligands, *mobile)), *product(mobile, ligands)]


def refuse_cations_without_role(
    elements: Iterable[str], named: Sequence[str], charges: Mapping[str, float], where: str = ""
) -> None:
    """Refuse a cation that is neither mobile nor a centre nor a ligand.

    No bond would hold it, so that it would count as a free carrier of its whole charge in the
    cluster Nernst-Einstein conductivity.

    Args:
        elements: those of the system.
        named: those with a role.
        charges: formal charge of each element in e.
        where: of which table's row, for the message.

    Raises:
        InputError: names the cation and the remedy.
    """
    for element in elements:
        if element not in named and charges[element] > 0:
            raise InputError(
                f"center{where}",
                element,
                f"{element}{charges[element]:+g} has no role and would count as a free carrier; "
                "name it among the central cations (center), or else with mobile or ligands",
            )


def _written(charges: Mapping[str, float]) -> str:
    return ",".join(f"{element}={charge:+g}" for element, charge in charges.items())


def _check_columns(found: Sequence[str], path: Path) -> None:
    key = f"columns of {path}"
    for column in found:
        if column in RETIRED:
            raise InputError(key, column, f"this column is now called {RETIRED[column]}")
        if column not in COLUMNS:
            close = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COLUMNS)}"
            raise InputError(key, column, f"unknown, tab-separated columns expected; {hint}")
        if list(found).count(column) > 1:
            raise InputError(key, column, "appears twice; remove one")
    missing = [column for column in REQUIRED if column not in found]
    if missing:
        raise InputError(key, list(found), f"add, tab-separated: {', '.join(missing)}")


def _is_no_name(text: str) -> bool:
    """Whether files that hold names without quotes give it back as something else."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("t", "f", "true", "false")
    return True


def _composition(row: dict[str, str], path: Path) -> Composition:
    def where(column: str) -> str:
        return f"{column} of {row['composition']} in {path}"

    try:
        elements = list(parse_formula(row["formula"]))
    except ValueError:
        raise InputError(
            where("formula"), row["formula"], "not a formula; write it as LiAlCl2.5O0.75"
        ) from None
    for element in elements:
        _check_element(element, where("formula"))
    roles = {}
    for role in ROLES:
        roles[role] = given = names(row[role])
        if not given:
            raise InputError(where(role), row[role], "name one element or more")
        for element in given:
            _check_element(element, where(role))
            if element not in elements:
                raise InputError(
                    where(role),
                    element,
                    f"not in the formula {row['formula']}; name one of {', '.join(elements)}",
                )
    mobile, center, ligands = roles.values()
    every = [*mobile, *center, *ligands]
    if len(set(every)) < len(every):
        raise InputError(
            where("ligands"),
            ",".join(ligands),
            f"the mobile ion ({','.join(mobile)}), the central cation ({','.join(center)}) and "
            "each ligand must differ",
        )
    charges = numbers(where("charges"), row.get("charges", ""), "Li=1,O=-2")
    for element in charges:
        if element not in elements:
            raise InputError(
                where("charges"), element, f"not in the formula {row['formula']}; remove it"
            )
    try:
        density = float(row["density_guess_g_cm3"])
    except ValueError:
        density = math.nan
    if not 0.1 < density < 20:
        raise InputError(
            where("density_guess_g_cm3"),
            row["density_guess_g_cm3"],
            "give it in g/cm³, 0.1 to 20",
        )
    return Composition(
        composition=row["composition"],
        mobile=mobile,
        center=center,
        ligands=ligands,
        formula=row["formula"],
        density_guess_g_cm3=density,
        charges={e: int(z) if z == int(z) else z for e, z in charges.items()},
        coordination=_range(row.get("coordination") or "4", where("coordination")),
    )


def _check_element(element: str, where: str) -> None:
    if element not in atomic_numbers:
        raise InputError(where, element, "not an element; use its symbol")
    if not 0 < atomic_numbers[element] <= HEAVIEST:
        raise InputError(where, element, "CHGNet does not know it; it knows H to Pu")


def _range(text: str, key: str) -> tuple[int, int]:
    """Parse `4` or `5-7`."""
    found = re.fullmatch(r"(\d+)(?:\s*[-–]\s*(\d+))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < low <= high:
        raise InputError(key, text, "give a number, or a range such as 5-7")
    return low, high
