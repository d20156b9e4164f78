"""Model cards: what a model was trained on, and what lies outside it. Imports no model."""

from __future__ import annotations

import importlib.resources
import logging
import math
import os
from collections.abc import Collection, Mapping
from functools import reduce
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vitrion.base.files import read_json

logger = logging.getLogger("vitrion")

# Shares of elements are told apart from here on.
SHARE_TOLERANCE = 0.005
DENSITY_TOLERANCE, TEMPERATURE_TOLERANCE = 0.02, 0.01  # relative


def shipped_file(suffix: str) -> Traversable:
    """A file of the shipped model: `.safetensors` or `.json`."""
    return importlib.resources.files("vitrion") / "data" / f"vitrion{suffix}"


def read_card(model: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a name or file that `load_model` takes; empty where there is none."""
    name = os.fspath(model)
    card = shipped_file(".json") if name == "shipped" else Path(name).with_suffix(".json")
    return read_json(card, "model card") if card.is_file() else {}


def reduced_formula(counts: Mapping[str, int]) -> str:
    """A composition in smallest whole numbers, its elements in alphabetical order."""
    divisor = reduce(math.gcd, counts.values())
    return "".join(f"{element}{counts[element] // divisor}" for element in sorted(counts))


def trained_compositions(model: str | os.PathLike[str]) -> set[str]:
    """Reduced formulas that a model was trained on, or a model that it started from, by cards."""
    found: set[str] = set()
    name, seen = os.fspath(model), set[str]()
    while name and name not in seen and (card := read_card(name)):
        found |= (card.get("trained_on") or {}).get("compositions", {}).keys()
        seen.add(name)
        name = card.get("start_model", "")
    return found


def outside_training(
    model: str | os.PathLike[str],
    counts: Mapping[str, int],
    *,
    density_g_cm3: float | None = None,
    hottest_K: float | None = None,
) -> list[str]:
    """In what a system leaves the training set of a model, by its card.

    Models without such a card (CHGNet's own) are taken for universal.

    Args:
        model: a name or file that `load_model` takes.
        counts: atoms of each element.
        density_g_cm3: of the system, where it is known.
        hottest_K: highest temperature of the run, where it is known.
    """
    trained = read_card(model).get("trained_on")
    if not trained:
        return []
    found = []
    total = sum(counts.values())
    unknown = sorted(set(counts) - set(trained["elements"]))
    if unknown:
        found.append(f"no training frame has {', '.join(unknown)}")
    for element, (low, high) in sorted(trained["elements"].items()):
        share = counts.get(element, 0) / total
        if not low - SHARE_TOLERANCE <= share <= high + SHARE_TOLERANCE:
            found.append(
                f"{share:.0%} of its atoms are {element}, of training frames' {low:.0%} to "
                f"{high:.0%}"
            )
    known = trained["compositions"].get(reduced_formula(counts))
    if known is not None and density_g_cm3 is not None:
        low, high = known["density_g_cm3"]
        if not low * (1 - DENSITY_TOLERANCE) <= density_g_cm3 <= high * (1 + DENSITY_TOLERANCE):
            found.append(
                f"its density is {density_g_cm3:.3g} g/cm³, of training frames {low:.3g} to "
                f"{high:.3g}"
            )
    temperatures_K = trained.get("temperature_K")
    if hottest_K is not None and temperatures_K is not None:
        highest_K = temperatures_K[1]
        if hottest_K > highest_K * (1 + TEMPERATURE_TOLERANCE):
            found.append(f"{hottest_K:g} K is hotter than training frames ({highest_K:g} K)")
    return found


def warn_outside_training(system: str, model: str, found: Collection[str]) -> None:
    """Warn of a system that leaves the training set of a model, with what was found of it."""
    if found:
        logger.warning(
            "%s: outside the training set of the model %s (%s). Results may be wrong without a "
            "sign; use the model pretrained (CHGNet 0.3.0), or train one (finetune.model: train, "
            "docs/potential.md)",
            system,
            model,
            "; ".join(found),
        )
