"""Molecular dynamics of one structure with the campaign's engine, written as an H5MD trajectory.

A run that was killed, or stopped by a signal, goes on with --resume and gives the same trajectory
as an undisturbed one; so does a finished one that is given more --steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "run molecular dynamics of a structure"
EXAMPLE = (
    "vitrion md glass.extxyz --model pretrained --ensemble nvt --temperature-K 600 "
    "--steps 5000 --timestep-fs 2 --out md.h5"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("structure", type=Path, help="periodic structure that ASE can read")
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="pretrained (0.3.0), r2scan, shipped or a .safetensors file",
    )
    parser.add_argument("--ensemble", required=True, choices=("nvt", "npt", "nve"))
    parser.add_argument(
        "--temperature-K",
        type=float,
        required=True,
        metavar="T",
        help="temperature; in nve that of the first velocities",
    )
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="of the whole run")
    parser.add_argument("--timestep-fs", type=float, default=2.0, metavar="DT")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="H5MD file to write"
    )
    parser.add_argument("--resume", action="store_true", help="go on with FILE where it was")
    parser.add_argument("--frame-interval-ps", type=float, default=0.1, metavar="DT")
    parser.add_argument("--position-precision-A", type=float, default=0.001, metavar="D")
    parser.add_argument("--pressure-GPa", type=float, default=0.0, metavar="P")
    parser.add_argument("--thermostat", choices=("bussi", "nose_hoover"), default="bussi")
    parser.add_argument("--thermostat-tau-fs", type=float, default=100.0, metavar="TAU")
    parser.add_argument("--barostat-tau-fs", type=float, default=1000.0, metavar="TAU")
    parser.add_argument("--seed", type=int, default=0, help="of velocities and noise")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")


def run(args: argparse.Namespace) -> None:
    """Run it."""
    from pydantic import ValidationError

    from vitrion.base.errors import InputError
    from vitrion.config import Dynamics, whole_multiple
    from vitrion.dynamics import simulate
    from vitrion.dynamics.engine import read_structure
    from vitrion.dynamics.run import BlowUp
    from vitrion.training.models import resolve_model

    settings = {key: value for key, value in vars(args).items() if key in Dynamics.model_fields}
    try:
        dynamics = Dynamics(**settings)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(_option(fault["loc"][0]), fault["input"], fault["msg"]) from None
    for name in ("temperature_K", "steps", "frame_interval_ps", "position_precision_A"):
        if not getattr(args, name) > 0:
            raise InputError(_option(name), getattr(args, name), "give a positive number")
    if whole_multiple(args.frame_interval_ps, args.timestep_fs / 1000) is None:
        raise InputError(
            "--frame-interval-ps",
            args.frame_interval_ps,
            f"make it a whole multiple of --timestep-fs ({args.timestep_fs:g})",
        )
    if args.seed < 0:
        raise InputError("--seed", args.seed, "give zero or more")
    try:
        simulate(
            read_structure(args.structure),
            args.out,
            ensemble=args.ensemble,
            temperature_K=args.temperature_K,
            steps=args.steps,
            frame_interval_ps=args.frame_interval_ps,
            position_precision_A=args.position_precision_A,
            dynamics=dynamics,
            model=resolve_model(args.model),
            seed=args.seed,
            resume=args.resume,
        )
    except BlowUp as blow_up:
        raise SystemExit(f"vitrion md: {blow_up}") from None


def _option(name: object) -> str:
    return "--" + str(name).replace("_", "-")
