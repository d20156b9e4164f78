"""One module for each subcommand of `vitrion`.

Each has `HELP` (one line), `EXAMPLE`, `add_arguments(parser)` and `run(args)`; what is slow to
import is imported inside `run`, so that `vitrion --help` answers at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """The option of the commands that look at a campaign as Snakemake would run it."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="configuration, each laid over the one before and all over config.yaml",
    )
