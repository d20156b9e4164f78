"""The loss that training minimises: chgnet's, of energies, forces and stresses of a batch.

Predictions come from `vitrion.potential.network`, chgnet's equations arranged for speed. With the
step compiled and the frames shared between cores, a step takes a fraction of the time of chgnet's
trainer (`vitrion bench finetune`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import torch
from chgnet.model import CHGNet
from chgnet.trainer.trainer import CombinedLoss
from torch import Tensor

from vitrion.base.units import EV_A3_TO_GPA
from vitrion.config import LossWeights
from vitrion.potential.graph import Graph, GraphBuilder, atomic_forces, virials
from vitrion.potential.network import Network
from vitrion.training.batches import Batch, TrainingFrame, collate

logger = logging.getLogger("vitrion")

Step = Callable[[Network, Tensor, Graph, Tensor], tuple[Tensor, Tensor]]

COMPILED_TOLERANCE = 0.01  # norm of a gradient's error over the norm of the gradient


def trainable(model: CHGNet, device: torch.device) -> Network:
    """The network with the present weights of `model`, by which it can be differentiated."""
    return Network(model, device=device, dtype=torch.float32, trainable=True)


def predict(
    network: Network, batch: Batch, step: Step = Network.energies_and_bond_gradients
) -> dict[str, Tensor]:
    """Energies, forces and stresses of a batch, as `CHGNet.forward` gives them with task `efs`.

    Args:
        network: a trainable one, if the result will be differentiated.
        batch: frames with their graph.
        step: `Network.energies_and_bond_gradients`, or the same compiled.

    Returns:
        e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa, all float32. The stress is
        isotropic in frames whose label is a pressure.
    """
    graph = batch.graph
    atoms, _ = network.atoms(batch.numbers)
    energies, dE_dr = step(network, graph.vectors_A, graph, atoms)
    totals_eV = batch.reference_energy_eV.index_add(0, batch.system, energies)
    forces = atomic_forces(graph, dE_dr)
    virials_eV = virials(graph, dE_dr, batch.n_atoms)
    stresses = virials_eV * (EV_A3_TO_GPA / batch.volume_A3[:, None, None])
    # Where the label is a pressure, the prediction is one as well.
    means = stresses.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    isotropic = means * torch.eye(3, dtype=stresses.dtype, device=stresses.device)
    stresses = torch.where(batch.has_pressure_only[:, None, None], isotropic, stresses)
    return {
        "e": (totals_eV / totals_eV.new_tensor(batch.n_atoms)).float(),
        "f": forces.float(),
        "s": stresses.flatten(0, 1).float(),
    }


class Objective:
    """The loss of a model on some frames, and its gradient.

    A frame of 21 atoms is too small to be shared by several cores, so each worker takes some of the
    frames. The loss is that of all frames together; it depends on the number of workers by rounding
    alone.

    Args:
        weights: criterion, and weights of energies, forces and stresses.
        builder: builds the frames' graphs (`builder_for`), on the device of the network.
        batch_size: frames per batch. On a CPU there is one worker per frame, at most one per thread
            of PyTorch.
    """

    def __init__(self, weights: LossWeights, builder: GraphBuilder, batch_size: int) -> None:
        self.builder = builder
        threads = torch.get_num_threads()
        self.workers = min(threads, batch_size) if builder.device.type == "cpu" else 1
        self._loss, self._loss_without_stress = (
            CombinedLoss(
                target_str=target,
                criterion=weights.criterion,
                energy_loss_ratio=weights.energy,
                force_loss_ratio=weights.force,
                stress_loss_ratio=weights.stress,
            )
            for target in ("efs", "ef")
        )
        self._pool = ThreadPoolExecutor(
            self.workers,
            initializer=torch.set_num_threads,
            initargs=(threads // self.workers,),
        )

    def __call__(
        self,
        model: CHGNet,
        frames: Sequence[TrainingFrame],
        step: Step = Network.energies_and_bond_gradients,
    ) -> dict[str, Tensor]:
        """Loss, and mean absolute errors with their counts, as chgnet's `CombinedLoss` has them."""
        with torch.no_grad():
            targets, found = self._predictions(model, frames, step)
            return self._evaluate(_joined(targets), _joined(found))

    def gradient(
        self,
        model: CHGNet,
        parameters: Sequence[Tensor],
        frames: Sequence[TrainingFrame],
        step: Step = Network.energies_and_bond_gradients,
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        """The same, and the gradient of the loss by each parameter; None where it has none."""
        targets, found = self._predictions(model, frames, step)
        # The loss is of all frames, and its gradient by their predictions is computed at once. From
        # there each worker backpropagates through its own share.
        joined = {name: whole.detach().requires_grad_() for name, whole in _joined(found).items()}
        outcome = self._evaluate(_joined(targets), joined)
        grads = torch.autograd.grad(outcome["loss"], list(joined.values()), materialize_grads=True)
        pieces = [
            grad.split([len(share[name]) for share in found])
            for name, grad in zip(joined, grads, strict=True)
        ]
        grad_outputs = list(zip(*pieces, strict=True))

        def backpropagate(
            share: Mapping[str, Tensor], grad_output: Sequence[Tensor]
        ) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(
                list(share.values()), parameters, grad_output, allow_unused=True
            )

        by_share = list(self._pool.map(backpropagate, found, grad_outputs))
        return outcome, [_sum(parts) for parts in zip(*by_share, strict=True)]

    def compiled(self, model: CHGNet, frame: TrainingFrame) -> Step:
        """The compiled step if it has the gradients of the plain one, else the plain one.

        torch 2.13's compiler got some gradients wrong. The step is compiled for the size of
        `frame` and works for others as well. Give the same frame after a restart, so that a resumed
        training has the same bits.
        """
        plain = Network.energies_and_bond_gradients
        # With C++ wrappers compiled kernels release Python's lock, so that workers run in parallel.
        options: dict[str, Any] | None = {"cpp_wrapper": True} if self.workers > 1 else None
        compiled = torch.compile(plain, dynamic=True, fullgraph=True, options=options)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        logger.info("fine-tune: compiling, %s", "three minutes" if options else "about a minute")
        try:
            # A single frame goes to one worker, which compiles with a worker's number of threads.
            (_, expected), (_, found) = (
                self.gradient(model, [p for _, p in trained], [frame], step)
                for step in (plain, compiled)
            )
        except Exception as error:  # compilers raise anything
            logger.warning("training is not compiled and takes longer: %s", error)
            return plain
        for (name, _), a, b in zip(trained, expected, found, strict=True):
            if a is not None and (b is None or (a - b).norm() > COMPILED_TOLERANCE * a.norm()):
                logger.warning(
                    "training is not compiled: the compiler's gradient of %s is wrong", name
                )
                return plain
        return compiled

    def _predictions(
        self, model: CHGNet, frames: Sequence[TrainingFrame], step: Step
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Targets and predictions of each worker's share."""
        differentiable = torch.is_grad_enabled()  # which is set per thread

        def of_share(share: Sequence[TrainingFrame]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            with torch.set_grad_enabled(differentiable):
                batch = collate(share, self.builder)
                return batch.targets, predict(trainable(model, self.builder.device), batch, step)

        shares = [frames[first :: self.workers] for first in range(min(self.workers, len(frames)))]
        targets, found = zip(*self._pool.map(of_share, shares), strict=True)
        return list(targets), list(found)

    def _evaluate(
        self, targets: Mapping[str, Tensor], found: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        # chgnet has one tensor per frame here, which it concatenates.
        as_lists = [{**part, "f": [part["f"]], "s": [part["s"]]} for part in (targets, found)]
        # It leaves out stresses that are NaN, and would take the mean of none if all of them are.
        if targets["s"].isnan().all():
            outcome = self._loss_without_stress(as_lists[0], as_lists[1])
            return {**outcome, "s_MAE": targets["s"].new_zeros(()), "s_MAE_size": 0}
        return self._loss(as_lists[0], as_lists[1])


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Sum of the gradients that there are; None where there is none."""
    present = [part for part in parts if part is not None]
    return reduce(torch.add, present) if present else None


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in "efs"}
