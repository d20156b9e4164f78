"""The `vitrion` command: every stage of a campaign for single use, without Snakemake."""

from __future__ import annotations

import argparse
import logging
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from vitrion import __version__, commands
from vitrion.base.errors import InputError, PotentialError


class _Parser(argparse.ArgumentParser):
    """Argument errors end like every other bad input: one message, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every module of `vitrion.commands` as a subcommand."""
    parser = _Parser(prog="vitrion", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module_info in pkgutil.iter_modules(commands.__path__):
        command = import_module(f"vitrion.commands.{module_info.name}")
        subparser = subparsers.add_parser(
            module_info.name,
            help=command.HELP,
            description=command.__doc__,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 2 for bad input, 1 when the potential failed, 130 when interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        print(f"vitrion {args.command}: {error}", file=sys.stderr)
        return 2
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        # A path that was given to write to, such as --out or --json.
        if error.filename is None:
            raise
        print(
            f"vitrion {args.command}: {error.filename}: {error.strerror}; name another path",
            file=sys.stderr,
        )
        return 2
    except PotentialError as error:
        print(f"vitrion {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
