"""Every figure and the report, from tables alone: a full campaign's, and an empty one's."""

from __future__ import annotations

import hashlib
import html
import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from PIL import Image
from synthetic_campaign import glass, write_campaign

from vitrion.campaign.figures import FIGURES, FORMATS, GROUPS
from vitrion.cli import main
from vitrion.paper.published import conductivities, statements
from vitrion.paper.verdict import CLAIMS
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures import MODULES, plot_figure
from vitrion.report.figures.glass import glass_checks
from vitrion.report.glasses import glass_model
from vitrion.report.numbers import concise
from vitrion.report.overview import plot_overview
from vitrion.report.page import build_report
from vitrion.structure.compositions import read_compositions
from vitrion.tables.io import write_table

ROOT = Path(__file__).parents[2]
COMPOSITIONS = read_compositions(ROOT / "tests/toy/compositions.tsv")
TOY = list(COMPOSITIONS.values())
BONDS_A = {("Al", "O"): 2.2, ("Al", "Cl"): 2.9}


def test_report_command_makes_everything_from_the_tables(tmp_path: Path, capsys) -> None:
    results = tmp_path / "results/toy"
    write_campaign(results, TOY)
    arguments = ["--configfile", str(ROOT / "tests/toy/config.yaml"), "--directory", str(tmp_path)]
    assert main(["report", *arguments]) == 0
    page = results / "report/index.html"
    assert capsys.readouterr().out.strip() == str(page)
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    assert figures == {f"{name}.{suffix}" for name in FIGURES for suffix in FORMATS}
    assert sorted(path.name for path in page.parent.iterdir()) == ["figures", "index.html"]
    assert "formula_units: 8" in page.read_text()
    assert "confirmed" in check_page(page)


def test_report_of_a_campaign_without_a_value(tmp_path: Path) -> None:
    write_campaign(tmp_path, TOY, empty=True)
    for name in FIGURES:
        plot_figure(name, tmp_path, [tmp_path / f"report/figures/{name}.svg"])
    page = tmp_path / "report/index.html"
    build_report(tmp_path, page, {"campaign": "test"})
    assert "campaign: test" in page.read_text()
    assert "confirmed" not in check_page(page)


def check_page(page: Path) -> set[str]:
    """The page holds every figure, the provenance and the verdict; outcomes of the verdict."""
    text = page.read_text()
    shown = html.unescape(text)
    assert text.count("data:image/svg+xml;base64,") == len(FIGURES)
    for name, kind in FIGURES.items():
        svg = page.parent / f"figures/{name}.svg"
        assert svg.read_text().lstrip().startswith("<?xml")
        assert kind.title in shown
        assert kind.caption in shown
        assert kind.group in GROUPS
    for recorded in ("c0ffee", "beef"):
        assert recorded in text
    verdict = pd.read_parquet(page.parents[1] / "summary/verdict.parquet")
    outcomes = verdict["outcome"].value_counts()
    for outcome, count in outcomes.items():
        assert f"{count} {outcome}" in text
    return set(outcomes.index)


def test_every_figure_has_its_drawing_function() -> None:
    """The catalogue and the functions agree: none is missing, none is drawn by nothing."""
    assert set(MODULES) == set(GROUPS)
    drawn = {
        (group, name)
        for group, module in MODULES.items()
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__["return"] == "Figure"
    }
    assert drawn == {(kind.group, name) for name, kind in FIGURES.items()}
    assert all(kind.caption.endswith(".") for kind in FIGURES.values())


def test_checks_of_all_compositions_share_their_columns(tmp_path: Path) -> None:
    write_campaign(tmp_path, TOY)
    (axes,) = glass_checks(CampaignTables(tmp_path)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "melt displacement of the mobile ion",
        "melt displacement of the central cation",
        "least distance of two atoms",
        "relative density drift",
    ]
    made = [text.get_text().partition("/") for text in axes.texts]
    assert len(made) == 4 * len(TOY)
    assert {(passed == total) for passed, _, total in made[3::4]} == {False}
    assert {(passed == total) for passed, _, total in made[:3]} == {True}


def test_report_command_without_tables(tmp_path: Path, capsys) -> None:
    assert main(["report", "--directory", str(tmp_path)]) == 2
    assert "verdict.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "err", "text"),
    [
        (1.2345, 0.043, "1.23(4)"), (1.2345, 0.012, "1.234(12)"), (123.4, 5.0, "123(5)"),
        (1234.0, 120.0, "1234(120)"), (0.5, float("nan"), "0.5"), (-0.0031, 0.0096, "-0.003(10)"),
        (2.0, 0.0, "2"), (0.95, 1e-17, "0.95"),
    ],
)  # fmt: skip
def test_errors_in_brackets(value: float, err: float, text: str) -> None:
    assert concise(value, err) == text


def test_fragments_are_found_and_made_whole() -> None:
    atoms = glass(COMPOSITIONS["LiAlCl"])
    model = glass_model(atoms, ["Al"], ["O"], BONDS_A)
    elements, size = np.array(model["elements"]), np.array(model["size"])
    assert (size[np.isin(elements, ["Al", "O", "Cl"])] == 2).all()
    assert (size[elements == "Li"] == 0).all()
    xyz = np.reshape(model["xyz"], (-1, 3))
    i, j = np.transpose(model["bonds"])
    assert len(i) == 8 * (2 + 6)
    # Wrapped into the cell, some of these atoms are 20 Å apart.
    assert np.linalg.norm(xyz[i] - xyz[j], axis=1).max() < 2.9
    wrapped = atoms.get_positions()
    assert np.linalg.norm(wrapped[i] - wrapped[j], axis=1).max() > 15
    moved = (xyz - wrapped) / 22
    assert moved == pytest.approx(np.round(moved), abs=0.001)


def test_a_network_through_the_boundary_has_no_long_bond() -> None:
    chain = Atoms("AlOAlO", [(1, 1, 1), (2.7, 1, 1), (4.4, 1, 1), (6.1, 1, 1)], cell=[6.8, 9, 9],
                  pbc=True)  # fmt: skip
    model = glass_model(chain, ["Al"], ["O"], BONDS_A)
    assert model["size"] == [2, 2, 2, 2]
    assert len(model["bonds"]) == 3


def test_reference_values_name_their_source() -> None:
    known, said = conductivities(), statements()
    assert len(known)
    assert len(said)
    for table in (known, said):
        assert table["doi"].str.match(r"10\.\d{4,}/").all()
        assert (table[["source", "read_in"]] != "").all(axis=None)
    assert known["conductivity_mS_cm"].between(1e-6, 100).all()
    names = set(read_compositions("shipped"))
    assert set(known["composition"]) <= names | {""}
    assert set(said["claim"]) <= {claim.name for claim in CLAIMS}


def test_the_viewer_is_the_one_that_is_stated() -> None:
    assets = ROOT / "vitrion/report/assets"
    digest = hashlib.sha256((assets / "3Dmol-min.js").read_bytes()).hexdigest()
    assert digest in (assets / "README.md").read_text()
    assert "3dmol v2.5.5" in (assets / "3Dmol-LICENSE.txt").read_text()


@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty"])
def test_overview_of_one_trajectory(tmp_path: Path, empty: bool) -> None:
    write_campaign(tmp_path, TOY[:1], empty=empty)
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
    assert ("D of the mobile ion" in svg) == (not empty)


def test_figures_are_reproducible(tmp_path: Path) -> None:
    write_campaign(tmp_path, TOY)
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot_figure("network", tmp_path, [first])
    plot_figure("network", tmp_path, [second])
    assert first.read_bytes() == second.read_bytes()
    # Whatever format comes before, a PNG has its 200 points to the inch.
    plot_figure("network", tmp_path, [first, tmp_path / "after.png"])
    plot_figure("network", tmp_path, [tmp_path / "alone.png"])
    with Image.open(tmp_path / "after.png") as after, Image.open(tmp_path / "alone.png") as alone:
        assert after.size == alone.size
        assert after.width > 1000
