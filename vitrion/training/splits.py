"""Settings and split frames for fine-tuning and evaluation outside a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrion.base.seeds import derive_seed
from vitrion.config import Config, load_config, validate_config
from vitrion.dataset import prepare_dataset

SPLITS = ("train", "val", "test")


def settings_of(
    configfiles: Sequence[Path],
    sources: Sequence[str] | None = None,
    held_out: Sequence[str] | None = None,
) -> Config:
    """A configuration from files (none: the defaults), with other data or held-out compositions.

    Raises:
        InputError: anything that the configuration refuses.
    """
    config = load_config(*configfiles) if configfiles else validate_config({"campaign": "single"})
    dataset = config.dataset
    if sources is not None:
        dataset = dataset.model_copy(update={"sources": tuple(sources)})
    if held_out is not None:
        split = dataset.split.model_copy(update={"held_out": tuple(held_out)})
        dataset = dataset.model_copy(update={"split": split})
    return config.model_copy(update={"dataset": dataset})


def prepare_splits(config: Config, out: Path) -> dict[str, Path]:
    """Check, align and split the labelled frames into `out`; the file of each split."""
    prepare_dataset(
        config.dataset.sources,
        out,
        settings=config.dataset,
        model=config.finetune.start,
        seed=derive_seed(config.seed, "dataset"),
        compositions=config.read_compositions(),
    )
    return {split: out / f"{split}.extxyz" for split in SPLITS}
