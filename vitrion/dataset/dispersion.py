"""Dispersion, which semilocal functionals lack, added to labels: DFT-D3 with Becke-Johnson damping.

The two-body energy, forces and stress of Grimme et al., J. Comput. Chem. 32, 1456 (2011), with the
parameters of the labels' own functional, from the library s-dftd3. It is an analytic function of
the positions, so it is added when a data set is prepared, to the labels of DFT and of a potential
that learned from it alike. A model that learns from the sum needs nothing more in MD.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr

from vitrion.base.errors import InputError
from vitrion.dataset.frame import FOLDER_LEVEL, Frame

if TYPE_CHECKING:
    from ase import Atoms

    from vitrion.config import Dataset

logger = logging.getLogger("vitrion")

# Functionals by the word that names them in a level of theory, as s-dftd3 calls them.
METHODS = {
    method.lower(): method for method in ("PBE", "PBEsol", "revPBE", "RPBE", "SCAN", "r2SCAN")
}
# Words of a level whose labels hold dispersion already.
CONTAINED = re.compile(
    r"d[234](bj|zero|0|m|mbj|s)?|ts|tsh|mbd\w*|ddsc|r?vv10|xdm|ulg|i?vdw\w*", re.IGNORECASE
)
ADDED = "+ D3(BJ)"
# Follows where the functional is the setting's: the level does not name it.
OF_SETTING = " of "
# Pairs are summed to s-dftd3's own 60 Bohr. Over the last 10 their energy goes smoothly to zero, so
# that forces and stress are exact derivatives; the infinite sum differs by 0.2 meV/atom and 0.1 %
# of the pressure.
SUMMED = {"disp2": 60 * Bohr, "width2": 10 * Bohr}


def add_dispersion(frames: Sequence[Frame], settings: Dataset) -> None:
    """Add dispersion to the labels of usable frames, and say so in their level of theory.

    Labels that hold dispersion already (`DFT-D3`, `TS`, `rVV10` … in the name of their level) stay
    as they are, and the log says so.

    Args:
        frames: imported frames, checked; those with a rejection reason are left alone.
        settings: `dispersion`, and the `functional` of levels whose name has none.

    Raises:
        InputError: a level of unknown functional.
    """
    if settings.dispersion == "none":
        return
    levels = {str(frame.atoms.info["level"]) for frame in frames if not frame.rejection_reason}
    methods = {level: _method(level, settings) for level in levels}
    counted: Counter[str] = Counter()
    for frame in frames:
        level = str(frame.atoms.info.get("level"))
        method = methods.get(level)
        if not frame.rejection_reason:
            counted[level] += 1
            if method is not None:
                _add(frame.atoms, method)
        if method is not None:
            of_setting = "" if _functionals(level) else OF_SETTING + method
            frame.atoms.info["level"] = f"{level} {ADDED}{of_setting}"
    for level, count in sorted(counted.items()):
        logger.info(
            "%s: %d frames %s",
            level,
            count,
            "hold dispersion already: none is added"
            if methods[level] is None
            else f"get the dispersion of D3(BJ) with the parameters of {methods[level]}",
        )


def theory(level: str) -> tuple[str, str]:
    """Functional and dispersion that the name of a level of theory tells, else `unknown`."""
    level, added, of_setting = level.partition(ADDED)
    words = _words(level)
    functional = of_setting.removeprefix(OF_SETTING) or next(iter(_functionals(level)), "unknown")
    if added:
        return functional, ADDED.removeprefix("+ ")
    contained = next((word for word in words if CONTAINED.fullmatch(word)), None)
    return functional, contained or ("unknown" if functional == "unknown" else "none")


def dispersion(atoms: Atoms, method: str) -> dict[str, float | np.ndarray]:
    """D3(BJ) of a periodic cell.

    Args:
        atoms: positions and cell.
        method: functional as s-dftd3 calls it, e.g. `PBE`.

    Returns:
        `energy` in eV, `forces` (n, 3) in eV/Å and `stress` (6,) in eV/Å³, positive under tension.
    """
    from dftd3.ase import DFTD3

    calculator = DFTD3(method=method, damping="d3bj", realspace_cutoff=SUMMED)
    calculator.calculate(atoms, ["energy", "forces", "stress"])
    return {name: calculator.results[name] for name in ("energy", "forces", "stress")}


def _add(atoms: Atoms, method: str) -> None:
    results = atoms.calc.results
    for name, value in dispersion(atoms, method).items():
        if name in results:  # a label without stress stays one
            results[name] = results[name] + value


def _words(level: str) -> list[str]:
    """Words of a level of theory, without its pseudopotentials, named after functionals too.

    A folder, which stands for the level of frames that do not name theirs, says nothing.
    """
    if level.startswith(FOLDER_LEVEL):
        return []
    return re.findall(r"[A-Za-z0-9]+", level.split(";")[0])


def _functionals(level: str) -> list[str]:
    """Functionals that a level of theory names, each once, in its order."""
    words = (word.lower() for word in _words(level))
    return list(dict.fromkeys(METHODS[word] for word in words if word in METHODS))


def _method(level: str, settings: Dataset) -> str | None:
    """Functional of a level as s-dftd3 calls it; None where its labels hold dispersion already.

    Raises:
        InputError: no functional, or several.
    """
    if any(CONTAINED.fullmatch(word) for word in _words(level)):
        return None
    methods = _functionals(level)
    if len(methods) == 1:
        return methods[0]
    if not methods and settings.functional is not None:
        return settings.functional
    raise InputError(
        "dataset.dispersion",
        settings.dispersion,
        f"the level of theory {level!r} names {' and '.join(sorted(methods)) or 'no functional'} "
        f"(known: {', '.join(METHODS.values())}); set dataset.functional, name it in each frame's "
        "`level`, or set dataset.dispersion to none",
    )
