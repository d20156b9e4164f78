"""Fine-tuning of CHGNet on labelled frames, and the proof that it got better."""

from vitrion.training.evaluate import evaluate
from vitrion.training.finetune import finetune, start_model
from vitrion.training.models import baseline, compared_models, resolve_model, use_model
from vitrion.training.splits import prepare_splits, with_data
from vitrion.training.validation import measure_stability, validate_model

__all__ = [
    "baseline",
    "compared_models",
    "evaluate",
    "finetune",
    "measure_stability",
    "prepare_splits",
    "resolve_model",
    "start_model",
    "use_model",
    "validate_model",
    "with_data",
]
