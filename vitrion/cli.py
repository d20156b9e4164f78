"""The `vitrion` command: every stage of a campaign for single use, without Snakemake."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from vitrion import __version__, commands
from vitrion.base.errors import InputError, PotentialError

# Errors of the system about what was to be written.
WRONG_PATH = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """Argument errors end like every other bad input: one message, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every module of `vitrion.commands` as a subcommand."""
    parser = _Parser(
        prog="vitrion",
        description=__doc__,
        epilog=f"Documentation: {_documentation()}. `vitrion COMMAND --help` shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands.COMMANDS:
        command = import_module(f"vitrion.commands.{name}")
        subparser = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.__doc__,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _documentation() -> str:
    """Where it is: in the checkout, or in the sources that an installed copy was made from."""
    docs = Path(__file__).parents[1] / "docs"
    return str(docs) if docs.is_dir() else "README.md and docs/ of Vitrion's sources"


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
    except OSError as error:
        if not (remedy := _remedy(error)):
            raise
        print(f"vitrion {args.command}: {remedy}", file=sys.stderr)
        return 2
    except PotentialError as error:
        print(f"vitrion {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _remedy(error: OSError) -> str:
    """A message about a path or disk that cannot be written to; empty for any other error.

    HDF5 and Parquet name the error of the system in their text alone.
    """
    kinds = {
        **dict.fromkeys(WRONG_PATH, "name another path"),
        **dict.fromkeys(FULL, "free some space"),
    }
    for number, advice in kinds.items():
        reason = os.strerror(number)
        if error.errno == number or (error.errno is None and reason in str(error)):
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{reason}; {advice}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
