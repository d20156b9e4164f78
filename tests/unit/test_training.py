"""Fine-tuning: equal to chgnet's, reproducible, and exact after a kill."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from chgnet.data.dataset import StructureData, collate_graphs
from chgnet.model import CHGNet
from chgnet.trainer.trainer import CombinedLoss
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor

from vitrion.base.errors import InputError
from vitrion.base.seeds import derive_seed
from vitrion.cli import main
from vitrion.config import Finetune, LossWeights
from vitrion.dataset.frame import read_labelled_frames, write_frames
from vitrion.dataset.labels import PRESSURE_ONLY
from vitrion.potential import CHGNetCalculator, load_model, load_training_set, model_hash, read_card
from vitrion.potential.network import Network
from vitrion.tables.io import read_table
from vitrion.training import compared_models, evaluate, finetune, use_model
from vitrion.training.batches import builder_for, collate, training_frames
from vitrion.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from vitrion.training.evaluate import model_metrics
from vitrion.training.finetune import _Run, _warn_of_another_level, learning_rate
from vitrion.training.objective import Objective, Step, predict, trainable
from vitrion.training.replay import replay_frames

Outcome = tuple[dict[str, Tensor], dict[str, Tensor]]
SETTINGS = Finetune(start="0.3.0", epochs=3, batch_size=2, learning_rate=3e-4, optimizer="muon")


def labelled(seed: int, calculator: CHGNetCalculator, name: str = "LiCl") -> Atoms:
    """A distorted rock salt labelled with chgnet's r2SCAN model."""
    rng = np.random.default_rng(seed)
    atoms = bulk(name, "rocksalt", a=5.1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
    # The grid of an extxyz file, so that what is read back is what was labelled.
    atoms = Atoms(atoms.symbols, atoms.positions.round(8), cell=atoms.cell.array.round(8), pbc=True)
    atoms.calc = calculator
    forces, stress, energy = atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    atoms.info = {
        "frame_id": f"{name}-{seed}",
        "composition": name,
        "trajectory": f"{name}-{seed % 3}",
    }
    return atoms


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    calculator = CHGNetCalculator("r2scan", device="cpu")
    frames = [labelled(seed, calculator) for seed in range(7)]
    ase.io.write(folder / "train.extxyz", frames[:5])
    ase.io.write(folder / "val.extxyz", frames[5:])
    (folder / "empty.extxyz").touch()
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    run(data, out)
    return out


def run(
    data: Path, out: Path, settings: Finetune = SETTINGS, val: str = "val", seed: int = 1,
    threads: int = 1,
) -> None:  # fmt: skip
    finetune(
        data / "train.extxyz", data / f"{val}.extxyz", out,
        settings=settings, seed=seed, device="cpu", threads=threads,
    )  # fmt: skip


def weights_hash(folder: Path) -> str:
    return model_hash(str(folder / "model.safetensors"))


def ours(
    model: CHGNet, frames: list[Atoms], step: Step = Network.energies_and_bond_gradients
) -> Outcome:
    """Predictions and targets of our batch."""
    network = trainable(model, torch.device("cpu"))
    batch = collate(training_frames(frames, network), builder_for(network))
    return predict(network, batch, step), batch.targets


def theirs(model: CHGNet, frames: list[Atoms]) -> Outcome:
    """Predictions and targets of chgnet's."""
    dataset = StructureData(
        [AseAtomsAdaptor.get_structure(frame) for frame in frames],
        [frame.get_potential_energy() / len(frame) for frame in frames],
        [frame.get_forces() for frame in frames],
        stresses=[-10 * frame.get_stress(voigt=False) / units.GPa for frame in frames],
        shuffle=False,
    )
    graphs, targets = collate_graphs([dataset[number] for number in range(len(frames))])
    return tuple(
        {"e": values["e"], **{part: torch.cat(list(values[part])) for part in "fs"}}
        for values in (CHGNet.forward(model, graphs, task="efs"), targets)
    )


def several_sizes(data: Path) -> list[Atoms]:
    """The training frames of two atoms, and one of sixteen."""
    large = bulk("NaCl", "rocksalt", a=5.5).repeat(2)
    large.calc = CHGNetCalculator("r2scan", device="cpu")
    large.get_stress()
    return [*read_labelled_frames(data / "train.extxyz"), large]


def gradient(model: CHGNet, outcome: Outcome) -> dict[str, Tensor]:
    found, wanted = outcome
    model.zero_grad()
    sum((found[part] - wanted[part]).square().mean() for part in "efs").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_predictions_targets_and_gradients_are_chgnets(data: Path) -> None:
    frames = several_sizes(data)
    model = load_model("0.3.0")
    model.composition_model.requires_grad_(False)  # labels are aligned to it
    for mine, reference in zip(ours(model, frames), theirs(model, frames), strict=True):
        for part in "efs":
            torch.testing.assert_close(
                mine[part], reference[part], rtol=1e-4, atol=5e-4 if part == "s" else 5e-5
            )
    mine, reference = (gradient(model, made(model, frames)) for made in (ours, theirs))
    assert mine.keys() == reference.keys()
    for name, wanted in reference.items():
        assert (mine[name] - wanted).norm() < 2e-3 * wanted.norm(), name


@pytest.mark.physics
def test_compiled_gradients_are_the_plain_ones(data: Path) -> None:
    """torch 2.13 got some of them wrong, because of how a sum over edges was written."""
    frames, model = read_labelled_frames(data / "train.extxyz"), load_model("0.3.0")
    model.composition_model.requires_grad_(False)
    compiled = torch.compile(Network.energies_and_bond_gradients, dynamic=True, fullgraph=True)
    plain = gradient(model, ours(model, frames))
    for name, found in gradient(model, ours(model, frames, compiled)).items():
        assert (found - plain[name]).norm() < 2e-3 * plain[name].norm(), name


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_shared_frames_have_the_loss_and_gradient_of_chgnets_batch(
    data: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of several sizes, more of them than of the workers that take a share each."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: workers)
    frames = several_sizes(data)
    model = load_model("0.3.0")
    for part in (model.composition_model, model.site_wise):
        part.requires_grad_(False)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    network = trainable(model, torch.device("cpu"))
    objective = Objective(LossWeights(), builder_for(network), batch_size=len(frames))
    assert objective.workers == workers
    samples = training_frames(frames, network)
    outcome, found = objective.gradient(model, list(trained.values()), samples)

    criterion = CombinedLoss(target_str="efs", criterion=LossWeights().criterion)
    whole, targets = theirs(model, frames)
    lists = ({**part, "f": [part["f"]], "s": [part["s"]]} for part in (targets, whole))
    wanted = criterion(*lists)
    wanted["loss"].backward()
    for name in ("loss", "e_MAE", "f_MAE", "s_MAE"):
        assert float(outcome[name]) == pytest.approx(float(wanted[name]), rel=1e-3), name
        assert float(objective(model, samples)[name]) == pytest.approx(
            float(outcome[name]), rel=1e-6
        )
    for (name, p), slope in zip(trained.items(), found, strict=True):
        assert (p.grad is None) == (slope is None), name
        if slope is not None:
            assert (slope - p.grad).norm() < 5e-3 * p.grad.norm(), name


def without_stress(frame: Atoms) -> Atoms:
    bare = frame.copy()
    results = {name: frame.calc.results[name] for name in ("energy", "forces")}
    bare.calc = SinglePointCalculator(bare, **results)
    return bare


def with_pressure_only(frame: Atoms) -> Atoms:
    """The components of the stress are wrong, their sum is right (VASP's ISIF = 1)."""
    known = frame.copy()
    results = dict(frame.calc.results)
    results["stress"] = results["stress"] + np.array([0.1, 0.2, -0.3, 0.4, 0.5, 0.6])
    known.calc = SinglePointCalculator(known, **results)
    known.info[PRESSURE_ONLY] = True
    return known


@pytest.mark.parametrize("workers", [1, 2])
def test_stress_that_a_frame_does_not_know_is_not_trained_on(
    data: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: workers)
    frames = read_labelled_frames(data / "train.extxyz")[:2]
    model = load_model("0.3.0")
    for part in (model.composition_model, model.site_wise):
        part.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    network = trainable(model, torch.device("cpu"))
    objective = Objective(LossWeights(criterion="MSE"), builder_for(network), batch_size=2)
    no_stress = Objective(
        LossWeights(criterion="MSE", stress=0.0), builder_for(network), batch_size=2
    )

    def outcome(chosen: list[Atoms], by: Objective = objective) -> tuple[dict, list]:
        return by.gradient(model, parameters, training_frames(chosen, network))

    def assert_equal_gradients(found: list, expected: list) -> None:
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert (a - b).norm() <= 1e-5 * b.norm()

    first, second = frames
    mixed, _ = outcome([first, without_stress(second)])
    alone, _ = outcome([first])
    assert mixed["s_MAE_size"] == 9
    assert float(mixed["s_MAE"]) == pytest.approx(float(alone["s_MAE"]), rel=1e-5)

    bare, found = outcome([without_stress(first), without_stress(second)])
    _, expected = outcome(frames, by=no_stress)
    assert bare["s_MAE_size"] == 0
    assert_equal_gradients(found, expected)

    pressures, _ = outcome([with_pressure_only(first), without_stress(second)])
    predicted, _ = ours(model, [first])
    error_GPa = (predicted["s"].diagonal().mean() - stress_GPa(first).diagonal().mean()).abs()
    assert pressures["s_MAE_size"] == 3
    assert float(pressures["s_MAE"]) == pytest.approx(float(error_GPa), rel=1e-4)


def stress_GPa(frame: Atoms) -> np.ndarray:
    return frame.get_stress(voigt=False) / units.GPa


def test_absurd_errors_of_the_start_model_are_warned_of(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = read_labelled_frames(data / "train.extxyz")
    for frame in frames:
        frame.calc.results["stress"] = frame.calc.results["stress"] / units.GPa
    ase.io.write(tmp_path / "train.extxyz", frames)
    settings = SETTINGS.model_copy(update={"epochs": 1})
    finetune(tmp_path / "train.extxyz", data / "val.extxyz", tmp_path, settings=settings, seed=1)
    assert "mean error of the stress on the training frames is" in caplog.text
    assert "eV/Å³, positive under tension" in caplog.text
    assert "error of the forces" not in caplog.text


def test_frames_without_stress_train_and_are_evaluated(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        frames = read_labelled_frames(data / f"{split}.extxyz")
        ase.io.write(tmp_path / f"{split}.extxyz", [without_stress(f) for f in frames])
    run(tmp_path, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    learning = read_table(tmp_path / "learning.parquet")
    assert learning["val_stress_mae_GPa"].isna().all()
    assert learning["val_force_mae_meV_A"].notna().all()
    evaluate({"pretrained": "0.3.0"}, {"val": tmp_path / "val.extxyz"}, tmp_path, device="cpu")
    metrics = read_table(tmp_path / "model_metrics.parquet")
    assert metrics["stress_mae_GPa"].isna().all()
    assert metrics["force_mae_meV_A"].notna().all()
    assert len(read_table(tmp_path / "frame_errors.parquet")) == 2


def test_a_pressure_is_evaluated_as_one(data: Path, tmp_path: Path) -> None:
    frames = read_labelled_frames(data / "val.extxyz")
    ase.io.write(tmp_path / "val.extxyz", [with_pressure_only(frame) for frame in frames])
    evaluate({"pretrained": "0.3.0"}, {"val": tmp_path / "val.extxyz"}, tmp_path, device="cpu")
    parity = read_table(tmp_path / "parity.parquet")
    stress = parity[parity["quantity"] == "stress"]
    expected = [np.trace(stress_GPa(frame)) / 3 for frame in frames]
    np.testing.assert_allclose(stress["reference"], expected, atol=1e-5)
    evaluate({"pretrained": "0.3.0"}, {"val": data / "val.extxyz"}, tmp_path / "b", device="cpu")
    full = read_table(tmp_path / "b" / "parity.parquet")
    full = full[full["quantity"] == "stress"]["predicted"].to_numpy().reshape(-1, 3, 3)
    means = full.diagonal(axis1=1, axis2=2).mean(1)
    np.testing.assert_allclose(stress["predicted"], means, atol=1e-5)


@pytest.mark.parametrize(("slope", "trusted"), [(1.0, True), (1.5, False)])
def test_a_compiler_is_trusted_where_its_gradients_are_right(
    data: Path, tmp_path: Path, slope: float, trusted: bool,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    called = []

    def compile_(step: Step, **_: object) -> Step:
        def compiled(network: Network, vectors: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
            called.append(1)
            energies, dE_dr = step(network, vectors, *rest)
            return energies, slope * dE_dr

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setitem(learning_rate.__globals__, "COMPILE_FROM_ATOMS", 0)
    run(data, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    assert (len(called) > 1) == trusted
    assert ("gradient" in caplog.text) != trusted


def test_training_learns_and_documents_itself(data: Path, trained: Path) -> None:
    learning = read_table(trained / "learning.parquet")
    card = json.loads((trained / "model.json").read_text())
    assert learning["epoch"].tolist() == [0, 1, 2, 3]
    best = card["best_epoch"]
    assert learning["val_force_mae_meV_A"].idxmin() == best > 0
    assert card["start_model_hash"] == model_hash("0.3.0")
    assert card["model_hash"] == model_hash(str(trained / "model.safetensors"))
    assert card["dataset"]["train"]["n_frames"] == 5
    assert sum(card["dataset"]["train"]["levels"].values()) == 5
    # The recorded error is the error of the weights that were kept, and the least one.
    evaluate(
        {"fine-tuned": str(trained / "model.safetensors")},
        {"val": data / "val.extxyz"},
        trained / "evaluation",
    )
    metrics = read_table(trained / "evaluation" / "model_metrics.parquet")
    overall = metrics[metrics["composition"] == "all"].iloc[0]
    row = card["metrics"]["result"]
    assert row["val_force_mae_meV_A"] <= learning["val_force_mae_meV_A"].min() + 1e-3
    assert overall["force_mae_meV_A"] == pytest.approx(row["val_force_mae_meV_A"], rel=1e-3)
    assert overall["stress_mae_GPa"] == pytest.approx(row["val_stress_mae_GPa"], rel=1e-3)
    # Training has the zero of the labels, the evaluation the model's own.
    parity = read_table(trained / "evaluation" / "parity.parquet")
    predicted = parity[parity["quantity"] == "energy"].set_index("frame_id")["predicted"]
    error_eV_atom = [
        frame.get_potential_energy() / len(frame) - predicted[frame.info["frame_id"]]
        for frame in read_labelled_frames(data / "val.extxyz")
    ]
    mae_meV_atom = 1000 * np.abs(error_eV_atom).mean()
    assert mae_meV_atom == pytest.approx(row["val_energy_mae_meV_atom"], abs=2e-3)
    assert overall["energy_mae_meV_atom"] < mae_meV_atom


def test_same_seed_same_weights_other_seed_others(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    run(data, tmp_path / "same")
    run(data, tmp_path / "other", seed=2)
    assert weights_hash(tmp_path / "same") == weights_hash(trained)
    assert weights_hash(tmp_path / "other") != weights_hash(trained)


def test_threads_share_the_work_and_always_end_in_the_same_weights(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    for out in ("once", "again"):
        run(data, tmp_path / out, threads=2)
    assert weights_hash(tmp_path / "once") == weights_hash(tmp_path / "again")
    learning, alone = (
        read_table(folder / "learning.parquet") for folder in (tmp_path / "once", trained)
    )
    error = "val_force_mae_meV_A"
    assert learning[error].to_numpy() == pytest.approx(alone[error].to_numpy(), rel=0.02)


def test_killed_run_ends_with_the_same_weights(
    data: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path; from test_training import run\n"
        "run(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    here = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    process = subprocess.Popen([sys.executable, "-c", code, str(data), str(tmp_path), *here])
    checkpoint = tmp_path / ".finetune.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "model.safetensors").exists()
    with caplog.at_level("INFO", "vitrion"):
        run(data, tmp_path)
    assert "continues after epoch" in caplog.text
    assert weights_hash(tmp_path) == weights_hash(trained)
    columns = [c for c in read_table(trained / "learning.parquet") if c != "wall_s"]
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "learning.parquet")[columns],
        read_table(trained / "learning.parquet")[columns],
    )
    assert not list(tmp_path.glob(".finetune*"))
    # A kill after the training, in the evaluation of it, loses nothing.
    before = (tmp_path / "model.json").read_bytes()
    with caplog.at_level("INFO", "vitrion"):
        run(data, tmp_path)
    assert "nothing to do" in caplog.text
    assert (tmp_path / "model.json").read_bytes() == before
    run(data, tmp_path, seed=2)
    assert weights_hash(tmp_path) != weights_hash(trained)


def test_a_torn_checkpoint_falls_back_and_a_foreign_one_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for epoch in (1, 2):
        state = TrainingState(
            {"model": {"w": torch.full((4,), float(epoch))}}, [{"epoch": 0}], epoch
        )
        write_checkpoint(path, "key", state)
    assert read_checkpoint(path, "key").best_epoch == 2
    assert read_checkpoint(path, "other inputs") is None
    path.write_bytes(path.read_bytes()[:-3])
    restored = read_checkpoint(path, "key")
    assert restored.best_epoch == 1
    assert torch.equal(restored.groups["model"]["w"], torch.ones(4))
    assert read_checkpoint(tmp_path / "nothing", "key") is None


def test_without_validation_frames_the_last_epoch_is_kept(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, SETTINGS.model_copy(update={"epochs": 2, "patience": 1}), val="empty")
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["best_epoch"] == card["epochs"] == 2
    assert card["metrics"]["result"]["val_force_mae_meV_A"] is None
    assert card["interpolation"] == 1


def test_stops_early_and_keeps_the_start_model_when_nothing_is_better(
    data: Path, tmp_path: Path
) -> None:
    """Labels as far on the other side of the start model lead away from the validation frames'."""
    calculator = CHGNetCalculator("0.3.0", device="cpu")
    wrong = read_labelled_frames(data / "train.extxyz")
    for frame in wrong:
        labels = frame.calc.results
        frame.calc = calculator
        frame.get_stress()
        mirrored = {name: 2 * calculator.results[name] - label for name, label in labels.items()}
        frame.calc = SinglePointCalculator(frame, **mirrored)
    ase.io.write(tmp_path / "train.extxyz", wrong)
    ase.io.write(tmp_path / "val.extxyz", read_labelled_frames(data / "val.extxyz"))
    harmful = {"optimizer": "adam", "learning_rate": 1e-3, "ema_decay": 0.0, "warmup_epochs": 0}
    run(tmp_path, tmp_path, SETTINGS.model_copy(update={"epochs": 50, "patience": 2, **harmful}))
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["epochs"] == card["best_epoch"] + 2
    assert card["interpolation"] == 0
    assert card["model_hash"] == card["start_model_hash"]


@pytest.mark.parametrize("steps", [1.0, 30.0])
def test_weights_between_start_and_end_are_chosen_by_validation_frames(
    data: Path, trained: Path, steps: float
) -> None:
    """Thirty times as far as the trained weights is too far, so weights in between are chosen."""
    frames = {split: read_labelled_frames(data / f"{split}.extxyz") for split in ("train", "val")}
    training = _Run(
        load_model("0.3.0"), frames, settings=SETTINGS, seed=1, device=torch.device("cpu")
    )
    end = load_model(str(trained / "model.safetensors")).state_dict()
    training.best = {
        name: start + steps * (end[name] - start) if start.is_floating_point() else start
        for name, start in training.start.items()
    }
    share, errors = training.interpolate()
    force_mae_meV_A = {}
    probe = load_model("0.3.0")
    for other in (0.0, 0.5 * share, share, min(1.0, share + 0.1), 1.0):
        probe.load_state_dict(
            {
                name: start + other * (training.best[name] - start)
                if start.is_floating_point()
                else start
                for name, start in training.start.items()
            }
        )
        predicted, targets = ours(probe, frames["val"])
        force_mae_meV_A[other] = 1000 * float((predicted["f"] - targets["f"]).abs().mean())
    assert errors["val_force_mae_meV_A"] == pytest.approx(force_mae_meV_A[share], rel=1e-4)
    assert force_mae_meV_A[share] <= min(force_mae_meV_A.values())
    assert share == 1 if steps == 1 else 0 < share < 1


def test_frozen_layers_and_reference_energies_stay(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, SETTINGS.model_copy(update={"epochs": 1, "freeze": ("atom_embedding",)}))
    before = load_model("0.3.0").state_dict()
    after = load_model(str(tmp_path / "model.safetensors")).state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed.isdisjoint({"atom_embedding", "composition_model", "site_wise"})
    assert "atom_conv_layers" in changed


def test_a_training_from_the_shipped_model_replays_what_it_knows(
    data: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(
        update={"start": "shipped", "epochs": 1, "replay": 1.2, "learning_rate": 1e-3}
    )
    run(data, tmp_path, settings, val="empty")  # whatever its error, the last epoch is kept
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["start_model_hash"] == model_hash("shipped")
    assert card["replay"]["n_frames"] == 324
    # Its training set is that of its start model and its own.
    known = card["trained_on"]
    assert known["n_frames"] == read_card("shipped")["trained_on"]["n_frames"] + 5
    assert {"Al4Cl10Li4O3", "Cl1Li1"} <= known["compositions"].keys()
    assert known["elements"]["Li"] == [0.0, 0.66667]
    reference = load_training_set(tmp_path / "model.safetensors")
    assert reference is not None
    assert set(reference.elements) == {3, 8, 11, 13, 17, 19, 31, 35, 49, 53}
    trained = load_model(str(tmp_path / "model.safetensors"))
    assert trained.graph_converter.bond_graph_cutoff == 3.5
    # Their labels are the start model's own, so that it has no error of them.
    frames = replay_frames(settings, "cpu")
    numbers = Counter(frame.info["composition"] for frame in frames)
    assert len(numbers) == 27
    assert set(numbers.values()) == {12}
    found, wanted = ours(load_model("shipped"), frames[:2])
    for part, accuracy in (("e", 1e-5), ("f", 1e-3), ("s", 1e-3)):
        assert torch.allclose(found[part], wanted[part], atol=accuracy)


def test_an_epoch_is_ones_own_frames_and_a_share_of_replayed_ones(data: Path) -> None:
    own = read_labelled_frames(data / "train.extxyz")
    settings = SETTINGS.model_copy(update={"replay": 1.2, "batch_size": 4})
    training = _Run(
        load_model("0.3.0"),
        {"train": own, "val": []},
        [*own, *own[:4]],
        settings=settings,
        seed=1,
        device=torch.device("cpu"),
    )
    assert training.steps_per_epoch == 3  # of 5 own frames and 6 replayed ones
    epochs = [[id(frame) for frame in training._frames_of_epoch(number)] for number in range(1, 4)]
    mine = {id(frame) for frame in training.frames["train"]}
    replayed = [frame for epoch in epochs for frame in epoch if frame not in mine]
    assert [len(epoch) for epoch in epochs] == [11, 11, 11]
    assert all(mine <= set(epoch) for epoch in epochs)
    # Nine frames serve the 18 of three epochs twice each.
    assert Counter(replayed) == {id(frame): 2 for frame in training.replay}


def test_replayed_frames_of_another_level_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    known = {"functional": {"PBE": 9}, "dispersion": {"none": 9}}
    same = {"functional": {"PBE": 2, "unknown": 1}, "dispersion": {"none": 2, "unknown": 1}}
    _warn_of_another_level(known, same)
    assert caplog.records == []
    _warn_of_another_level(known, {"functional": {"r2SCAN": 2}, "dispersion": {"D3(BJ)": 2}})
    functional, dispersion = (record.getMessage() for record in caplog.records)
    assert "functional of your frames is r2SCAN" in functional
    assert "dispersion of your frames is D3(BJ)" in dispersion
    assert "finetune.replay: 0" in dispersion


@pytest.mark.parametrize("settings", [{"start": "0.3.0"}, {"start": "shipped", "replay": 0}])
def test_a_published_start_replays_nothing(settings: dict[str, object]) -> None:
    assert replay_frames(Finetune(**settings), "cpu") == []


def test_a_good_start_is_compared_with_the_published_model() -> None:
    assert compared_models("shipped") == {"pretrained": "0.3.0", "start": "shipped"}
    assert compared_models("my.safetensors", **{"fine-tuned": "x"}) == {
        "pretrained": "0.3.0",
        "start": "my.safetensors",
        "fine-tuned": "x",
    }
    assert compared_models("r2scan") == {"pretrained": "r2scan"}


def test_angle_cutoff_is_that_of_the_trained_model(data: Path, tmp_path: Path) -> None:
    """The start model itself is another potential then, so no hash of the two is the same."""
    wide = SETTINGS.model_copy(update={"epochs": 1, "angle_cutoff_A": 3.3})
    run(data, tmp_path, wide, val="empty")
    trained = load_model(str(tmp_path / "model.safetensors"))
    assert trained.graph_converter.bond_graph_cutoff == 3.3
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["settings"]["angle_cutoff_A"] == 3.3
    assert card["start_model_hash"] == model_hash("0.3.0")
    assert card["model_hash"] == model_hash(trained)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (SETTINGS.model_copy(update={"angle_cutoff_A": 7.0}), "angle_cutoff_A"),
        (SETTINGS.model_copy(update={"freeze": ("atom_embeding",)}), "finetune.freeze"),
        (
            SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup_epochs": 0}),
            "finetune.learning_rate",
        ),
        (SETTINGS.model_copy(update={"start": "0.9.9"}), "model"),
    ],
)
def test_bad_settings_are_named(data: Path, tmp_path: Path, settings: Finetune, key: str) -> None:
    with pytest.raises(InputError) as error:
        run(data, tmp_path, settings)
    assert error.value.key == key


def test_bad_frames_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames to train on"):
        finetune(data / "empty.extxyz", data / "val.extxyz", tmp_path, settings=SETTINGS, seed=1)
    bare = bulk("LiCl", "rocksalt", a=5.1)
    bare.info["frame_id"] = "bare-0"
    ase.io.write(tmp_path / "bare.extxyz", bare)
    with pytest.raises(InputError, match="bare-0"):
        read_labelled_frames(tmp_path / "bare.extxyz")
    (tmp_path / "junk.extxyz").write_text("not\nextxyz\n")
    with pytest.raises(InputError, match="extxyz"):
        read_labelled_frames(tmp_path / "junk.extxyz")
    with pytest.raises(InputError, match="no such file"):
        read_labelled_frames(tmp_path / "missing.extxyz")


def test_learning_rate_rises_then_falls_to_zero() -> None:
    settings = Finetune(epochs=10, warmup_epochs=1, learning_rate=0.01)
    rates = np.array([learning_rate(step, 20, settings) for step in range(201)])
    assert 0 < rates[0] <= 0.001
    assert np.all(np.diff(rates[:21]) > 0)
    assert rates[20] == pytest.approx(0.01)
    assert np.all(np.diff(rates[20:]) < 0)
    assert rates[200] == pytest.approx(0, abs=1e-12)


def test_pretrained_is_the_published_model(tmp_path: Path) -> None:
    use_model(Finetune(model="pretrained"), tmp_path / "model.safetensors")
    assert model_hash(str(tmp_path / "model.safetensors")) == model_hash("0.3.0")
    use_model(Finetune(model="pretrained", start="r2scan"), tmp_path / "model.safetensors")
    assert model_hash(str(tmp_path / "model.safetensors")) == model_hash("r2scan")
    assert json.loads((tmp_path / "model.json").read_text())["taken_from"] == "pretrained"


def test_metrics_of_a_parity_table_by_hand() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for composition, slope in (("A", 0.8), ("B", 1.0)):
        for frame in range(3):
            forces = rng.normal(0, 1, 6)
            common = {"composition": composition, "frame_id": f"{composition}{frame}"}
            rows += [{**common, "quantity": "energy", "reference": -3.0, "predicted": -2.99}]
            rows += [
                {**common, "quantity": "force", "reference": f, "predicted": slope * f}
                for f in forces
            ]
            rows += [
                {**common, "quantity": "stress", "reference": 1.0, "predicted": 1.0 + sign * 0.5}
                for sign in (-1, 1)
            ]
    parity = pd.DataFrame(rows).assign(model="m", split="test", element="")
    metrics = model_metrics(parity, {"m": {"B"}}).set_index("composition")
    assert metrics["trained_on"].to_dict() == {"A": False, "B": True, "all": True}
    assert metrics.loc["A", "force_parity_slope"] == pytest.approx(0.8)
    assert metrics.loc["B", "force_parity_slope"] == pytest.approx(1.0)
    assert metrics.loc["B", "force_mae_meV_A"] == pytest.approx(0)
    forces_a = np.array([r["reference"] for r in rows if r["quantity"] == "force"][:18])
    assert metrics.loc["A", "force_rmse_meV_A"] == pytest.approx(
        200 * math.sqrt(np.mean(forces_a**2))
    )
    assert metrics.loc["all", "force_mae_meV_A"] == pytest.approx(100 * np.mean(abs(forces_a)))
    assert metrics.loc["all", "energy_mae_meV_atom"] == pytest.approx(10)
    assert metrics.loc["all", "stress_mae_GPa"] == pytest.approx(0.5)
    assert metrics["n_frames"].to_dict() == {"A": 3, "B": 3, "all": 6}


def force_parity(rng: np.random.Generator, models: dict[str, float], noise: float) -> pd.DataFrame:
    """Forces of six compositions of eight frames, each with its own slope about a common one."""
    parts = []
    for composition in "ABCDEF":
        own = rng.normal(0, 0.03)
        reference = rng.normal(0, 1, (8, 30))
        scatter = noise * rng.normal(0, 1, reference.shape)
        for model, slope in models.items():
            parts += [
                pd.DataFrame({"reference": true, "predicted": (slope + own) * true + wrong}).assign(
                    model=model, composition=composition, frame_id=f"{composition}{number}"
                )
                for number, (true, wrong) in enumerate(zip(reference, scatter, strict=True))
            ]
    forces = pd.concat(parts).assign(quantity="force", split="test", element="")
    others = forces.groupby(["model", "composition", "frame_id"], as_index=False).first()
    others = [others.assign(quantity=name, split="test") for name in ("energy", "stress")]
    return pd.concat([forces, *others], ignore_index=True)


def test_error_bars_are_the_spread_over_other_compositions() -> None:
    rng = np.random.default_rng(0)
    rows = [
        model_metrics(force_parity(rng, {"start": 0.8, "tuned": 0.95}, 0.05), {})
        .set_index(["model", "composition"])
        .loc[("tuned", "all")]
        for _ in range(60)
    ]
    found = pd.DataFrame(rows)
    for column in ("force_parity_slope", "force_mae_ratio"):
        reported, true = found[f"{column}_err"].mean(), found[column].std()
        assert 0.75 < reported / true < 1.3, column


def test_the_first_model_is_what_others_are_measured_by() -> None:
    parity = force_parity(np.random.default_rng(1), {"start": 0.8, "tuned": 0.9}, 0.0)
    metrics = model_metrics(parity, {}).set_index(["model", "composition"])
    assert (metrics.loc["start", "force_mae_ratio"] == 1).all()
    assert (metrics.loc["start", "force_mae_ratio_err"] == 0).all()
    mae = metrics["force_mae_meV_A"]
    pd.testing.assert_series_equal(
        metrics.loc["tuned", "force_mae_ratio"], mae["tuned"] / mae["start"], check_names=False
    )
    single = parity[parity["frame_id"] == "A0"]
    assert model_metrics(single, {})["force_parity_slope_err"].isna().all()


def test_evaluation_agrees_with_chgnet(data: Path, tmp_path: Path) -> None:
    splits = {"train": data / "train.extxyz", "test": data / "empty.extxyz"}
    evaluate({"pretrained": "0.3.0"}, splits, tmp_path, device="cpu")
    parity = read_table(tmp_path / "parity.parquet")
    assert set(parity["split"]) == {"train"}
    frames = read_labelled_frames(data / "train.extxyz")
    chgnet = CHGNet.load(use_device="cpu", verbose=False)
    theirs = chgnet.predict_structure(
        [AseAtomsAdaptor.get_structure(f) for f in frames], task="efs"
    )
    for frame, outcome in zip(frames, theirs, strict=True):
        rows = parity[parity["frame_id"] == frame.info["frame_id"]].groupby("quantity")
        for quantity, part in (("energy", "e"), ("force", "f"), ("stress", "s")):
            np.testing.assert_allclose(
                rows.get_group(quantity)["predicted"], outcome[part].ravel(), atol=1e-3
            )
    worst = read_table(tmp_path / "frame_errors.parquet")["force_mae_meV_A"]
    assert worst.is_monotonic_decreasing
    elements = read_table(tmp_path / "element_metrics.parquet")
    assert dict(zip(elements["element"], elements["n_atoms"], strict=True)) == {"Li": 5, "Cl": 5}


def test_energies_are_compared_on_each_models_own_zero(tmp_path: Path) -> None:
    """Each level of theory has its zero, of which the frames that are tested say nothing."""
    zeros_eV = {"a": {"Li": 1.0, "Na": -3.0, "F": 0.2, "Cl": 2.0}, "b": {"Li": -0.5, "Cl": 0.7}}
    names = {"a": {"train": ("LiF", "LiCl", "NaF"), "test": ("NaCl",)}, "b": {"train": ("LiCl",)}}
    for split in ("train", "test"):
        frames = []
        for seed, (level, model) in enumerate((("a", "r2scan"), ("b", "0.3.0"))):
            calculator = CHGNetCalculator(model, device="cpu")
            for name in names[level].get(split, ()):
                frame = labelled(seed, calculator, name)
                frame.info |= {"level": level, "frame_id": f"{level}-{name}"}
                shift_eV = sum(zeros_eV[level][str(symbol)] for symbol in frame.symbols)
                # What a test frame is off by, in eV/atom, is what is found.
                shift_eV += {"train": 0.0, "test": -0.05 * len(frame)}[split]
                frame.calc.results["energy"] += shift_eV
                frames.append(frame)
        write_frames(tmp_path / f"{split}.extxyz", frames)
    splits = {split: tmp_path / f"{split}.extxyz" for split in ("train", "test")}
    models = {"pretrained": "0.3.0", "other": "r2scan"}
    evaluate(models, splits, tmp_path, splits=["test"], device="cpu")
    errors = read_table(tmp_path / "frame_errors.parquet")
    assert set(errors["split"]) == {"test"}
    errors = errors.set_index(["model", "frame_id"])["energy_error_meV_atom"]
    assert errors["other", "a-NaCl"] == pytest.approx(50, abs=0.01)
    # Of the model whose energies the labels do not have, something is left: it is no constant.
    assert 1 < abs(errors["pretrained", "a-NaCl"] - 50) < 500

    evaluate(models, splits, tmp_path / "all", device="cpu")
    errors = read_table(tmp_path / "all/frame_errors.parquet")
    errors = errors.set_index(["model", "frame_id"])["energy_error_meV_atom"]
    assert errors["pretrained", "b-LiCl"] == pytest.approx(0, abs=0.01)
    assert errors["other", "a-NaCl"] == pytest.approx(50, abs=0.01)


def test_evaluation_without_frames_writes_empty_tables(data: Path, tmp_path: Path) -> None:
    evaluate({"pretrained": "0.3.0"}, {"test": data / "empty.extxyz"}, tmp_path, device="cpu")
    for name in ("model_metrics", "element_metrics", "frame_errors", "parity"):
        assert len(read_table(tmp_path / f"{name}.parquet")) == 0


def test_frames_of_one_trajectory_are_evaluated(tmp_path: Path) -> None:
    """Nothing is trained, so nothing has to be left to train or validate on."""
    calculator = CHGNetCalculator("r2scan", device="cpu")
    for name in ("LiCl", "LiF"):
        ase.io.write(tmp_path / f"{name}.extxyz", [labelled(s, calculator, name) for s in range(3)])
    (tmp_path / "config.yaml").write_text("dataset: {dispersion: none}\n")
    common = ["--model", "pretrained", "--configfile", str(tmp_path / "config.yaml")]
    common += ["--device", "cpu", "--out", str(tmp_path / "out")]
    for name in ("LiCl", "LiF"):  # each option counts, also when it is given twice
        common += ["--dataset", str(tmp_path / f"{name}.extxyz")]

    def tested() -> set[str]:
        metrics = read_table(tmp_path / "out/model_metrics.parquet")
        return set(metrics.loc[metrics["split"] == "test", "composition"])

    assert main(["evaluate", *common, "--held-out", "LiCl", "--held-out", "LiF"]) == 0
    assert tested() == {"LiCl", "LiF", "all"}
    assert main(["evaluate", *common]) == 0
    assert tested() == set()


def test_commands_train_and_evaluate_on_held_out_compositions(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calculator = CHGNetCalculator("r2scan", device="cpu")
    frames = [labelled(seed, calculator, name) for name in ("LiCl", "LiF") for seed in range(4)]
    ase.io.write(tmp_path / "frames.extxyz", frames)
    (tmp_path / "config.yaml").write_text(
        "campaign: test\n"
        "dataset: {dispersion: none}\n"
        "finetune: {start: 0.3.0, epochs: 2, batch_size: 2, learning_rate: 3.0e-4}\n"
    )
    common = ["--dataset", str(tmp_path / "frames.extxyz"), "--device", "cpu", "--threads", "1"]
    out, config = tmp_path / "model", str(tmp_path / "config.yaml")
    options = ["--configfile", config, "--held-out", "LiF", "--out", str(out), *common]
    assert main(["finetune", *options]) == 0
    # The seed of the campaign's rule, so that its model is the same bit for bit.
    assert json.loads((out / "model.json").read_text())["seed"] == derive_seed(20260106, "finetune")
    metrics = read_table(out / "model_metrics.parquet")
    test = metrics[(metrics["split"] == "test") & (metrics["composition"] != "all")]
    assert set(test["composition"]) == {"LiF"}
    assert set(test["model"]) == {"pretrained", "fine-tuned"}
    assert not test["trained_on"].any()

    model = str(out / "model.safetensors")
    common += ["--configfile", config]
    options = ["--model", model, "--split", "test", "--out", str(tmp_path / "again"), *common]
    assert main(["evaluate", *options]) == 0
    assert "pretrained" in capsys.readouterr().out
    again = read_table(tmp_path / "again" / "model_metrics.parquet")
    # The held-out composition is in the card.
    assert set(again["composition"]) == {"LiF", "all"}
    expected = test.set_index("model")["force_mae_meV_A"]
    found = again[again["composition"] == "LiF"].set_index("model")["force_mae_meV_A"]
    assert found[model] == pytest.approx(expected["fine-tuned"], rel=1e-6)
    assert not again["trained_on"].any()
    # Without a composition that was held out there is nothing to test, which is said.
    options = ["--model", model, "--held-out", "--split", "test", "--out", str(tmp_path / "x")]
    assert main(["evaluate", *options, *common]) == 2
    assert "--split = 'test': no composition of these frames" in capsys.readouterr().err
    # Another composition cannot be held out of a training that is over, and the table says so.
    options = ["--model", model, "--held-out", "LiCl", "--out", str(tmp_path / "known"), *common]
    assert main(["evaluate", *options]) == 0
    known = read_table(tmp_path / "known" / "model_metrics.parquet")
    known = known[(known["split"] == "test") & (known["composition"] == "LiCl")]
    assert known.set_index("model")["trained_on"].to_dict() == {"pretrained": False, model: True}
    assert (
        main(["evaluate", "--model", "no.safetensors", "--out", str(tmp_path / "x"), *common]) == 2
    )
    assert "no such file" in capsys.readouterr().err
