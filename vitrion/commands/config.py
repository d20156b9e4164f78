"""Print the whole configuration with every key commented, its JSON schema, or its reference."""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile

HELP = "print the configuration with every key commented, or its JSON schema"
EXAMPLE = "vitrion config > mine.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vitrion config`."""
    add_configfile(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--schema", action="store_true", help="print the JSON schema instead")
    form.add_argument(
        "--reference", action="store_true", help="print docs/configuration.md instead"
    )


def run(args: argparse.Namespace) -> None:
    """Print to standard output."""
    from vitrion.campaign.opening import open_config
    from vitrion.campaign.reference import config_reference
    from vitrion.config import Config
    from vitrion.config.yaml_text import config_schema, config_yaml

    if args.schema:
        text = config_schema()
    elif args.reference:
        text = config_reference()
    else:
        text = config_yaml(open_config(args.configfile) if args.configfile else Config())
    print(text, end="")
