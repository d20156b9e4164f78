"""The paper's family of glasses, A M X2.5 O0.75: a halide beside oxygen."""

from __future__ import annotations

import pandas as pd

from vitrion.base.text import names

MOBILE, CENTER, HALIDES = ("Li", "Na", "K"), ("Al", "Ga", "In"), ("Cl", "Br", "I")


def in_family(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of the paper's family: one element of each role, a halide and oxygen.

    Args:
        rows: of a table with the columns mobile, center and ligands.
    """
    ligands = {",".join(pair) for X in HALIDES for pair in ((X, "O"), ("O", X))}
    return rows["mobile"].isin(MOBILE) & rows["center"].isin(CENTER) & rows["ligands"].isin(ligands)


def halide(ligands: str) -> str:
    """The first ligand that is not oxygen: `Cl` of `Cl,O`; the first where all are oxygen."""
    found = names(ligands)
    return next((name for name in found if name != "O"), found[0] if found else "")
