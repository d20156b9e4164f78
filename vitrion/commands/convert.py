"""Convert a model between Vitrion's safetensors files and chgnet's own checkpoints.

MODEL is pretrained, shipped, a .safetensors file or a chgnet checkpoint (.pth.tar), FILE either
kind of file. `chgnet.model.CHGNet.from_file` loads a checkpoint, and so does other software that
runs CHGNet. Reading a checkpoint executes no code from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vitrion.commands import output_file

HELP = "convert a model to a file that chgnet loads, and back"
EXAMPLE = "vitrion convert shipped vitrion.pth.tar"
CHECKPOINT, WEIGHTS = ".pth.tar", ".safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("model", metavar="MODEL", help="pretrained, shipped, or a file")
    parser.add_argument(
        "out", type=output_file, metavar="FILE", help=f"ends in {CHECKPOINT} or {WEIGHTS}"
    )


def run(args: argparse.Namespace) -> None:
    """Read, write, and print the hash."""
    from vitrion.base.errors import InputError
    from vitrion.potential import (
        export_chgnet,
        import_chgnet,
        load_model,
        load_training_set,
        model_hash,
        read_card,
        save_model,
    )
    from vitrion.training import resolve_model

    source = resolve_model(args.model)
    if not args.out.name.endswith((CHECKPOINT, WEIGHTS)):
        raise InputError("FILE", str(args.out), f"end it in {CHECKPOINT} or {WEIGHTS}")
    if Path(source).resolve() == args.out.resolve():
        raise InputError("FILE", str(args.out), "is the model itself; name another file")
    model = import_chgnet(source) if source.endswith(CHECKPOINT) else load_model(source)
    if args.out.name.endswith(CHECKPOINT):
        export_chgnet(model, args.out)
    else:
        card = {**read_card(source), "model_hash": model_hash(model), "converted_from": args.model}
        training_set = None if source.endswith(CHECKPOINT) else load_training_set(source)
        save_model(model, args.out, card, training_set)
    print(f"{args.out}: model {model_hash(model)}")
