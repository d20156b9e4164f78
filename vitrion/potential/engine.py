"""Energy, forces and stress by CHGNet, step after step: of one system, or of several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chgnet.model import CHGNet
from torch import Tensor

from vitrion.base.errors import InputError, PotentialError
from vitrion.potential import kernels
from vitrion.potential.graph import Graph, GraphBuilder, atomic_forces, virials
from vitrion.potential.network import Network
from vitrion.potential.padded import PaddedEvaluation
from vitrion.potential.weights import load_model

# A GPU selects the bonds from more pairs in no time, and is idle while the host renews the list.
SKIN_A = {"cpu": 1.0, "cuda": 2.0}


@dataclass(frozen=True)
class PotentialResult:
    """Energy, forces and stress of one configuration.

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
    GPU sums by atomic addition vary in the last bits. In a left-handed cell the stress is right,
    where chgnet's has the wrong sign.

    Args:
        model: a loaded model, a name or file for `load_model`, or a potential to share the network
            with.
        numbers: (n) atomic numbers.
        device: `cpu`, `cuda` or `auto` (cuda where there is one).
        dtype: precision of the network, float32 or float64.

    Raises:
        InputError: a model or an element that cannot be used, or no such device.
    """

    def __init__(
        self,
        model: CHGNet | str | CHGNetPotential,
        numbers: Sequence[int] | np.ndarray,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if isinstance(model, CHGNetPotential):
            network, compiled = model.network, model._compiled
        else:
            network = _network(model, device, dtype)
            use_compiled = kernels.support(network) and kernels.available()
            compiled = kernels.CompiledNetwork(network) if use_compiled else None
        self.network: Network = network
        self._compiled: kernels.CompiledNetwork | None = compiled
        self.device = network.device
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self._atoms, self._reference_energy_eV = network.atoms(self.numbers)
        self._builder = GraphBuilder(
            cutoff_A=network.cutoff_A,
            angle_cutoff_A=network.angle_cutoff_A,
            skin_A=SKIN_A[network.device.type],
            device=network.device,
        )
        self._padded = (
            PaddedEvaluation(network, [self._builder], [self._atoms])
            if network.device.type == "cuda"
            else None
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
        if self._padded is not None:
            energies, (forces,), virials_eV = self._padded.compute([positions_A], [cell_A])
            return self._result(energies[0], forces, virials_eV[0] if stress else None, cell_A)
        graph = self._builder.build(positions_A, cell_A)
        by_atom, dE_dr = self._energies_and_bond_gradients(graph)
        forces = atomic_forces(graph, dE_dr).numpy()
        virial_eV = virials(graph, dE_dr, [len(positions_A)])[0].numpy() if stress else None
        return self._result(by_atom.sum().item(), forces, virial_eV, cell_A)

    def atom_features(self, positions_A: np.ndarray, cell_A: np.ndarray) -> np.ndarray:
        """Features of the atoms before the last convolution, (n, 64); chgnet's `atom_fea`.

        Args:
            positions_A: (n, 3), wrapped or not.
            cell_A: (3, 3), rows are the lattice vectors; periodic in all directions.

        Raises:
            PotentialError: the configuration cannot be described (see `GraphBuilder.build`).
        """
        graph = self._builder.build(*self._as_arrays(positions_A, cell_A))
        if self._compiled is not None:
            return self._compiled.atom_features(graph, self._atoms).numpy()
        with torch.no_grad():
            found = self.network.atom_features(graph.vectors_A, graph, self._atoms)
        return found.cpu().numpy()

    def _energies_and_bond_gradients(self, graph: Graph) -> tuple[Tensor, Tensor]:
        if self._compiled is not None:
            return self._compiled.energies_and_bond_gradients(graph, self._atoms)
        vectors_A = graph.vectors_A.requires_grad_()
        energies = self.network.energies_eV(vectors_A, graph, self._atoms)
        (dE_dr,) = torch.autograd.grad(energies.sum(), vectors_A)
        return energies.detach(), dE_dr

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
        self,
        energy_eV: float,
        forces_eV_A: np.ndarray,
        virial_eV: np.ndarray | None,
        cell_A: np.ndarray,
    ) -> PotentialResult:
        """The result from the energy without the reference energies, the forces and the virial."""
        if not (np.isfinite(energy_eV) and np.isfinite(forces_eV_A).all()):
            raise PotentialError("energy or forces are not finite: the system blew up")
        return PotentialResult(
            energy_eV=float(energy_eV) + self._reference_energy_eV,
            forces_eV_A=forces_eV_A,
            stress_eV_A3=None if virial_eV is None else virial_eV / abs(np.linalg.det(cell_A)),
        )


Configuration = tuple[np.ndarray, np.ndarray]


class CHGNetBatch:
    """CHGNet for several systems that step together.

    On a GPU all of them are one evaluation, which small systems fill better. On the CPU they are
    evaluated one after another, and each has the bits it has alone.

    Args:
        model: a loaded model, or a name or file for `load_model`.
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
        first = CHGNetPotential(model, numbers[0], device=device, dtype=dtype)
        self._systems = [first, *(CHGNetPotential(first, n) for n in numbers[1:])]
        self._together = first.device.type == "cuda" if together is None else together
        self._joint: tuple[tuple[int, ...], PaddedEvaluation] | None = None

    def compute(
        self, configurations: Mapping[int, Configuration], *, stress: bool = False
    ) -> dict[int, PotentialResult | PotentialError]:
        """Energy, forces and, where asked, stress of some of the systems.

        Args:
            configurations: positions (n, 3) and cell (3, 3) by the system's place in `numbers`.
            stress: whether the stresses are wanted.

        Returns:
            By system, its result, or the error of a system that has none; the others have results.
        """
        if self._together and len(configurations) > 1:
            try:
                return self._compute_together(configurations, stress)
            except PotentialError:
                pass  # one by one shows which of them it is
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
            evaluation = PaddedEvaluation(
                systems[0].network,
                [system._builder for system in systems],
                [system._atoms for system in systems],
            )
            self._joint = tuple(configurations), evaluation
        arrays = [
            system._as_arrays(*configuration)
            for system, configuration in zip(systems, configurations.values(), strict=True)
        ]
        parts = self._joint[1].compute(*zip(*arrays, strict=True))
        found: dict[int, PotentialResult | PotentialError] = {}
        for k, system, energy, forces, virial, (_, cell_A) in zip(
            configurations, systems, *parts, arrays, strict=True
        ):
            try:
                found[k] = system._result(energy, forces, virial if stress else None, cell_A)
            except PotentialError as error:
                found[k] = error
        return found


def _network(model: CHGNet | str, device: str, dtype: torch.dtype) -> Network:
    chosen = choose_device(device)
    if not isinstance(model, CHGNet):
        model = load_model(model)
    return Network(model, device=chosen, dtype=dtype)


def choose_device(device: str) -> torch.device:
    """The torch device of a configuration's `device`.

    Raises:
        InputError: an unknown device, or one that this machine lacks.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError("device", device, "use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", device, "torch sees no GPU here; use cpu")
    return torch.device(device)
