import numpy as np
import pytest

from vitrion.errors import InputError
from vitrion.packing import RELATIVE_DISTANCE, random_packing

COUNTS = {"Li": 4, "Al": 4, "Cl": 10, "O": 3}


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
