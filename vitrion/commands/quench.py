"""Make one glass: pack, melt, quench, anneal and check it.

Writes glass.extxyz, thermo.parquet, glass_measurements.parquet and glass_checks.parquet into DIR.
Given again after a kill, the command continues where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "melt and quench a glass"
EXAMPLE = "vitrion quench LiAlCl --model pretrained --formula-units 32 --out glass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("composition", help="a name from the table of compositions")
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="pretrained (0.3.0), r2scan, shipped or a .safetensors file",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--configfile",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="settings (quench, dynamics, compositions); a later file overlays an earlier one",
    )
    parser.add_argument("--formula-units", type=int, metavar="N", help="size of the glass")
    parser.add_argument("--seed", type=int, help="seed of the first attempt")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads")


def run(args: argparse.Namespace) -> None:
    """Make it and tell what the checks found."""
    from vitrion.base.errors import InputError
    from vitrion.base.seeds import derive_seed
    from vitrion.config import load_config, validate_config
    from vitrion.dynamics import quench_glass
    from vitrion.tables.io import read_table, write_table
    from vitrion.training.models import resolve_model
    from vitrion.trajectory.checks import check_glass

    defaults = validate_config({"campaign": "single"})
    config = load_config(*args.configfile) if args.configfile else defaults
    compositions = config.read_compositions()
    if args.composition not in compositions:
        raise InputError(
            "composition", args.composition, f"{config.compositions} has {', '.join(compositions)}"
        )
    for option in ("formula_units", "threads"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise InputError("--" + option.replace("_", "-"), value, "give one or more")
    own = {key: getattr(args, key) for key in ("device", "threads") if getattr(args, key)}
    quench_glass(
        compositions[args.composition],
        args.out,
        formula_units=args.formula_units or config.formula_units,
        settings=config.quench,
        dynamics=config.dynamics.model_copy(update=own),
        model=resolve_model(args.model),
        seed=derive_seed(config.seed, "quench") if args.seed is None else args.seed,
    )
    measurements = read_table(args.out / "glass_measurements.parquet")
    checks = check_glass(measurements, compositions[args.composition], config.quench.limits)
    write_table(args.out / "glass_checks.parquet", "glass_checks", checks, measurements.attrs)
    print(checks.to_string(index=False, na_rep="", float_format="{:.3g}".format))
