"""Figures and the report of a campaign, made from its tables alone."""

from vitrion.report.campaign import CampaignTables
from vitrion.report.figures import plot_figure, plot_figures
from vitrion.report.page import build_report

__all__ = ["CampaignTables", "build_report", "plot_figure", "plot_figures"]
