"""`vitrion bench`: what it measures, on the smallest systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitrion.cli import main
from vitrion.config import Dynamics


def test_precision_of_the_engine(tmp_path: Path, monkeypatch, capsys) -> None:
    from vitrion.bench import md as bench

    monkeypatch.setattr(bench, "PRECISION_GLASSES", bench.PRECISION_GLASSES[:1])
    monkeypatch.setattr(bench, "PRECISION_SEEDS", 2)
    out = tmp_path / "precision.json"
    assert main(["bench", "md", "--precision", "--atoms", "21", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == [row]
    assert row["composition"] == "LiAlCl"
    assert 0 < row["energy_error_eV_atom"] < 1e-6
    assert row["force_error_eV_A"] < row["reference_force_error_eV_A"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_speed_of_the_engine(tmp_path: Path, replicas: int) -> None:
    out = tmp_path / "md.json"
    options = ["--atoms", "21", "--repeats", "1", "--replicas", str(replicas)]
    options += [] if replicas == 1 else ["--model", "0.3.0"]
    assert main(["bench", "md", *options, "--json", str(out)]) == 0
    *others, row = json.loads(out.read_text())
    assert [other["model"] for other in others] == ["shipped"] * (replicas == 1)
    assert row["model"] == "0.3.0"
    assert row["ps_per_hour"] == pytest.approx(3600 * row["steps_per_s"] * Dynamics().timestep_ps)
    assert row["ns_per_day"] == pytest.approx(row["ps_per_hour"] * 24 / 1000)
    assert row["replicas"] == replicas
    assert row["ratio"] == pytest.approx(row["steps_per_s"] / row["reference_steps_per_s"])
    assert row["energy_difference_eV_atom"] < 1e-5


def test_speed_of_a_training_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    # Compiling takes a minute; tests/unit/test_training.py has a test of it to run by name.
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    out = tmp_path / "finetune.json"
    options = ["--batch-size", "2", "--repeats", "2"]
    assert main(["bench", "finetune", *options, "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert row["ratio"] == pytest.approx(row["reference_ms"] / row["compiled_ms"])
    assert row["loss_difference"] < 1e-4


def test_sizes_that_no_cell_has(capsys) -> None:
    assert main(["bench", "md", "--replicas", "0"]) == 2
    assert "--replicas = 0: must be at least 1" in capsys.readouterr().err
    assert main(["bench", "md", "--atoms", "20"]) == 2
    assert "atoms = 20: use multiples of 21" in capsys.readouterr().err
