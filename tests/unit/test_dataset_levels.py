"""Two levels of theory in one are separated by what is known of them, or noticed by energies."""

from __future__ import annotations

import shutil
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.config import Dataset, Split
from vitrion.dataset import prepare_dataset
from vitrion.dataset.check import check_frames
from vitrion.dataset.frame import Frame, write_frames
from vitrion.dataset.read import import_frames
from vitrion.potential import CHGNetCalculator

VASP = Path(ase.__file__).parent / "test" / "testdata" / "vasp"
SETTINGS = Dataset(functional="PBE", split=Split(held_out=()))


def labelled(name: str, count: int, shift_eV_atom: float = 0.0) -> list[Atoms]:
    """Distorted rock salts with a model's labels, on another zero."""
    calculator = CHGNetCalculator("r2scan", device="cpu")
    frames = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        atoms = bulk(name, "rocksalt", a=5.3, cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), True)
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
        atoms.calc = calculator
        labels = {
            "energy": atoms.get_potential_energy() + shift_eV_atom * len(atoms),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info = {"frame_id": f"{name}{shift_eV_atom:+g}-{seed}", "trajectory": f"{seed % 3}"}
        frames.append(atoms)
    return frames


def distinct(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.positions += 0.02  # or they would be duplicates of others
        atoms.positions[0] += 0.02
    return frames


def prepare(folder: Path) -> None:
    prepare_dataset([folder], folder / "out", settings=SETTINGS, model="0.3.0", seed=1)


def test_pseudopotentials_and_U_separate_levels_of_one_name() -> None:
    potentials = [
        {"Na": "PAW_PBE Na 1", "Cl": "PAW_PBE Cl 1"},
        {"Na": "PAW_PBE Na_pv 2", "Cl": "PAW_PBE Cl 1"},
        {"Na": "PAW_PBE Na_pv 2, U = 3 eV", "Cl": "PAW_PBE Cl 1"},
        {"Li": "PAW_PBE Li 1", "Cl": "PAW_PBE Cl 1"},
        {},
    ]
    frames = []
    for number, own in enumerate(potentials):
        atoms = bulk("NaCl", "rocksalt", a=5.0 + 0.1 * number)
        atoms.info = {"level": "VASP 6 PBE 520 eV", "pseudopotentials": own}
        frames.append(Frame(Path("a"), number, atoms))
    check_frames(frames, max_force_eV_A=30.0, max_energy_deviation_eV_atom=1.0)
    assert [frame.atoms.info["level"] for frame in frames] == [
        "VASP 6 PBE 520 eV; PAW_PBE Na 1",
        "VASP 6 PBE 520 eV; PAW_PBE Na_pv 2",
        "VASP 6 PBE 520 eV; PAW_PBE Na_pv 2, U = 3 eV",
        "VASP 6 PBE 520 eV",
        "VASP 6 PBE 520 eV",
    ]


def test_real_runs_with_two_potcars_have_two_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (VASP / "vasprun_dfpt.xml").read_text()
    for number, title in enumerate(("PAW_PBE Na 08Apr2002", "PAW_PBE Na_pv 19Sep2006")):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        moved = text.replace("PAW_PBE Na 08Apr2002", title)
        (folder / "vasprun.xml").write_text(moved)
    shutil.copy(VASP / "OUTCAR_example_1", tmp_path / "OUTCAR")
    levels = [frame.atoms.info["level"] for frame in import_frames(tmp_path)]
    assert levels[1] == levels[2] == "VASP 6.3.2 PBE 400 eV"
    with pytest.raises(SystemExit):  # the two runs are of one structure
        main(["dataset", "check", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "VASP 6.3.2 PBE 400 eV; PAW_PBE Na 08Apr2002: 1 frames" in printed


def test_files_of_levels_eV_apart_end_the_preparation_with_both_named(tmp_path: Path) -> None:
    """0.8 eV/atom is within what single frames may be off (`max_energy_deviation_eV_atom`)."""
    write_frames(tmp_path / "first.extxyz", labelled("LiCl", 6))
    write_frames(tmp_path / "second.extxyz", distinct(labelled("LiCl", 6, shift_eV_atom=0.8)))
    with pytest.raises(InputError) as caught:
        prepare(tmp_path)
    assert caught.value.value == f"folder {tmp_path} + D3(BJ) of PBE"
    for name in ("first.extxyz (-", "second.extxyz (+", "give each its own `level`"):
        assert name in caught.value.remedy


def test_many_outliers_are_a_second_level(tmp_path: Path) -> None:
    frames = labelled("LiCl", 9) + distinct(labelled("LiCl", 4, shift_eV_atom=2.5))
    write_frames(tmp_path / "a.extxyz", frames)
    with pytest.raises(InputError, match=r"4 of 13 frames are \+2\.\d+ eV/atom off .*LiCl\+2\.5-0"):
        prepare(tmp_path)


def test_levels_by_name_have_their_own_zero(tmp_path: Path) -> None:
    frames = labelled("LiCl", 6) + distinct(labelled("LiCl", 6, shift_eV_atom=2.5))
    for number, atoms in enumerate(frames):
        atoms.info["level"] = "one" if number < 6 else "other"
    write_frames(tmp_path / "a.extxyz", frames)
    prepare(tmp_path)
    assert (tmp_path / "out" / "train.extxyz").stat().st_size > 0


def test_levels_tens_of_meV_apart_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_frames(tmp_path / "first.extxyz", labelled("LiCl", 6))
    write_frames(tmp_path / "second.extxyz", distinct(labelled("LiCl", 6, shift_eV_atom=0.2)))
    prepare(tmp_path)
    assert "two levels of theory" in caplog.text
    caplog.clear()
    (tmp_path / "second.extxyz").unlink()
    shutil.rmtree(tmp_path / "out")
    prepare(tmp_path)
    assert "two levels of theory" not in caplog.text
