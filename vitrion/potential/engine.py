"""Energy, forces and stress by CHGNet, step after step: of one system, or of several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chgnet.model import CHGNet

from vitrion.errors import InputError, PotentialError
from vitrion.potential import kernels, operators
from vitrion.potential.graph import Graph, GraphBuilder, JointGraphBuilder
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
            model, device=self.device, dtype=dtype, operators=kernels if fused else operators
        )
        self._atoms, self._free_eV = self._network.atoms(self.numbers)
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
        positions_A, cell_A = self._as_arrays(positions_A, cell_A)
        graph = self._builder.build(positions_A, cell_A)
        vectors = graph.vectors_A.requires_grad_()
        energy = self._network.energies_eV(vectors, graph, self._atoms).sum()
        pull, forces = _pull_and_forces(energy, vectors, graph)
        virial = (vectors.detach().T @ pull).cpu().numpy() if stress else None
        return self._result(energy.item(), forces.cpu().numpy(), virial, cell_A)

    def _as_arrays(
        self, positions_A: np.ndarray, cell_A: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        positions_A = np.ascontiguousarray(positions_A, dtype=np.float64)
        cell_A = np.ascontiguousarray(cell_A, dtype=np.float64)
        if positions_A.shape != (len(self.numbers), 3) or cell_A.shape != (3, 3):
            raise InputError(
                "positions", positions_A.shape, f"{len(self.numbers)} atoms in a 3 by 3 cell"
            )
        return positions_A, cell_A

    def _result(
        self, energy_eV: float, forces_eV_A: np.ndarray, virial: np.ndarray | None, cell: np.ndarray
    ) -> PotentialResult:
        """The result from the energy over that of free atoms, the forces and the virial."""
        if not (np.isfinite(energy_eV) and np.isfinite(forces_eV_A).all()):
            raise PotentialError("energy or forces are not finite: the system blew up")
        return PotentialResult(
            energy_eV=energy_eV + self._free_eV,
            forces_eV_A=forces_eV_A,
            stress_eV_A3=None if virial is None else virial / abs(np.linalg.det(cell)),
        )


Configuration = tuple[np.ndarray, np.ndarray]


class CHGNetBatch:
    """CHGNet for several systems that step together.

    On a GPU all of them are one evaluation, which small systems fill better. On the CPU they are
    evaluated one after another, and each has the bits it has alone.

    Args:
        model: a loaded model, or what `load_model` takes.
        numbers: (n) atomic numbers of each system.
        device: as for `CHGNetPotential`.
        dtype: precision of the network.
        together: one evaluation or several; by default as above.

    Raises:
        InputError: a model or an element that cannot be used, or no such device.
    """

    def __init__(
        self,
        model: CHGNet | str,
        numbers: Sequence[np.ndarray],
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        together: bool | None = None,
    ) -> None:
        if not isinstance(model, CHGNet):
            model = load_model(model)
        self._systems = [CHGNetPotential(model, n, device=device, dtype=dtype) for n in numbers]
        self._together = self._systems[0].device.type == "cuda" if together is None else together
        self._joint: tuple[tuple[int, ...], JointGraphBuilder, torch.Tensor] | None = None

    def compute(
        self, configurations: Mapping[int, Configuration], *, stress: bool = False
    ) -> dict[int, PotentialResult | PotentialError]:
        """Energy, forces and, where asked, stress of some of the systems.

        Args:
            configurations: positions (n, 3) and cell (3, 3) by the system's place in `numbers`.
            stress: whether the stresses are wanted.

        Returns:
            By system, its result, or why it has none; others are not touched by that.
        """
        if self._together and len(configurations) > 1:
            try:
                return self._compute_together(configurations, stress)
            except PotentialError:
                pass  # alone, each tells for itself
        found: dict[int, PotentialResult | PotentialError] = {}
        for k, (positions_A, cell_A) in configurations.items():
            try:
                found[k] = self._systems[k].compute(positions_A, cell_A, stress=stress)
            except PotentialError as error:
                found[k] = error
        return found

    def _compute_together(
        self, configurations: Mapping[int, Configuration], stress: bool
    ) -> dict[int, PotentialResult | PotentialError]:
        systems = [self._systems[k] for k in configurations]
        if self._joint is None or self._joint[0] != tuple(configurations):
            builder = JointGraphBuilder([system._builder for system in systems])
            atoms = torch.cat([system._atoms for system in systems])
            self._joint = tuple(configurations), builder, atoms
        _, builder, atoms = self._joint
        arrays = [
            system._as_arrays(*configuration)
            for system, configuration in zip(systems, configurations.values(), strict=True)
        ]
        graph = builder.build(*zip(*arrays, strict=True))
        vectors = graph.vectors_A.requires_grad_()
        energies = systems[0]._network.energies_eV(vectors, graph, atoms)
        pull, forces = _pull_and_forces(energies.sum(), vectors, graph)
        sizes = [len(system.numbers) for system in systems]
        totals = torch.stack([part.sum() for part in energies.detach().split(sizes)]).tolist()
        virials: Sequence[np.ndarray | None] = [None] * len(systems)
        if stress:
            system_of_atom = torch.repeat_interleave(torch.tensor(sizes, device=forces.device))
            system_of_bond = torch.empty(len(vectors), dtype=torch.int64, device=forces.device)
            system_of_bond[graph.bond] = system_of_atom[graph.edges.source]
            products = vectors.detach()[:, :, None] * pull[:, None, :]
            sums = products.new_zeros((len(systems), 3, 3))
            virials = sums.index_add_(0, system_of_bond, products).cpu().numpy()
        found: dict[int, PotentialResult | PotentialError] = {}
        split_forces = np.split(forces.cpu().numpy(), np.cumsum(sizes)[:-1])
        for k, system, *parts, (_, cell_A) in zip(
            configurations, systems, totals, split_forces, virials, arrays, strict=True
        ):
            try:
                found[k] = system._result(*parts, cell_A)
            except PotentialError as error:
                found[k] = error
        return found


def _pull_and_forces(
    energy: torch.Tensor, vectors: torch.Tensor, graph: Graph
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the energy by bond vectors, which holds forces and virial, and the forces."""
    (pull,) = torch.autograd.grad(energy, vectors)
    forces = torch.zeros((graph.edges.nodes, 3), dtype=torch.float64, device=vectors.device)
    forces.index_add_(0, graph.edges.source, pull[graph.bond] * graph.sign[:, None])
    return pull, forces


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
