"""What a reader sees in the figures: labels that do not touch, bars that end, curves that show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from synthetic_campaign import Law, write_campaign

from vitrion.base.text import names
from vitrion.campaign.figures import FIGURES
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures import compositions, drawing_function
from vitrion.report.figures.structure import main_environments
from vitrion.report.numbers import duration, measured
from vitrion.report.style import (
    FLAGGED,
    RC,
    errorbars,
    legend_above,
    log_axes,
    panels,
    settle,
    view,
)
from vitrion.structure.compositions import Composition, read_compositions

SHIPPED = read_compositions("shipped")


def composition(name: str, mobile: str, center: str, ligands: str) -> Composition:
    return Composition(name, names(mobile), names(center), names(ligands), name, 2.0)


# A series in which A, M and X do not tell compositions apart, a mixed glass, and another family.
SERIES = [
    SHIPPED["LiAlCl"],
    composition("LiAlCl3O05", "Li", "Al", "Cl,O"),
    composition("LiAlCl4", "Li", "Al", "Cl"),
    composition("LiAlClIO", "Li", "Al", "Cl,I,O"),
    composition("LiNaAlGa", "Li,Na", "Al,Ga", "Cl,O"),
    composition("NaTaCl6", "Na", "Ta", "Cl"),
]
GRID = [SHIPPED[f"Li{M}{X}"] for M, X in itertools.product(("Al", "Ga"), ("Cl", "Br"))]


@pytest.fixture(autouse=True)
def look() -> Iterator[None]:
    with plt.rc_context(RC):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CampaignTables:
    """Errors as large as the values, one of two glasses flagged and shown."""
    results = tmp_path_factory.mktemp("series")
    noisy = Law(noise=0.9)
    write_campaign(results, SERIES, law=noisy, replicas=2, flags="density", flagged_replicas=[1])
    return CampaignTables(results)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> CampaignTables:
    results = tmp_path_factory.mktemp("grid")
    write_campaign(results, GRID)
    return CampaignTables(results)


def visible_axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def faults(figure: Figure) -> list[str]:
    """What a reader would complain of in a settled figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = []
    for number, axes in enumerate(visible_axes(figure)):
        where = f"panel {number} ({axes.get_title()})"
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                tick.label1 if tick.label1.get_visible() else tick.label2
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high
            ]
            labels = [label for label in labels if label.get_visible() and label.get_text()]
            boxes = [label.get_window_extent(renderer) for label in labels]
            for (a, first), (b, second) in itertools.combinations(
                zip(labels, boxes, strict=True), 2
            ):
                steep = a.get_rotation() % 90  # of slanted labels boxes cross, letters do not
                if not steep and first.overlaps(second):
                    found.append(f"{where}: {a.get_text()} touches {b.get_text()}")
        inside = axes.get_window_extent(renderer).padded(2)
        for container in axes.containers:
            if not isinstance(container, ErrorbarContainer):
                continue
            for bars in container.lines[2]:
                for segment in bars.get_segments():
                    for x, y in axes.transData.transform(segment):
                        if not inside.contains(x, y):
                            found.append(f"{where}: a bar leaves the panel")
    titles = [axes.title for axes in visible_axes(figure) if axes.get_title()]
    for a, b in itertools.combinations(titles, 2):
        if a.get_window_extent(renderer).overlaps(b.get_window_extent(renderer)):
            found.append(f"title {a.get_text()} touches {b.get_text()}")
    for legend in [*figure.legends, *filter(None, (a.get_legend() for a in figure.axes))]:
        box = legend.get_window_extent(renderer)
        for axes in visible_axes(figure):
            if axes.axison and box.overlaps(axes.get_window_extent(renderer)):
                found.append(f"a legend lies over panel {axes.get_title()}")
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_a_noisy_series(name: str, series: CampaignTables) -> None:
    figure = drawing_function(name)(series)
    settle(figure)
    assert faults(figure) == []


def test_the_faults_are_found() -> None:
    """Each complaint of `faults` on a figure that deserves it."""
    figure, axes = plt.subplots(figsize=(1.5, 1.2))
    axes.errorbar([1, 2], [1, 2], yerr=[5, 5], label="points")
    axes.set(ylim=(0, 3), xticks=[1, 1.01, 2], title="a")
    axes.legend(loc="center")
    figure.draw_without_rendering()
    found = " ".join(faults(figure))
    assert "touches" in found
    assert "a bar leaves" in found
    assert "a legend lies over" in found


def test_ticks_are_thinned_where_labels_would_touch() -> None:
    figure, axes = plt.subplots(figsize=(1.2, 1.2))
    axes.set(xlim=(1.33, 1.57), yscale="log")
    axes.xaxis.set_major_locator(plt.MultipleLocator(0.05))
    settle(figure)
    assert faults(figure) == []
    assert len(axes.get_xticks()) >= 2


def test_points_and_bars_beyond_the_axis_end_in_arrows() -> None:
    y, err = pd.Series([1.0, 2.0, -3.0, np.nan]), pd.Series([0.1, 90.0, 1.0, np.nan])
    limits = view(y, err, log=True)
    assert 0 < limits[0] < 1 < 2 < limits[1] < 10
    figure, axes = plt.subplots()
    log_axes(axes, y=True)
    axes.set_ylim(limits)
    errorbars(axes, pd.Series(range(4)), y, err, limits=limits, color="k", marker="o")
    settle(figure)
    assert faults(figure) == []
    arrows = {line.get_marker(): list(line.get_xdata()) for line in axes.lines}
    assert arrows["v"] == [1, 2]  # the error of the second, the third itself
    assert arrows["^"] == [1]


def test_flagged_points_are_hollow(series: CampaignTables) -> None:
    names = ("diffusion", "conductivity", "transference", "haven_ratio", "convergence")
    for name in (*names, "residence_times", "lifetimes", "cluster_lifetimes"):
        figure = drawing_function(name)(series)
        legend_above(figure)
        assert FLAGGED in [text.get_text() for text in figure.legends[-1].get_texts()], name
        assert all("(flagged)" in axes.get_title() for axes in visible_axes(figure)), name
    (panel, *_) = drawing_function("diffusion")(series).axes
    faces = [c.lines[0].get_markerfacecolor() for c in panel.containers]
    assert faces.count("white") == 1  # one of the two glasses
    assert len(faces) == 2


def test_left_out_trajectories_are_not_marked(series: CampaignTables) -> None:
    trajectories = series.summary("trajectories")
    pooled = series.summary("pooled")
    assert series.flagged(pooled).all()
    trajectories.attrs["exclude_flagged"] = True
    try:
        assert not series.flagged(pooled).any()
        assert series.flagged_compositions() == []
    finally:
        del trajectories.attrs["exclude_flagged"]


def test_compositions_of_the_same_elements_do_not_overwrite_each_other(
    series: CampaignTables,
) -> None:
    figure = compositions.maps(series)
    for part in figure.subfigs:
        (axes,) = part.axes
        assert [t.get_text() for t in axes.get_xticklabels()] == [c.composition for c in SERIES]
        drawn = sum(len(c.lines[0].get_xdata()) for c in axes.containers)
        dashes = sum(text.get_text() == "–" for text in axes.texts)
        assert drawn + dashes >= len(SERIES)


def test_maps_have_a_cell_for_each_composition(grid: CampaignTables) -> None:
    figure = compositions.maps(grid)
    settle(figure)
    assert faults(figure) == []
    assert figure.get_figwidth() < 4.8  # so that a phone shows it without much shrinking
    for part in figure.subfigs:
        (axes,) = part.axes
        assert len(axes.texts) == len(GRID)


def test_noise_has_one_colour() -> None:
    """1.49(10) and 1.5(2) are not opposites; 1.0(1) and 3.0(1) are."""

    def shades(x: list[float], err: list[float]) -> np.ndarray:
        scale = compositions._scale(pd.DataFrame({"x": x, "x_err": err}))
        return np.asarray(scale(x))

    assert np.ptp(shades([1.49, 1.5], [0.1, 0.2])) < 0.05
    assert np.ptp(shades([1.0, 3.0], [0.1, 0.1])) == pytest.approx(1.0)


def test_a_quantity_without_a_value_has_no_panel(tmp_path: Path) -> None:
    write_campaign(tmp_path, GRID[:2], temperatures_K=(800,), curves=False)
    tables = CampaignTables(tmp_path)
    figure = compositions.maps(tables)
    said = [part._suptitle.get_text() for part in figure.subfigs]
    assert [text.partition(" ")[0] for text in said] == ["D", "$t_A$", "$H_R$"]
    assert "No σ at 300 K: fewer than three temperatures" in figure._supxlabel.get_text()
    titles = [axes.get_xlabel() for axes in compositions.compositions(tables).axes]
    assert len(titles) == 4  # conductivities that were measured have theirs


def test_environments_come_in_order(grid: CampaignTables) -> None:
    assert main_environments(grid, 4) == ["X4", "X3O1", "X2O2", "X3"]


def test_every_ligand_of_a_mixed_glass_is_drawn(series: CampaignTables) -> None:
    figure = drawing_function("radial_distribution")(series)
    panels_of = [a for a in figure.axes if a.get_title().startswith("LiAlClIO: ")]
    tall, rest = (panel.get_legend_handles_labels()[1] for panel in panels_of)
    assert tall == ["M–O"]
    assert sorted(rest) == ["A–O", "A–X1", "A–X2", "M–M", "M–X1", "M–X2"]
    (no_oxygen, _) = (a for a in figure.axes if a.get_title().startswith("NaTaCl6: "))
    assert no_oxygen.get_legend_handles_labels()[1] == ["M–X"]
    figure = drawing_function("displacement_by_species")(series)
    panel = next(a for a in figure.axes if a.get_title().startswith("LiAlClIO"))
    _, labels = panel.get_legend_handles_labels()
    assert labels == ["mobile ion", "central cation", "halide 1", "halide 2", "oxygen"]


def test_measured_conductivities_are_those_of_the_family(tmp_path: Path) -> None:
    write_campaign(tmp_path, SERIES[-1:], curves=False)
    figure = compositions.compositions(CampaignTables(tmp_path))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["NaTaCl6"]


def test_one_in_transference_and_haven_ratio(grid: CampaignTables) -> None:
    for name in ("transference", "haven_ratio"):
        for axes in visible_axes(drawing_function(name)(grid)):
            at_one = [line for line in axes.lines if list(line.get_ydata()) == [1.0, 1.0]]
            assert len(at_one) == 1, name


def test_long_titles_are_made_to_fit() -> None:
    figure, panel_list = panels([f"a long name of a glass {n}" for n in range(12)], x="x", y="y")
    list(panel_list)
    settle(figure)
    assert faults(figure) == []


@pytest.mark.parametrize(
    ("time_ps", "text"),
    [
        (53.82, "54 ps"), (0.5, "0.5 ps"), (999.0, "999 ps"), (1500.0, "1.5 ns"), (0.05, "50 fs"),
        (123_456.0, "123 ns"), (3.24e6, "3.2 µs"), (6.0, "6 ps"), (100.0, "100 ps"),
    ],
)  # fmt: skip
def test_times_as_a_person_writes_them(time_ps: float, text: str) -> None:
    assert duration(time_ps) == text


def test_numbers_with_a_power_of_ten() -> None:
    assert measured(1.234e-6, 0.04e-6) == "1.23(4) × 10⁻⁶"
    assert measured(9.8e-5, 2.3e-5) == "1.0(2) × 10⁻⁴"
    assert measured(0.95, 0.02) == "0.95(2)"
    assert measured(float("nan"), 1.0) == "–"
    assert measured(1.5e-6, float("nan")) == "1.5 × 10⁻⁶"
