"""What a model was trained on, and whether a system or a run leaves it."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from vitrion.campaign.model_card import outside_training, read_card, reduced_formula
from vitrion.cli import main
from vitrion.commands import check_campaign
from vitrion.config import Config, Dynamics, GlassLimits
from vitrion.dataset.dispersion import theory
from vitrion.dataset.frame import read_frames
from vitrion.dynamics.engine import Engine
from vitrion.potential import TrainingSet, load_model, load_training_set, model_hash, save_model
from vitrion.structure.compositions import Composition
from vitrion.training.domain import describe_frames, joined
from vitrion.training.replay import replay_file
from vitrion.trajectory.checks import OUTSIDE_TRAINING, check_segment
from vitrion.trajectory.h5md import read_checkpoint
from vitrion.trajectory.samples import Samples

LIALCL = {"Li": 4, "Al": 4, "Cl": 10, "O": 3}
LIF = Composition("LiF", ("Li",), ("F",), ("F",), "LiF", 2.64, {"Li": 1, "F": -1})


@pytest.fixture(scope="module")
def glasses() -> list[Atoms]:
    """Frames of LiAlCl that the shipped model knows."""
    with importlib.resources.as_file(replay_file()) as path:
        frames = read_frames(path)
    return [frame for frame in frames if frame.info["composition"] == "LiAlCl"]


def share_outside(model: str, atoms: Atoms) -> list[float]:
    samples = Samples.none(len(atoms))
    one = {name: np.zeros((1, *values.shape[1:])) for name, values in samples.to_arrays().items()}
    frame = Samples.from_arrays(
        {**one, "cell_A": atoms.cell.array[None], "positions_A": atoms.positions[None]}
    )
    measured = Engine(model, Dynamics(device="cpu", threads=1)).measure_novelty(
        frame, atoms.numbers
    )
    return [one.value for one in measured]


def test_of_a_normal_distribution_one_atom_in_a_hundred_is_outside() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    drawn = {3: rng.normal(size=(4000, 8)) @ mixing, 8: 5 + rng.normal(size=(4000, 8)) @ mixing}
    known = TrainingSet.from_arrays(TrainingSet.of(drawn).to_arrays())
    numbers = np.full(20_000, 3)
    fresh = rng.normal(size=(20_000, 8)) @ mixing
    assert known.share_outside(numbers, fresh) == pytest.approx(0.01, abs=0.003)
    assert known.share_outside(numbers, 2 * fresh) > 0.6
    assert known.share_outside(np.full(20_000, 8), fresh) > 0.9
    assert known.share_outside(np.full(20_000, 9), fresh) == 1.0  # an element of no training frame


def test_few_training_atoms_make_no_narrow_limit() -> None:
    rng = np.random.default_rng(1)
    known = TrainingSet.of({3: rng.normal(size=(12, 64)), 8: rng.normal(size=(1, 64))})
    assert known.share_outside(np.full(500, 3), rng.normal(size=(500, 64))) < 0.3
    assert known.share_outside(np.full(5, 8), rng.normal(size=(5, 64))) == 1.0


def test_known_glasses_are_inside_and_compressed_ones_are_not(glasses: list[Atoms]) -> None:
    limits = GlassLimits()
    inside = [share_outside("shipped", atoms)[0] for atoms in glasses]
    assert np.mean(inside) < 0.03
    dense = max(glasses, key=lambda atoms: 1 / atoms.get_volume()).copy()
    dense.set_cell(0.9 * dense.cell.array, scale_atoms=True)
    assert share_outside("shipped", dense)[0] > 3 * limits.most_outside_training


def test_a_salt_is_outside_the_training_set_unless_it_was_in_it() -> None:
    shares = {}
    for salt, a in {"LiF": 4.03, "LiCl": 5.13}.items():
        atoms = bulk(salt, "rocksalt", a=a).repeat(2)
        atoms.rattle(0.05, seed=0)
        shares[salt] = share_outside("shipped", atoms)[0]
        assert share_outside("0.3.0", atoms) == []  # does not know what it was trained on
    assert shares["LiF"] > 0.9
    assert shares["LiCl"] < GlassLimits().most_outside_training


def test_training_set_is_kept_beside_the_weights_and_changes_no_hash(tmp_path: Path) -> None:
    model, known = load_model("shipped"), load_training_set("shipped")
    assert known is not None
    save_model(model, tmp_path / "with.safetensors", {}, known)
    save_model(model, tmp_path / "without.safetensors", {})
    assert load_training_set(tmp_path / "without.safetensors") is None
    again = load_training_set(tmp_path / "with.safetensors")
    assert again is not None
    assert again.elements.keys() == known.elements.keys()
    hashes = {model_hash(tmp_path / f"{name}.safetensors") for name in ("with", "without")}
    assert hashes == {model_hash("shipped")}


@pytest.mark.parametrize(
    ("counts", "conditions", "said"),
    [
        (LIALCL, {"density_g_cm3": 1.9, "hottest_K": 1500.0}, []),
        ({"Li": 1, "F": 1}, {}, ["no training frame has F"]),
        ({**LIALCL, "Al": 3, "Y": 1}, {}, ["no training frame has Y"]),
        ({"Al": 1, "Cl": 1}, {}, ["50% of its atoms are Al"]),
        (LIALCL, {"density_g_cm3": 3.4}, ["its density is 3.4 g/cm³"]),
        (LIALCL, {"hottest_K": 3000.0}, ["3000 K is hotter"]),
    ],
)
def test_what_leaves_the_training_set_is_named(
    counts: dict[str, int], conditions: dict[str, float], said: list[str]
) -> None:
    found = outside_training("shipped", counts, **conditions)
    assert all(any(text in one for one in found) for text in said)
    assert bool(found) == bool(said)
    assert outside_training("0.3.0", counts, **conditions) == []


def test_a_campaign_that_leaves_it_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(campaign="salt", finetune={"model": "shipped"})
    check_campaign(config, {"LiF": LIF})
    (message,) = [record.getMessage() for record in caplog.records]
    assert "LiF: outside the training set of the model shipped" in message
    assert "pretrained" in message
    assert "finetune.model: train" in message
    caplog.clear()
    check_campaign(Config(campaign="salt", finetune={"model": "pretrained"}), {"LiF": LIF})
    assert caplog.records == []


def test_a_run_that_leaves_it_is_flagged(
    tmp_path: Path, glasses: list[Atoms], caplog: pytest.LogCaptureFixture
) -> None:
    salt = bulk("LiF", "rocksalt", a=4.03, cubic=True)
    for name, atoms, is_flagged in (("salt", salt, True), ("glass", glasses[-1], False)):
        caplog.clear()
        atoms.write(tmp_path / f"{name}.extxyz")
        out = tmp_path / f"{name}.h5"
        options = ["--model", "shipped", "--ensemble", "nvt", "--temperature-K", "300"]
        options += ["--steps", "10", "--timestep-fs", "2", "--frame-interval-ps", "0.01"]
        options += ["--out", str(out), "--device", "cpu", "--threads", "1"]
        assert main(["md", str(tmp_path / f"{name}.extxyz"), *options]) == 0
        measured = read_checkpoint(out)[1].measurements
        flags = {c.name for c in check_segment(measured, GlassLimits()) if not c.passed}
        assert (OUTSIDE_TRAINING in flags) == is_flagged
        assert ("outside the training set" in caplog.text) == is_flagged


def test_description_of_frames_by_hand() -> None:
    first = Atoms("LiCl", cell=[3, 3, 3], pbc=True)
    second = Atoms("Li2O", cell=[4, 3, 3], pbc=True)
    first.info.update(temperature_K=300.0, level="VASP PBE 520 eV + D3(BJ)")
    second.info.update(temperature_K=900.0, level="GPAW PBE 500 eV")
    found = describe_frames([first, second])
    assert found["n_frames"] == 2
    assert found["elements"] == {"Cl": [0.0, 0.5], "Li": [0.5, 0.66667], "O": [0.0, 0.33333]}
    # 42.39 u in 27 Å³
    assert found["compositions"]["Cl1Li1"] == {
        "n_frames": 1,
        "density_g_cm3": pytest.approx([2.6071, 2.6071], rel=1e-4),
    }
    assert found["temperature_K"] == [300.0, 900.0]
    assert found["functional"] == {"PBE": 2}
    assert found["dispersion"] == {"D3(BJ)": 1, "none": 1}
    both = joined(found, describe_frames([Atoms("NaCl", cell=[4, 4, 4], pbc=True)]))
    assert both["n_frames"] == 3
    assert both["elements"]["Li"] == [0.0, 0.66667]
    assert both["elements"]["Na"] == [0.0, 0.5]
    assert set(both["compositions"]) == {"Cl1Li1", "Cl1Na1", "Li2O1"}
    assert both["temperature_K"] == [300.0, 900.0]
    assert both["dispersion"] == {"D3(BJ)": 1, "none": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("level", "found"),
    [
        ("GPAW 26.7.0 PBE 500 eV, k mean value", ("PBE", "none")),
        ("GPAW 26.7.0 PBE 500 eV, k mean value + D3(BJ)", ("PBE", "D3(BJ)")),
        ("my.module:Calculator; PAW_PBEsol + D3(BJ) of r2SCAN", ("r2SCAN", "D3(BJ)")),
        ("VASP r2SCAN rVV10; PAW_PBE Li_sv", ("r2SCAN", "rVV10")),
        ("/data/run7", ("unknown", "unknown")),
    ],
)
def test_functional_and_dispersion_of_a_level(level: str, found: tuple[str, str]) -> None:
    assert theory(level) == found


def test_card_of_the_shipped_model_says_what_it_was_trained_on() -> None:
    trained = read_card("shipped")["trained_on"]
    assert set(trained["elements"]) >= {"Li", "Na", "K", "Al", "Ga", "In", "Cl", "Br", "I", "O"}
    assert reduced_formula(LIALCL) in trained["compositions"]
    assert trained["temperature_K"] == [300.0, 2500.0]
    assert trained["functional"] == {"PBE": trained["n_frames"]}
