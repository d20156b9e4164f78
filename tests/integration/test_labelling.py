"""The campaign's own DFT labels: a frame is sampled, labelled by GPAW and read back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from workflow import PAPER, SMALLEST, TOY, Workflow

# Coarse and far from converged: what is tested is the path.
COARSE = """
dataset:
  sample:
    frames_per_composition: 1
    large_frames: 0
    packings_per_density: 1
    relative_densities: [0.9]
    temperatures_K: [1500.0]
    steps_per_temperature: 20
    frame_interval: 10
  label: {engine: gpaw, gpaw: {cutoff_eV: 200.0, valence_electrons: {}}}
"""


@pytest.mark.dft
@pytest.mark.skipif(not importlib.util.find_spec("gpaw"), reason="GPAW is not installed")
def test_campaign_labels_a_frame(tmp_path: Path) -> None:
    overlay = tmp_path / "coarse.yaml"
    overlay.write_text(COARSE)
    workflow = Workflow(tmp_path, PAPER, TOY, SMALLEST, overlay)
    target = "results/smallest/dataset/labelled/LiAlCl/000.extxyz"
    ended = workflow.run(target)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    atoms = read(tmp_path / target)
    assert len(atoms) == 21
    assert -8 < atoms.get_potential_energy() / 21 < 0
    # So coarse a cutoff leaves a net force, 0.55 eV/Å here; labels of 500 eV have at most 0.3.
    assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1.0
    assert np.isfinite(atoms.get_stress()).all()
    dataset = "results/smallest/dataset/train.extxyz"
    ended = workflow.run("--dry-run", dataset)
    assert "label_frame" in ended.stdout
