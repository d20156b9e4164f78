"""Which frames train, validate and test, so that no trajectory is in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vitrion.base.errors import InputError
from vitrion.base.seeds import derive_seed
from vitrion.config import Split

SPLITS = ("train", "val", "test")


def assign_splits(
    compositions: Sequence[str], trajectories: Sequence[str], *, settings: Split, seed: int
) -> list[str]:
    """Assign each frame to training, validation or test, by composition and trajectory.

    Frames of held-out compositions test. Of every other composition whole trajectories (all frames
    of one packing or one MD run) validate, as many as come nearest to the wanted share of its
    frames. A composition with a single trajectory trains.

    Args:
        compositions: composition of each frame.
        trajectories: trajectory of origin of each frame.
        settings: held-out compositions and the share that validates.
        seed: the same seed gives the same split, whatever the order of the frames.

    Returns:
        `train`, `val` or `test` for each frame.
    """
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for composition, trajectory in zip(compositions, trajectories, strict=True):
        sizes[composition][trajectory] += 1
    split: dict[tuple[str, str], str] = {}
    for composition, counts in sizes.items():
        held_out = composition in settings.held_out
        split |= {(composition, name): "test" if held_out else "train" for name in counts}
        if held_out:
            continue
        rng = np.random.default_rng(derive_seed(seed, "split", composition))
        wanted = settings.validation_fraction * sum(counts.values())
        validating = 0
        for name in rng.permutation(sorted(counts))[:-1]:
            if validating and abs(validating + counts[name] - wanted) >= abs(validating - wanted):
                continue
            split[composition, str(name)] = "val"
            validating += counts[name]
            if validating >= wanted:
                break
    return [split[key] for key in zip(compositions, trajectories, strict=True)]


def check_splits(assigned: Sequence[str], settings: Split) -> None:
    """Refuse splits without a frame to train or to validate on.

    Raises:
        InputError: names the key and the remedy.
    """
    if "train" not in assigned:
        raise InputError(
            "dataset.split.held_out", list(settings.held_out), "leaves no frame to train on"
        )
    if "val" not in assigned:
        raise InputError(
            "dataset.split.validation_fraction",
            settings.validation_fraction,
            "no composition has frames of two trajectories, so none can validate without leaking "
            "into training; bring frames of more packings or MD runs",
        )
