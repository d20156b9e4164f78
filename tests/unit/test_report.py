"""Every figure and the report, from tables alone: a full campaign's, and an empty one's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_campaign import write_campaign

from vitrion.compositions import read_compositions
from vitrion.report import FIGURES, build_report, plot_figure
from vitrion.report.overview import plot_overview
from vitrion.tables import write_table

ROOT = Path(__file__).parents[2]


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
            frame = frame[frame["temperature_K"] == 600]
            if "replica" in frame:
                frame = frame[frame["replica"] == 0]
            write_table(path, path.stem, frame)
    plot_overview(folder, tmp_path / "overview.svg")
    svg = (tmp_path / "overview.svg").read_text()
    assert "LiAlCl, 600 K" in svg
    assert ("D alkali" in svg) == (not empty)


def test_figures_are_reproducible(tmp_path: Path) -> None:
    write_campaign(tmp_path, list(read_compositions(ROOT / "tests/toy/compositions.tsv").values()))
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot_figure("network", tmp_path, [first])
    plot_figure("network", tmp_path, [second])
    assert first.read_bytes() == second.read_bytes()
