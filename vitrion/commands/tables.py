"""Print what every table holds: columns, units and meaning, in Markdown."""

from __future__ import annotations

import argparse

HELP = "print the columns of every table with units and meaning"
EXAMPLE = "vitrion tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> None:
    """Print to standard output."""
    from vitrion.campaign.reference import tables_reference

    print(tables_reference(), end="")
