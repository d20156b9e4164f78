"""Fine-tuning of CHGNet on labelled frames, and the proof that it got better."""

from vitrion.training.accept import accept
from vitrion.training.adopt import adopt, read_card, resolve_model
from vitrion.training.evaluate import evaluate
from vitrion.training.finetune import finetune, start_model
from vitrion.training.splits import prepare_splits, settings_of

__all__ = [
    "accept",
    "adopt",
    "evaluate",
    "finetune",
    "prepare_splits",
    "read_card",
    "resolve_model",
    "settings_of",
    "start_model",
]
