"""Whether this machine can run a campaign: environment, device, disk, configuration, SLURM, DFT."""

from __future__ import annotations

import argparse
import sys

from vitrion.commands import add_configfile, add_directory

HELP = "whether this machine can run a campaign"
EXAMPLE = "vitrion doctor --configfile tests/toy/config.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_configfile(parser)
    add_directory(parser, help="where results will be written (default: here)")


def run(args: argparse.Namespace) -> None:
    """Print what is found; exit code 1 when something needed is missing."""
    from vitrion.campaign.doctor import examine

    missing = 0
    for finding in examine(args.configfile, args.directory, _kernels_compiled):
        print(finding, flush=True)
        missing += finding.verdict == "missing"
    if missing:
        print(f"{missing} things missing", file=sys.stderr)
        sys.exit(1)


def _kernels_compiled() -> bool:
    from vitrion.potential import kernels

    return kernels.available()
