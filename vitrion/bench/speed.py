"""MD steps per second of this machine, which `vitrion plan` turns into a campaign's hours."""

from __future__ import annotations

import logging
import math
import time

import torch
from ase import Atoms
from chgnet.model import CHGNet

from vitrion.base.progress import Progress
from vitrion.config import Config
from vitrion.dynamics.integrators import BussiNVT, advance
from vitrion.dynamics.quench import relax
from vitrion.potential import CHGNetPotential
from vitrion.potential.engine import choose_device
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import random_packing
from vitrion.training import resolve_model, start_model
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion")

PACKED_ATOMS = 42  # of the packing that is repeated, or the least above it
# On a CPU the time of a step is proportional to the number of atoms from a few hundred on, within
# 10 % up to 1302 (benchmarks/md.md): more are not measured. A GPU is filled by some thousands only.
MOST_CPU_ATOMS = 336


def measure_steps_per_s(
    composition: Composition, config: Config, *, seconds: float = 10.0
) -> float:
    """MD steps per second of this machine for a glass of the campaign's size, from real steps.

    A small packing is relaxed and repeated to that size, on a CPU to `MOST_CPU_ATOMS`; the rate is
    scaled in proportion to the number of atoms.

    Args:
        composition: what to pack.
        config: the campaign; its device, threads, time step and model are used.
        seconds: how long to step, the first quarter of it as a warm-up.
    """
    torch.set_num_threads(config.dynamics.threads)
    device = choose_device(config.dynamics.device)
    # A training changes the weights, which do not change the cost of a step.
    choice = config.finetune
    model = (
        start_model(choice)
        if choice.model == "train"
        else resolve_model(choice.model, choice.start)
    )
    wanted = sum(composition.counts(config.formula_units).values())
    most = MOST_CPU_ATOMS if device.type == "cpu" else wanted
    logger.info("measuring MD steps for %g s, after packing and relaxing some atoms", seconds)
    atoms = _repeated_packing(composition, config, min(wanted, most), model)
    potential = CHGNetPotential(model, atoms.numbers, device=device.type)
    temperature_K = float(max(config.temperatures_K))
    state = State.from_atoms(atoms, temperature_K=temperature_K, seed=config.seed)
    integrator = BussiNVT(config.dynamics.timestep_ps, 0.1)

    def evaluate(state: State):
        return potential.compute(state.positions_A, state.cell_A)

    forces = evaluate(state)
    steps, begin, last_s = 0, time.monotonic(), 0.0
    with Progress(math.ceil(seconds), f"step of {len(atoms)} atoms", unit="s") as progress:
        while (elapsed_s := time.monotonic() - begin) < seconds or steps == 0:
            if elapsed_s < seconds / 4:  # warms up
                steps, first_s = 0, elapsed_s
            state, forces = advance(integrator, state, forces, evaluate, temperature_K)
            steps += 1
            progress.update(int(elapsed_s) - int(last_s))
            last_s = elapsed_s
    return steps / (elapsed_s - first_s) * len(atoms) / wanted


def _repeated_packing(
    composition: Composition, config: Config, n_atoms: int, model: CHGNet | str
) -> Atoms:
    """A relaxed packing of some `PACKED_ATOMS`, repeated along one edge to at least `n_atoms`."""
    smallest = composition.smallest_cell
    each = sum(composition.counts(smallest).values())
    units = smallest * math.ceil(min(PACKED_ATOMS, n_atoms) / each)
    density = config.quench.packing_density * composition.density_guess_g_cm3
    volume_A3 = composition.volume_A3(units, density)
    atoms = random_packing(composition.counts(units), volume_A3, config.seed)
    relax(atoms, CHGNetPotential(model, atoms.numbers, device="cpu"))
    return atoms.repeat((math.ceil(n_atoms / len(atoms)), 1, 1))
