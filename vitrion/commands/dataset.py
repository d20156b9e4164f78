"""Work with DFT data: sample frames to label, check, collect, and prepare labelled ones."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from vitrion.commands import add_configfile, output_file, output_folder

HELP = "sample, check, collect and prepare DFT data"
EXAMPLE = "vitrion dataset check resources/dft"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    check = actions.add_parser(
        "check",
        help="count frames by composition, list rejected ones; exit code 0 when there is none",
    )
    check.add_argument("sources", nargs="+", metavar="PATH", help="file or folder of frames")
    check.set_defaults(action=_check)

    sample = actions.add_parser("sample", help="draw frames to label")
    sample.add_argument("names", nargs="*", metavar="COMPOSITION", help="default: all")
    sample.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    sample.set_defaults(action=_sample)

    collect = actions.add_parser("collect", help="merge labelled frames into one compressed file")
    collect.add_argument("sources", nargs="+", metavar="PATH", help="file or folder of frames")
    collect.add_argument(
        "--out",
        type=output_file,
        required=True,
        metavar="FILE",
        help="*.extxyz.xz; its frames stay in it",
    )
    collect.add_argument(
        "--decimals",
        type=int,
        default=8,
        metavar="N",
        help="digits of positions and forces; 5 halve the file (default: 8)",
    )
    collect.set_defaults(action=_collect)

    prepare = actions.add_parser("prepare", help="check, align and split for training")
    prepare.add_argument("sources", nargs="*", metavar="PATH", help="default: dataset.sources")
    prepare.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    prepare.set_defaults(action=_prepare)

    for action in (check, sample, prepare):
        add_configfile(action)


def run(args: argparse.Namespace) -> None:
    """Run the chosen action."""
    args.action(args)


def _check(args: argparse.Namespace) -> None:
    from vitrion.campaign.opening import open_campaign
    from vitrion.dataset.check import check_frames
    from vitrion.dataset.labels import STRESS_REMARKS, stress_extent
    from vitrion.dataset.levels import count_levels
    from vitrion.dataset.plausibility import compare_labels
    from vitrion.dataset.prepare import composition_name
    from vitrion.dataset.read import import_frames

    config, compositions = open_campaign(args.configfile)
    frames = [frame for source in args.sources for frame in import_frames(source)]
    check_frames(
        frames,
        max_force_eV_A=config.dataset.max_force_eV_A,
        max_energy_deviation_eV_atom=config.dataset.max_energy_deviation_eV_atom,
    )
    compare_labels(frames, config.finetune.start, config.dataset.label_slope)
    counts = Counter(composition_name(frame, compositions) or "unreadable" for frame in frames)
    for name, count in sorted(counts.items()):
        print(f"{name:12} {count:5}")
    levels = count_levels(frames)
    if len(levels) > 1:
        print(f"{len(levels)} levels of theory, each with its own energy zero:")
        for level, count in sorted(levels.items()):
            print(f"  {level}: {count} frames")
    remarks = Counter(
        (frame.source, stress_extent(frame.atoms)) for frame in frames if not frame.rejection_reason
    )
    for (source, extent), count in sorted(remarks.items()):
        if extent in STRESS_REMARKS:
            print(f"{source}: {count} frames have {STRESS_REMARKS[extent]}")
    rejected = [frame for frame in frames if frame.rejection_reason]
    for frame in rejected:
        print(f"{frame.source} frame {frame.index} ({frame.name}): {frame.rejection_reason}")
    print(f"{len(frames)} frames of {len(counts)} compositions, {len(rejected)} rejected")
    if rejected:
        sys.exit(1)


def _sample(args: argparse.Namespace) -> None:
    from vitrion.campaign.opening import choose, job_seed, open_campaign
    from vitrion.dataset.frame import write_frames
    from vitrion.dataset.sample import sample_frames

    config, compositions = open_campaign(args.configfile)
    for name in args.names or compositions:
        composition = choose(name, compositions)
        out = args.out / f"{name}.extxyz"
        if out.exists():
            print(f"kept, as it was made before: {out}")
            continue
        frames = sample_frames(
            composition,
            config.dataset.sample,
            model=config.finetune.start,
            seed=job_seed(config, "sample", name),
        )
        write_frames(out, frames)
        print(f"{len(frames)} frames in {out}")


def _collect(args: argparse.Namespace) -> None:
    from vitrion.base.errors import InputError
    from vitrion.dataset.collect import collect_frames

    if not args.out.name.endswith(".extxyz.xz"):
        raise InputError("--out", str(args.out), "end it in .extxyz.xz")
    for frame in collect_frames(args.sources, args.out, decimals=args.decimals):
        print(f"left out: {frame.source} frame {frame.index}: {frame.rejection_reason}")
    print(f"written: {args.out}")


def _prepare(args: argparse.Namespace) -> None:
    from vitrion.campaign.opening import job_seed, locate, open_campaign, unlisted_held_out
    from vitrion.dataset.held_out import check_held_out
    from vitrion.dataset.prepare import prepare_dataset

    config, compositions = open_campaign(args.configfile)
    sources = [str(locate(source)) for source in args.sources or config.dataset.sources]
    if unlisted := unlisted_held_out(config, compositions):
        check_held_out("dataset.split.held_out", unlisted, sources, compositions)
    table = prepare_dataset(
        sources,
        args.out,
        settings=config.dataset,
        model=config.finetune.start,
        seed=job_seed(config, "dataset"),
        compositions=compositions,
    )
    for frame in table[table["flags"] != ""].itertuples():
        print(f"left out: {frame.frame_id}: {frame.flags}")
    print(table["split"].value_counts().to_string(header=False))
