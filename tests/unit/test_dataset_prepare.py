"""The shipped labels through the whole preparation, and the commands on top of it."""

import itertools
import json
import lzma
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.config import Dataset, Split
from vitrion.dataset import import_frames, prepare_dataset
from vitrion.dataset.collect import collect_frames
from vitrion.dataset.dispersion import dispersion
from vitrion.dataset.frame import Frame, read_labelled_frames, write_frames
from vitrion.dataset.labels import PRESSURE_ONLY
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.prepare import align_energies
from vitrion.potential import CHGNetPotential, load_model
from vitrion.structure.compositions import read_compositions
from vitrion.tables.io import read_table

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "resources" / "dft"
COMPOSITIONS = read_compositions("shipped")
TOY = ("LiAlCl", "NaGaBr", "KInI")


@pytest.fixture(scope="module")
def toy_frames():
    """Shipped frames of three compositions, four of each."""
    frames = [frame.atoms for frame in import_frames(SHIPPED)]
    return [
        atoms
        for name in TOY
        for atoms in [a for a in frames if a.info["composition"] == name and len(a) == 21][:4]
    ]


@pytest.fixture(scope="module")
def with_dispersion(toy_frames):
    """Energy, forces and stress of each, with the dispersion that the preparation adds."""
    labels = {}
    for atoms in toy_frames:
        added = dispersion(atoms, "PBE")
        labels[atoms.info["frame_id"]] = {k: atoms.calc.results[k] + v for k, v in added.items()}
    return labels


@pytest.fixture(scope="module")
def source(toy_frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "toy.extxyz"
    write_frames(path, toy_frames)
    return path


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    settings = Dataset(split=Split(held_out=("KInI",)))
    prepare_dataset(
        [source], out, settings=settings, model="0.3.0", seed=1, compositions=COMPOSITIONS
    )
    return out


def read(prepared, split):
    return ase.io.read(prepared / f"{split}.extxyz", index=":", format="extxyz")


def test_every_frame_is_in_one_split_by_composition_and_packing(prepared, toy_frames):
    frames = {split: read(prepared, split) for split in ("train", "val", "test")}
    assert sum(map(len, frames.values())) == len(toy_frames)
    assert {atoms.info["composition"] for atoms in frames["test"]} == {"KInI"}
    packings = {s: {a.info["trajectory"] for a in f} for s, f in frames.items()}
    assert not packings["train"] & packings["val"]
    assert packings["val"]


def test_test_energies_are_on_the_zero_though_training_has_not_their_elements(prepared):
    network = load_model("0.3.0")
    for atoms in read(prepared, "test"):
        potential = CHGNetPotential(network, atoms.numbers)
        energy = potential.compute(atoms.positions, atoms.cell.array).energy_eV
        assert abs(atoms.get_potential_energy() - energy) / len(atoms) < 0.2


def test_labels_are_moved_to_the_potentials_zero_and_nothing_else_changes(
    prepared, toy_frames, with_dispersion
):
    alignment = json.loads((prepared / "alignment.json").read_text())
    (level,) = alignment["levels"]
    assert level == f"{toy_frames[0].info['level']} + D3(BJ)"
    shift_eV = alignment["levels"][level]["shift_eV"]
    assert alignment["levels"][level]["residual_rms_eV_atom"] < 0.1
    network = load_model("0.3.0")
    for atoms in read(prepared, "train"):
        label = with_dispersion[atoms.info["frame_id"]]
        removed = label["energy"] - atoms.get_potential_energy()
        assert removed == pytest.approx(sum(shift_eV[s] for s in atoms.symbols), abs=1e-6)
        assert np.allclose(atoms.get_forces(), label["forces"], atol=1e-7)
        assert np.allclose(atoms.get_stress(), label["stress"], atol=1e-8)
        potential = CHGNetPotential(network, atoms.numbers)
        energy = potential.compute(atoms.positions, atoms.cell.array).energy_eV
        assert abs(atoms.get_potential_energy() - energy) / len(atoms) < 0.2


def test_table_has_every_frame(prepared, toy_frames, with_dispersion):
    table = read_table(prepared / "dataset.parquet")
    assert set(table["frame_id"]) == {atoms.info["frame_id"] for atoms in toy_frames}
    assert (table["flags"] == "").all()
    row, atoms = table.iloc[0], toy_frames[0]
    label = with_dispersion[atoms.info["frame_id"]]
    assert row["energy_eV_atom"] == pytest.approx(label["energy"] / len(atoms))
    assert row["max_force_eV_A"] == pytest.approx(np.linalg.norm(label["forces"], axis=1).max())
    assert row["pressure_GPa"] == pytest.approx(-label["stress"][:3].mean() * 160.21766, rel=1e-6)
    assert row["density_g_cm3"] == pytest.approx(atoms.info["density_g_cm3"], rel=1e-3)
    assert set(table.loc[table["composition"] == "KInI", "split"]) == {"test"}


def test_two_levels_of_theory_get_a_zero_each(toy_frames, tmp_path):
    shifted = []
    for atoms in toy_frames:
        other = atoms.copy()
        other.rattle(0.02, seed=3)
        other.info |= {"frame_id": f"{atoms.info['frame_id']}-b", "level": "another PBE"}
        other.calc = SinglePointCalculator(
            other,
            energy=atoms.get_potential_energy() + 5.0 * len(atoms),
            forces=atoms.get_forces(),
        )
        shifted.append(other)
    write_frames(tmp_path / "a.extxyz", [*toy_frames, *shifted])
    table = prepare_dataset(
        [tmp_path / "a.extxyz"], tmp_path / "out", settings=Dataset(), model="0.3.0", seed=1
    )
    assert (table["flags"] == "").all()
    first, second = table["aligned_energy_eV_atom"].to_numpy().reshape(2, -1)
    assert np.allclose(first, second, atol=0.1)


def test_frame_far_off_the_potential_is_left_out(toy_frames, tmp_path):
    """One frame per composition has no median, but others of its elements show it."""
    network = load_model("0.3.0")
    frames = []
    for swap in itertools.product(("Li", "Na"), ("Al", "Ga"), ("Cl", "Br")):
        atoms = toy_frames[0].copy()
        atoms.symbols = [
            dict(zip(("Li", "Al", "Cl"), swap, strict=True)).get(s, s) for s in atoms.symbols
        ]
        atoms.info |= {"frame_id": "".join(swap), "composition": "".join(swap)}
        result = CHGNetPotential(network, atoms.numbers).compute(atoms.positions, atoms.cell.array)
        lie_eV = 3.0 * len(atoms) if swap == ("Na", "Al", "Br") else 0.0
        atoms.calc = SinglePointCalculator(
            atoms, energy=result.energy_eV + 10.0 + lie_eV, forces=result.forces_eV_A / 10
        )
        frames.append(atoms)
    read = [Frame(tmp_path, index, atoms) for index, atoms in enumerate(frames)]
    names = [frame.name for frame in read]
    settings = Dataset(split=Split(held_out=()))
    alignments, aligned_eV = align_energies(read, names, settings, predict_frames(read, network))
    assert [frame.name for frame in read if frame.rejection_reason] == ["NaAlBr"]
    assert "off the potential after alignment" in read[names.index("NaAlBr")].rejection_reason
    (alignment,) = alignments.values()
    assert (alignment.n_frames, alignment.rank) == (7, 4)
    assert alignment.residual_max_eV_atom < 1e-6
    assert np.isnan(aligned_eV).sum() == 1


def test_only_the_campaigns_compositions_when_asked(source, tmp_path):
    table = prepare_dataset(
        [source],
        tmp_path,
        settings=Dataset(compositions="campaign"),
        model="0.3.0",
        seed=1,
        compositions={"LiAlCl": COMPOSITIONS["LiAlCl"]},
    )
    used = table[table["split"] != "none"]
    assert set(used["composition"]) == {"LiAlCl"}
    assert set(table.loc[table["split"] == "none", "flags"]) == {
        "not one of the campaign's compositions"
    }


def test_nothing_usable_ends_with_the_reasons(toy_frames, tmp_path):
    bare = toy_frames[0].copy()
    write_frames(tmp_path / "a.extxyz", [bare])
    with pytest.raises(InputError, match=r"no usable frame .* no energy"):
        prepare_dataset([tmp_path], tmp_path / "out", settings=Dataset(), model="0.3.0", seed=1)


def test_collected_frames_are_the_same_and_newer_ones_replace_older(toy_frames, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for atoms in toy_frames[:3]:
        write_frames(first / f"{atoms.info['frame_id']}.extxyz", [atoms])
    unlabelled = toy_frames[4].copy()
    write_frames(first / "unlabelled.extxyz", [unlabelled])
    out = tmp_path / "all.extxyz.xz"
    (left_out,) = collect_frames([first], out)
    assert left_out.rejection_reason.startswith("no energy (eV, of the whole cell; looked for")
    newer = toy_frames[0].copy()
    newer.calc = SinglePointCalculator(newer, energy=-1.0, forces=toy_frames[0].get_forces())
    write_frames(second / "newer.extxyz", [newer])
    collect_frames([second], out)
    with lzma.open(out, "rt") as file:
        collected = {a.info["frame_id"]: a for a in ase.io.read(file, ":", format="extxyz")}
    assert list(collected) == sorted(atoms.info["frame_id"] for atoms in toy_frames[:3])
    assert collected[newer.info["frame_id"]].get_potential_energy() == -1.0
    same, shipped = collected[toy_frames[1].info["frame_id"]], toy_frames[1]
    assert np.allclose(same.get_forces(), shipped.get_forces(), atol=1e-8)
    assert same.info["label"] == shipped.info["label"]
    record = json.loads((tmp_path / "all.json").read_text())
    assert record["n_frames"] == 3
    assert record["n_frames_by_level"] == {shipped.info["level"]: 3}


def test_collected_frames_may_be_rounded(toy_frames, tmp_path):
    (atoms,) = toy_frames[:1]
    write_frames(tmp_path / "a.extxyz", [atoms])
    out = tmp_path / "all.extxyz.xz"
    with pytest.raises(InputError, match="decimals = 2: give 3 or more"):
        collect_frames([tmp_path / "a.extxyz"], out, decimals=2)
    collect_frames([tmp_path / "a.extxyz"], out, decimals=3)
    with lzma.open(out, "rt") as file:
        rounded = ase.io.read(file, format="extxyz")
    assert np.array_equal(rounded.positions, atoms.positions.round(3))
    assert np.array_equal(rounded.get_forces(), atoms.get_forces().round(3))
    assert rounded.get_potential_energy() == atoms.get_potential_energy()
    assert np.allclose(rounded.get_stress(), atoms.get_stress(), rtol=1e-14)
    assert rounded.info == atoms.info


def test_frames_of_other_programs_are_collected_once(toy_frames, tmp_path):
    """Without names of their own, of a folder named after a functional, with `info` of theirs."""
    folder, out = tmp_path / "scan", tmp_path / "all.extxyz.xz"
    folder.mkdir()
    frames = [atoms.copy() for atoms in toy_frames[:3]]
    for number, (atoms, source) in enumerate(zip(frames, toy_frames, strict=False)):
        atoms.calc = SinglePointCalculator(atoms, **source.calc.results)
        atoms.info = {"label": "snap1", "pseudopotentials": "SSSP", "temperature_K": "300K"}
        if number:
            atoms.info |= {"level": number, "temperature_K": 300}
    write_frames(folder / "a.extxyz", frames)
    for _ in range(2):
        assert collect_frames([folder], out) == []
        record = json.loads((tmp_path / "all.json").read_text())
        assert record["n_frames"] == 3
        assert record["n_frames_by_level"] == {"1": 1, "2": 1, f"folder {folder}": 1}
        assert record["n_frames_by_temperature_K"] == {"300": 2, "300K": 1}
    with pytest.raises(InputError, match="names no functional"):
        prepare_dataset([out], tmp_path / "out", settings=Dataset(), model="0.3.0", seed=1)


def test_a_misspelt_composition_is_not_trained_on(tmp_path, capsys):
    settings = tmp_path / "typo.yaml"
    settings.write_text("dataset: {split: {held_out: [NaGaCI]}}")
    arguments = [str(SHIPPED), "--configfile", str(settings), "--out", str(tmp_path / "out")]
    assert main(["dataset", "prepare", *arguments]) == 2
    assert "dataset.split.held_out = NaGaCI" in capsys.readouterr().err.replace("'", "")


def test_shipped_dataset_has_no_rejected_frame(capsys):
    assert main(["dataset", "check", str(SHIPPED)]) == 0
    printed = capsys.readouterr().out
    for name in TOY:
        assert f"\n{name} " in f"\n{printed}"
    assert " 0 rejected" in printed


def test_check_lists_rejected_frames_and_ends_with_1(toy_frames, tmp_path, capsys):
    write_frames(tmp_path / "a.extxyz", [toy_frames[0], toy_frames[1].copy()])
    with pytest.raises(SystemExit) as caught:
        main(["dataset", "check", str(tmp_path)])
    assert caught.value.code == 1
    assert "a.extxyz frame 1" in capsys.readouterr().out


def test_check_and_preparation_say_which_frames_know_no_stress(
    toy_frames, tmp_path, capsys, caplog
):
    frames = [atoms.copy() for atoms in toy_frames]
    for number, (bare, atoms) in enumerate(zip(frames, toy_frames, strict=True)):
        results = dict(atoms.calc.results)
        if number < 3:
            del results["stress"]
        elif number < 5:
            bare.info[PRESSURE_ONLY] = True
        bare.calc = SinglePointCalculator(bare, **results)
    path = tmp_path / "a.extxyz"
    write_frames(path, frames)
    assert main(["dataset", "check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"{path}: 3 frames have no stress" in printed
    assert f"{path}: 2 frames have the trace of the stress alone" in printed
    with caplog.at_level("INFO", "vitrion"):
        prepare_dataset([path], tmp_path / "out", settings=Dataset(), model="0.3.0", seed=1)
    assert "3 frames have no stress" in caplog.text
    prepared = [
        atoms
        for split in ("train", "val", "test")
        for atoms in read_labelled_frames(tmp_path / "out" / f"{split}.extxyz")
    ]
    assert sum("stress" not in atoms.calc.results for atoms in prepared) == 3
    assert sum(bool(atoms.info.get(PRESSURE_ONLY)) for atoms in prepared) == 2


def test_bad_arguments_end_with_2(tmp_path, capsys):
    assert main(["dataset", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["dataset", "sample", "Kryptonite", "--out", str(tmp_path)]) == 2
    assert main(["dataset", "collect", str(tmp_path), "--out", "a.txt"]) == 2
    assert main(["label", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
