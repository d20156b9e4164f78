"""Compare a model with labelled frames, the published model beside it.

Writes into DIR model_metrics.parquet (errors by split and composition), element_metrics.parquet,
frame_errors.parquet (the worst frames first) and parity.parquet, and prints the errors over all
compositions. The test split holds the compositions that the model was not trained on, according to
its card. Energies are compared on each model's own zero: a shift for each element, fitted on the
frames of the other splits.
"""

from __future__ import annotations

import argparse

from vitrion.commands import add_configfile, add_device, check_labelled, output_folder, with_device

HELP = "errors of a model on labelled frames"
EXAMPLE = "vitrion evaluate --model shipped --dataset resources/dft --out metrics"

EMPTY = {
    "test": "no composition of these frames was held out of the model's training; "
    "name some with --held-out, or leave --split out",
    "val": "no composition has frames of two trajectories; leave --split out",
    "train": "all compositions of these frames are held out; leave --split out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--model", required=True, help="pretrained, shipped, 0.3.0, r2scan, or a .safetensors file"
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files or folders of labelled frames (default: dataset.sources)",
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), help="only this one (default: all three)"
    )
    parser.add_argument(
        "--held-out",
        nargs="*",
        action="extend",
        metavar="COMPOSITION",
        help="compositions of the test split (default: those of the model's card, else of "
        "dataset.split.held_out)",
    )
    add_configfile(parser)
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder to write"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Split the frames and evaluate."""
    from vitrion.base.errors import InputError
    from vitrion.campaign.opening import campaign_compositions, check_model, open_config
    from vitrion.potential import read_card
    from vitrion.tables.io import read_table
    from vitrion.training import baseline, evaluate, prepare_splits, resolve_model, with_data

    config = with_device(open_config(args.configfile), args)
    check_model("--model", args.model, "pretrained")
    check_labelled(config, args.dataset, args.held_out)
    model = resolve_model(args.model, config.finetune.start)
    card = read_card(model)
    held_out = args.held_out
    if held_out is None:
        held_out = card.get("campaign", {}).get("split", {}).get("held_out")
    config = with_data(config, args.dataset, held_out)
    published = baseline(config.finetune.start)
    frames = prepare_splits(config, args.out / "dataset", model=published, to_train=False)
    if args.split is not None and not frames[args.split].stat().st_size:
        raise InputError("--split", args.split, EMPTY[args.split])
    models = {"pretrained": published}
    if args.model != "pretrained":
        models[args.model] = model
    dynamics = config.dynamics
    evaluate(
        models,
        frames,
        args.out,
        splits=None if args.split is None else [args.split],
        compositions=campaign_compositions(config),
        device=dynamics.device,
        threads=dynamics.threads,
    )
    metrics = read_table(args.out / "model_metrics.parquet")
    overall = metrics[metrics["composition"] == "all"].drop(columns="composition")
    print(overall.to_string(index=False, float_format="{:.3g}".format))
