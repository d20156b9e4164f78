"""The drawing functions of the figures that `vitrion.campaign.figures` lists.

Each is a function from the campaign's tables to a Matplotlib figure, in the module of its group and
with the figure's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from vitrion.campaign.figures import FIGURES, FORMATS
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures import compositions, glass, potential, residence, structure, transport
from vitrion.report.style import RC, save

MODULES = {
    "Compositions": compositions,
    "Transport": transport,
    "Residence": residence,
    "Structure": structure,
    "Glasses": glass,
    "Potential": potential,
}


def drawing_function(name: str) -> Callable[[CampaignTables], Figure]:
    """The function that draws a figure of `FIGURES`."""
    return getattr(MODULES[FIGURES[name].group], name)


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
        save(drawing_function(name)(tables), outputs)


def plot_figures(tables: CampaignTables) -> None:
    """Draw every figure of a campaign into ``report/figures``, on all cores, in every format."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(_plot_all_formats, FIGURES, repeat(tables)))


def _plot_all_formats(name: str, tables: CampaignTables) -> None:
    folder = tables.results / "report/figures"
    plot_figure(name, tables, [folder / f"{name}.{suffix}" for suffix in FORMATS])
