"""The figures of a campaign. Each is a function from the tables to a Matplotlib figure."""

from vitrion.report.figures import compositions, glass, potential, residence, structure, transport
from vitrion.report.figures.kinds import FIGURES, plot_figure, plot_figures

__all__ = [
    "FIGURES",
    "compositions",
    "glass",
    "plot_figure",
    "plot_figures",
    "potential",
    "residence",
    "structure",
    "transport",
]
