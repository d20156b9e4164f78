"""Jobs of a campaign by state (done, running, failed, ...), by stage and by composition."""

from __future__ import annotations

import argparse

from vitrion.base.files import write_json
from vitrion.commands import add_configfile, add_directory, output_file

HELP = "progress of a campaign, and the time left"
EXAMPLE = "vitrion status --configfile tests/toy/config.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_configfile(parser)
    add_directory(parser)
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write the status there too (default: no)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the status."""
    from vitrion.campaign.opening import open_campaign
    from vitrion.campaign.status import read_status

    config, compositions = open_campaign(args.configfile)
    status = read_status(config, compositions, args.directory)
    if args.json:
        write_json(args.json, status.to_dict())
    print(status.to_text())
