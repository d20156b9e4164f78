"""Glasses as the viewer of the report draws them: atoms, bonds, and fragments made whole."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from vitrion.base.text import names
from vitrion.structure.neighbors import neighbor_pairs
from vitrion.transport.network import components
from vitrion.transport.roles import Roles

# Longest bond over the sum of covalent radii, where g(r) has given no cutoff.
BOND_OVER_RADII = 1.3


def glass_model(
    atoms: Atoms,
    centers: Collection[str],
    bridges: Collection[str],
    cutoffs_A: Mapping[tuple[str, str], float],
) -> dict[str, object]:
    """A glass for the viewer.

    A fragment is central cations joined by shared ligands, with the other ligands bound to them.
    Fragments are made whole across the cell's faces, so that bonds are short; a bond of a network
    that closes on itself through the boundary is left out.

    Args:
        atoms: the glass.
        centers: elements of the central cations.
        bridges: ligands that join central cations to fragments.
        cutoffs_A: longest bond by central cation and ligand.

    Returns:
        `cell` (9 numbers, rows in Å), `elements`, `xyz` (three numbers per atom, in Å), `bonds`
        (pairs of indices) and `size`: central cations in the fragment of each atom, 0 for atoms
        outside of fragments.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    i, j, vectors_A = _bonds(atoms, symbols, cutoffs_A)
    is_center = np.isin(symbols, list(centers))
    inner = is_center | np.isin(symbols, list(bridges))
    joining = inner[i] & inner[j]
    n_parts, part = components(len(atoms), i[joining], j[joining])
    size = np.bincount(part[is_center], minlength=n_parts)[part]
    # A terminal ligand belongs to the fragment of the nearest central cation.
    nearest = {}
    for k in np.argsort(-np.linalg.norm(vectors_A, axis=1)):
        if not inner[i[k]]:
            nearest[i[k]] = j[k]
    for ligand, cation in nearest.items():
        size[ligand], part[ligand] = size[cation], part[cation]
    inside = part[i] == part[j]
    i, j, vectors_A = i[inside], j[inside], vectors_A[inside]
    positions_A = _made_whole(atoms, part, i, j, vectors_A)
    short = np.linalg.norm(positions_A[j] - positions_A[i] - vectors_A, axis=1) < 0.1
    once = short & (i < j)
    return {
        "cell": np.round(atoms.cell.array.ravel(), 3).tolist(),
        "elements": symbols.tolist(),
        "xyz": np.round(positions_A.ravel(), 2).tolist(),
        "bonds": np.stack([i[once], j[once]], axis=1).tolist(),
        "size": size.tolist(),
    }


def _bonds(
    atoms: Atoms, symbols: np.ndarray, cutoffs_A: Mapping[tuple[str, str], float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds between central cations and ligands, in both directions: i, j, vectors from i to j."""
    i, j, vectors_A, _ = neighbor_pairs(atoms.positions, atoms.cell.array, max(cutoffs_A.values()))
    squared_A2 = np.einsum("px,px->p", vectors_A, vectors_A)
    bonded = np.zeros(len(i), dtype=bool)
    for (center, ligand), cutoff_A in cutoffs_A.items():
        near = squared_A2 <= cutoff_A**2
        bonded |= near & (symbols[i] == center) & (symbols[j] == ligand)
        bonded |= near & (symbols[j] == center) & (symbols[i] == ligand)
    return i[bonded], j[bonded], vectors_A[bonded]


def _made_whole(
    atoms: Atoms, part: np.ndarray, i: np.ndarray, j: np.ndarray, vectors_A: np.ndarray
) -> np.ndarray:
    """Positions with bonded atoms next to each other and each fragment's middle in the cell."""
    n = len(atoms)
    positions_A = atoms.get_positions(wrap=True)
    bonded = coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    step_A = dict(zip(zip(i, j, strict=True), vectors_A, strict=True))
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
        if not row.center:
            continue
        paths = sorted((results / f"quench/{row.composition}").glob("r*/glass.extxyz"))
        if not paths:
            continue
        (atoms,) = ase.io.iread(paths[0], index=0)
        centers, ligands = names(row.center), names(row.ligands)
        own = cutoffs[(cutoffs["composition"] == row.composition) & cutoffs["cutoff_A"].notna()]
        mean = own.groupby(["species", "neighbor"])["cutoff_A"].mean()
        cutoffs_A = {
            pair: float(mean.get(pair, BOND_OVER_RADII * _sum_of_radii_A(*pair)))
            for pair in itertools.product(centers, ligands)
        }
        joining = Roles(names(row.mobile), centers, ligands).joining
        model = glass_model(atoms, centers, joining, cutoffs_A)
        named = {
            "name": row.composition,
            "replica": paths[0].parent.name,
            "centers": centers,
            "bridges": joining,
        }
        found.append({**named, **model})
    return found


def _sum_of_radii_A(*symbols: str) -> float:
    return float(sum(covalent_radii[Atoms(symbol).numbers[0]] for symbol in symbols))
