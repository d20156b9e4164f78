"""The paper's family of glasses, A M X2.5 O0.75: a halide beside oxygen."""

from __future__ import annotations

from vitrion.base.text import names


def halide(ligands: str) -> str:
    """The first ligand that is not oxygen: `Cl` of `Cl,O`; the first where all are oxygen."""
    found = names(ligands)
    return next((name for name in found if name != "O"), found[0] if found else "")
