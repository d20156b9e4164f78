"""Energy, forces and stress of one system by CHGNet, step after step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chgnet.model import CHGNet

from vitrion.errors import InputError, PotentialError
from vitrion.potential import kernels, operators
from vitrion.potential.graph import GraphBuilder
from vitrion.potential.network import Network
from vitrion.potential.weights import load_model

SKIN_A = 1.0


@dataclass(frozen=True)
class PotentialResult:
    """What a potential says about one configuration.

    Attributes:
        energy_eV: of the whole cell.
        forces_eV_A: (n, 3) float64.
        stress_eV_A3: (3, 3) float64, dE/dstrain over the volume (ASE's sign), or None.
    """

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None


class CHGNetPotential:
    """CHGNet for many configurations of one system: the same function as chgnet, faster.

    On the CPU equal input and thread count give equal bits, whatever was computed before. On a
    GPU sums by atomic addition vary in the last bits.

    Args:
        model: a loaded model, or what `load_model` takes.
        numbers: (n) atomic numbers.
        device: `cpu`, `cuda` or `auto` (cuda where there is one).
        dtype: precision of the network, float32 or float64.

    Raises:
        InputError: a model or an element that cannot be used, or no such device.
    """

    def __init__(
        self,
        model: CHGNet | str,
        numbers: Sequence[int] | np.ndarray,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not isinstance(model, CHGNet):
            model = load_model(model)
        self.device = choose_device(device)
        self.numbers = np.asarray(numbers, dtype=np.int64)
        fused = self.device.type == "cpu" and dtype == torch.float32 and kernels.available()
        self._network = Network(
            model,
            self.numbers,
            device=self.device,
            dtype=dtype,
            operators=kernels if fused else operators,
        )
        self._builder = GraphBuilder(
            cutoff_A=float(model.graph_converter.atom_graph_cutoff),
            angle_cutoff_A=float(model.graph_converter.bond_graph_cutoff),
            skin_A=SKIN_A,
            device=self.device,
        )

    def compute(
        self, positions_A: np.ndarray, cell_A: np.ndarray, *, stress: bool = False
    ) -> PotentialResult:
        """Energy and forces, and the stress where asked.

        Args:
            positions_A: (n, 3), wrapped or not.
            cell_A: (3, 3), rows are the lattice vectors; periodic in all directions.
            stress: whether the stress is wanted.

        Raises:
            PotentialError: the configuration cannot be described (see `GraphBuilder.build`), or
                the result is not finite.
        """
        positions_A = np.ascontiguousarray(positions_A, dtype=np.float64)
        cell_A = np.ascontiguousarray(cell_A, dtype=np.float64)
        if positions_A.shape != (len(self.numbers), 3) or cell_A.shape != (3, 3):
            raise InputError(
                "positions", positions_A.shape, f"{len(self.numbers)} atoms in a 3 by 3 cell"
            )
        graph = self._builder.build(positions_A, cell_A)
        vectors = graph.vectors_A.requires_grad_()
        energy = self._network.energy_eV(vectors, graph)
        # One gradient, by bond vectors, holds both forces and virial.
        (pull,) = torch.autograd.grad(energy, vectors)
        forces = torch.zeros((len(self.numbers), 3), dtype=torch.float64, device=self.device)
        forces.index_add_(0, graph.edges.source, pull[graph.bond] * graph.sign[:, None])
        virial = (graph.vectors_A.detach().T @ pull).cpu().numpy() if stress else None
        result = PotentialResult(
            energy_eV=energy.item(),
            forces_eV_A=forces.cpu().numpy(),
            stress_eV_A3=None if virial is None else virial / abs(np.linalg.det(cell_A)),
        )
        if not (np.isfinite(result.energy_eV) and np.isfinite(result.forces_eV_A).all()):
            raise PotentialError("energy or forces are not finite: the system blew up")
        return result


def choose_device(device: str) -> torch.device:
    """The torch device of a configuration's `device`.

    Raises:
        InputError: unknown, or not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError("device", device, "use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", device, "torch sees no GPU here; use cpu")
    return torch.device(device)
