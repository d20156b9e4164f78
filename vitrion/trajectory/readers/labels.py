"""Elements of the names, types and masses that files give to atoms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from vitrion.base.errors import InputError
from vitrion.trajectory.readers.frames import Damaged

# A charge, a number, or both, behind the symbol: Li+, Li1, Al3+, Al+3, O--, Cl1-.
_BEHIND = re.compile(r"\d*([+-]+\d*)?")
MASS_TOLERANCE_U = 0.15
HYDROGEN_NAMES = {"D": "H", "T": "H"}


def element(label: str) -> str | None:
    """Element of the name of an atom or a species, None where it is not plain.

    Known are `Li`, `LI`, `Li+`, `Al3+`, `Li1`, VASP's `Li_sv` and `Li/3bcbb1e2`, `D` for deuterium.
    """
    word = re.split(r"[/_.:]", label.strip(), maxsplit=1)[0]
    letters = re.match(r"[A-Za-z]*", word)[0]  # type: ignore[index]
    symbol = letters.capitalize()
    symbol = HYDROGEN_NAMES.get(symbol, symbol)
    if symbol in atomic_numbers and symbol != "X" and _BEHIND.fullmatch(word[len(letters) :]):
        return symbol
    return None


def element_of_mass(mass_u: float) -> str | None:
    """Element of an atomic mass, None where no element has it."""
    nearest = int(np.argmin(np.abs(atomic_masses[1:] - mass_u))) + 1
    if abs(mass_u - 2.014) < 0.01:
        return "H"
    return (
        chemical_symbols[nearest]
        if abs(atomic_masses[nearest] - mass_u) < MASS_TOLERANCE_U
        else None
    )


def labels_of_masses(masses_u: np.ndarray) -> np.ndarray:
    """Elements of the masses (atoms,) of atoms.

    Raises:
        Damaged: a mass that no element has.
    """
    kinds, which = np.unique(masses_u, return_inverse=True)
    found = [element_of_mass(float(mass)) for mass in kinds]
    if None in found:
        raise Damaged(f"no element has the mass {kinds[found.index(None)]:g} u")
    return np.array(found)[which]


def elements(labels: np.ndarray, mapping: Mapping[str, str], source: str) -> tuple[str, ...]:
    """Element of each atom.

    Args:
        labels: (atoms,) names or types.
        mapping: elements of some of them, as the user gave them.
        source: the file, for messages.

    Raises:
        InputError: names a label without element and how to give it.
    """
    kinds, which = np.unique(labels.astype(str), return_inverse=True)
    # The user names labels as the file has them, or by their symbol.
    found = [mapping.get(kind) or element(kind) for kind in kinds]
    unknown = [str(kind) for kind, symbol in zip(kinds, found, strict=True) if symbol is None]
    if unknown:
        raise InputError(
            "elements",
            ", ".join(unknown[:8]),
            f"{source} names atoms so, which are no elements; say which they are, for example "
            f"--elements {','.join(map('='.join, zip(unknown, ('Li', 'Cl'), strict=False)))}",
        )
    return tuple(str(symbol) for symbol in np.array(found)[which])


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuse what is no element.

    Raises:
        InputError: names it.
    """
    for label, symbol in mapping.items():
        if symbol not in atomic_numbers or symbol == "X":
            raise InputError(
                "elements", f"{label}={symbol}", f"{symbol} is no element; write 1=Li,2=Al"
            )


def charges_by_element(symbols: Sequence[str], charges: np.ndarray) -> dict[str, float] | None:
    """Charge of each element, None where atoms of one element have different ones."""
    names = np.array(symbols)
    found: dict[str, float] = {}
    for symbol in dict.fromkeys(symbols):
        own = charges[names == symbol]
        if np.ptp(own) > 1e-4:
            return None
        found[symbol] = float(own[0])
    return found if any(found.values()) else None
