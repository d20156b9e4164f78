"""Jobs, GPU-hours, core-hours, storage and the longest chain of a campaign, before it runs."""

from __future__ import annotations

import argparse

from vitrion.base.files import write_json
from vitrion.commands import add_configfile, check_campaign, input_folder, output_file

HELP = "costs of a campaign, before it runs"
EXAMPLE = "vitrion plan --configfile config.yaml --steps-per-s 40"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_configfile(parser)
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument(
        "--steps-per-s",
        type=float,
        metavar="S",
        help="MD steps per second of the largest glass (default: measured here)",
    )
    speed.add_argument(
        "--calibrate",
        nargs="?",
        type=float,
        const=10.0,
        default=10.0,
        metavar="SECONDS",
        help="measure them here with the real potential for SECONDS (default: 10)",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="device of the jobs (default: dynamics.device; auto means a GPU)",
    )
    parser.add_argument(
        "--against",
        type=input_folder,
        metavar="DIR",
        help="compare with the times of a run whose results/ lies in DIR (default: no comparison)",
    )
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write the plan there too (default: no)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the plan."""
    from vitrion.base.errors import InputError
    from vitrion.campaign.opening import open_campaign
    from vitrion.campaign.plan import make_plan, n_atoms

    config, compositions = open_campaign(args.configfile)
    check_campaign(config, compositions)
    steps_per_s = args.steps_per_s
    for option, value in (("--steps-per-s", steps_per_s), ("--calibrate", args.calibrate)):
        if value is not None and not value > 0:
            raise InputError(option, value, "must be greater than zero")
    if steps_per_s is None:
        from vitrion.bench.speed import measure_steps_per_s

        largest = max(compositions.values(), key=lambda item: n_atoms(item, config))
        steps_per_s = measure_steps_per_s(largest, config, seconds=args.calibrate)
    device = args.device or config.dynamics.device
    plan = make_plan(config, compositions, steps_per_s=steps_per_s, on_gpu=device != "cpu")
    if args.json:
        write_json(args.json, plan.to_dict())
    print(plan.to_text())
    if args.against:
        from vitrion.campaign.status import compare, read_status

        print("\n".join(["", *compare(plan, read_status(config, compositions, args.against))]))
    if args.steps_per_s is None:
        print(f"speed measured here in {args.calibrate:g} s; --steps-per-s gives another machine's")
