"""Fine-tuning of CHGNet on labelled frames, and the proof that it got better."""

from vitrion.training.adopt import adopt, resolve_model
from vitrion.training.evaluate import evaluate
from vitrion.training.finetune import finetune

__all__ = ["adopt", "evaluate", "finetune", "resolve_model"]
