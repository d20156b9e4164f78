"""One module for each subcommand of `vitrion`.

Each has `HELP` (one line), `EXAMPLE`, `add_arguments(parser)` and `run(args)`. Slow imports are
inside `run`, so that `vitrion --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrion.config import Config
    from vitrion.structure.compositions import Composition


# In the order of the workflow, as `vitrion --help` lists them.
COMMANDS = (
    "doctor", "config", "plan",
    "dataset", "label", "finetune", "evaluate", "convert",
    "quench", "md", "analyze",
    "status", "report", "archive", "verify",
    "tables", "bench",
)  # fmt: skip


def output_folder(text: str) -> Path:
    """A folder to write into: refused while the options are read, not when hours of work are done.

    Raises:
        argparse.ArgumentTypeError: it or a folder above it is a file, or cannot be written to.
    """
    path = Path(text)
    if _lowest(path) == path and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a file; name a folder")
    _check_writable(path)
    return path


def output_file(text: str) -> Path:
    """A file to write; see `output_folder`."""
    path = Path(text)
    if _lowest(path) == path and path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; name a file")
    _check_writable(path.parent)
    return path


def input_folder(text: str) -> Path:
    """A folder that is there.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{path} is a file; name a folder" if path.exists() else f"{path}: no such folder"
        )
    return path


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to."""
    there = _lowest(folder)
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file, so {folder} cannot be made")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{there} cannot be written to; name another path")


def _lowest(path: Path) -> Path:
    """The path, or the lowest one above it that exists."""
    try:
        return next(place for place in (path, *path.parents) if place.exists())
    except OSError as error:  # a name that is too long, for example
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}; name another path") from None


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """The option of all commands that read the configuration, as Snakemake has it."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="FILE",
        help="configuration: each file is laid over the one before, and all over config.yaml "
        "(default: config.yaml alone)",
    )


def add_directory(
    parser: argparse.ArgumentParser, help: str = "where results/ lies (default: here)"
) -> None:
    """The option of commands that look at the results of a campaign, as Snakemake has it."""
    parser.add_argument("--directory", type=input_folder, default=Path(), metavar="DIR", help=help)


def check_campaign(config: Config, compositions: Mapping[str, Composition]) -> None:
    """What is refused before a campaign is planned or run: names of things that do not exist.

    Raises:
        InputError: names the key, what it names and the remedy.
    """
    from vitrion.campaign.library import check_library
    from vitrion.campaign.model_card import outside_training, warn_outside_training
    from vitrion.campaign.opening import check_files, unlisted_held_out

    check_files(config)
    check_library(config, compositions)
    if config.finetune.model not in ("train", "pretrained"):
        hottest_K = max(config.quench.melt_temperature_K, *config.temperatures_K)
        outside: dict[tuple[str, ...], list[str]] = {}
        for name, composition in compositions.items():
            counts = composition.counts(config.formula_units)
            found = outside_training(config.finetune.model, counts, hottest_K=hottest_K)
            outside.setdefault(tuple(found), []).append(name)
        for found_of_all, names in outside.items():
            warn_outside_training(", ".join(names), config.finetune.model, found_of_all)
    if unlisted := unlisted_held_out(config, compositions):
        from vitrion.dataset.held_out import check_held_out

        check_held_out("dataset.split.held_out", unlisted, config.dataset.sources, compositions)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The options of commands that run the potential; by default the configuration's."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="default: dynamics.device"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: dynamics.threads)"
    )


def with_device(config: Config, args: argparse.Namespace) -> Config:
    """The configuration with the options of `add_device`.

    Raises:
        InputError: less than one thread, or a GPU where torch sees none.
    """
    from vitrion.base.errors import InputError

    if args.threads is not None and args.threads < 1:
        raise InputError("--threads", args.threads, "give one or more")
    given = {key: getattr(args, key) for key in ("device", "threads") if getattr(args, key)}
    dynamics = config.dynamics.model_copy(update=given)
    check_device(dynamics.device, "--device" if args.device else "dynamics.device")
    return config.model_copy(update={"dynamics": dynamics})


def check_device(device: str, key: str = "--device") -> None:
    """Refuse a GPU where torch sees none, before anything is read or packed.

    Raises:
        InputError: names the option or key.
    """
    from vitrion.base.errors import InputError

    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(key, device, "torch sees no GPU here; use cpu, or auto")


def check_labelled(
    config: Config, dataset: Sequence[str] | None, held_out: Sequence[str] | None
) -> None:
    """Refuse labelled frames that are not there, and held-out compositions that none of them has.

    Args:
        config: the configuration; its `dataset.sources` count where no option names others.
        dataset: the option `--dataset`.
        held_out: the option `--held-out`.

    Raises:
        InputError: names the option or key, what it names and the remedy.
    """
    from vitrion.base.errors import InputError
    from vitrion.campaign.opening import campaign_compositions, locate, unlisted_held_out

    sources = config.dataset.sources if dataset is None else dataset
    for source in sources:
        if not locate(source).exists():
            key = "dataset.sources" if dataset is None else "--dataset"
            raise InputError(
                key, source, "no such file or folder; name labelled frames with --dataset"
            )
    compositions = campaign_compositions(config)
    key, names = "--held-out", held_out
    if held_out is None:
        # Those of the paper that no frame has are the default, and no typing mistake.
        key, names = "dataset.split.held_out", unlisted_held_out(config, compositions)
    if names:
        from vitrion.dataset.held_out import check_held_out

        check_held_out(key, names, sources, compositions)
