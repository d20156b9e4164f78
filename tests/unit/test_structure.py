"""Pairs of atoms, g(r), coordination and first-shell cutoffs against exact cases."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.geometry.rdf import get_rdf
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrion.structure.neighbors import bonds, neighbor_distances, neighbor_pairs
from vitrion.structure.rdf import (
    BIN_A,
    first_minimum_A,
    first_shell_cutoffs,
    radial_distributions,
)


@st.composite
def crystals(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions in and out of a triclinic cell, the cell, and a cutoff of up to 1.5 edges."""
    edges_A = draw(st.tuples(*[st.floats(2.5, 6.0)] * 3))
    tilts = draw(st.tuples(*[st.floats(-0.9, 0.9)] * 3))
    cell_A = np.diag(edges_A)
    cell_A[1, 0], cell_A[2, 0], cell_A[2, 1] = np.array(tilts) * np.array(edges_A)[[0, 0, 1]]
    fractional = draw(
        st.lists(st.tuples(*[st.floats(-2, 3, width=32)] * 3), min_size=1, max_size=5, unique=True)
    )
    return np.array(fractional) @ cell_A, cell_A, draw(st.floats(0.5, 1.5)) * min(edges_A)


@given(crystals())
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_of_a_search_over_all_images(crystal):
    positions_A, cell_A, cutoff_A = crystal
    i, j, vectors_A, shifts = neighbor_pairs(positions_A, cell_A, cutoff_A)
    assert positions_A[j] + shifts @ cell_A - positions_A[i] == pytest.approx(vectors_A, abs=1e-9)
    found = {(a, b, *s) for a, b, s in zip(i, j, shifts.tolist(), strict=True)}
    assert len(found) == len(i)
    # No image farther away than the cutoff in units of the cell's heights can be near.
    heights_A = 1 / np.linalg.norm(np.linalg.inv(cell_A), axis=0)
    fractional = positions_A @ np.linalg.inv(cell_A)
    expected, within = set(), 0
    for a, b in product(range(len(positions_A)), repeat=2):
        center = np.round(fractional[a] - fractional[b]).astype(int)
        most = (cutoff_A / heights_A).astype(int) + 2
        for offset in product(*(range(-m, m + 1) for m in most)):
            shift = center + offset
            vector_A = positions_A[b] + shift @ cell_A - positions_A[a]
            distance_A = np.linalg.norm(vector_A)
            same = a == b and not shift.any()
            # A pair at the cutoff itself may be found or not.
            if not same and distance_A < cutoff_A - 1e-6:
                expected.add((a, b, *shift.tolist()))
                within += 1
            elif abs(distance_A - cutoff_A) <= 1e-6:
                found.discard((a, b, *shift.tolist()))
    assert found == expected
    once_i, once_j, distances_A = neighbor_distances(positions_A, cell_A, cutoff_A - 1e-6)
    assert 2 * np.count_nonzero(distances_A < cutoff_A - 1e-6) == within
    assert len(once_i) == len(once_j) == len(distances_A)


def test_bonds_by_several_definitions():
    symbols, positions_A = ["Al", "O", "Al", "Li"], [[0, 0, 0], [1.7, 0, 0], [3.5, 0, 0], [5, 0, 0]]
    short, long = {("Al", "O"): 1.75}, {("O", "Al"): 1.85, ("Al", "Li"): 2.0}
    found = [
        {frozenset(pair) for pair in zip(i.tolist(), j.tolist(), strict=True)}
        for i, j in bonds(symbols, np.array(positions_A), np.eye(3) * 20, short, long)
    ]
    assert found == [{frozenset({0, 1})}, {frozenset({0, 1}), frozenset({1, 2}), frozenset({2, 3})}]


def test_coordination_of_rock_salt_beyond_half_the_cell():
    """One cubic cell of NaCl: 6, 12, 8 and 6 neighbours, most of them images."""
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    positions_A = 5.6 * np.concatenate([corners, corners + np.array([0.5, 0, 0])])
    frames = [(positions_A, np.eye(3) * 5.6)]
    rdf = radial_distributions(frames, ["Na"] * 4 + ["Cl"] * 4, cutoff_A=5.3)
    near = rdf.r_A.searchsorted
    assert rdf.coordination["Na", "Cl"][near(3.2)] == pytest.approx(6)
    assert rdf.coordination["Na", "Cl"][near(5.2)] == pytest.approx(6 + 8)
    assert rdf.coordination["Na", "Na"][near(4.4)] == pytest.approx(12)


def test_ideal_gas_has_g_of_one():
    positions_A = np.random.default_rng(0).uniform(0, 12, (40, 300, 3))
    frames = ((frame_A, np.eye(3) * 12) for frame_A in positions_A)
    rdf = radial_distributions(frames, ["O"] * 200 + ["Li"] * 100, cutoff_A=5.0)
    assert rdf.n_frames == 40
    for g in rdf.g.values():
        assert g[30:].mean() == pytest.approx(1, abs=0.01)


def test_g_of_r_equals_ases():
    rng = np.random.default_rng(1)
    cell_A = np.array([[11.0, 0, 0], [2.0, 12.0, 0], [-1.0, 3.0, 11.5]])
    atoms = Atoms(
        ["O"] * 60 + ["Li"] * 40, rng.uniform(0, 1, (100, 3)) @ cell_A, cell=cell_A, pbc=True
    )
    rdf = radial_distributions(
        [(atoms.positions, cell_A)], atoms.get_chemical_symbols(), cutoff_A=4.5
    )
    theirs, r_A = get_rdf(atoms, 4.5, round(4.5 / BIN_A), elements=(8, 3))
    assert rdf.r_A == pytest.approx(r_A)
    assert rdf.g["O", "Li"] == pytest.approx(theirs, abs=1e-6)


def test_g_of_r_equals_mdanalysis():
    mda = pytest.importorskip("MDAnalysis")
    from MDAnalysis.analysis.rdf import InterRDF

    positions_A = np.random.default_rng(2).uniform(0, 12, (5, 90, 3)).astype(np.float32)
    universe = mda.Universe.empty(90, trajectory=True)
    universe.load_new(positions_A, order="fac", dimensions=np.array([12, 12, 12, 90, 90, 90.0]))
    theirs = InterRDF(
        universe.atoms[:50], universe.atoms[50:], nbins=100, range=(0, 5), norm="rdf"
    ).run()
    frames = ((frame_A.astype(float), np.eye(3) * 12) for frame_A in positions_A)
    rdf = radial_distributions(frames, ["O"] * 50 + ["Li"] * 40, cutoff_A=5.0)
    # A few pairs lie within single precision of a bin's edge.
    assert np.abs(rdf.g["O", "Li"] - theirs.results.rdf).mean() < 1e-3


R_A = np.arange(0.025, 8, 0.05)


def peak(height: float, at_A: float, width_A: float) -> np.ndarray:
    return height * np.exp(-(((R_A - at_A) / width_A) ** 2))


def test_first_minimum_is_found_through_noise():
    shells = peak(5, 2.2, 0.15) + peak(1.5, 4.6, 0.5)
    noisy = np.abs(shells + np.random.default_rng(0).normal(0, 0.1, len(R_A)))
    assert first_minimum_A(R_A, noisy) == pytest.approx(3.0, abs=0.4)


def test_a_shallow_minimum_lies_between_its_maxima():
    assert first_minimum_A(R_A, 1 + peak(1, 2.5, 0.4) - peak(0.3, 3.8, 0.4)) == pytest.approx(
        3.8, abs=0.1
    )


@pytest.mark.parametrize("height", [4, 20, 200])
@pytest.mark.parametrize("range_A", [3.5, 5.0, 8.0])
def test_in_a_gap_the_cutoff_depends_on_the_first_shell_alone(height, range_A):
    """Shells at 1.6 and 6 Å: inside the gap, at the same place for any height and range."""
    inside = range_A > R_A
    g = peak(height, 1.6, 0.08) + peak(2, 6, 0.2)
    assert first_minimum_A(R_A[inside], g[inside]) == pytest.approx(2.5, abs=0.15)


def test_a_narrow_gap_is_cut_in_its_middle():
    assert first_minimum_A(R_A, peak(8, 2, 0.1) + peak(2, 3, 0.1)) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("n_frames", [3, 40])
def test_noise_at_short_distances_is_no_shell(n_frames):
    """An ideal gas has no first minimum; a shell of four at 2.2 Å among as few pairs has one."""
    shells = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        frames = [(rng.uniform(0, 14, (60, 3)), np.eye(3) * 14) for _ in range(n_frames)]
        symbols = ["Li"] * 20 + ["Cl"] * 40
        gas = radial_distributions(frames, symbols, cutoff_A=6.0)
        pairs = [("Li", "Cl"), ("Li", "Li"), ("Cl", "Cl")]
        assert np.isnan(list(first_shell_cutoffs(gas, pairs, {}).values())).all()
        for positions_A, _ in frames:
            around_A = rng.normal(size=(40, 3))
            around_A *= rng.normal(2.2, 0.1, (40, 1)) / np.linalg.norm(around_A, axis=1)[:, None]
            positions_A[:10] = 3.5 + 7.0 * np.stack(
                np.unravel_index(np.arange(10) % 8, (2, 2, 2)), axis=1
            )
            positions_A[20:] = np.repeat(positions_A[:10], 4, axis=0) + around_A
        bound = radial_distributions(frames, ["Al"] * 10 + symbols[10:], cutoff_A=6.0)
        shells.append(first_shell_cutoffs(bound, [("Al", "Cl")], {})["Al", "Cl"])
    assert all(2.4 < end_A < 3.6 for end_A in shells)


def test_without_a_first_shell_there_is_no_minimum():
    assert np.isnan(first_minimum_A(R_A, np.zeros_like(R_A)))
    assert np.isnan(first_minimum_A(R_A, np.minimum(R_A / 4, 1.0)))


@pytest.fixture(scope="module")
def octahedra() -> list[np.ndarray]:
    """Eight rotating PF6 and eight free Li, far apart: no P-F pair between 1.9 and 4.1 Å."""
    rng = np.random.default_rng(0)
    sites_A = 20 / 3 * (np.stack(np.unravel_index(rng.permutation(27)[:16], (3, 3, 3)), 1) + 0.5)
    octahedron_A = 1.6 * np.concatenate([np.eye(3), -np.eye(3)])
    frames = []
    for _ in range(40):
        turned_A = [octahedron_A @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(8)]
        fluorine_A = (sites_A[:8, None] + turned_A + rng.normal(0, 0.05, (8, 6, 3))).reshape(-1, 3)
        frames.append(np.concatenate([sites_A + rng.normal(0, 0.3, (16, 3)), fluorine_A]))
        frames[-1][:8] = sites_A[:8]
    return frames


@pytest.mark.parametrize("range_A", [4.0, 6.0, 10.0])
def test_cutoff_of_dilute_octahedra(octahedra, range_A):
    symbols = ["P"] * 8 + ["Li"] * 8 + ["F"] * 48
    frames = ((frame_A, np.eye(3) * 20.0) for frame_A in octahedra)
    rdf = radial_distributions(frames, symbols, cutoff_A=range_A)
    cutoffs_A = first_shell_cutoffs(rdf, [("P", "F"), ("F", "P"), ("P", "Li")], {"Li-P": 5.0})
    assert 1.9 < cutoffs_A["P", "F"] < 3.0
    assert cutoffs_A["F", "P"] == cutoffs_A["P", "F"]
    assert cutoffs_A["P", "Li"] == 5.0
    shell = rdf.coordination["P", "F"][rdf.r_A.searchsorted(cutoffs_A["P", "F"])]
    assert shell == pytest.approx(6)
