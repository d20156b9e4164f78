"""The model that is shipped: stable when hot, and its recipe better where it never looked.

The shipped model was trained on all compositions. What it does for others is measured on a model
that was trained by the same recipe, without six of them (`resources/models`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pandas as pd
import pytest
import torch

from vitrion.base.seeds import derive_seed
from vitrion.campaign.model_card import trained_compositions
from vitrion.campaign.opening import campaign_compositions, open_config
from vitrion.config import Dynamics, Quench, load_config
from vitrion.potential import model_hash, read_card
from vitrion.structure.compositions import Composition
from vitrion.tables.io import read_table
from vitrion.training import evaluate, prepare_splits, with_data
from vitrion.training.validation import stability, validation_checks

ROOT = Path(__file__).parents[2]
SHIPPED = "shipped"
HELD_OUT = str(ROOT / "resources/models/held-out.safetensors")
CONFIG = load_config(ROOT / "config.yaml")
LIMITS = CONFIG.finetune.validation
COMPOSITIONS = campaign_compositions(CONFIG)

pytestmark = pytest.mark.physics


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Of torch in each of pytest's processes, which are as many as cores."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("model", [SHIPPED, HELD_OUT])
def test_card_belongs_to_the_weights(model: str) -> None:
    assert read_card(model)["model_hash"] == model_hash(model)


def test_both_models_have_one_recipe() -> None:
    shipped, held_out = read_card(SHIPPED), read_card(HELD_OUT)
    for key in ("settings", "start_model_hash", "seed", "best_epoch"):
        assert shipped[key] == held_out[key], key
    assert shipped["campaign"]["split"]["held_out"] == []
    assert trained_compositions(SHIPPED) > trained_compositions(HELD_OUT)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Errors on DFT labels of compositions that were never seen."""
    out = tmp_path_factory.mktemp("held-out")
    held_out = read_card(HELD_OUT)["campaign"]["split"]["held_out"]
    with contextlib.chdir(ROOT):
        config = with_data(open_config([]), ["resources/dft"], held_out)
        frames = prepare_splits(config, out / "dataset")
        models = {"pretrained": "0.3.0", "fine-tuned": HELD_OUT}
        evaluate(models, frames, out, splits=["test"], compositions=COMPOSITIONS)
    metrics = read_table(out / "model_metrics.parquet")
    # Crystals of the same elements are held out with the glasses.
    assert set(metrics["composition"]) == {*(set(held_out) & set(COMPOSITIONS)), "all"}
    assert not metrics["trained_on"].any()
    return metrics


@pytest.fixture(scope="module")
def checks(metrics: pd.DataFrame) -> pd.DataFrame:
    """What `finetune.validation` says of them."""
    _, checks = validation_checks(metrics, metrics, LIMITS.model_copy(update={"stability_ps": 0}))
    return checks.set_index("check")


def test_every_limit_is_tested(checks: pd.DataFrame) -> None:
    assert set(checks.index) == {"force_mae_ratio", "force_parity_slope"}


def test_held_out_force_error(checks: pd.DataFrame) -> None:
    assert checks.loc["force_mae_ratio", "passed"], checks


def test_held_out_slope(checks: pd.DataFrame) -> None:
    assert checks.loc["force_parity_slope", "passed"], checks


def test_held_out_slope_of_each_composition(metrics: pd.DataFrame) -> None:
    slopes = metrics.query("model == 'fine-tuned'")["force_parity_slope"]
    assert slopes.between(*LIMITS.force_parity_slope).all(), metrics


def test_held_out_energy_error(metrics: pd.DataFrame) -> None:
    overall = metrics.query("model == 'fine-tuned' and composition == 'all'")
    assert overall["energy_mae_meV_atom"].item() < 8


@pytest.mark.parametrize("composition", COMPOSITIONS.values(), ids=list(COMPOSITIONS))
def test_hot_melt_does_not_blow_up(composition: Composition) -> None:
    row = stability(
        SHIPPED,
        composition,
        length_ps=2.0,
        temperature_K=LIMITS.stability_temperature_K,
        dynamics=Dynamics(timestep_fs=Quench().melt_timestep_fs, device="cpu", threads=1),
        seed=derive_seed(1, composition.composition),
    )
    assert row["length_ps"] == pytest.approx(2.0)
    assert row["least_distance_A"] >= LIMITS.least_distance_A
    excess = abs(row["energy_drift_meV_atom_ps"]) - 3 * row["energy_drift_meV_atom_ps_err"]
    assert excess <= LIMITS.energy_drift_meV_atom_ps
