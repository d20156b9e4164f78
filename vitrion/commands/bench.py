"""Speed, memory and agreement beside other people's code, measured on this machine."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.base.files import json_text, write_json
from vitrion.commands import check_device, output_file

HELP = "measure the engine or the analysis beside its peers"
EXAMPLE = "vitrion bench md --atoms 21,84,1302 --json md.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `bench md`, `bench finetune`, `bench analyze` and `bench crystals`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    md = kinds.add_parser(
        "md",
        help="MD steps with our engine and with chgnet's own calculator, alternating",
        epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    md.add_argument(
        "--precision",
        action="store_true",
        help="instead of speed, the errors of single precision, ours and chgnet's",
    )
    md.add_argument(
        "--model",
        default="shipped,0.3.0",
        help="shipped, 0.3.0, r2scan or .safetensors files (default: %(default)s)",
    )
    md.add_argument(
        "--replicas",
        type=int,
        default=1,
        help="systems of each size that step together (default: 1)",
    )

    finetune = kinds.add_parser(
        "finetune",
        help="steps of training with our equations and with chgnet's own, in turn",
        epilog="example:\n  vitrion bench finetune --threads 1 --json finetune.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    finetune.add_argument("--batch-size", type=int, default=4, help="frames of a step (default: 4)")

    for kind, sizes in ((md, "21,84,1302"), (finetune, "21")):
        kind.add_argument(
            "--atoms", default=sizes, help="sizes, multiples of 21 (default: %(default)s)"
        )
        kind.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: %(default)s"
        )
        kind.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
        kind.add_argument("--repeats", type=int, default=9, help="steps timed of each (default: 9)")

    analyze = kinds.add_parser(
        "analyze",
        help="the transport analysis and each peer that is installed",
        epilog="example:\n  vitrion bench analyze --json analyze.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    analyze.add_argument(
        "--frames",
        default="20000",
        help="lengths, e.g. 20000,100000,1000000 (default: %(default)s)",
    )
    analyze.add_argument(
        "--formula-units",
        type=int,
        default=248,
        help="size of the glass (default: 248, 1302 atoms)",
    )
    analyze.add_argument("--without-peers", action="store_true", help="run our own code only")

    crystals = kinds.add_parser(
        "crystals",
        help="density, bulk modulus and pressure of crystals, beside experiment",
        epilog="example:\n  vitrion bench crystals --model shipped --json crystals.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    crystals.add_argument(
        "--model", default="shipped", help="a model's name or file (default: %(default)s)"
    )
    crystals.add_argument(
        "--crystals",
        type=Path,
        default=Path("resources/crystals/crystals.extxyz"),
        metavar="FILE",
        help="extxyz whose frames have name and density_g_cm3 (default: %(default)s)",
    )
    crystals.add_argument(
        "--temperature-K",
        type=float,
        metavar="T",
        help="also the density of a run at T and zero pressure (default: none)",
    )
    crystals.add_argument(
        "--length-ps",
        type=float,
        metavar="L",
        help="length of that run (default: 10)",
    )
    crystals.add_argument("--without-peers", action="store_true", help="leave out 0.3.0 and r2scan")
    crystals.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: %(default)s"
    )
    for kind in (md, finetune, analyze, crystals):
        kind.add_argument(
            "--json",
            type=output_file,
            metavar="FILE",
            help="write the figures there too (default: print only)",
        )


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write where asked."""
    check_device(getattr(args, "device", "cpu"))
    figures = {
        "md": _md,
        "finetune": _finetune,
        "analyze": _analyze,
        "crystals": _crystals,
    }[args.kind](args)
    print(json_text(figures), end="")
    if args.json is not None:
        write_json(args.json, figures)


def _whole_numbers(option: str, text: str, example: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(option, text, f"give whole numbers, e.g. {example}") from None


def _analyze(args: argparse.Namespace) -> list[dict[str, object]]:
    from vitrion.bench.analysis import bench_analyze

    frames = _whole_numbers("--frames", args.frames, "20000,100000")
    if min(frames) < 100:
        raise InputError("--frames", args.frames, "give at least 100")
    if args.formula_units < 4 or args.formula_units % 4:
        raise InputError("--formula-units", args.formula_units, "give a multiple of 4")
    return bench_analyze(frames, formula_units=args.formula_units, peers=not args.without_peers)


def _crystals(args: argparse.Namespace) -> list[dict[str, object]]:
    from dataclasses import asdict

    from vitrion.bench.crystals import SHORTEST_PS, bench_crystals, read_crystals

    for name in ("temperature_K", "length_ps"):
        value = getattr(args, name)
        if value is not None and not 0 < value < inf:
            raise InputError(f"--{name.replace('_', '-')}", value, "give a positive number")
    if args.length_ps is not None and args.length_ps < SHORTEST_PS:
        raise InputError("--length-ps", args.length_ps, f"give {SHORTEST_PS:g} or more")
    if args.length_ps is not None and args.temperature_K is None:
        raise InputError("--length-ps", args.length_ps, "has no meaning without --temperature-K")
    crystals = read_crystals(args.crystals)
    peers = [] if args.without_peers else ["0.3.0", "r2scan"]
    models = [args.model, *(peer for peer in peers if peer != args.model)]
    found = bench_crystals(
        crystals,
        models,
        device=args.device,
        temperature_K=args.temperature_K,
        length_ps=args.length_ps or 10.0,
    )
    return [asdict(row) for row in found]


def _sizes(args: argparse.Namespace, *counts: str) -> list[int]:
    """The sizes; checks the other numbers and sets the threads."""
    import torch

    from vitrion.bench.md import check_sizes

    sizes = _whole_numbers("--atoms", args.atoms, "21,84")
    check_sizes(sizes)
    for name in ("threads", "repeats", *counts):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}", value, "must be at least 1")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return sizes


def _md(args: argparse.Namespace) -> list[dict[str, object]]:
    from dataclasses import asdict

    from vitrion.bench.md import bench_md, bench_precision

    sizes = _sizes(args, "replicas")
    models = args.model.split(",")
    if args.precision:
        rows = bench_precision(sizes, model=models[0], device=args.device)
        return [asdict(row) for row in rows]
    speeds = bench_md(
        sizes, models=models, device=args.device, repeats=args.repeats, replicas=args.replicas
    )
    return [asdict(row) for row in speeds]


def _finetune(args: argparse.Namespace) -> list[dict[str, object]]:
    from dataclasses import asdict

    from vitrion.bench.finetune import bench_finetune

    rows = bench_finetune(
        _sizes(args, "batch_size"),
        batch_size=args.batch_size,
        repeats=args.repeats,
        device=args.device,
    )
    return [asdict(row) for row in rows]
