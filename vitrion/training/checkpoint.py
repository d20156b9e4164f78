"""The state of a training run in one file, from which a killed run continues exactly.

A safetensors file holds the tensors, its header everything else as JSON. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitrion.base.files import whole_file

Tensors = Mapping[str, Tensor]


@dataclass
class TrainingState:
    """What the next epoch depends on besides the inputs.

    There is no random state: the order of the batches depends on seed and epoch alone, the learning
    rate on the number of steps.

    Attributes:
        groups: named sets of tensors (weights, their average, the best ones, the optimizer's).
        history: one row of the `learning` table per epoch, from epoch 0.
        best_epoch: epoch of the best weights.
    """

    groups: dict[str, dict[str, Tensor]]
    history: list[dict[str, float]]
    best_epoch: int


def write_checkpoint(path: Path, key: str, state: TrainingState) -> None:
    """Write a checkpoint whole or not at all, and keep the previous one as `<name>.previous`.

    Args:
        path: file to write.
        key: hash of the inputs of the run.
        state: what to keep.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in state.groups.items()
        for name, tensor in members.items()
    }
    header = {
        "key": key,
        "history": json.dumps(state.history),
        "best_epoch": str(state.best_epoch),
    }
    with whole_file(path) as partial:
        partial.write_bytes(save(tensors, metadata=header))
        if path.exists():
            path.replace(_previous(path))


def read_checkpoint(path: Path, key: str) -> TrainingState | None:
    """The newest whole checkpoint of a run with these inputs, or None when there is none."""
    for candidate in (path, _previous(path)):
        try:
            with safe_open(candidate, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("key") != key:
                    continue
                groups: dict[str, dict[str, torch.Tensor]] = {}
                for full_name in file.keys():  # noqa: SIM118 - not a mapping
                    group, name = full_name.split("/", 1)
                    groups.setdefault(group, {})[name] = file.get_tensor(full_name)
        except (OSError, SafetensorError):
            continue
        return TrainingState(groups, json.loads(header["history"]), int(header["best_epoch"]))
    return None


def remove_checkpoint(path: Path) -> None:
    """Remove a finished run's checkpoints."""
    for leftover in (path, _previous(path)):
        leftover.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")
