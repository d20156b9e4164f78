"""Validation of a model: what passes, what fails, and the message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from vitrion.base.errors import InputError
from vitrion.config import Dynamics, Validation
from vitrion.potential import load_model, save_model
from vitrion.structure.compositions import Composition
from vitrion.tables import TABLES
from vitrion.tables.io import read_table, write_table
from vitrion.training.validation import (
    measure_stability,
    stability,
    validate_model,
    validation_checks,
)

DYNAMICS = Dynamics(timestep_fs=2, device="cpu", threads=1)
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
COMPOSITION = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.4, CHARGES)
NO_STABILITY_TEST = Validation(stability_ps=0)


def metrics(ratio: float, slope: float, *, split: str = "test") -> pd.DataFrame:
    rows = [
        {"model": model, "split": split, "composition": composition, "force_mae_meV_A": error,
         "force_mae_ratio": error / 250.0, "force_mae_ratio_err": 0.02,
         "force_parity_slope": slope if model == "fine-tuned" else 0.8,
         "force_parity_slope_err": 0.005}
        for model, error in (("pretrained", 250.0), ("fine-tuned", 250.0 * ratio))
        for composition in ("LiAlCl", "all")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def melts(**changes: float) -> pd.DataFrame:
    row = {"composition": "LiAlCl", "n_atoms": 21, "length_ps": 2.0, "temperature_K": 1500.0,
           "least_distance_A": 1.6, "nearest_pair": "Al-O",
           "energy_drift_meV_atom_ps": 0.1, "energy_drift_meV_atom_ps_err": 0.2}  # fmt: skip
    return pd.DataFrame([row, {**row, "composition": "KInI", **changes}])


def failed(table: pd.DataFrame, runs: pd.DataFrame, settings: Validation) -> list[str]:
    _, checks = validation_checks(table, runs, settings)
    return checks.loc[~checks["passed"], "check"].tolist()


def test_a_good_model_passes_and_each_failing_check_is_found() -> None:
    settings = Validation(force_mae_meV_A=130.0)
    good = metrics(0.4, 1.0)
    assert failed(good, melts(), settings) == []
    assert failed(metrics(0.6, 1.0), melts(), settings) == [
        "force_mae_ratio",
        "force_mae",
    ]
    assert failed(metrics(0.4, 0.95), melts(), settings) == ["force_parity_slope"]
    assert failed(metrics(0.4, 1.05), melts(), settings) == ["force_parity_slope"]
    assert failed(good, melts(length_ps=0.3), settings) == ["stability_length"]
    assert failed(good, melts(least_distance_A=0.5), settings) == ["stability_least_distance"]
    for drift in (-3.0, 3.0, np.nan):
        changed = melts(energy_drift_meV_atom_ps=drift)
        assert failed(good, changed, settings) == ["stability_energy_drift"]
    # 1 is allowed, and three standard errors on top.
    assert failed(good, melts(energy_drift_meV_atom_ps=1.5), settings) == []
    vague = melts(energy_drift_meV_atom_ps_err=np.nan)
    assert failed(good, vague, settings) == ["stability_energy_drift"]


def test_what_was_not_measured_does_not_pass() -> None:
    nothing = pd.DataFrame(columns=list(TABLES["model_metrics"]))
    assert failed(nothing, melts(), NO_STABILITY_TEST) == [
        "force_mae_ratio",
        "force_parity_slope",
    ]
    assert failed(metrics(0.4, 1.0, split="train"), melts(), NO_STABILITY_TEST) == [
        "force_mae_ratio",
        "force_parity_slope",
    ]
    assert validation_checks(metrics(0.4, 1.0, split="val"), melts(), NO_STABILITY_TEST)[0] == "val"


def test_refusal_names_figures_and_remedy_and_override_lets_pass(tmp_path: Path) -> None:
    table = metrics(0.6, 1.0).reindex(columns=list(TABLES["model_metrics"])).fillna({"n_frames": 1})
    table = table.fillna(0.0)
    write_table(tmp_path / "model_metrics.parquet", "model_metrics", table)

    def validate_with(settings: Validation) -> None:
        measure_stability(
            "0.3.0",
            tmp_path / "stability.parquet",
            compositions={},
            settings=settings,
            dynamics=DYNAMICS,
            seed=1,
        )
        validate_model(
            tmp_path / "model_metrics.parquet",
            tmp_path / "stability.parquet",
            settings=settings,
            out=tmp_path / "validation.parquet",
        )

    with pytest.raises(InputError, match=r"ratio is 0\.6 ± 0\.02 .*0\.5.*override") as error:
        validate_with(NO_STABILITY_TEST)
    assert "force_parity_slope" not in str(error.value)
    assert read_table(tmp_path / "validation.parquet")["passed"].tolist() == [False, True]
    validate_with(NO_STABILITY_TEST.model_copy(update={"override": ("force_mae_ratio",)}))
    assert read_table(tmp_path / "validation.parquet")["overridden"].tolist() == [True, False]


def test_limit_on_a_stability_test_that_was_not_run_fails(tmp_path: Path) -> None:
    """As when `stability_ps` is raised for a model that has been tested."""
    _, checks = validation_checks(
        metrics(0.4, 1.0), pd.DataFrame(columns=list(TABLES["stability"])), Validation()
    )
    assert checks.loc[~checks["passed"], "check"].tolist() == [
        "stability_length",
        "stability_least_distance",
        "stability_energy_drift",
    ]


def test_only_checks_can_be_overridden() -> None:
    with pytest.raises(ValidationError, match="override"):
        Validation(override=("force_maes",))


def test_stability_test_tells_a_good_potential_from_a_broken_one(tmp_path: Path) -> None:
    options = {"length_ps": 0.1, "temperature_K": 1200.0, "dynamics": DYNAMICS, "seed": 3}
    row = stability("0.3.0", COMPOSITION, **options)
    assert row["n_atoms"] == 21
    assert row["length_ps"] == pytest.approx(0.1)
    assert 1.2 < row["least_distance_A"] < 2.5
    assert set(row["nearest_pair"].split("-")) <= {"Li", "Al", "Cl", "O"}
    assert abs(row["energy_drift_meV_atom_ps"]) < 30
    assert 0 < row["energy_drift_meV_atom_ps_err"] < 30
    # Energies turned upside down: every minimum is a hill, and atoms fall into each other.
    model = load_model("0.3.0")
    last = [module for module in model.mlp.modules() if hasattr(module, "weight")][-1]
    last.weight.data *= -1
    save_model(model, tmp_path / "broken.safetensors", {})
    broken = stability(str(tmp_path / "broken.safetensors"), COMPOSITION, **options)
    assert broken["length_ps"] < 0.1 or broken["least_distance_A"] < 1.0
