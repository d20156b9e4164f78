"""The register of figures: every drawing function enters itself with its title."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from vitrion.report.campaign import CampaignTables
from vitrion.report.style import RC, save

# In the order of the report.
GROUPS = ("Compositions", "Transport", "Residence", "Structure", "Glasses", "Potential")
FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report: its title and group, what it shows, and how it is drawn."""

    title: str
    group: str
    caption: str
    draw: Callable[[CampaignTables], Figure]


FIGURES: dict[str, FigureKind] = {}


def figure_of(group: str) -> Callable[[str], Callable[[Callable], Callable]]:
    """A decorator that registers drawing functions of a group; captions are their docstrings."""

    def titled(title: str) -> Callable[[Callable], Callable]:
        def register(draw: Callable[[CampaignTables], Figure]) -> Callable:
            caption = " ".join(inspect.cleandoc(draw.__doc__ or "").split())
            FIGURES[draw.__name__] = FigureKind(title, group, caption, draw)
            return draw

        return register

    return titled


def plot_figure(
    name: str, results: CampaignTables | Path | str, outputs: Iterable[Path | str]
) -> None:
    """Draw a figure and write it to each output, in the format of its suffix.

    Args:
        name: key of `FIGURES`.
        results: the campaign's folder, or its tables.
        outputs: files to write (.svg, .png, .pdf).
    """
    tables = results if isinstance(results, CampaignTables) else CampaignTables(results)
    with plt.rc_context(RC):
        save(FIGURES[name].draw(tables), outputs)


def plot_figures(tables: CampaignTables) -> None:
    """Draw every figure of a campaign into ``report/figures``, on all cores, in every format."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_plot_all_formats, FIGURES, repeat(tables)))


def _plot_all_formats(name: str, tables: CampaignTables) -> None:
    folder = tables.results / "report/figures"
    plot_figure(name, tables, [folder / f"{name}.{suffix}" for suffix in FORMATS])
