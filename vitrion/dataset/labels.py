"""Labels of a frame by the names that people give them, each in eV, eV/Å and eV/Å³.

Energy, forces and stress of a frame come from one source: those whose names begin with ``REF_``,
else ``DFT_``, else ``dft_``, else those without prefix. The first prefix with an energy or forces
counts. A file with `REF_energy` beside `forces` often holds a model's forces, so labels of two
prefixes are never combined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from vitrion.base.units import EV_A3_TO_GPA

# What is said of frames that do not know their whole stress.
STRESS_REMARKS = {
    "none": "no stress: energy and forces are trained on (VASP's MD has stress with ISIF = 2)",
    "pressure": "the trace of the stress alone (ISIF = 1): it is trained on as a pressure",
}
PREFIXES = ("REF_", "DFT_", "dft_", "")
# The first name found counts. Forces are the derivative of the free energy of smeared electrons; an
# `energy` beside it is extrapolated to no smearing.
NAMES = {
    "energy": ("free_energy", "energy"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
}
UNITS = {
    "energy": "eV, of the whole cell",
    "forces": "eV/Å",
    "stress": "eV/Å³, positive under tension",
}
# Set in `info` where only the trace of the stress is meant (VASP's ISIF = 1).
PRESSURE_ONLY = "stress_is_pressure_only"
# Why a calculation gave no label, in `info`.
FAILURE = "label_failure"
# POTCAR title and U of each element, in `info`; they belong to the level of theory.
PSEUDOPOTENTIALS = "pseudopotentials"
# What a new calculation of a frame must not keep of an earlier one.
LABEL_KEYS = (
    *(f"{prefix}{name}" for prefix in PREFIXES for names in NAMES.values() for name in names),
    PRESSURE_ONLY,
    PSEUDOPOTENTIALS,
    FAILURE,
)


def missing_label(label: str) -> str:
    """What to say of a frame without energy or without forces."""
    names = " or ".join(f"[{'|'.join(filter(None, PREFIXES))}]{name}" for name in NAMES[label])
    return (
        f"no {label} ({UNITS[label]}; looked for {names}, all labels of a frame with the same "
        "prefix or none)"
    )


def with_labels(atoms: Atoms, labels: Mapping[str, Any] | None = None) -> Atoms:
    """Move the labels of one source into a `SinglePointCalculator`.

    Args:
        atoms: structure; its info, arrays and calculator are searched for `NAMES`.
        labels: labels by those names without prefix. They are a source that comes before all
            others.

    Raises:
        ValueError: a stress or virial of wrong shape.
    """
    found = {
        **atoms.info,
        **atoms.arrays,
        **(atoms.calc.results if atoms.calc is not None else {}),
    }
    sources = [labels] if labels else []
    for prefix in PREFIXES:
        keys = {name: f"{prefix}{name}" for names in NAMES.values() for name in names}
        sources.append({name: found.get(key) for name, key in keys.items()})
        for key in keys.values():
            atoms.info.pop(key, None)
            atoms.arrays.pop(key, None)
    candidates = [_first_of_each(source) for source in sources]
    values = next((c for c in candidates if "energy" in c or "forces" in c), {})
    virial = values.pop("virial", None)
    if "stress" in values:
        values["stress"] = voigt_stress(values["stress"])
    elif virial is not None:
        values["stress"] = -voigt_stress(virial) / atoms.get_volume()
    if "energy" in values:
        values["energy"] = float(values["energy"])
    atoms.set_constraint()  # with which ASE would zero the forces of fixed atoms
    atoms.calc = SinglePointCalculator(atoms)
    # Not passed to the constructor, which refuses wrong shapes; `check_frames` reports them.
    atoms.calc.results = values
    return atoms


def stress_extent(atoms: Atoms) -> str:
    """How much of its stress a labelled frame knows: `full`, `pressure` or `none`."""
    if atoms.calc is None or "stress" not in atoms.calc.results:
        return "none"
    return "pressure" if atoms.info.get(PRESSURE_ONLY) else "full"


def stress_label_GPa(atoms: Atoms) -> np.ndarray:
    """(3, 3) stress of a labelled frame, NaN where it has none.

    Where the pressure alone is known (`PRESSURE_ONLY`), its negative stands on the diagonal.
    """
    voigt = atoms.calc.results.get("stress") if atoms.calc is not None else None
    if voigt is None:
        return np.full((3, 3), np.nan)
    stress = voigt_6_to_full_3x3_stress(np.asarray(voigt, dtype=float)) * EV_A3_TO_GPA
    if not atoms.info.get(PRESSURE_ONLY):
        return stress
    return np.where(np.eye(3, dtype=bool), np.trace(stress) / 3, np.nan)


def _first_of_each(source: Mapping[str, Any]) -> dict[str, Any]:
    """Each label of a source under its first name."""
    values = {}
    for label, names in NAMES.items():
        value = next((source[name] for name in names if source.get(name) is not None), None)
        if value is not None:
            values[label] = value
    return values


def voigt_stress(value: Any) -> np.ndarray:
    """A stress as xx yy zz yz xz xy, from those 6 numbers or from 9 or 3 × 3.

    Raises:
        ValueError: another shape, or a tensor that is not symmetric.
    """
    stress = np.asarray(value, dtype=float)
    if stress.shape == (6,):
        return stress
    if stress.shape not in ((9,), (3, 3)):
        raise ValueError(f"stress of shape {stress.shape} instead of 6, 9 or 3 × 3 numbers")
    stress = stress.reshape(3, 3)
    if not np.allclose(stress, stress.T, rtol=1e-2, atol=1e-3, equal_nan=True):
        raise ValueError("stress is not symmetric")
    return full_3x3_to_voigt_6_stress(stress)
