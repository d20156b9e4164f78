import numpy as np
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from vitrion.base.errors import InputError
from vitrion.config import Sample
from vitrion.dataset.sample import (
    farthest_points,
    sample_frames,
    standardise,
    structure_features,
)
from vitrion.potential import load_model
from vitrion.structure.compositions import Composition

CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
LIALCL = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.5, CHARGES)


def test_farthest_points_on_a_line():
    points = np.array([[0.0], [1.0], [5.0], [9.0], [10.0]])
    everything = np.ones(5, dtype=bool)
    # 5 is nearest to the mean; 0 and 10 are equally far, the first counts; then 10.
    assert farthest_points(points, "aaaaa", 3, allowed=everything) == [2, 0, 4]


def test_groups_take_turns_and_run_out():
    points = np.arange(6.0)[:, None]
    groups = ["hot", "hot", "hot", "hot", "cold", "cold"]
    chosen = farthest_points(points, groups, 6, allowed=np.ones(6, dtype=bool))
    assert [groups[i] for i in chosen[:4]] == ["hot", "cold", "hot", "cold"]
    assert sorted(chosen) == list(range(6))


def test_chosen_points_are_kept_away_from_and_masked_points_left():
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    allowed = np.array([True, True, True, False])
    assert farthest_points(points, "aaaa", 1, allowed=allowed, chosen=[0]) == [2]
    assert farthest_points(points, "aaaa", 9, allowed=allowed, chosen=[0]) == [2, 1]


def test_farthest_points_cover_better_than_every_nth():
    points = np.random.default_rng(0).normal(size=(400, 3)) ** 3

    def reach(chosen):
        distances = np.linalg.norm(points[:, None] - points[list(chosen)], axis=2)
        return distances.min(axis=1).max()

    chosen = farthest_points(points, ["a"] * 400, 20, allowed=np.ones(400, dtype=bool))
    assert reach(chosen) < 0.6 * reach(range(0, 400, 20))


def test_standardise_leaves_constant_features_at_zero():
    scaled = standardise(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


@pytest.fixture(scope="module")
def settings():
    return Sample(
        frames_per_composition=5,
        relative_densities=(0.8, 1.0),
        packings_per_density=1,
        temperatures_K=(300.0, 2500.0),
        steps_per_temperature=4,
        frame_interval=2,
    )


@pytest.fixture(scope="module")
def frames(settings):
    return sample_frames(LIALCL, settings, model="0.3.0", seed=7)


def test_sampled_frames_say_where_they_come_from(frames):
    assert len(frames) == 5
    assert [len(atoms) for atoms in frames] == [21, 21, 21, 21, 42]
    names = [atoms.info["frame_id"] for atoms in frames]
    assert len(set(names)) == 5
    for atoms in frames:
        assert atoms.info["frame_id"].startswith(atoms.info["trajectory"])
        assert atoms.info["composition"] == "LiAlCl"
        density = atoms.get_masses().sum() * 1.66053907 / atoms.get_volume()
        assert atoms.info["density_g_cm3"] == pytest.approx(density, rel=1e-3)
    # Hot comes before cold, in time and in turn.
    assert [atoms.info["temperature_K"] for atoms in frames[:4]] == [2500.0, 300.0] * 2
    assert all((atoms.info["step"] > 4) == (atoms.info["temperature_K"] == 300) for atoms in frames)


def test_sampling_keeps_away_from_known_frames(frames, settings):
    # What was chosen before is known now, so candidates drawn once more give others.
    known = [atoms for atoms in frames if len(atoms) == 21]
    smaller = settings.model_copy(update={"frames_per_composition": 3, "large_frames": 0})
    others = sample_frames(LIALCL, smaller, model="0.3.0", seed=7, known=known)
    names = {atoms.info["frame_id"] for atoms in known}
    assert len(others) == 3
    assert names.isdisjoint(atoms.info["frame_id"] for atoms in others)


def test_too_few_candidates_are_told(settings):
    greedy = settings.model_copy(update={"frames_per_composition": 30, "relative_densities": (1,)})
    with pytest.raises(InputError, match=r"4 candidates of LiAlCl.*too few to choose 29"):
        sample_frames(LIALCL, greedy, model="0.3.0", seed=7)


def test_same_seed_same_frames(frames, settings):
    again = sample_frames(LIALCL, settings, model="0.3.0", seed=7)
    for first, second in zip(frames, again, strict=True):
        assert first.info == second.info
        assert np.allclose(first.positions, second.positions, atol=1e-3)


def test_features_are_those_of_chgnets_predictor(frames):
    model = load_model("0.3.0")
    predicted = model.predict_structure(
        [AseAtomsAdaptor.get_structure(atoms) for atoms in frames],
        task="e",
        return_atom_feas=True,
    )
    elements = ["Al", "Cl", "Li", "O"]
    expected = [
        np.concatenate([row["atom_fea"][atoms.symbols == e].mean(axis=0) for e in elements])
        for atoms, row in zip(frames, predicted, strict=True)
    ]
    found = structure_features(frames, model)
    assert found.shape == (5, 4 * 64)
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
