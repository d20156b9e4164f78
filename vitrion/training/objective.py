"""What a training makes smaller: chgnet's loss of the energies, forces and stresses of a batch.

They come from the equations of the potential, which are chgnet's own arranged for speed. Compiled,
a step takes a quarter of the time of chgnet's (`vitrion bench finetune`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from chgnet.model import CHGNet
from chgnet.trainer.trainer import CombinedLoss
from torch import Tensor

from vitrion.config import LossWeights
from vitrion.potential import operators
from vitrion.potential.graph import Graph
from vitrion.potential.network import Network
from vitrion.training.frames import Batch
from vitrion.units import EV_A3_TO_GPA

logger = logging.getLogger("vitrion")

Step = Callable[[Network, Tensor, Graph, Tensor], tuple[Tensor, Tensor]]

COMPILED_TOLERANCE = 0.01  # of a gradient, relative to its norm


def trainable(model: CHGNet, device: torch.device) -> Network:
    """The equations with the weights of `model` as they are now."""
    return Network(model, device=device, dtype=torch.float32, operators=operators, trainable=True)


def predict(
    network: Network, batch: Batch, energies_and_pulls: Step = Network.energies_and_pulls
) -> dict[str, Tensor]:
    """Energies, forces and stresses of a batch, what `CHGNet.forward` gives with task `efs`.

    Args:
        network: trainable, where the outcome will be differentiated.
        batch: of frames.
        energies_and_pulls: `Network.energies_and_pulls`, or that compiled.

    Returns:
        e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa, all float32.
    """
    graph, frames = batch.graph, len(batch.atoms)
    atoms, _ = network.atoms(batch.numbers)
    energies, pulls = energies_and_pulls(network, graph.vectors_A, graph, atoms)
    totals_eV = batch.free_eV.index_add(0, batch.system, energies)
    forces = pulls.new_zeros((len(batch.numbers), 3))
    forces = forces.index_add(0, graph.edges.source, pulls[graph.bond] * graph.sign[:, None])
    products = graph.vectors_A[:, :, None] * pulls[:, None, :]
    virials_eV = pulls.new_zeros((frames, 3, 3)).index_add(0, batch.bond_system, products)
    stresses = virials_eV * (EV_A3_TO_GPA / batch.volume_A3[:, None, None])
    return {
        "e": (totals_eV / batch.atoms).float(),
        "f": forces.float(),
        "s": stresses.flatten(0, 1).float(),
    }


class Objective:
    """The loss of a model on a batch.

    Args:
        weights: the criterion and the weights of its parts.
        device: where the model is.
    """

    def __init__(self, weights: LossWeights, device: torch.device) -> None:
        self.device = device
        self._loss = CombinedLoss(
            target_str="efs",
            criterion=weights.criterion,
            energy_loss_ratio=weights.energy,
            force_loss_ratio=weights.force,
            stress_loss_ratio=weights.stress,
        )

    def __call__(
        self, model: CHGNet, batch: Batch, step: Step = Network.energies_and_pulls
    ) -> dict[str, Tensor]:
        """What chgnet's `CombinedLoss` says: loss, and mean absolute errors with their counts."""
        found = predict(trainable(model, self.device), batch, step)
        both = (
            {**values, "f": [values["f"]], "s": [values["s"]]} for values in (batch.targets, found)
        )
        return self._loss(*both)

    def compiled(self, model: CHGNet, batch: Batch) -> Step:
        """The compiled step, once it has the gradients of the plain one; else the plain one.

        Compilers have been wrong. Compiled for the sizes of one batch it takes others as well; so
        that a resumed training has the same bits, begin with the same batch.
        """
        plain = Network.energies_and_pulls
        compiled = torch.compile(plain, dynamic=True, fullgraph=True)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        logger.info("fine-tune: compiling, about a minute")
        try:
            wanted, found = (
                torch.autograd.grad(
                    self(model, batch, step)["loss"], [p for _, p in trained], allow_unused=True
                )
                for step in (plain, compiled)
            )
        except Exception as error:  # compilers raise whatever they like
            logger.warning("training is not compiled and takes longer: %s", error)
            return plain
        for (name, _), a, b in zip(trained, wanted, found, strict=True):
            if a is not None and (a - b).norm() > COMPILED_TOLERANCE * a.norm():
                logger.warning(
                    "training is not compiled: the compiler's gradient of %s is wrong", name
                )
                return plain
        return compiled
