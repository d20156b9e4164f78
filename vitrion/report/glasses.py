"""Glasses as the viewer of the report draws them: atoms, bonds, and fragments made whole."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from vitrion.paper.family import halide
from vitrion.transport.network import components

BRIDGE = "O"
# Of the sum of covalent radii, where g(r) has given no cutoff.
NEAR = 1.3


def glass_model(
    atoms: Atoms, metal: str, halogen: str, cutoffs_A: dict[str, float]
) -> dict[str, object]:
    """A glass for the viewer.

    A fragment is metals joined by shared oxygen, with the halogens bound to them. Across the cell's
    faces fragments are made whole, so that bonds are short; a bond of a network that closes on
    itself through the boundary is left out.

    Args:
        atoms: the glass.
        metal, halogen: centre of the tetrahedra and ligand beside oxygen.
        cutoffs_A: longest bond of the metal by ligand.

    Returns:
        `cell` (9 numbers, rows in Å), `elements`, `xyz` (three numbers an atom, in Å), `bonds`
        (pairs of indices) and `size`: metals in the fragment of each atom, 0 for what is in none.
    """
    i, j, shift_A = neighbor_list(
        "ijD", atoms, {(metal, ligand): cutoff for ligand, cutoff in cutoffs_A.items()}
    )
    symbols = np.array(atoms.get_chemical_symbols())
    is_metal = symbols == metal
    bridges = np.isin(symbols[i], [metal, BRIDGE]) & np.isin(symbols[j], [metal, BRIDGE])
    n_parts, part = components(len(atoms), i[bridges], j[bridges])
    size = np.bincount(part[is_metal], minlength=n_parts)[part]
    # A halogen belongs to the nearest metal's fragment.
    length_A = np.linalg.norm(shift_A, axis=1)
    nearest = {}
    for k in np.argsort(-length_A):
        if symbols[i[k]] == halogen:
            nearest[i[k]] = j[k]
    for atom, center in nearest.items():
        size[atom], part[atom] = size[center], part[center]
    inside = part[i] == part[j]
    i, j, shift_A = i[inside], j[inside], shift_A[inside]
    positions_A = _made_whole(atoms, part, i, j, shift_A)
    short = np.linalg.norm(positions_A[j] - positions_A[i] - shift_A, axis=1) < 0.1
    once = short & (i < j)
    return {
        "cell": np.round(atoms.cell.array.ravel(), 3).tolist(),
        "elements": symbols.tolist(),
        "xyz": np.round(positions_A.ravel(), 2).tolist(),
        "bonds": np.stack([i[once], j[once]], axis=1).tolist(),
        "size": size.tolist(),
    }


def _made_whole(
    atoms: Atoms, part: np.ndarray, i: np.ndarray, j: np.ndarray, shift_A: np.ndarray
) -> np.ndarray:
    """Positions in which bonded atoms are beside each other, each fragment's middle in the cell."""
    n = len(atoms)
    positions_A = atoms.get_positions(wrap=True)
    bonded = coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    step_A = dict(zip(zip(i, j, strict=True), shift_A, strict=True))
    for members in _members(part):
        order, before = breadth_first_order(bonded, members[0], directed=False)
        for atom in order[1:]:
            positions_A[atom] = positions_A[before[atom]] + step_A[before[atom], atom]
        middle = atoms.cell.scaled_positions(positions_A[order].mean(axis=0)[None])[0]
        positions_A[order] -= np.floor(middle) @ atoms.cell.array
    return positions_A


def _members(part: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(part, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(part[order])) + 1)


def read_glasses(results: Path, trajectories: pd.DataFrame, cutoffs: pd.DataFrame) -> list[dict]:
    """The first glass of every composition, for the viewer.

    Args:
        results: the campaign's folder.
        trajectories, cutoffs: tables of its summary; cutoffs are averaged over trajectories.
    """
    found = []
    for row in trajectories.drop_duplicates("composition").itertuples():
        paths = sorted((results / f"quench/{row.composition}").glob("r*/glass.extxyz"))
        if not paths:
            continue
        atoms = ase.io.read(paths[0])
        own = cutoffs[(cutoffs["composition"] == row.composition) & cutoffs["cutoff_A"].notna()]
        own = own[own["species"] == row.center].groupby("neighbor")["cutoff_A"].mean()
        cutoffs_A = {
            ligand: float(own.get(ligand, NEAR * _touching(row.center, ligand)))
            for ligand in (halide(row.ligands), BRIDGE)
        }
        model = glass_model(atoms, row.center, halide(row.ligands), cutoffs_A)
        named = {"name": row.composition, "replica": paths[0].parent.name, "center": row.center}
        found.append({**named, **model})
    return found


def _touching(*symbols: str) -> float:
    return float(sum(covalent_radii[Atoms(symbol).numbers[0]] for symbol in symbols))
