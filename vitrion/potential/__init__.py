"""CHGNet as the potential: weights, fast exact energies and forces, and an ASE calculator."""

from __future__ import annotations

from vitrion.campaign.model_card import read_card
from vitrion.potential.calculator import CHGNetCalculator
from vitrion.potential.engine import CHGNetBatch, CHGNetPotential, PotentialResult
from vitrion.potential.novelty import TrainingSet
from vitrion.potential.weights import (
    export_chgnet,
    import_chgnet,
    load_model,
    load_training_set,
    model_hash,
    save_model,
    with_angle_cutoff,
)

__all__ = [
    "CHGNetBatch",
    "CHGNetCalculator",
    "CHGNetPotential",
    "PotentialResult",
    "TrainingSet",
    "export_chgnet",
    "import_chgnet",
    "load_model",
    "load_training_set",
    "model_hash",
    "read_card",
    "save_model",
    "with_angle_cutoff",
]
