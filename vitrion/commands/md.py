"""Molecular dynamics of one structure with the campaign's engine, written as an H5MD trajectory.

A run that was killed, or stopped by a signal, continues with --resume and gives the same trajectory
as an undisturbed one; so does a finished one that is given more --steps.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

from vitrion.commands import add_configfile, add_device, check_device, output_file

HELP = "run molecular dynamics of a structure"
EXAMPLE = (
    "vitrion md glass.extxyz --model pretrained --ensemble nvt --temperature-K 600 "
    "--steps 5000 --timestep-fs 2 --out md.h5"
)


# As for a campaign's temperatures and seed.
HOTTEST_K, LARGEST_SEED = 5000.0, 10**15
# Options that an ensemble has no use for.
UNUSED = {
    "nve": ("pressure_GPa", "barostat_tau_fs", "thermostat", "thermostat_tau_fs"),
    "nvt": ("pressure_GPa", "barostat_tau_fs"),
    "npt": ("thermostat",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("structure", type=Path, help="periodic structure that ASE can read")
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="pretrained (0.3.0), r2scan, shipped or a .safetensors file",
    )
    parser.add_argument(
        "--ensemble",
        required=True,
        choices=("nvt", "npt", "nve"),
        help="constant volume and temperature, pressure and temperature, or volume and energy",
    )
    parser.add_argument(
        "--temperature-K",
        type=float,
        required=True,
        metavar="T",
        help="temperature; in nve that of the first velocities",
    )
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="of the whole run")
    parser.add_argument(
        "--out", type=output_file, required=True, metavar="FILE", help="H5MD file to write"
    )
    parser.add_argument("--resume", action="store_true", help="continue FILE where it was")
    parser.add_argument("--seed", type=int, default=0, help="of velocities and noise (default: 0)")
    add_configfile(parser)
    for key, metavar in (
        ("timestep_fs", "DT"),
        ("pressure_GPa", "P"),
        ("thermostat_tau_fs", "TAU"),
        ("barostat_tau_fs", "TAU"),
    ):
        parser.add_argument(
            _option(key), type=float, metavar=metavar, help=f"default: dynamics.{key}"
        )
    parser.add_argument(
        "--thermostat", choices=("bussi", "nose_hoover"), help="default: dynamics.thermostat"
    )
    for key, metavar in (("frame_interval_ps", "DT"), ("position_precision_A", "D")):
        parser.add_argument(
            _option(key), type=float, metavar=metavar, help=f"default: production.{key}"
        )
    add_device(parser)


logger = logging.getLogger("vitrion")


def run(args: argparse.Namespace) -> None:
    """Run it."""
    from collections import Counter

    from pydantic import ValidationError

    from vitrion.base.errors import InputError
    from vitrion.base.units import U_A3_TO_G_CM3
    from vitrion.campaign.model_card import outside_training, warn_outside_training
    from vitrion.campaign.opening import check_model, open_config
    from vitrion.config import Dynamics, Section, input_error, whole_multiple
    from vitrion.dynamics import simulate
    from vitrion.dynamics.checkpoint import is_unfinished
    from vitrion.dynamics.run import BlowUp, Interrupted
    from vitrion.structure.files import read_structure
    from vitrion.training.models import resolve_model
    from vitrion.trajectory.checks import OUTSIDE_TRAINING, check_segment
    from vitrion.trajectory.h5md import read_checkpoint

    def with_options(section: Section) -> dict[str, object]:
        """The values of a section, those of the options in their place."""
        given = {key: value for key, value in vars(args).items() if value is not None}
        return {key: given.get(key, value) for key, value in section.model_dump().items()}

    check_model("--model", args.model, "pretrained")
    for key in UNUSED[args.ensemble]:
        if getattr(args, key) is not None:
            raise InputError(
                _option(key), getattr(args, key), f"has no meaning in {args.ensemble}; leave it out"
            )
    if args.resume and not (args.out.exists() or is_unfinished(args.out)):
        raise InputError(
            "--resume",
            str(args.out),
            "no such run; give the name that it began with, or no --resume",
        )
    config = open_config(args.configfile)
    values = with_options(config.dynamics)
    try:
        dynamics = Dynamics.model_validate(values)
    except ValidationError as error:
        wrong = input_error(error, values, Dynamics)
        raise InputError(_option(wrong.key), wrong.value, wrong.remedy) from None
    check_device(dynamics.device, "--device" if args.device else "dynamics.device")
    production = with_options(config.production)
    args.frame_interval_ps = production["frame_interval_ps"]
    args.position_precision_A = production["position_precision_A"]
    for name in ("temperature_K", "steps", "frame_interval_ps", "position_precision_A"):
        if not 0 < getattr(args, name) < math.inf:
            raise InputError(_option(name), getattr(args, name), "give a positive number")
    if args.temperature_K > HOTTEST_K:
        raise InputError("--temperature-K", args.temperature_K, f"give at most {HOTTEST_K:g}")
    if whole_multiple(args.frame_interval_ps, dynamics.timestep_ps) is None:
        raise InputError(
            "--frame-interval-ps",
            args.frame_interval_ps,
            f"make it a whole multiple of --timestep-fs ({dynamics.timestep_fs:g})",
        )
    if not 0 <= args.seed <= LARGEST_SEED:
        raise InputError("--seed", args.seed, f"give a number from zero to {LARGEST_SEED}")
    atoms, model = read_structure(args.structure), resolve_model(args.model, config.finetune.start)
    found = outside_training(
        model,
        Counter(map(str, atoms.symbols)),
        density_g_cm3=atoms.get_masses().sum() * U_A3_TO_G_CM3 / atoms.get_volume(),
        hottest_K=args.temperature_K,
    )
    warn_outside_training(str(args.structure), model, found)
    try:
        simulate(
            atoms,
            args.out,
            ensemble=args.ensemble,
            temperature_K=args.temperature_K,
            steps=args.steps,
            frame_interval_ps=args.frame_interval_ps,
            position_precision_A=args.position_precision_A,
            dynamics=dynamics,
            model=model,
            seed=args.seed,
            resume=args.resume,
        )
    except Interrupted:
        logger.warning("the same command with --resume continues it")
        raise
    except BlowUp as blow_up:
        raise SystemExit(f"vitrion md: {blow_up}") from None
    measured = read_checkpoint(args.out)[1].measurements
    for check in check_segment(measured, config.quench.limits):
        if check.name == OUTSIDE_TRAINING and not check.passed:
            logger.warning(
                "%.0f %% of the atoms are outside the training set of the model (more than %.0f %% "
                "are flagged); see docs/potential.md",
                100 * check.value,
                100 * check.high,
            )


def _option(name: object) -> str:
    return "--" + str(name).replace("_", "-")
