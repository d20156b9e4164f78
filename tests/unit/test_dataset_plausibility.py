"""Labels in wrong units, sign or order are rejected with the likely factor; right ones pass."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.config import Dataset, Split
from vitrion.dataset import prepare_dataset
from vitrion.dataset.frame import Frame, write_frames
from vitrion.dataset.plausibility import predict_frames, reject_implausible_labels
from vitrion.dataset.read import import_frames
from vitrion.potential import PotentialResult, load_model

SHIPPED = Path(__file__).parents[2] / "resources" / "dft"
SLOPES = (0.3, 3.0)
BOHR_A, HARTREE_eV = 0.529177, 27.2114


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    """Four shipped frames of each of three compositions."""
    every = [frame.atoms for frame in import_frames(SHIPPED)]
    return [
        atoms
        for name in ("LiAlCl", "NaGaBr", "KInI")
        for atoms in [a for a in every if a.info["composition"] == name and len(a) == 21][:4]
    ]


@pytest.fixture(scope="module")
def predictions(frames: list[Atoms]) -> dict[int, PotentialResult]:
    read = [Frame(Path("a.extxyz"), number, atoms) for number, atoms in enumerate(frames)]
    return predict_frames(read, load_model("0.3.0"))


def changed(frames: list[Atoms], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Frame]:
    read = []
    for number, atoms in enumerate(frames):
        other = atoms.copy()
        other.calc = SinglePointCalculator(other, **change(dict(atoms.calc.results)))
        read.append(Frame(Path("a.extxyz"), number, other))
    return read


def scaled(label: str, factor: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda labels: {**labels, label: labels[label] * factor}


def reasons(read: list[Frame], predictions: dict[int, PotentialResult]) -> set[str]:
    reject_implausible_labels(read, predictions, SLOPES)
    return {frame.rejection_reason for frame in read}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (scaled("stress", 1 / GPa), r"stress 1[3-9]\d times .*in GPa \(160\.2\)\?; give eV/Å³"),
        (scaled("stress", -10 / GPa), r"stress -1\.?\d*e\+03 times .*in kBar \(-1602\) and of opp"),
        (scaled("stress", -1.0), r"stress -1\.?\d* times .*: of opposite sign\?; give .*tension"),
        (scaled("forces", BOHR_A / HARTREE_eV), r"forces 0\.02\d* .*in Hartree/Bohr \(1/51\.42\)"),
        (scaled("forces", -1.0), r"forces -1\.?\d* times .*of opposite sign"),
        (scaled("energy", 1 / HARTREE_eV), r"energy 0\.0\d+ times .*in Hartree \(1/27\.21\)"),
        (scaled("energy", 1 / 21), r"energy 0\.0\d+ times .*in eV/atom \(1/21\)"),
        (
            lambda labels: {**labels, "stress": labels["stress"][[0, 1, 2, 5, 3, 4]]},
            r"stress components .* VASP's order",
        ),
        (
            lambda labels: {**labels, "forces": labels["forces"][::-1]},
            r"forces do not follow .*another order",
        ),
    ],
    ids=["GPa", "kBar", "compression", "Ha/Bohr", "gradient", "Ha", "per atom", "VASP", "order"],
)
def test_wrong_labels_are_rejected_with_the_likely_factor(
    frames: list[Atoms],
    predictions: dict[int, PotentialResult],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    reason: str,
) -> None:
    (found,) = reasons(changed(frames, change), predictions)
    assert re.search(reason, found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels,
        scaled("forces", 1.8),
        scaled("stress", 0.6),
        # A finite basis adds a pressure; another level of theory has another zero of energy.
        lambda labels: {**labels, "stress": labels["stress"] + [0.03, 0.03, 0.03, 0, 0, 0]},
        lambda labels: {**labels, "energy": labels["energy"] - 1000.0},
        lambda labels: {name: labels[name] for name in ("energy", "forces")},
    ],
    ids=["shipped", "forces", "stress", "pressure", "zero", "no stress"],
)
def test_right_labels_pass(
    frames: list[Atoms],
    predictions: dict[int, PotentialResult],
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    assert reasons(changed(frames, change), predictions) == {""}


def test_each_level_of_theory_is_compared_by_itself(
    frames: list[Atoms], predictions: dict[int, PotentialResult]
) -> None:
    read = changed(frames, scaled("stress", 1 / GPa))[:6] + changed(frames, lambda x: x)[6:]
    for number, frame in enumerate(read):
        frame.atoms.info["level"] = "one" if number < 6 else "other"
    reject_implausible_labels(read, predictions, SLOPES)
    assert all("GPa" in frame.rejection_reason for frame in read[:6])
    assert not any(frame.rejection_reason for frame in read[6:])


def test_single_frames_of_their_own_folders_are_compared_together(
    frames: list[Atoms], predictions: dict[int, PotentialResult]
) -> None:
    read = changed(frames, scaled("stress", 1 / GPa))
    for number, frame in enumerate(read):
        frame.atoms.info["level"] = f"folder {number}"
    assert all("GPa" in reason for reason in reasons(read, predictions))


def test_check_and_preparation_end_on_wrong_units(
    frames: list[Atoms], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [frame.atoms for frame in changed(frames, scaled("forces", BOHR_A / HARTREE_eV))]
    path = tmp_path / "a.extxyz"
    write_frames(path, wrong)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "check", str(path)])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "12 rejected" in printed
    assert printed.count("in Hartree/Bohr (1/51.42)?; give eV/Å") == 12
    settings = Dataset(split=Split(held_out=()))
    with pytest.raises(InputError, match="Hartree/Bohr"):
        prepare_dataset([path], tmp_path / "out", settings=settings, model="0.3.0", seed=1)
    trusting = settings.model_copy(update={"label_slope": None, "dispersion": "none"})
    table = prepare_dataset([path], tmp_path / "out", settings=trusting, model="0.3.0", seed=1)
    assert (table["flags"] == "").all()
    assert math.isclose(
        table["max_force_eV_A"].max(),
        max(np.linalg.norm(atoms.get_forces(), axis=1).max() for atoms in wrong),
        rel_tol=1e-6,
    )
