"""Make one glass: pack, melt, quench, anneal and check it.

Writes glass.extxyz, thermo.parquet, glass_measurements.parquet and glass_checks.parquet into DIR.
Given again after a kill, the command continues where it was. With the configuration of a campaign
it makes the glass of the campaign, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile, add_device, output_folder, with_device

HELP = "melt and quench a glass"
EXAMPLE = "vitrion quench LiAlCl --model pretrained --formula-units 32 --out glass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("composition", help="name in the table of compositions")
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="pretrained (0.3.0), r2scan, shipped or a .safetensors file",
    )
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    add_configfile(parser)
    parser.add_argument(
        "--formula-units", type=int, metavar="N", help="size of the glass (default: formula_units)"
    )
    parser.add_argument(
        "--replica",
        type=int,
        metavar="R",
        help="which of the campaign's independent glasses to make (default: 0)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the first attempt (default: the campaign's for this glass)",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Make the glass and print its checks."""
    from vitrion.base.errors import InputError
    from vitrion.campaign.model_card import outside_training, warn_outside_training
    from vitrion.campaign.opening import check_model, choose, job_seed, open_campaign
    from vitrion.dynamics import quench_glass
    from vitrion.tables.io import read_table, write_table
    from vitrion.training.models import resolve_model
    from vitrion.trajectory.checks import check_glass

    config, compositions = open_campaign(args.configfile)
    config = with_device(config, args)
    check_model("--model", args.model, "pretrained")
    composition = choose(args.composition, compositions)
    for option, least in (("formula_units", 1), ("replica", 0), ("seed", 0)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise InputError("--" + option.replace("_", "-"), value, f"give {least} or more")
    if None not in (args.seed, args.replica):
        raise InputError(
            "--seed", args.seed, f"takes the place of --replica {args.replica}; give one of the two"
        )
    if config.quench.from_library:
        raise InputError(
            "quench.from_library",
            config.quench.from_library,
            "takes glasses from there, but this command makes one; leave it out",
        )
    if (args.out / "glass_checks.parquet").exists():
        raise InputError(
            "--out", str(args.out), "has a finished glass; name another folder, or remove it"
        )
    model = resolve_model(args.model, config.finetune.start)
    counts = composition.counts(args.formula_units or config.formula_units)
    found = outside_training(model, counts, hottest_K=config.quench.melt_temperature_K)
    warn_outside_training(composition.composition, model, found)
    seed = job_seed(config, "quench", composition.composition, args.replica or 0)
    quench_glass(
        composition,
        args.out,
        formula_units=args.formula_units or config.formula_units,
        settings=config.quench,
        dynamics=config.dynamics,
        model=model,
        seed=seed if args.seed is None else args.seed,
    )
    measurements = read_table(args.out / "glass_measurements.parquet")
    checks = check_glass(measurements, composition, config.quench.limits)
    write_table(args.out / "glass_checks.parquet", "glass_checks", checks, measurements.attrs)
    print(checks.to_string(index=False, na_rep="", float_format="{:.3g}".format))
