"""Dynamics with the real potential: restarts are exact there too, and energy is conserved."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest

from vitrion.commands import md
from vitrion.structure.packing import random_packing
from vitrion.trajectory.h5md import read_checkpoint, read_samples

COUNTS = {"Li": 4, "Al": 4, "Cl": 10, "O": 3}


@pytest.fixture(scope="module")
def packing(tmp_path_factory):
    path = tmp_path_factory.mktemp("packing") / "packing.extxyz"
    ase.io.write(path, random_packing(COUNTS, 560.0, seed=2))
    return path


def simulate(structure, out, steps, *options):
    import argparse

    parser = argparse.ArgumentParser()
    md.add_arguments(parser)
    fixed = ["--model=0.3.0", "--temperature-K=900", "--frame-interval-ps=0.002", "--threads=1"]
    common = [str(structure), f"--out={out}", f"--steps={steps}", "--timestep-fs=1", *fixed]
    md.run(parser.parse_args([*common, *options]))


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_resumed_is_the_same_trajectory(tmp_path, packing, ensemble):
    """Candidate lists are as old as the process; the trajectory must not depend on that."""
    simulate(packing, tmp_path / "whole.h5", 40, f"--ensemble={ensemble}")
    for steps in (3, 13, 27, 40):
        resume = ["--resume"] if steps > 3 else []
        simulate(packing, tmp_path / "parts.h5", steps, f"--ensemble={ensemble}", *resume)
    whole, parts = (read_checkpoint(tmp_path / f"{n}.h5")[0] for n in ("whole", "parts"))
    assert whole.fingerprint() == parts.fingerprint()
    frames = [read_samples(tmp_path / f"{name}.h5").positions_A for name in ("whole", "parts")]
    np.testing.assert_array_equal(*frames)


def test_energy_is_conserved(tmp_path, packing):
    """NVE of a hot melt: the total energy stays while kinetic and potential energy exchange."""
    simulate(packing, tmp_path / "nve.h5", 100, "--ensemble=nve")
    samples = read_samples(tmp_path / "nve.h5")
    exchanged = np.ptp(samples.energy_eV)
    assert exchanged > 1.0
    assert np.ptp(samples.conserved_eV) < 0.01 * exchanged
