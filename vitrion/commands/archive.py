"""Copy a finished campaign into one folder that others can read and check.

It holds the tables, data set, potential and model card, glasses, report, configuration, versions,
checksums and RO-Crate metadata; trajectories only with --trajectories. A campaign that lacks files
is refused, with what it lacks. `vitrion verify` checks the folder.
"""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile, add_directory, output_folder

HELP = "copy a finished campaign into one folder with checksums and metadata"
EXAMPLE = "vitrion archive --configfile tests/toy/config.yaml --out toy-archive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_configfile(parser)
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to make"
    )
    add_directory(parser)
    parser.add_argument("--trajectories", action="store_true", help="copy the trajectories too")
    parser.add_argument(
        "--unfinished", action="store_true", help="archive what is there although files are missing"
    )
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="for the metadata (default: none); repeat it",
    )
    parser.add_argument(
        "--license",
        metavar="TEXT",
        help="of the data, as a web address (default: that none has been given)",
    )


def run(args: argparse.Namespace) -> None:
    """Archive, and print the checksum that stands for all files."""
    from vitrion.campaign.archive import NO_LICENSE, archive_campaign
    from vitrion.campaign.opening import compositions_path, open_campaign

    config, compositions = open_campaign(args.configfile)
    checksum = archive_campaign(
        config,
        compositions,
        compositions_path(config),
        args.out,
        folder=args.directory,
        trajectories=args.trajectories,
        unfinished=args.unfinished,
        authors=args.author,
        license=args.license or NO_LICENSE,
    )
    print(f"{args.out}: note the checksum of its checksums, {checksum}")
