"""A step of training beside one of chgnet's own `Trainer`."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from chgnet.data.dataset import StructureData, collate_graphs
from chgnet.model import CHGNet
from chgnet.trainer.trainer import CombinedLoss
from pymatgen.io.ase import AseAtomsAdaptor

from vitrion.base.units import EV_A3_TO_GPA
from vitrion.bench.md import packed
from vitrion.config import LossWeights
from vitrion.potential import CHGNetCalculator, load_model
from vitrion.potential.engine import choose_device
from vitrion.potential.network import Network
from vitrion.training.batches import TrainingFrame, builder_for, training_frames
from vitrion.training.objective import Objective, Step, trainable

MODEL = "0.3.0"  # where trainings start
LABELS = "r2scan"  # of the frames; any other model would do

# Loss and gradients of all weights for one batch; the loss.
TrainingStep = Callable[[], float]


@dataclass(frozen=True)
class FinetuneBenchmark:
    """Median times of a step, per frame of it.

    Attributes:
        atoms: size of a frame.
        batch_size: frames of a step.
        reference_ms: by chgnet's `CHGNet.forward`, as its `Trainer` calls it.
        plain_ms, compiled_ms: ours.
        ratio: chgnet's over ours, compiled.
        compile_s: wall time of the first compiled step (seconds where the compiler has it cached).
        loss_difference: largest of ours from chgnet's, relative.
    """

    atoms: int
    batch_size: int
    reference_ms: float
    plain_ms: float
    compiled_ms: float
    ratio: float
    compile_s: float
    loss_difference: float


def bench_finetune(
    sizes: Sequence[int], *, batch_size: int = 4, repeats: int = 9, device: str = "cpu"
) -> list[FinetuneBenchmark]:
    """Measure steps on frames of the given sizes, chgnet's and ours in turn.

    Args:
        sizes: numbers of atoms, multiples of 21.
        batch_size: frames of a step.
        repeats: steps timed of each.
        device: `cpu`, `cuda` or `auto`.
    """
    return [_measure(size, batch_size, repeats, choose_device(device)) for size in sizes]


def _measure(size: int, batch_size: int, repeats: int, device: torch.device) -> FinetuneBenchmark:
    frames = [_labelled(size, seed) for seed in range(batch_size)]
    model = load_model(MODEL).to(device)
    for part in (model.composition_model, model.site_wise):
        part.requires_grad_(False)
    network = trainable(model, device)
    objective = Objective(LossWeights(), builder_for(network), batch_size)
    samples = training_frames(frames, network)
    start = time.perf_counter()
    compiled = objective.compiled(model, samples[0])
    compile_s = time.perf_counter() - start
    steps = (
        _theirs(model, frames, device),
        _ours(model, samples, objective, Network.energies_and_bond_gradients),
        _ours(model, samples, objective, compiled),
    )
    times: tuple[list[float], ...] = ([], [], [])
    losses = np.empty((repeats + 1, len(steps)))
    for k in range(repeats + 1):
        for number, (step, taken) in enumerate(zip(steps, times, strict=True)):
            model.zero_grad()
            start = time.perf_counter()
            losses[k, number] = step()
            if k > 0:  # the first warms up
                taken.append(time.perf_counter() - start)
    reference, plain, fast = (1000 / batch_size * statistics.median(taken) for taken in times)
    return FinetuneBenchmark(
        atoms=size,
        batch_size=batch_size,
        reference_ms=reference,
        plain_ms=plain,
        compiled_ms=fast,
        ratio=reference / fast,
        compile_s=compile_s,
        loss_difference=float(abs(losses / losses[:, :1] - 1).max()),
    )


def _labelled(size: int, seed: int) -> Atoms:
    """A rattled packing with another model's energy, forces and stress."""
    atoms = packed(size, seed)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = CHGNetCalculator(LABELS, device="cpu")
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
    return atoms


def _ours(
    model: CHGNet, samples: Sequence[TrainingFrame], objective: Objective, step: Step
) -> TrainingStep:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return lambda: float(objective.gradient(model, parameters, samples, step)[0]["loss"])


def _theirs(model: CHGNet, frames: Sequence[Atoms], device: torch.device) -> TrainingStep:
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = StructureData(
            [AseAtomsAdaptor.get_structure(frame) for frame in frames],
            [frame.get_potential_energy() / len(frame) for frame in frames],
            [frame.get_forces() for frame in frames],
            # In VASP's unit and sign, kbar of pressure.
            stresses=[-10 * EV_A3_TO_GPA * frame.get_stress(voigt=False) for frame in frames],
            shuffle=False,
        )
    samples = [dataset[number] for number in range(len(frames))]
    criterion = CombinedLoss(target_str="efs", criterion=LossWeights().criterion)

    def train() -> float:
        graphs, targets = collate_graphs(samples)
        targets = {
            name: [t.to(device) for t in target] if isinstance(target, list) else target.to(device)
            for name, target in targets.items()
        }
        loss = criterion(targets, model([graph.to(str(device)) for graph in graphs], task="efs"))[
            "loss"
        ]
        loss.backward()
        return float(loss)

    return train
