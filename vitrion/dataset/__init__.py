"""DFT data: sample frames, label them, import others', check, align and split."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrion.dataset.label import label_frame, label_frames
    from vitrion.dataset.prepare import prepare_dataset
    from vitrion.dataset.read import import_frames
    from vitrion.dataset.sample import sample_frames

__all__ = ["import_frames", "label_frame", "label_frames", "prepare_dataset", "sample_frames"]

_MODULES = {
    "import_frames": "read",
    "label_frame": "label",
    "label_frames": "label",
    "prepare_dataset": "prepare",
    "sample_frames": "sample",
}


def __getattr__(name: str) -> object:
    """Import a function from its module when it is first asked for: labelling needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
