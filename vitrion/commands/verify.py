"""Check an archive: every checksum, and that nothing is missing or was added."""

from __future__ import annotations

import argparse
import sys

from vitrion.commands import input_folder

HELP = "check an archive made by vitrion archive"
EXAMPLE = "vitrion verify toy-archive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("archive", type=input_folder, metavar="DIR", help="the archive")
    parser.add_argument(
        "--checksum",
        metavar="SHA256",
        help="the one that vitrion archive printed (default: any)",
    )


def run(args: argparse.Namespace) -> None:
    """Print what is wrong; the exit code is then 1."""
    from vitrion.base.files import sha256
    from vitrion.campaign.archive import CHECKSUMS, verify_archive

    findings = [str(finding) for finding in verify_archive(args.archive)]
    found = sha256(args.archive / CHECKSUMS)
    if args.checksum and args.checksum != found:
        findings.append(f"changed: {CHECKSUMS} (its checksum is {found})")
    if findings:
        print("\n".join(findings))
        sys.exit(1)
    print(f"{args.archive}: all files are as they were archived; checksum {found}")
