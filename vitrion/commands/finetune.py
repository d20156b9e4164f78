"""Fine-tune CHGNet on labelled frames: check and split them, train, and evaluate the result.

Writes into DIR the split frames (dataset/), the weights and their card (model.safetensors,
model.json), learning.parquet and the evaluation (model_metrics.parquet, parity.parquet, ...). A run
that was killed continues where it was when the command is given again. With the configuration of a
campaign whose frames come from dataset.sources alone it makes the model of the campaign, bit for
bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile, add_device, check_labelled, output_folder, with_device

HELP = "fine-tune CHGNet on labelled frames"
EXAMPLE = "vitrion finetune --dataset resources/dft --held-out NaGaCl KInI --out my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_configfile(parser)
    parser.add_argument(
        "--dataset",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files or folders of labelled frames (default: dataset.sources)",
    )
    parser.add_argument(
        "--held-out",
        nargs="*",
        action="extend",
        metavar="COMPOSITION",
        help="compositions of the test split (default: dataset.split.held_out)",
    )
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Prepare the frames, train and evaluate."""
    from vitrion.campaign.opening import (
        campaign_compositions,
        check_model,
        job_seed,
        open_config,
    )
    from vitrion.training import (
        compared_models,
        evaluate,
        finetune,
        prepare_splits,
        with_data,
    )

    config = with_device(open_config(args.configfile), args)
    check_model("finetune.start", config.finetune.start)
    check_labelled(config, args.dataset, args.held_out)
    config = with_data(config, args.dataset, args.held_out)
    frames = prepare_splits(config, args.out / "dataset")
    device, threads = config.dynamics.device, config.dynamics.threads
    finetune(
        frames["train"],
        frames["val"],
        args.out,
        settings=config.finetune,
        seed=job_seed(config, "finetune"),
        device=device,
        threads=threads,
        metadata={"split": config.dataset.split.model_dump(mode="json")},
    )
    model = str(args.out / "model.safetensors")
    models = compared_models(config.finetune.start, **{"fine-tuned": model})
    evaluate(
        models,
        frames,
        args.out,
        compositions=campaign_compositions(config),
        device=device,
        threads=threads,
    )
