"""Weights: what is read, what is written, what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from chgnet.model import CHGNet
from pymatgen.io.ase import AseAtomsAdaptor
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vitrion.base.errors import InputError
from vitrion.bench.md import packed
from vitrion.cli import main
from vitrion.potential import (
    CHGNetCalculator,
    export_chgnet,
    import_chgnet,
    load_model,
    load_training_set,
    model_hash,
    read_card,
    save_model,
    with_angle_cutoff,
)
from vitrion.potential.weights import PUBLISHED


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(load_model("0.3.0"), path, {"model": "0.3.0", "note": "a copy"})
    return path


def _rewrite(path: Path, change) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    change(state)
    save_file(state, path, metadata=metadata)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_models_are_those_of_chgnet(name: str) -> None:
    ours, theirs = load_model(name), CHGNet.load(model_name=name, use_device="cpu", verbose=False)
    assert ours.model_args == theirs.model_args
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in ours.state_dict().items())
    assert not ours.training


def test_saved_model_is_the_same_model(saved: Path) -> None:
    original, copy = load_model("0.3.0"), load_model(saved)
    assert copy.model_args == original.model_args
    assert all(torch.equal(v, original.state_dict()[k]) for k, v in copy.state_dict().items())
    assert json.loads(saved.with_suffix(".json").read_text())["note"] == "a copy"
    assert model_hash(str(saved)) == model_hash("0.3.0") != model_hash("r2scan")
    assert len(model_hash("0.3.0")) == 16


def test_shipped_model_comes_with_the_package() -> None:
    """By name, with a card that belongs to it; the hash is the one stored in finished campaigns."""
    model = load_model("shipped")
    assert model.graph_converter.bond_graph_cutoff == 3.5
    assert model_hash(model) == model_hash("shipped") == "9223d43962a94b19"
    assert read_card("shipped")["model_hash"] == model_hash("shipped")
    by_default = CHGNetCalculator(device="cpu").model
    assert model_hash(by_default) == model_hash("shipped")
    assert read_card("0.3.0") == {}


@pytest.mark.parametrize("name", ["0.3.0", "shipped"])
def test_equal_weights_with_another_cutoff_have_another_hash(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    hashes = {model_hash(name)}
    for key, cutoff_A in (("bond_graph_cutoff", 3.25), ("atom_graph_cutoff", 5.0)):
        save_model(load_model(name), path, {})
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        arguments = json.loads(metadata["chgnet_arguments"])
        metadata["chgnet_arguments"] = json.dumps({**arguments, key: cutoff_A})
        save_file(load_file(path), path, metadata=metadata)
        hashes.add(model_hash(path))
        export_chgnet(load_model(path), tmp_path / "model.pth.tar")
        assert model_hash(import_chgnet(tmp_path / "model.pth.tar")) == model_hash(path)
    assert len(hashes) == 3


def test_chgnet_loads_what_we_export(tmp_path: Path) -> None:
    model = load_model("r2scan")
    export_chgnet(model, tmp_path / "r2scan.pth.tar")
    theirs = CHGNet.from_file(str(tmp_path / "r2scan.pth.tar"))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in theirs.state_dict().items())
    assert model_hash(import_chgnet(tmp_path / "r2scan.pth.tar")) == model_hash("r2scan")


def test_conversion_keeps_the_training_set(tmp_path: Path) -> None:
    """Without it nothing is said of atoms that the model does not know."""
    copy = str(tmp_path / "copy.safetensors")
    assert main(["convert", "shipped", copy]) == 0
    kept, own = load_training_set(copy), load_training_set("shipped")
    assert all(
        np.array_equal(kept.to_arrays()[key], value) for key, value in own.to_arrays().items()
    )


def test_command_converts_to_chgnet_and_back(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, again = str(tmp_path / "model.pth.tar"), str(tmp_path / "again.safetensors")
    assert main(["convert", str(saved), checkpoint]) == 0
    assert main(["convert", checkpoint, again]) == 0
    theirs = CHGNet.from_file(checkpoint)
    assert model_hash(theirs) == model_hash(str(saved)) == model_hash(again)
    assert json.loads(Path(again).with_suffix(".json").read_text())["converted_from"] == checkpoint
    for arguments in (
        [str(saved), str(tmp_path / "model.pt")],
        [str(saved), str(saved)],
        ["model.pt", again],
        [str(tmp_path / "none.pth.tar"), again],
    ):
        capsys.readouterr()
        assert main(["convert", *arguments]) == 2
        assert capsys.readouterr().err.startswith("vitrion convert: ")


def test_no_such_model(tmp_path: Path) -> None:
    for name in ("0.9.9", str(tmp_path / "none.safetensors"), str(tmp_path / "model.pth.tar")):
        with pytest.raises(InputError, match="model"):
            load_model(name)


@pytest.mark.parametrize("length", [0, 7, 100, 20_000, -1])
def test_truncated_file_is_refused(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(InputError, match="whole safetensors"):
        load_model(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["mlp.layers.2.weight"][3, 4] = value

    _rewrite(saved, spoil)
    with pytest.raises(InputError, match=r"mlp\.layers\.2\.weight .* not finite"):
        load_model(saved)


@pytest.mark.parametrize("fault", ["shape", "missing", "more"])
def test_weights_that_do_not_fit_are_refused(saved: Path, fault: str) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        weight = state["site_wise.weight"]
        if fault == "shape":
            state["site_wise.weight"] = weight[:, :32].contiguous()
        elif fault == "missing":
            del state["site_wise.weight"]
        else:
            state["site_wise.other"] = weight.clone()

    _rewrite(saved, spoil)
    with pytest.raises(InputError, match="site_wise"):
        load_model(saved)


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(load_model("0.3.0").state_dict(), path)
    with pytest.raises(InputError, match="chgnet_arguments"):
        load_model(path)


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"model_ha')
    with pytest.raises(InputError, match=r"model card = .*mine.json.*cannot be read as JSON"):
        read_card(tmp_path / "mine.safetensors")
    assert read_card(tmp_path / "other.safetensors") == {}


class _Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_not_executed(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    disguised = tmp_path / "model.safetensors"
    disguised.write_bytes(pickle.dumps(_Trap(sprung)))
    with pytest.raises(InputError):
        load_model(disguised)
    checkpoint = tmp_path / "model.pth.tar"
    torch.save({"model": {"model_args": {}, "state_dict": _Trap(sprung)}}, checkpoint)
    with pytest.raises(InputError):
        load_model(checkpoint)
    with pytest.raises(InputError, match="not a plain chgnet checkpoint"):
        import_chgnet(checkpoint)
    with pytest.raises(InputError, match="no such file"):
        import_chgnet(tmp_path / "absent.pth.tar")
    assert not sprung.exists()
    # The trap does work where files are unpickled without care.
    torch.load(checkpoint, weights_only=False)
    assert sprung.exists()


def test_others_may_read_what_is_saved(saved: Path) -> None:
    plain = saved.with_name("plain")
    plain.touch()
    assert saved.stat().st_mode == plain.stat().st_mode


def test_save_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="safetensors"):
        save_model(load_model("0.3.0"), tmp_path / "model.pt", {})
    save_model(load_model("0.3.0"), tmp_path / "new" / "model.safetensors", {})
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("cutoff_A", [3.0, 3.5])
def test_angles_of_longer_bonds_are_chgnets(tmp_path: Path, cutoff_A: float) -> None:
    """Engine and chgnet itself agree on them, also through both kinds of file."""
    atoms = packed(42, 1)
    atoms.rattle(0.1, seed=1)
    path, checkpoint = tmp_path / "wide.safetensors", tmp_path / "wide.pth.tar"
    save_model(with_angle_cutoff(load_model("0.3.0"), cutoff_A), path, {})
    export_chgnet(load_model(path), checkpoint)
    theirs = CHGNet.from_file(str(checkpoint))
    assert theirs.graph_converter.bond_graph_cutoff == cutoff_A
    wanted = theirs.predict_structure(AseAtomsAdaptor.get_structure(atoms), task="ef")
    atoms.calc = CHGNetCalculator(str(path), device="cpu")
    assert atoms.get_potential_energy() / len(atoms) == pytest.approx(float(wanted["e"]), abs=1e-5)
    assert atoms.get_forces() == pytest.approx(wanted["f"], abs=2e-3)

    atoms.calc = CHGNetCalculator("0.3.0", device="cpu")
    moved = abs(atoms.get_forces() - wanted["f"]).max()
    assert (moved < 2e-3) == (cutoff_A == 3.0)


def test_radial_functions_of_short_bonds_stay_but_for_their_smooth_end() -> None:
    lengths_A = torch.linspace(1.5, 2.9, 15)
    narrow = load_model("0.3.0")
    weights = []
    for model in (narrow, with_angle_cutoff(narrow, 3.5)):
        radial = model.bond_basis_expansion.rbf_expansion_bg
        smooth_end = radial.smooth_cutoff(lengths_A[:, None])
        weights.append(model.bond_weights_bg(radial(lengths_A) / smooth_end))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cutoff_A", [0.0, 6.5])
def test_angles_beyond_all_bonds_are_refused(cutoff_A: float) -> None:
    with pytest.raises(InputError, match="at most 6 Å"):
        with_angle_cutoff(load_model("0.3.0"), cutoff_A)


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    model = load_model("0.3.0")
    for name in "abcd":
        save_model(model, tmp_path / f"{name}.safetensors", {})
    assert len({path.read_bytes() for path in tmp_path.glob("*.safetensors")}) == 1
