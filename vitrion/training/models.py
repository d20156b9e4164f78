"""Models taken as they are: the start model, the one that is shipped, or a user's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitrion.config import Finetune
from vitrion.potential.weights import load_model, model_hash, save_model

SHIPPED_MODEL = Path(__file__).parents[2] / "resources" / "models" / "vitrion.safetensors"


def resolve_model(model: str, start: str = "0.3.0") -> str:
    """The name that `load_model` takes for a name of the configuration.

    Args:
        model: `pretrained`, `shipped`, or what `load_model` takes.
        start: what `pretrained` stands for.
    """
    return {"pretrained": start, "shipped": str(SHIPPED_MODEL)}.get(model, model)


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


def read_card(model: str) -> dict[str, Any]:
    """The card of a model; empty where there is none."""
    path = Path(model).with_suffix(".json")
    return json.loads(path.read_text()) if path.is_file() else {}
