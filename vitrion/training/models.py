"""Models taken as they are, and those that a model is compared with."""

from __future__ import annotations

from pathlib import Path

from vitrion.campaign.model_card import read_card
from vitrion.config import Finetune
from vitrion.potential.weights import (
    BASELINE,
    baseline,
    load_model,
    load_training_set,
    model_hash,
    save_model,
)


def resolve_model(model: str, start: str = BASELINE) -> str:
    """The name that `load_model` takes for a name of the configuration.

    Args:
        model: `pretrained`, or a name or file for `load_model`.
        start: the configuration's start model; `pretrained` is its `baseline`.
    """
    return baseline(start) if model == "pretrained" else model


def compared_models(start: str, **others: str) -> dict[str, str]:
    """Models to evaluate side by side, by the names that tables have for them.

    The baseline comes first, which the ratios are over, then the start model where it is another.
    """
    models = {"pretrained": baseline(start)}
    if start != models["pretrained"]:
        models["start"] = start
    return {**models, **others}


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
    save_model(model, path, card, load_training_set(name))
