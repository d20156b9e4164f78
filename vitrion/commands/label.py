"""Label frames with DFT: energy, forces and stress, one file per frame.

Frames that have a file in DIR already are not calculated again, so a run that was killed continues
where it was. Several files take turns, so that the frames labelled at any time are balanced.
Settings come from section dataset.label of the configuration.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vitrion.commands import add_configfile, output_folder

HELP = "label frames with DFT"
EXAMPLE = "vitrion label sampled/*.extxyz --engine gpaw --processes 2 --out labelled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("frames", nargs="+", type=Path, metavar="FRAMES", help="files of frames")
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    add_configfile(parser)
    parser.add_argument(
        "--engine", choices=("gpaw", "vasp", "ase"), help="default: dataset.label.engine"
    )
    parser.add_argument(
        "--gpaw-python", metavar="PATH", help="interpreter that has GPAW (default: this one)"
    )
    parser.add_argument(
        "--known",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="files or folders of labelled frames; frames of the same names are not labelled again "
        "(default: none)",
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="frames at a time (default: 1)"
    )


def run(args: argparse.Namespace) -> None:
    """Label every frame that has no file yet."""
    from vitrion.base.errors import InputError
    from vitrion.campaign.opening import open_config
    from vitrion.dataset import label_frames
    from vitrion.dataset.collect import labelled_names

    if args.processes < 1:
        raise InputError("--processes", args.processes, "at least 1")
    for path in args.frames:
        if not path.is_file():
            raise InputError("FRAMES", str(path), "no such file")
    settings = open_config(args.configfile).dataset.label
    if args.engine:
        settings = settings.model_copy(update={"engine": args.engine})
    if args.gpaw_python:
        if settings.engine != "gpaw":
            raise InputError(
                "--gpaw-python",
                args.gpaw_python,
                f"has no meaning with the engine {settings.engine}; leave it out",
            )
        gpaw = settings.gpaw.model_copy(update={"python": args.gpaw_python})
        settings = settings.model_copy(update={"gpaw": gpaw})
    labelled, failed = label_frames(
        args.frames,
        args.out,
        settings=settings,
        processes=args.processes,
        known=labelled_names(args.known),
    )
    print(f"{labelled} frames labelled, {failed} failed, in {args.out}")
    if failed and not labelled:
        raise SystemExit("vitrion label: no calculation gave a label; its reasons are above")
