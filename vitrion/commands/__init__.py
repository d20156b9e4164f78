"""One module for each subcommand of `vitrion`.

Each has `HELP` (one line), `EXAMPLE`, `add_arguments(parser)` and `run(args)`. Slow imports are
inside `run`, so that `vitrion --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrion.config import Config
    from vitrion.structure.compositions import Composition


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """The option of all commands that read the configuration, as Snakemake has it."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="FILE",
        help="configuration: each file is laid over the one before, and all over config.yaml",
    )


def add_directory(
    parser: argparse.ArgumentParser, help: str = "where results/ lies (default: here)"
) -> None:
    """The option of commands that look at the results of a campaign, as Snakemake has it."""
    parser.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help=help)


def check_campaign(config: Config, compositions: Mapping[str, Composition]) -> None:
    """What is refused before a campaign is planned or run: names of things that do not exist.

    Raises:
        InputError: names the key, what it names and the remedy.
    """
    from vitrion.campaign.opening import check_files, unlisted_held_out

    check_files(config)
    if unlisted := unlisted_held_out(config, compositions):
        from vitrion.dataset.held_out import check_held_out

        check_held_out("dataset.split.held_out", unlisted, config.dataset.sources, compositions)


def write_json(path: Path, value: object) -> None:
    """Write what a command found as JSON; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The options of commands that run the potential; by default the configuration's."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="default: dynamics.device"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: dynamics.threads)"
    )


def with_device(config: Config, args: argparse.Namespace) -> Config:
    """The configuration with the options of `add_device`.

    Raises:
        InputError: less than one thread.
    """
    from vitrion.base.errors import InputError

    if args.threads is not None and args.threads < 1:
        raise InputError("--threads", args.threads, "give one or more")
    given = {key: getattr(args, key) for key in ("device", "threads") if getattr(args, key)}
    dynamics = config.dynamics.model_copy(update=given)
    return config.model_copy(update={"dynamics": dynamics})
