"""One way to open a campaign: the same files, compositions and seeds for all who ask."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from workflow import PAPER, ROOT, TOY

from vitrion.base.errors import InputError
from vitrion.base.seeds import derive_seed
from vitrion.campaign import layout, opening
from vitrion.campaign.opening import (
    campaign_compositions,
    check_calculator,
    check_files,
    choose,
    contents,
    digest,
    identify,
    job_seed,
    locate,
    open_campaign,
    provenance,
    unread_config,
)
from vitrion.cli import build_parser
from vitrion.commands import check_campaign, with_device
from vitrion.config import Config, load_config
from vitrion.dataset.read import import_frames


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Parsers of all commands and of their actions, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                found |= {name: inner} | {
                    f"{name} {key}": value for key, value in subparsers(inner).items()
                }
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_config_beside_the_snakefile_is_the_base(folder: Path) -> None:
    (folder / "config.yaml").write_text("campaign: other")
    assert "config.yaml is not read; lay it over" in unread_config(["mine.yaml"])
    assert not unread_config(["config.yaml"])
    (folder / "mine.yaml").write_text("replicas: 7")
    config, compositions = open_campaign(["mine.yaml"])
    assert config == load_config(PAPER).model_copy(update={"replicas": 7})
    assert len(compositions) == 27
    assert list(open_campaign([TOY])[1]) == ["LiAlCl", "NaGaBr", "KInI"]  # beside the Snakefile


def test_config_of_a_checkout_behind_a_link_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link").symlink_to(ROOT)
    monkeypatch.setattr(opening, "WORKFLOW", folder / "link")
    monkeypatch.chdir(ROOT)
    assert not unread_config([])


def test_file_of_the_working_folder_comes_first(folder: Path) -> None:
    assert locate("resources/dft") == ROOT / "resources/dft"
    (folder / "resources/dft").mkdir(parents=True)
    assert locate("resources/dft") == Path("resources/dft")
    assert locate("nowhere.tsv") == Path("nowhere.tsv")


def test_composition_that_is_not_in_the_table() -> None:
    _, compositions = open_campaign([TOY])
    assert choose("KInI", compositions).mobile == ("K",)
    with pytest.raises(InputError, match="composition = 'LiAlBr': use one of LiAlCl"):
        choose("LiAlBr", compositions)


@pytest.mark.parametrize("key", ["finetune.model", "finetune.start", "dataset.sources"])
def test_files_that_are_not_there(folder: Path, key: str) -> None:
    check_files(Config())
    if key != "dataset.sources":
        wrong = Config.model_validate({"finetune": {key.split(".")[1]: "CHGNet"}})
        with pytest.raises(InputError, match=f"{key} = 'CHGNet': use .*0.3.0, r2scan, or a"):
            check_files(wrong)
    section, name = key.split(".")
    value = ["mine.safetensors"] if name == "sources" else "mine.safetensors"
    config = Config.model_validate({section: {name: value}})
    with pytest.raises(InputError, match=f"{key} = 'mine.safetensors': no such file"):
        check_files(config)
    (folder / "mine.safetensors").touch()
    check_files(config)


def test_a_package_without_the_workflow_has_no_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WORKFLOW", folder)
    check_files(Config())
    with pytest.raises(InputError, match="= 'mine': no such file"):
        check_files(Config.model_validate({"dataset": {"sources": ["mine"]}}))
    (folder / "Snakefile").touch()
    with pytest.raises(InputError, match="= 'resources/dft': no such file"):
        check_files(Config())


@pytest.mark.parametrize("path", ["ase.calculators.emt", "nowhere.module:EMT", ":EMT", "1:2", "."])
def test_calculator_that_is_not_there(path: str) -> None:
    check_calculator("ase", "ase.calculators.emt:EMT")
    with pytest.raises(InputError, match="no such module; write it as ase"):
        check_calculator("ase", path)


def test_held_out_composition_that_is_not_there(folder: Path) -> None:
    """Names of the campaign and of the paper are known; others must be in the data."""
    frames = [Atoms("LiF", cell=[4, 4, 4], pbc=True), Atoms("LiI", cell=[4, 4, 4], pbc=True)]
    frames[0].info["composition"] = "mine"
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=[[0.0] * 3] * 2)
    write("mine.extxyz", frames)
    compositions = campaign_compositions(load_config(PAPER, TOY))

    def check(*held_out: str) -> None:
        dataset = {"sources": ["mine.extxyz"], "split": {"held_out": held_out}}
        check_campaign(Config.model_validate({"dataset": dataset}), compositions)

    check("LiAlCl", "KInBr", "mine", "ILi")
    with pytest.raises(InputError, match=r"held_out = 'LiAlF': no labelled frame .* ILi or mine"):
        check("LiAlF")


def test_contents_do_not_depend_on_the_place(folder: Path) -> None:
    shutil.copytree(ROOT / "resources/dft", folder / "a/dft", copy_function=shutil.copy)
    assert contents([folder / "a/dft"]) == contents([ROOT / "resources/dft"])
    assert digest([folder / "a/dft"]) == digest([ROOT / "resources/dft"])
    (folder / "b").mkdir()
    shutil.copytree(folder / "a/dft", folder / "b/dft")
    (folder / "b/dft/.more.txt.swp").write_text("1")
    assert digest([folder / "b/dft"]) == digest([folder / "a/dft"])
    (folder / "b/dft/more.txt").write_text("1")
    assert digest([folder / "b/dft"]) != digest([folder / "a/dft"])
    for name, text in (("x", "1"), ("y", "2")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    assert len(contents([folder / "x", folder / "y", folder / "x/__init__.py"])) == 3
    (folder / "one.safetensors").write_bytes(b"1")
    (folder / "two.safetensors").write_bytes(b"1")
    assert identify("one.safetensors") == identify(str(folder / "two.safetensors"))
    assert identify("0.3.0") == "0.3.0"


def test_provenance_of_tables() -> None:
    config = Config(campaign="x", seed=5)
    assert provenance(config) == {
        "campaign": "x",
        "campaign_seed": 5,
        "config_hash": config.hash(),
    }


def test_seeds_are_those_of_the_rules_wildcards() -> None:
    config = Config(seed=5)
    assert job_seed(config, "quench", "LiAlCl", 0) == derive_seed(5, "quench", "LiAlCl", "0")
    assert job_seed(config, "finetune", "") == job_seed(config, "finetune")
    assert job_seed(config, "finetune", "round-1/") != job_seed(config, "finetune")


def test_every_configfile_option_is_the_same() -> None:
    options = [
        (name, action)
        for name, parser in subparsers(build_parser()).items()
        for action in parser._actions
        if action.dest == "configfile"
    ]
    assert len(options) > 10
    for name, action in options:
        assert (action.nargs, action.type, action.default) == ("+", Path, []), name
    many = ["plan", "--configfile", "a", "b", "--configfile", "c"]
    assert build_parser().parse_args(many).configfile == [Path("a"), Path("b"), Path("c")]


def test_device_and_threads_are_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    config = load_config(PAPER, TOY)
    for command in (
        ["quench", "LiAlCl", "--model", "shipped", "--out", "x"],
        ["finetune", "--out", "x"],
        ["evaluate", "--model", "shipped", "--out", "x"],
    ):
        args = build_parser().parse_args(command)
        assert with_device(config, args) == config
        args = build_parser().parse_args([*command, "--device", "cuda", "--threads", "5"])
        dynamics = with_device(config, args).dynamics
        assert (dynamics.device, dynamics.threads) == ("cuda", 5)
    with pytest.raises(InputError, match="--threads = 0"):
        with_device(config, build_parser().parse_args(["finetune", "--out", "x", "--threads", "0"]))


def test_paths_of_the_layout() -> None:
    values = {"composition": "LiAlCl", "temperature": 600, "replica": 0, "segment": 3}
    segment = layout.fill(layout.SEGMENT, **values)
    assert segment == "production/LiAlCl/T0600/r0/segment-0003.h5"
    assert layout.fill(layout.SEGMENT, segment=3).startswith("production/{composition}/T{temp")
    assert layout.log("label_frame") == "logs/{generation}label_frame/{composition}/{frame}.log"
    assert layout.benchmark("produce_batch_2").endswith("_2/{composition}-{segment}.tsv")
    assert layout.log("build_report") == "logs/build_report.log"
    # Instead of use_model finetune_model is in a graph, instead of take_glass quench_glass.
    instead = ("use_model", "take_glass")
    rules = (files for rule, files in layout.RULES.items() if rule not in instead)
    every = [path for files in rules for path in files.outputs.values()]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("path", sorted((ROOT / "resources/models").glob("*.yaml")), ids=str)
def test_settings_of_the_shipped_model_are_accepted(folder: Path, path: Path) -> None:
    """As `vitrion plan` does; a stage that starts from one before it finds that one's weights."""
    first = folder / "results/first-model/model.safetensors"
    first.parent.mkdir(parents=True)
    shutil.copy(ROOT / "resources/models/without-dispersion.safetensors", first)
    (folder / "resources").symlink_to(ROOT / "resources")
    below = [path.with_name("shipped.yaml")] if path.name == "held-out.yaml" else []
    check_campaign(*open_campaign([*below, path]))


def test_crystals_of_held_out_glasses_are_held_out() -> None:
    """Those of the same mobile ion, central cation and halide would tell of the glass."""
    models = ROOT / "resources/models"
    config, compositions = open_campaign([models / "shipped.yaml", models / "held-out.yaml"])
    held_out = config.dataset.split.held_out
    glasses = [compositions[name] for name in held_out if name in compositions]

    def tells_of_one(crystal: Atoms) -> bool:
        present = set(crystal.symbols)
        return any({*g.mobile, *g.center, *g.ligands} - {"O"} <= present for g in glasses)

    substitutes = ase.io.read(ROOT / "resources/crystals/substitutes.extxyz", ":")
    named = [crystal.info["name"] for crystal in substitutes if tells_of_one(crystal)]
    assert {"LiGaCl4", "KInBr4"} <= set(named)  # those that will be labelled
    labelled = [frame.atoms for frame in import_frames(ROOT / "resources/dft-crystals")]
    assert {c.info["composition"] for c in labelled if tells_of_one(c)} <= set(held_out)
