"""One look for every figure: sizes, fonts and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullLocator,
)
from matplotlib.transforms import BboxBase

from vitrion.base.files import whole_file
from vitrion.base.units import BOLTZMANN_eV_K

# fontTools logs every font that goes into a PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

# Okabe and Ito (2008), without yellow, which is too light for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GOOD, BAD = "#BFE3D5", "#F5CBA0"
FLAGGED = "from flagged trajectories"
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


def panels(
    names: Sequence[str], *, x: str, y: str, flagged: Collection[str] = ()
) -> tuple[Figure, Iterator[tuple[str, Axes]]]:
    """One panel for each name, in rows, with shared axes that are named outside.

    Args:
        names: titles of the panels.
        x, y: what the axes show.
        flagged: names whose data comes from flagged trajectories; their titles say so.

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
    for name, axes in zip(names, grid.flat, strict=False):
        name_panel(axes, name, flagged=name in flagged)
    return figure, zip(names, grid.flat, strict=False)


def name_panel(axes: Axes, name: str, *, flagged: bool) -> None:
    """The title of a panel, which says where its data comes from flagged trajectories."""
    if flagged:
        axes.set_title(f"{name} (flagged)", color=color(1))
    else:
        axes.set_title(name)


def nothing(why: str) -> Figure:
    """A figure that says why it is empty."""
    figure, axes = plt.subplots(figsize=(4.2, 1.1), layout="constrained")
    axes.axis("off")
    say_nothing(axes, why)
    return figure


def view(
    values: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    also: npt.ArrayLike = (),
    log: bool = False,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """Limits of an axis that shows values and their errors, except for the excess of large errors.

    Args:
        values, errors: what is shown; not finite ones are ignored.
        also: further values, without errors.
        log: for a logarithmic axis, where an error counts up to a factor of 4.
        within: the limits stay within these.
    """
    y = np.concatenate([values, also], dtype=float)
    err = np.nan_to_num(np.concatenate([errors, np.zeros(np.shape(also))], dtype=float))
    known = np.isfinite(y) & ((y > 0) | (not log))
    y, err = y[known], np.abs(err[known])
    if not y.size:
        return 0.1, 1.0
    if log:
        low, high = np.min(np.maximum(y - err, y / 4)), np.max(np.minimum(y + err, 4 * y))
        margin = max((high / low) ** 0.06, 1.05)
        return float(low / margin), float(high * margin)
    err = np.minimum(err, max(np.ptp(y), 3 * float(np.median(err))))
    low, high = np.clip((np.min(y - err), np.max(y + err)), *within)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.5
    return float(low - margin), float(high + margin)


def bar_lengths(
    values: npt.ArrayLike, errors: npt.ArrayLike, limits: tuple[float, float]
) -> np.ndarray:
    """(2, n) lengths of error bars down and up, each cut where it would leave the limits."""
    value, err = np.asarray(values, dtype=float), np.nan_to_num(np.asarray(errors, dtype=float))
    ends = np.clip((value - err, value + err), *limits)
    return np.nan_to_num(np.abs(ends - value))


def errorbars(
    axes: Axes,
    x: pd.Series,
    y: pd.Series,
    err: pd.Series,
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    hollow: npt.ArrayLike = False,
    horizontal: bool = False,
    label: str | None = None,
    **style: Any,
) -> None:
    """Points with one standard error; a point whose error is NaN gets no bar.

    Args:
        axes: where they are drawn.
        x, y: the points.
        err: errors of y.
        limits: of the axis of y. A bar or a point beyond them ends there in an arrow.
        hollow: which points are drawn hollow, because they come from flagged trajectories.
        horizontal: draw y along the horizontal axis, and x along the vertical one.
        label: in the legend.
        style: of the points and bars.
    """
    place, value = np.asarray(x), np.asarray(y, dtype=float)
    known = np.isfinite(value)
    err_of = np.nan_to_num(np.asarray(err, dtype=float))
    empty = np.broadcast_to(np.asarray(hollow, dtype=bool), value.shape)
    lengths = bar_lengths(value, err_of, limits)
    inside = known & (limits[0] <= value) & (value <= limits[1])
    paint = style.get("color")
    for chosen, face in ((inside & ~empty, paint), (inside & empty, "white")):
        if chosen.any():
            bar = lengths[:, chosen]
            drawn = {"linestyle": "none", "label": label, "markerfacecolor": face, **style}
            if horizontal:
                axes.errorbar(value[chosen], place[chosen], xerr=bar, **drawn)
            else:
                axes.errorbar(place[chosen], value[chosen], yerr=bar, **drawn)
    if (inside & empty).any():
        axes.plot([], [], "o", color="0.35", markerfacecolor="white", label=FLAGGED)
    for sign, markers in ((-1, "v<"), (1, "^>")):
        edge = limits[(sign + 1) // 2]
        cut = known & (sign * (value + sign * err_of - edge) > 0)
        if cut.any():
            ends = place[cut], np.full(cut.sum(), edge)
            axes.plot(
                *(ends[::-1] if horizontal else ends),
                linestyle="none",
                marker=markers[int(horizontal)],
                markersize=4,
                color=paint,
                clip_on=False,
            )


def reference_line(axes: Axes, at: float, *, horizontal: bool = True) -> None:
    """A dashed line at a value to compare with."""
    draw = axes.axhline if horizontal else axes.axvline
    draw(at, color="0.3", linestyle="--", linewidth=0.8, zorder=0)


def straight_line(
    axes: Axes, temperatures_K: Sequence[int], ln_prefactor: float, Ea_eV: float, **style: Any
) -> None:
    """A fit exp(ln_prefactor − Ea/k_B T) over temperatures, against 1000 K / T."""
    ends = np.array([1000 / max(temperatures_K), 1000 / min(temperatures_K)])
    values = np.exp(ln_prefactor - Ea_eV * ends / 1000 / BOLTZMANN_eV_K)
    axes.plot(ends, values, linewidth=1, **style)


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
        between = np.asarray(LogLocator(subs=(1.0, 2.0, 5.0)).tick_values(vmin, vmax))
        if 2 <= np.count_nonzero((vmin <= between) & (between <= vmax)) <= 6:
            return list(between)
        return list(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(vmin, vmax))


def thin_ticks(figure: Figure) -> bool:
    """Take out ticks until no label touches its neighbour; the layout must have been found.

    Axes whose ticks were set one by one (names) are left as they are.

    Returns:
        Whether an axis was changed.
    """
    renderer, changed = FigureCanvasAgg(figure).get_renderer(), False
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axes.get_visible() or isinstance(axis.get_major_locator(), FixedLocator):
                continue
            ticks = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible()]
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]
            boxes = [tick.label1.get_window_extent(renderer) for tick in ticks]
            step = 1
            while any(map(_touch, boxes[::step], boxes[step::step])):
                step += 1
            if step > 1:
                axis.set_major_locator(FixedLocator([tick.get_loc() for tick in ticks][::step]))
                changed = True
    return changed


def fit_titles(figure: Figure) -> bool:
    """Make the titles of panels smaller where they are wider than their panel's place.

    Returns:
        Whether a title was changed.
    """
    renderer, changed = FigureCanvasAgg(figure).get_renderer(), False
    for axes in figure.axes:
        title = axes.title.get_window_extent(renderer).width
        room = 1.1 * axes.get_window_extent(renderer).width
        if axes.get_visible() and title > room:
            axes.title.set_fontsize(float(axes.title.get_fontsize()) * room / title)
            changed = True
    return changed


def _touch(a: BboxBase, b: BboxBase) -> bool:
    """Whether two labels leave less than two dots between them."""
    return bool(a.padded(1).overlaps(b.padded(1)))


def legend_above(figure: Figure) -> None:
    """One legend above all panels, with every labelled artist of any panel once.

    It has as many columns as fit into the figure's width, seven at most.
    """
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if FLAGGED in handles:
        handles[FLAGGED] = handles.pop(FLAGGED)  # last
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(min(len(handles), 7), 0, -1):
        legend = figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=columns
        )
        if columns == 1 or legend.get_window_extent(renderer).width <= figure.bbox.width:
            break
        legend.remove()


def legend_below(axes: Axes, *, columns: int = 1) -> None:
    """A legend below a panel, where it hides no curve."""
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=columns, borderaxespad=0)


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


def settle(figure: Figure) -> None:
    """Find the layout of a figure, without labels that touch, and keep it for every format."""
    figure.draw_without_rendering()
    if thin_ticks(figure) | fit_titles(figure):
        figure.draw_without_rendering()
    # `savefig` would find it again, twice for each format.
    figure.set_layout_engine("none")


def save(figure: Figure, outputs: Iterable[Path | str]) -> None:
    """Write a figure to each output in the format of its suffix, whole or not at all; close it."""
    settle(figure)
    for output in map(Path, outputs):
        with whole_file(output) as partial:
            _print(figure, partial, output.suffix)
    plt.close(figure)
