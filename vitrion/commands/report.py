"""Draw all figures and write the report of a finished campaign again, from its tables alone."""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile, add_directory

HELP = "figures and report of a campaign, from its tables alone"
EXAMPLE = "vitrion report --configfile tests/toy/config.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_configfile(parser)
    add_directory(parser)


def run(args: argparse.Namespace) -> None:
    """Write results/<campaign>/report."""
    from vitrion.campaign import layout
    from vitrion.campaign.opening import open_campaign
    from vitrion.report.campaign_tables import CampaignTables
    from vitrion.report.figures import plot_figures
    from vitrion.report.page import build_report

    config, _ = open_campaign(args.configfile)
    results = args.directory / layout.results(config.campaign)
    rounds = config.finetune.iterate.rounds
    trained = results / (f"round-{rounds}/finetune" if rounds else "finetune")
    tables = CampaignTables(results, trained)
    # Missing tables end here with their path, not in the process of a figure.
    tables.summary("verdict")
    plot_figures(tables)
    page = results / "report/index.html"
    build_report(tables, page, config.model_dump(mode="json"))
    print(page)
