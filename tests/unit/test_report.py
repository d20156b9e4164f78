"""Every figure and the report, from tables alone: a full campaign's, and an empty one's."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vitrion.compositions import read_compositions
from vitrion.report import FIGURES, build_report, plot_figure
from vitrion.report.overview import plot_overview
from vitrion.tables import COMPOSITION_KEY, SUMMARY_TABLES, TABLES, write_table

ROOT = Path(__file__).parents[2]
SERIES = {
    "species": None,
    "method": ("nernst_einstein", "cluster_nernst_einstein", "einstein"),
    "environment": ("Cl4", "Cl3O1", "Cl2O2"),
    "fragment_size": (1, 2, 5),
    "lag_ps": (0.1, 1.0, 10.0),
    "r_A": (1.5, 2.5, 3.5),
    "quantity": ("D_alkali", "sigma_einstein"),
}
WORDS = {"flags": "", "drift_removed": "center_of_mass", "model": "exponential", "center": "Al"}


def synthetic(name: str, compositions: list, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of a table with every combination of its keys and plausible positive values."""
    columns = TABLES[name]
    temperatures = (600, 800) if "temperature_K" in columns else (600,)
    series = {c: v for c, v in SERIES.items() if c in columns and c not in WORDS}
    rows = []
    for composition, temperature in itertools.product(compositions, temperatures):
        elements = (composition.alkali, composition.metal, composition.halogen, "O")
        choices = [elements if values is None else values for values in series.values()]
        for chosen in itertools.product(*choices):
            row = {
                key: rng.uniform(0.1, 1.0) if column.dtype == "float64" else 1
                for key, column in columns.items()
            }
            row |= {key: WORDS.get(key, "x") for key, c in columns.items() if c.dtype == "str"}
            row |= dict(zip(series, chosen, strict=True))
            row |= {key: getattr(composition, key) for key in COMPOSITION_KEY}
            if "temperature_K" in columns:
                row |= {"temperature_K": temperature, "replica": 0}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(columns))


def write_campaign(results: Path, compositions: list, *, empty: bool) -> None:
    """The tables of a campaign; with `empty`, nothing but its trajectories."""
    rng = np.random.default_rng(1)
    for name in SUMMARY_TABLES:
        frame = synthetic(name, compositions, rng)
        if empty and name != "trajectories":
            frame = frame.iloc[:0]
        write_table(results / f"summary/{name}.parquet", name, frame, {"campaign": "test"})
    parity = pd.DataFrame(
        [
            {
                "model": model, "split": split, "composition": "LiAlCl", "frame_id": "f",
                "quantity": "force", "element": "Li", "reference": x, "predicted": 0.9 * x,
            }
            for model in ("pretrained", "fine-tuned")
            for split in ("train", "val")
            for x in (-1.0, 0.0, 1.0)
        ]
    )  # fmt: skip
    write_table(results / "finetune/parity.parquet", "parity", parity)
    metrics = parity[["model", "split"]].drop_duplicates().assign(composition="all", n_frames=1)
    for column in set(TABLES["model_metrics"]) - set(metrics):
        metrics[column] = 1.0
    write_table(results / "finetune/model_metrics.parquet", "model_metrics", metrics)
    for composition in compositions:
        folder = results / f"quench/{composition.composition}/r0"
        thermo = pd.DataFrame({"stage": ["melt"] * 3, "time_ps": [0.0, 0.5, 1.0]})
        for column in set(TABLES["thermo"]) - set(thermo):
            thermo[column] = rng.uniform(0.5, 1.0, 3)
        write_table(folder / "thermo.parquet", "thermo", thermo)
        checks = pd.DataFrame(
            {
                "check": ["least distance"], "value": [1.5], "limit_low": [1.2],
                "limit_high": [np.nan], "unit": ["Å"], "passed": [True],
            }
        )  # fmt: skip
        write_table(folder / "glass_checks.parquet", "glass_checks", checks)


@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty"])
def test_figures_and_report(tmp_path: Path, empty: bool) -> None:
    compositions = list(read_compositions(ROOT / "tests/toy/compositions.tsv").values())
    write_campaign(tmp_path, compositions, empty=empty)
    for name in FIGURES:
        svg = tmp_path / f"report/figures/{name}.svg"
        plot_figure(name, tmp_path, [svg])
        assert svg.read_text().lstrip().startswith("<?xml")
    page = tmp_path / "report/index.html"
    build_report(tmp_path, page, {"campaign": "test"})
    text = page.read_text()
    assert text.count("data:image/svg+xml;base64,") == len(FIGURES)
    for kind in FIGURES.values():
        assert kind.title in text
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "figures",
        "index.html",
    ]


@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty"])
def test_overview_of_one_trajectory(tmp_path: Path, empty: bool) -> None:
    composition = read_compositions(ROOT / "tests/toy/compositions.tsv")["LiAlCl"]
    write_campaign(tmp_path, [composition], empty=empty)
    folder = tmp_path / "summary"
    for path in folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        if "temperature_K" in frame:
            write_table(path, path.stem, frame[frame["temperature_K"] == 600])
    plot_overview(folder, tmp_path / "overview.svg")
    svg = (tmp_path / "overview.svg").read_text()
    assert "LiAlCl, 600 K" in svg
    assert ("D alkali" in svg) == (not empty)


def test_figures_are_reproducible(tmp_path: Path) -> None:
    write_campaign(
        tmp_path, list(read_compositions(ROOT / "tests/toy/compositions.tsv").values()), empty=False
    )
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot_figure("network", tmp_path, [first])
    plot_figure("network", tmp_path, [second])
    assert first.read_bytes() == second.read_bytes()
