"""Figures and the report of a campaign, made from its tables alone.

Nothing is imported here: drawing a figure (`vitrion.report.figures`) needs no torch, which the
neighbour search behind the report's 3D view (`vitrion.report.page`) imports.
"""
