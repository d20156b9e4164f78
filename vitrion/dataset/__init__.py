"""DFT data: sample frames, label them, import others, check, align and split."""

from __future__ import annotations

from vitrion.dataset.label import label_frame, label_frames
from vitrion.dataset.prepare import prepare_dataset
from vitrion.dataset.read import read_frames
from vitrion.dataset.sample import sample_frames

__all__ = ["label_frame", "label_frames", "prepare_dataset", "read_frames", "sample_frames"]
