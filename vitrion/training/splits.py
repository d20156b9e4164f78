"""Split frames for fine-tuning and evaluation outside a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrion.campaign.opening import campaign_compositions, job_seed, locate
from vitrion.config import Config
from vitrion.dataset import prepare_dataset
from vitrion.dataset.split import SPLITS


def with_data(
    config: Config, sources: Sequence[str] | None = None, held_out: Sequence[str] | None = None
) -> Config:
    """A configuration with other labelled frames or held-out compositions, where given."""
    dataset = config.dataset
    if sources is not None:
        dataset = dataset.model_copy(update={"sources": tuple(sources)})
    if held_out is not None:
        split = dataset.split.model_copy(update={"held_out": tuple(held_out)})
        dataset = dataset.model_copy(update={"split": split})
    return config.model_copy(update={"dataset": dataset})


def prepare_splits(
    config: Config, out: Path, model: str | None = None, *, to_train: bool = True
) -> dict[str, Path]:
    """Check, align and split the labelled frames into `out`; the file of each split.

    Args:
        config: what to read, and how to split it.
        out: folder to write.
        model: potential whose energy zero the labels get; the configuration's start model if None.
        to_train: whether there must be frames to train and to validate on.
    """
    prepare_dataset(
        [str(locate(source)) for source in config.dataset.sources],
        out,
        settings=config.dataset,
        model=model or config.finetune.start,
        seed=job_seed(config, "dataset"),
        compositions=campaign_compositions(config),
        to_train=to_train,
    )
    return {split: out / f"{split}.extxyz" for split in SPLITS}
