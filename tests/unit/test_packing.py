import numpy as np
import pytest
from ase import Atoms

from vitrion.base.errors import InputError
from vitrion.structure.packing import (
    RELATIVE_DISTANCE,
    IonicModel,
    ionic_packing,
    ionic_radius_A,
    random_packing,
)

COUNTS = {"Li": 4, "Al": 4, "Cl": 10, "O": 3}
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}


def shortest_distance_A(atoms):
    distances = atoms.get_all_distances(mic=True)
    return distances[np.triu_indices(len(atoms), 1)].min()


def test_packs_what_was_asked_into_the_volume():
    atoms = random_packing(COUNTS, 400.0, seed=1)
    assert atoms.symbols.formula.count() == COUNTS
    assert atoms.get_volume() == pytest.approx(400.0)
    assert atoms.pbc.all()
    assert len(set(atoms.cell.lengths())) == 1


@pytest.mark.parametrize("seed", range(5))
def test_keeps_atoms_apart_across_the_faces_of_the_cell(seed):
    atoms = random_packing(COUNTS, 400.0, seed=seed)
    kept_A = atoms.info["packing_distance_A"]
    assert kept_A == pytest.approx(RELATIVE_DISTANCE * (400 / 21) ** (1 / 3))
    # packmol's own tolerance on distances is 0.01 Å
    assert shortest_distance_A(atoms) > kept_A - 0.015


def test_same_seed_same_packing():
    first, again, other = (random_packing(COUNTS, 400.0, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.positions, again.positions)
    assert not np.allclose(first.positions, other.positions)


def test_crowded_cell_keeps_a_shorter_distance():
    atoms = random_packing({"Li": 30, "Cl": 30}, 60 * 2.0, seed=0)
    assert atoms.info["packing_distance_A"] <= RELATIVE_DISTANCE * 2.0 ** (1 / 3)
    assert shortest_distance_A(atoms) > atoms.info["packing_distance_A"] - 0.015


@pytest.mark.parametrize(
    ("counts", "volume_A3", "key"),
    [
        (COUNTS, 15.0, "volume_A3"),
        (COUNTS, -1.0, "volume_A3"),
        (COUNTS, float("nan"), "volume_A3"),
        ({"Li": 0}, 100.0, "counts"),
        ({"Xx": 2}, 100.0, "counts"),
    ],
)
def test_impossible_packings_are_refused(counts, volume_A3, key):
    with pytest.raises(InputError) as caught:
        random_packing(counts, volume_A3, seed=0)
    assert caught.value.key == key


def nearest_A(atoms, one, other):
    distances = atoms.get_all_distances(mic=True) + 99 * np.eye(len(atoms))
    return distances[np.ix_(atoms.symbols == one, atoms.symbols == other)]


@pytest.mark.parametrize("seed", range(3))
def test_ionic_packing_puts_cations_beside_anions(seed):
    atoms = ionic_packing(COUNTS, 560.0, seed, charges=CHARGES)
    assert atoms.symbols.formula.count() == COUNTS
    assert atoms.get_volume() == pytest.approx(560.0)
    # Every central cation has its nearest ligand nearer than any cation, and no halogens touch.
    ligand = np.minimum(
        nearest_A(atoms, "Al", "Cl").min(axis=1), nearest_A(atoms, "Al", "O").min(axis=1)
    )
    cation = np.minimum(
        nearest_A(atoms, "Al", "Al").min(axis=1), nearest_A(atoms, "Al", "Li").min(axis=1)
    )
    assert (ligand < cation).all()
    assert nearest_A(atoms, "Cl", "Cl").min() > 2.8
    assert nearest_A(random_packing(COUNTS, 560.0, seed), "Cl", "Cl").min() < 2.8


def test_same_seed_same_ionic_packing():
    first, again, other = (
        ionic_packing(COUNTS, 560.0, seed, charges=CHARGES) for seed in (3, 3, 4)
    )
    assert np.allclose(first.positions, again.positions, atol=1e-6)
    assert not np.allclose(first.positions, other.positions, atol=0.1)


@pytest.mark.parametrize("charges", [{"Li": 1, "Al": 3, "Cl": -1}, CHARGES | {"Al": 2}])
def test_ionic_packing_needs_charges_that_balance(charges):
    with pytest.raises(InputError) as caught:
        ionic_packing(COUNTS, 560.0, 0, charges=charges)
    assert caught.value.key == "charges"


def test_ionic_forces_are_the_derivative_of_the_energy():
    atoms = random_packing(COUNTS, 560.0, seed=0)
    atoms.calc = IonicModel(CHARGES)
    forces = atoms.get_forces()
    for index, axis in ((0, 0), (5, 1), (20, 2)):
        energies = []
        for step_A in (-1e-4, 1e-4):
            moved = atoms.copy()
            moved.positions[index, axis] += step_A
            moved.calc = IonicModel(CHARGES)
            energies.append(moved.get_potential_energy())
        assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(forces[index, axis], abs=1e-4)


def test_a_pair_of_ions_rests_at_the_sum_of_their_radii():
    rest_A = ionic_radius_A("Li", 1) + ionic_radius_A("Cl", -1)
    pair = Atoms("LiCl", [[0, 0, 0], [rest_A, 0, 0]])
    pair.calc = IonicModel({"Li": 1, "Cl": -1}, cutoff_A=60.0, damping_1_A=1e-6)
    force_eV_A = pair.get_forces()[1, 0]
    assert force_eV_A == pytest.approx(0.0, abs=0.01)
