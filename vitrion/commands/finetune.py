"""Fine-tune CHGNet on labelled frames: check and split them, train, and evaluate the outcome.

Writes into DIR the split frames (dataset/), the weights and their card (model.safetensors,
model.json), learning.parquet and the evaluation (model_metrics.parquet, parity.parquet, ...). A run
that was killed goes on where it was when the command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "fine-tune CHGNet on labelled frames"
EXAMPLE = "vitrion finetune --dataset resources/dft --held-out NaGaCl KInI --out my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--configfile",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="settings (dataset, finetune, seed); a later file overlays an earlier one",
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        metavar="PATH",
        help="files or folders of labelled frames (default: dataset.sources)",
    )
    parser.add_argument(
        "--held-out",
        nargs="*",
        metavar="COMPOSITION",
        help="compositions to test on (default: dataset.split.held_out)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads")


def run(args: argparse.Namespace) -> None:
    """Prepare the data, train, evaluate."""
    from vitrion.training import evaluate, finetune, prepare_splits, settings_of

    config = settings_of(args.configfile, args.dataset, args.held_out)
    frames = prepare_splits(config, args.out / "dataset")
    split = config.dataset.split.model_dump(mode="json")
    options = {"device": args.device, "threads": args.threads, "metadata": {"split": split}}
    finetune(
        frames["train"],
        frames["val"],
        args.out,
        settings=config.finetune,
        seed=config.seed,
        **options,
    )
    models = {
        "pretrained": config.finetune.start,
        "fine-tuned": str(args.out / "model.safetensors"),
    }
    evaluate(models, frames, args.out, **options)
