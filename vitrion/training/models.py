"""Models taken as they are: the start model, the shipped one, or a user's file."""

from __future__ import annotations

from pathlib import Path

from vitrion.config import Finetune
from vitrion.potential.weights import load_model, model_hash, read_card, save_model


def resolve_model(model: str, start: str = "0.3.0") -> str:
    """The name that `load_model` takes for a name of the configuration.

    Args:
        model: `pretrained`, or a name or file for `load_model`.
        start: what `pretrained` stands for.
    """
    return start if model == "pretrained" else model


def use_model(settings: Finetune, path: Path | str) -> None:
    """Check the model that `finetune.model` names and copy it, with its card where it has one.

    Args:
        settings: the `finetune` section of the configuration; its model is not `train`.
        path: .safetensors file to write; the card gets the same stem.

    Raises:
        InputError: no such model, or a damaged one.
    """
    name = resolve_model(settings.model, settings.start)
    model = load_model(name)
    card = {**read_card(name), "taken_from": settings.model, "model_hash": model_hash(model)}
    save_model(model, path, card)
