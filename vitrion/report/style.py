"""One look for every figure: sizes, fonts and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullLocator

from vitrion.base.files import whole_file
from vitrion.base.units import BOLTZMANN_eV_K

# fontTools logs every font that goes into a PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

# Okabe and Ito (2008), without yellow, which is too light for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GOOD, BAD = "#BFE3D5", "#F5CBA0"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

RC: dict[Any, Any] = {
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "svg.fonttype": "none",
    "svg.hashsalt": "vitrion",
    "pdf.fonttype": 42,
}


def color(index: int) -> str:
    """The palette's colour of a series."""
    return PALETTE[index % len(PALETTE)]


def temperature_colors(temperatures_K: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Colours from cold to hot, by temperature."""
    shades = plt.get_cmap("plasma")(np.linspace(0.05, 0.8, max(len(temperatures_K), 2)))
    return {
        temperature: tuple(shade)
        for temperature, shade in zip(sorted(temperatures_K), shades, strict=False)
    }


def panels(names: Sequence[str], *, x: str, y: str) -> tuple[Figure, Iterator[tuple[str, Axes]]]:
    """One panel for each name, in rows, with shared axes that are named outside.

    Returns:
        The figure, and the names with their axes.
    """
    many = len(names) > 9
    width_in, height_in = (1.95, 1.75) if many else (2.6, 2.2)
    columns = max(1, min(6 if many else 3, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width_in * columns + 0.8, height_in * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for index, axes in enumerate(grid.flat):
        axes.set_visible(index < len(names))
        if index % columns == 0:
            axes.set_ylabel(y)
        if index + columns >= len(names):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    return figure, zip(names, grid.flat, strict=False)


def errorbars(axes: Axes, x: pd.Series, y: pd.Series, err: pd.Series, **style: Any) -> None:
    """Points with one standard error; a point whose error is NaN gets no bar."""
    axes.errorbar(x, y, yerr=err.fillna(0.0), linestyle="none", **style)


def straight_line(
    axes: Axes, temperatures_K: Sequence[int], ln_prefactor: float, Ea_eV: float, **style: Any
) -> None:
    """A fit exp(ln_prefactor − Ea/k_B T) over temperatures, against 1000 K / T."""
    ends = np.array([1000 / max(temperatures_K), 1000 / min(temperatures_K)])
    values = np.exp(ln_prefactor - Ea_eV * ends / 1000 / BOLTZMANN_eV_K)
    axes.plot(ends, values, linewidth=1, **style)


def concise(value: float, err: float) -> str:
    """1.23(4) for 1.23 ± 0.04: two digits of the error where its first is 1, else one."""
    if not (np.isfinite(value) and np.isfinite(err) and err > 1e-6 * abs(value)):
        return f"{value:.3g}"
    digits = -math.floor(math.log10(err))
    if round(err * 10**digits) < 2:
        digits += 1
    if digits <= 0:
        return f"{value:.0f}({err:.0f})"
    return f"{value:.{digits}f}({round(err * 10**digits)})"


def log_axes(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes with labels at few ticks only."""
    for wanted, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if wanted:
            scale("log")
            axis.set_major_locator(_FewTicks(numticks=6))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(PlainNumbers())


class PlainNumbers(LogFormatterSciNotation):
    """Labels of a logarithmic axis: 0.01 to 10000 as they are, others by powers of ten."""

    def __init__(self) -> None:
        super().__init__(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf))

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick."""
        return f"{x:g}" if x == 0 or 0.009 < abs(x) < 10001 else super().__call__(x, pos)


class _FewTicks(LogLocator):
    """Powers of ten, and numbers between them where fewer than two powers are in view."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Ticks from `vmin` to `vmax`."""
        powers = np.asarray(super().tick_values(vmin, vmax))
        if np.count_nonzero((vmin <= powers) & (powers <= vmax)) >= 2:
            return list(powers)
        return LogLocator(subs=(1.0, 2.0, 5.0)).tick_values(vmin, vmax)


def legend_above(figure: Figure) -> None:
    """One legend above all panels, with every labelled artist of any panel once.

    It has as many columns as fit into the figure's width, seven at most.
    """
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(min(len(handles), 7), 0, -1):
        legend = figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=columns
        )
        if columns == 1 or legend.get_window_extent(renderer).width <= figure.bbox.width:
            break
        legend.remove()


def say_nothing(axes: Axes, why: str) -> None:
    """Write into an empty panel why it is empty."""
    axes.text(
        0.5,
        0.5,
        why,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="0.4",
        fontsize=8,
    )


def _print(figure: Figure, path: Path, kind: str) -> None:
    # Without a date the same tables give the same file.
    if kind == ".svg":
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
    elif kind == ".pdf":
        FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})
    else:
        # The others leave a figure at 72 dpi.
        figure.set_dpi(mpl.rcParams["savefig.dpi"])
        FigureCanvasAgg(figure).print_png(path)


def save(figure: Figure, outputs: Iterable[Path | str]) -> None:
    """Write a figure to each output in the format of its suffix, whole or not at all; close it."""
    # The layout is found once; every format has the same. `savefig` would draw each twice.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for output in map(Path, outputs):
        with whole_file(output) as partial:
            _print(figure, partial, output.suffix)
    plt.close(figure)
