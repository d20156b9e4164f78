"""Our engine beside chgnet's own calculator: speed, memory, agreement and precision."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from chgnet.model.dynamics import CHGNetCalculator as Reference

from vitrion.base.errors import InputError, PotentialError
from vitrion.config import Dynamics
from vitrion.potential.calculator import CHGNetCalculator
from vitrion.potential.engine import CHGNetBatch, CHGNetPotential, choose_device
from vitrion.potential.weights import load_model
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import random_packing

MODELS = ("shipped", "0.3.0")
TIMESTEP_PS = Dynamics().timestep_fs / 1000
# A melt: 21 Å³ per atom, 43 neighbours within 6 Å.
GLASS = Composition(
    "LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", density_guess_g_cm3=2.0
)
# Light and heavy, for precision.
PRECISION_GLASSES = (
    GLASS,
    Composition(
        "NaGaBr", ("Na",), ("Ga",), ("Br", "O"), "NaGaBr2.5O0.75", density_guess_g_cm3=3.71
    ),
    Composition("KInI", ("K",), ("In",), ("I", "O"), "KInI2.5O0.75", density_guess_g_cm3=4.18),
)
PRECISION_SEEDS = 4
RATTLE_A = 0.25
TEMPERATURE_K = 800.0
SMALLEST_CELL = 21


@dataclass(frozen=True)
class MDBenchmark:
    """One system's figures; a step is energy, forces and stress, as chgnet's MD asks for them.

    Attributes:
        model: of both engines.
        atoms: size of the system.
        replicas: how many of them step together, as one evaluation of ours.
        steps_per_s, reference_steps_per_s: from the median time of a step, ours and chgnet's; the
            steps of all replicas are counted.
        ratio: ours over chgnet's.
        ps_per_hour, ns_per_day: of all replicas at the default time step, without the integrator.
        max_force_difference_eV_A, energy_difference_eV_atom: largest over the frames.
        peak_memory_MB, reference_peak_memory_MB: memory that the steps add to a process that has
            loaded the model, each measured in a process of its own; on a GPU, device memory.
    """

    model: str
    atoms: int
    replicas: int
    steps_per_s: float
    reference_steps_per_s: float
    ratio: float
    ps_per_hour: float
    ns_per_day: float
    max_force_difference_eV_A: float
    energy_difference_eV_atom: float
    peak_memory_MB: float
    reference_peak_memory_MB: float


@dataclass(frozen=True)
class Precision:
    """Largest errors of single precision over a few packings, against our engine in double.

    Attributes:
        composition, atoms: the system.
        energy_error_eV_atom, reference_energy_error_eV_atom: ours and chgnet's.
        force_error_eV_A, reference_force_error_eV_A: root mean square over the atoms, ours and
            chgnet's.
        largest_force_eV_A: how close the contacts are.
    """

    composition: str
    atoms: int
    energy_error_eV_atom: float
    reference_energy_error_eV_atom: float
    force_error_eV_A: float
    reference_force_error_eV_A: float
    largest_force_eV_A: float


# Energies and forces of one frame of every replica.
Evaluate = Callable[[Sequence[Atoms]], list[tuple[float, np.ndarray]]]


def bench_md(
    sizes: Sequence[int],
    *,
    models: Sequence[str] = MODELS,
    device: str = "cpu",
    repeats: int = 9,
    replicas: int = 1,
    seed: int = 1,
) -> list[MDBenchmark]:
    """Measure systems of the given sizes with each model.

    Args:
        sizes: numbers of atoms, multiples of 21 (the smallest cell of the composition).
        models: names or files for `load_model`.
        device: `cpu`, `cuda` or `auto`.
        repeats: frames of a short MD run, each evaluated by both engines in turn.
        replicas: systems of each size that step together.
        seed: of packings and velocities, of the first replica.
    """
    device = choose_device(device).type
    check_sizes(sizes)
    return [
        _measure(model, size, device, repeats, replicas, seed) for size in sizes for model in models
    ]


def bench_precision(
    sizes: Sequence[int], *, model: str = MODELS[0], device: str = "cpu"
) -> list[Precision]:
    """Errors of single precision on rattled random packings, ours and chgnet's.

    The exact answer is our engine in double precision, which the tests hold to chgnet in double
    precision within 1e-9 eV/atom.

    Args:
        sizes: numbers of atoms, multiples of 21.
        model: name or file for `load_model`.
        device: `cpu`, `cuda` or `auto`.
    """
    device = choose_device(device).type
    check_sizes(sizes)
    return [_precision(model, glass, size, device) for glass in PRECISION_GLASSES for size in sizes]


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise InputError for a size that is not a whole number of smallest cells."""
    for size in sizes:
        if size < SMALLEST_CELL or size % SMALLEST_CELL:
            raise InputError("atoms", size, f"use multiples of {SMALLEST_CELL}")


def _precision(model: str, glass: Composition, size: int, device: str) -> Precision:
    largest_force, errors = 0.0, []
    for seed in range(1, PRECISION_SEEDS + 1):
        atoms = packed(size, seed, glass)
        atoms.rattle(RATTLE_A, seed=seed)
        double = CHGNetPotential(model, atoms.numbers, device=device, dtype=torch.float64)
        exact = double.compute(atoms.positions, atoms.cell.array)
        energy, forces = exact.energy_eV, exact.forces_eV_A
        largest_force = max(largest_force, float(abs(forces).max()))
        for engine in (_ours, _theirs):
            ((single_energy, single_forces),) = engine([atoms], model, device)([atoms])
            errors.append(
                (
                    abs(single_energy - energy) / size,
                    float(np.sqrt(((single_forces - forces) ** 2).mean())),
                )
            )
    (energy, force), (reference_energy, reference_force) = (
        np.max(errors[engine::2], axis=0).tolist() for engine in (0, 1)
    )
    return Precision(
        composition=glass.composition,
        atoms=size,
        energy_error_eV_atom=energy,
        reference_energy_error_eV_atom=reference_energy,
        force_error_eV_A=force,
        reference_force_error_eV_A=reference_force,
        largest_force_eV_A=largest_force,
    )


def _measure(
    model: str, size: int, device: str, repeats: int, replicas: int, seed: int
) -> MDBenchmark:
    seeds = range(seed, seed + replicas)
    packings = [packed(size, seed) for seed in seeds]
    engines = _ours(packings, model, device), _theirs(packings, model, device)
    times: tuple[list[float], list[float]] = ([], [])
    energy_difference = force_difference = 0.0
    runs = [
        _molten_frames(packing, repeats + 1, model, device, seed)
        for packing, seed in zip(packings, seeds, strict=True)
    ]
    for k, frames in enumerate(zip(*runs, strict=True)):
        results = []
        for evaluate, taken in zip(engines, times, strict=True):
            start = time.perf_counter()
            results.append(evaluate(frames))
            if k > 0:  # the first frame warms up
                taken.append(time.perf_counter() - start)
        for (energy, forces), (reference_energy, reference_forces) in zip(*results, strict=True):
            energy_difference = max(energy_difference, abs(energy - reference_energy) / size)
            force_difference = max(force_difference, float(abs(forces - reference_forces).max()))
    rate, reference_rate = (replicas / statistics.median(taken) for taken in times)
    ps_per_hour = 3600 * rate * TIMESTEP_PS
    return MDBenchmark(
        model=model,
        atoms=size,
        replicas=replicas,
        steps_per_s=rate,
        reference_steps_per_s=reference_rate,
        ratio=rate / reference_rate,
        ps_per_hour=ps_per_hour,
        ns_per_day=24 * ps_per_hour / 1000,
        max_force_difference_eV_A=force_difference,
        energy_difference_eV_atom=energy_difference,
        peak_memory_MB=_added_memory(_ours, model, size, device, replicas),
        reference_peak_memory_MB=_added_memory(_theirs, model, size, device, replicas),
    )


def packed(size: int, seed: int, glass: Composition = GLASS) -> Atoms:
    """Ions at random places, at the composition's density guess."""
    formula_units = 4 * size // SMALLEST_CELL
    volume_A3 = glass.volume_A3(formula_units, glass.density_guess_g_cm3)
    return random_packing(glass.counts(formula_units), volume_A3, seed)


def _molten_frames(
    packing: Atoms, count: int, model: str, device: str, seed: int
) -> Iterator[Atoms]:
    """Consecutive MD frames, 2 fs apart, with our engine in an instance of its own."""
    atoms = packing.copy()
    atoms.calc = CHGNetCalculator(model, device=device)
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE_K, rng=rng)
    dynamics = VelocityVerlet(atoms, timestep=2 * units.fs)
    for _ in range(count):
        dynamics.run(1)
        yield Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def _ours(packings: Sequence[Atoms], model: str, device: str) -> Evaluate:
    numbers = [packing.numbers for packing in packings]
    batch = CHGNetBatch(model, numbers, device=device, together=True)

    def evaluate(frames: Sequence[Atoms]) -> list[tuple[float, np.ndarray]]:
        configurations = {k: (a.positions, a.cell.array) for k, a in enumerate(frames)}
        found = []
        for result in batch.compute(configurations, stress=True).values():
            if isinstance(result, PotentialError):
                raise result
            found.append((result.energy_eV, result.forces_eV_A))
        return found

    return evaluate


def _theirs(_packings: Sequence[Atoms], model: str, device: str) -> Evaluate:
    with contextlib.redirect_stdout(io.StringIO()):
        calculator = Reference(load_model(model), use_device=device)

    def evaluate(frames: Sequence[Atoms]) -> list[tuple[float, np.ndarray]]:
        found = []
        with warnings.catch_warnings():  # torch's, of chgnet's code, at every first step
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")
            for atoms in frames:
                calculator.calculate(atoms)
                found.append((float(calculator.results["energy"]), calculator.results["forces"]))
        return found

    return evaluate


def _added_memory(
    engine: Callable[..., Evaluate], model: str, size: int, device: str, replicas: int
) -> float:
    if device == "cuda":  # torch measures the peak from a reset on, in this process
        return _added_memory_MB(engine, model, size, device, replicas, torch.get_num_threads())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        arguments = engine, model, size, device, replicas, torch.get_num_threads()
        return pool.submit(_added_memory_MB, *arguments).result()


def _added_memory_MB(
    engine: Callable[..., Evaluate],
    model: str,
    size: int,
    device: str,
    replicas: int,
    threads: int,
) -> float:
    """What three steps add to the memory of this process, at their peak."""
    torch.set_num_threads(threads)
    packings = [packed(size, seed) for seed in range(1, replicas + 1)]
    evaluate = engine(packings, model, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before_MB = torch.cuda.memory_allocated() / 2**20
    else:
        before_MB = _memory_MB("VmRSS")
    for _ in range(3):
        evaluate(packings)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20 - before_MB
    return _memory_MB("VmHWM") - before_MB


def _memory_MB(which: str) -> float:
    """Memory of this process now (VmRSS) or at its peak (VmHWM), as Linux counts it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024
