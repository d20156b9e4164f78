"""Frames of the shipped model's training set, against forgetting.

A model that is fine-tuned on a few frames forgets what it knew of others. So frames that it knew
are trained beside them, with the start model's own energies, forces and stresses as labels, which
need no DFT and belong to its energy zero (Li and Hoiem, IEEE TPAMI 40, 2935, 2018).
"""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from vitrion.config import Finetune
from vitrion.dataset.frame import read_frames
from vitrion.potential import CHGNetPotential, load_model
from vitrion.potential.weights import PUBLISHED


def replay_file() -> Traversable:
    """The frames that come with the package; resources/models/make_replay.py chose them."""
    return importlib.resources.files("vitrion") / "data" / "replay.extxyz.xz"


def is_replaying(settings: Finetune) -> bool:
    """Whether a training replays frames: published start models have not learned from them."""
    return settings.replay > 0 and settings.start not in PUBLISHED


def replay_frames(settings: Finetune, device: str) -> list[Atoms]:
    """The frames with labels of the start model; none where a training replays none.

    Args:
        settings: the `finetune` section of the configuration.
        device: cpu, cuda or auto.
    """
    if not is_replaying(settings):
        return []
    with importlib.resources.as_file(replay_file()) as path:
        frames = read_frames(path)
    model = load_model(settings.start)
    potentials: dict[bytes, CHGNetPotential] = {}
    for atoms in frames:
        system = atoms.numbers.tobytes()
        if system not in potentials:
            potentials[system] = CHGNetPotential(model, atoms.numbers, device=device)
        found = potentials[system].compute(atoms.positions, atoms.cell.array, stress=True)
        assert found.stress_eV_A3 is not None
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=found.energy_eV,
            forces=found.forces_eV_A,
            stress=full_3x3_to_voigt_6_stress(found.stress_eV_A3),
        )
    return frames
