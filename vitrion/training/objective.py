"""What a training makes smaller: chgnet's loss of the energies, forces and stresses of a batch.

They come from the equations of the potential, which are chgnet's own arranged for speed. Compiled,
and with its frames shared between the cores, a step takes a fraction of the time of chgnet's
(`vitrion bench finetune`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from chgnet.model import CHGNet
from chgnet.trainer.trainer import CombinedLoss
from torch import Tensor

from vitrion.base.units import EV_A3_TO_GPA
from vitrion.config import LossWeights
from vitrion.potential import operators
from vitrion.potential.graph import Graph, GraphBuilder, atomic_forces, virials
from vitrion.potential.network import Network
from vitrion.training.batches import Batch, Sample, collate

logger = logging.getLogger("vitrion")

Step = Callable[[Network, Tensor, Graph, Tensor], tuple[Tensor, Tensor]]

COMPILED_TOLERANCE = 0.01  # of a gradient, relative to its norm


def trainable(model: CHGNet, device: torch.device) -> Network:
    """The equations with the weights of `model` as they are now."""
    return Network(model, device=device, dtype=torch.float32, operators=operators, trainable=True)


def predict(
    network: Network, batch: Batch, step: Step = Network.energies_and_bond_gradients
) -> dict[str, Tensor]:
    """Energies, forces and stresses of a batch, what `CHGNet.forward` gives with task `efs`.

    Args:
        network: trainable, where the outcome will be differentiated.
        batch: of frames.
        step: `Network.energies_and_bond_gradients`, or that compiled.

    Returns:
        e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa, all float32.
    """
    graph = batch.graph
    atoms, _ = network.atoms(batch.numbers)
    energies, dE_dr = step(network, graph.vectors_A, graph, atoms)
    totals_eV = batch.reference_energy_eV.index_add(0, batch.system, energies)
    forces = atomic_forces(graph, dE_dr)
    virials_eV = virials(graph, dE_dr, batch.n_atoms)
    stresses = virials_eV * (EV_A3_TO_GPA / batch.volume_A3[:, None, None])
    return {
        "e": (totals_eV / totals_eV.new_tensor(batch.n_atoms)).float(),
        "f": forces.float(),
        "s": stresses.flatten(0, 1).float(),
    }


class Objective:
    """The loss of a model on some frames, and its gradient.

    Frames of 21 atoms are too small for several cores to work on one, so each of the workers takes
    some of the frames. The loss is that of all of them together, and hangs on their number by no
    more than rounding.

    Args:
        weights: the criterion and the weights of its parts.
        builder: what makes the frames' graphs, from `builder_for`; it tells the device too.
        batch_size: of how many frames; on a CPU as many workers take a share each, if there are
            as many threads of PyTorch.
    """

    def __init__(self, weights: LossWeights, builder: GraphBuilder, batch_size: int) -> None:
        self.builder = builder
        threads = torch.get_num_threads()
        self.workers = min(threads, batch_size) if builder.device.type == "cpu" else 1
        self._loss = CombinedLoss(
            target_str="efs",
            criterion=weights.criterion,
            energy_loss_ratio=weights.energy,
            force_loss_ratio=weights.force,
            stress_loss_ratio=weights.stress,
        )
        self._pool = ThreadPoolExecutor(
            self.workers,
            initializer=torch.set_num_threads,
            initargs=(threads // self.workers,),
        )

    def __call__(
        self,
        model: CHGNet,
        frames: Sequence[Sample],
        step: Step = Network.energies_and_bond_gradients,
    ) -> dict[str, Tensor]:
        """What chgnet's `CombinedLoss` says: loss, and mean absolute errors with their counts."""
        with torch.no_grad():
            targets, found = self._outcomes(model, frames, step)
            return self._of(_joined(targets), _joined(found))

    def gradient(
        self,
        model: CHGNet,
        parameters: Sequence[Tensor],
        frames: Sequence[Sample],
        step: Step = Network.energies_and_bond_gradients,
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        """The same, and the gradient of the loss by each of the parameters; None where it is 0."""
        targets, found = self._outcomes(model, frames, step)
        # The loss is of all frames; what leads from it to the weights, each worker's own.
        joined = {name: whole.detach().requires_grad_() for name, whole in _joined(found).items()}
        outcome = self._of(_joined(targets), joined)
        slopes = torch.autograd.grad(outcome["loss"], list(joined.values()), materialize_grads=True)
        shares = zip(
            *(
                slope.split([len(part[name]) for part in found])
                for name, slope in zip(joined, slopes, strict=True)
            ),
            strict=True,
        )

        def pull_back(part: Mapping[str, Tensor], slopes: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return torch.autograd.grad(list(part.values()), parameters, slopes, allow_unused=True)

        parts = zip(*self._pool.map(pull_back, found, shares), strict=True)
        given = ([slope for slope in slopes if slope is not None] for slopes in parts)
        return outcome, [sum(slopes) if slopes else None for slopes in given]

    def compiled(self, model: CHGNet, frame: Sample) -> Step:
        """The compiled step, once it has the gradients of the plain one; else the plain one.

        Compilers have been wrong. Compiled for the size of one frame it takes others as well; so
        that a resumed training has the same bits, begin with the same one.
        """
        plain = Network.energies_and_bond_gradients
        # Wrapped in C++ the kernels let go of Python's lock, without which workers would queue.
        options = {"cpp_wrapper": True} if self.workers > 1 else None
        compiled = torch.compile(plain, dynamic=True, fullgraph=True, options=options)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        logger.info("fine-tune: compiling, %s", "three minutes" if options else "about a minute")
        try:
            # One frame is one worker's, so that one compiles, with the threads that each has.
            (_, wanted), (_, found) = (
                self.gradient(model, [p for _, p in trained], [frame], step)
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

    def _outcomes(
        self, model: CHGNet, frames: Sequence[Sample], step: Step
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Targets and predictions of each worker's share."""
        differentiable = torch.is_grad_enabled()  # each thread has a switch of its own

        def outcome(share: Sequence[Sample]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            with torch.set_grad_enabled(differentiable):
                batch = collate(share, self.builder)
                return batch.targets, predict(trainable(model, self.builder.device), batch, step)

        shares = [frames[first :: self.workers] for first in range(min(self.workers, len(frames)))]
        targets, found = zip(*self._pool.map(outcome, shares), strict=True)
        return list(targets), list(found)

    def _of(self, targets: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        both = ({**part, "f": [part["f"]], "s": [part["s"]]} for part in (targets, found))
        return self._loss(*both)


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in "efs"}
