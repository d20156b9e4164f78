"""MD steps per second of this machine, which `vitrion plan` turns into a campaign's hours."""

from __future__ import annotations

import time

import torch

from vitrion.config import Config
from vitrion.dynamics.integrators import BussiNVT, advance
from vitrion.dynamics.quench import relax
from vitrion.potential import CHGNetPotential
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import random_packing
from vitrion.training import resolve_model, start_model
from vitrion.trajectory.state import State


def measure_steps_per_s(
    composition: Composition, config: Config, *, seconds: float = 10.0
) -> float:
    """MD steps per second of this machine, from real steps of a packing of the campaign's size.

    Args:
        composition: what to pack.
        config: the campaign; its device, threads, time step and model are used.
        seconds: how long to measure, after a warm-up of the same steps.
    """
    torch.set_num_threads(config.dynamics.threads)
    density = config.quench.packing_density * composition.density_guess_g_cm3
    volume_A3 = composition.volume_A3(config.formula_units, density)
    atoms = random_packing(composition.counts(config.formula_units), volume_A3, config.seed)
    # A training changes the weights, which do not change the cost of a step.
    choice = config.finetune
    model = (
        start_model(choice)
        if choice.model == "train"
        else resolve_model(choice.model, choice.start)
    )
    potential = CHGNetPotential(model, atoms.numbers, device=config.dynamics.device)
    relax(atoms, potential)
    temperature_K = float(max(config.temperatures_K))
    state = State.from_atoms(atoms, temperature_K=temperature_K, seed=config.seed)
    integrator = BussiNVT(config.dynamics.timestep_fs / 1000, 0.1)

    def evaluate(state: State):
        return potential.compute(state.positions_A, state.cell_A)

    forces = evaluate(state)
    rate = 0.0
    for limit_s in (seconds / 3, seconds):  # the first round warms up
        steps, start = 0, time.monotonic()
        while (elapsed_s := time.monotonic() - start) < limit_s:
            state, forces = advance(integrator, state, forces, evaluate, temperature_K)
            steps += 1
        rate = steps / elapsed_s
    return rate
