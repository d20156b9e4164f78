"""Speed, memory and agreement beside other people's code, measured on this machine."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

from vitrion.errors import InputError

HELP = "measure the engine or the analysis beside its peers"
EXAMPLE = "vitrion bench md --atoms 21,84,1302 --json md.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `bench md` and `bench analyze`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    md = kinds.add_parser(
        "md",
        help="MD steps with our engine and with chgnet's own calculator, in turn",
        epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    md.add_argument("--atoms", default="21,84,1302", help="sizes, multiples of 21 [%(default)s]")
    md.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="[%(default)s]"
    )
    md.add_argument("--threads", type=int, help="CPU threads [torch's choice]")
    md.add_argument("--repeats", type=int, default=9, help="steps timed of each [%(default)s]")

    analyze = kinds.add_parser(
        "analyze",
        help="the transport analysis and each peer that is installed",
        epilog="example:\n  vitrion bench analyze --json analyze.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for kind in (md, analyze):
        kind.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write where asked."""
    if args.kind == "md":
        figures = _md(args)
    else:
        figures = import_module("vitrion.transport.bench").bench_analyze()
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


def _md(args: argparse.Namespace) -> list[dict[str, float]]:
    from dataclasses import asdict

    import torch

    from vitrion.potential.bench import bench_md

    try:
        sizes = [int(size) for size in args.atoms.split(",")]
    except ValueError:
        raise InputError("--atoms", args.atoms, "give whole numbers, e.g. 21,84") from None
    for key, value in (("--threads", args.threads), ("--repeats", args.repeats)):
        if value is not None and value < 1:
            raise InputError(key, value, "must be at least 1")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return [asdict(row) for row in bench_md(sizes, device=args.device, repeats=args.repeats)]
