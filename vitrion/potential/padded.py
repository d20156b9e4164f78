"""One evaluation in buffers of fixed size: on a GPU a single CUDA graph, replayed step after step.

From positions to forces nothing waits for the host and no shape depends on the configuration, so
the hundreds of small operations of a step are launched at once. Lists whose length differs from
step to step (bonds, angles) are filled up with dummies (`graph.compact` with a capacity). When a
list outgrows its capacity, the capacity is enlarged and the step is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vitrion.potential.graph import Capacity, Graph, GraphBuilder, atomic_forces, compact, virials
from vitrion.potential.network import Network
from vitrion.potential.verlet import PairList

logger = logging.getLogger("vitrion.potential")

HEADROOM = 1.1  # of a new capacity over the sizes that it is made for
FAR_CELLS = 1000.0  # between the ends of a dummy pair
N_CHECKS = 5  # numbers at the end of the output: three sizes, fewest neighbours, and of which atom


class PaddedEvaluation:
    """Energies, forces and virials of systems side by side, always by the same operations.

    Args:
        network: CHGNet.
        builders: of each system's pair list; all have the same cutoffs.
        atoms: features of the atoms of each system (`Network.atoms`).
    """

    def __init__(
        self,
        network: Network,
        builders: Sequence[GraphBuilder],
        atoms: Sequence[Tensor],
    ) -> None:
        self._network = network
        self._energies_eV: Callable[[Tensor, Graph, Tensor], Tensor] = network.energies_eV
        self._builders = builders
        self._n_atoms = [len(part) for part in atoms]
        self._total_atoms = sum(self._n_atoms)
        self._device = atoms[0].device
        # The last atom is the dummy; its energy is not counted.
        self._atoms = torch.cat((*atoms, atoms[0][:1]))
        systems = len(self._n_atoms)
        self._input = self._host_buffer(3 * self._total_atoms + 9 * systems)
        self._output = self._host_buffer(systems + 3 * self._total_atoms + 9 * systems + N_CHECKS)
        self._device_input = torch.zeros_like(self._input, device=self._device)
        self._device_output = torch.zeros_like(self._output, device=self._device)
        self._parts: list[PairList] = []
        self._pairs: PairList | None = None
        self._capacity: Capacity | None = None
        self._buffers: PairList | None = None
        self._captured: torch.cuda.CUDAGraph | None = None

    def _host_buffer(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64, pin_memory=self._device.type == "cuda")

    def compute(
        self, positions_A: Sequence[np.ndarray], cells_A: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Evaluate a configuration of every system.

        Args:
            positions_A: (n, 3) float64 of each system.
            cells_A: (3, 3) float64 of each system.

        Returns:
            Energies without the reference energies (systems), eV; forces (n, 3) of each system,
            eV/Å; virials (systems, 3, 3), eV.

        Raises:
            PotentialError: one of them cannot be described (see `GraphBuilder.build`).
        """
        pairs = self._renewed_pairs(positions_A, cells_A)
        flat = [*(p.ravel() for p in positions_A), *(c.ravel() for c in cells_A)]
        np.concatenate(flat, out=self._input.numpy())
        while True:
            self._device_input.copy_(self._input, non_blocking=True)
            capacity = self._capacity
            if capacity is None or len(pairs.bond_source) >= capacity.pairs:
                capacity = self._enlarge(pairs)
            self._replay(pairs, capacity)
            self._output.copy_(self._device_output)  # waits
            result = self._output.numpy().copy()
            short, long, angles, fewest, isolated = map(int, result[-N_CHECKS:])
            if not capacity.did_overflow(short=short, long=long, angles=angles):
                break
            self._enlarge(pairs)
        if fewest == 0:
            raise self._builders[0].isolated(isolated)
        systems = len(self._n_atoms)
        energies, forces, virials_eV, _ = np.split(
            result, np.cumsum([systems, 3 * self._total_atoms, 9 * systems])
        )
        by_system = np.split(forces.reshape(-1, 3), np.cumsum(self._n_atoms)[:-1])
        return energies, by_system, virials_eV.reshape(-1, 3, 3)

    def _renewed_pairs(
        self, positions_A: Sequence[np.ndarray], cells_A: Sequence[np.ndarray]
    ) -> PairList:
        parts = [
            builder.pairs(positions, cell)
            for builder, positions, cell in zip(self._builders, positions_A, cells_A, strict=True)
        ]
        known = self._pairs
        if known is not None and all(a is b for a, b in zip(parts, self._parts, strict=True)):
            return known
        self._parts, pairs = parts, PairList.join(parts, self._n_atoms)
        self._pairs = pairs
        buffers, capacity = self._buffers, self._capacity
        if buffers is not None and capacity and len(pairs.bond_source) < capacity.pairs:
            _copy(_filled_up(pairs, capacity, self._total_atoms), buffers)
        return pairs

    def _enlarge(self, pairs: PairList) -> Capacity:
        """A capacity for the configuration in `_device_input`, nowhere smaller than the last."""
        graph = self._builders[0].compact(pairs, *self._configuration())
        old = self._capacity or Capacity(pairs=0, short=0, long=0, angles=0)
        self._capacity = Capacity(
            pairs=max(old.pairs, _with_headroom(len(pairs.bond_source))),
            short=max(old.short, _with_headroom(graph.n_short)),
            long=max(old.long, _with_headroom(len(graph.vectors_A) - graph.n_short)),
            angles=max(old.angles, _with_headroom(len(graph.angles.source))),
        )
        self._buffers = None
        return self._capacity

    def _configuration(self) -> tuple[Tensor, Tensor]:
        sizes = 3 * self._total_atoms, 9 * len(self._n_atoms)
        positions, cells = self._device_input.split(sizes)
        return positions.view(-1, 3), cells.view(-1, 3, 3)

    def _replay(self, pairs: PairList, capacity: Capacity) -> None:
        if self._buffers is None:
            self._buffers = _filled_up(pairs, capacity, self._total_atoms)
            self._captured = self._capture() if self._device.type == "cuda" else None
        if self._captured is None:
            self._evaluate()
        else:
            self._captured.replay()

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """The evaluation, compiled, as a CUDA graph; None, after a warning, where that fails."""
        self._energies_eV = self._network.compiled_energies_eV
        try:
            self._warm_up()
        except Exception as error:  # compilers raise whatever they like
            logger.warning("the network is not compiled, steps take longer: %s", error)
            self._energies_eV = self._network.energies_eV
            self._warm_up()
        captured = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(captured):
                self._evaluate()
        except RuntimeError as error:
            logger.warning("no CUDA graph, each operation is launched by itself: %s", error)
            return None
        return captured

    def _warm_up(self) -> None:
        """Let libraries and compilers start up, which a CUDA graph cannot hold."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._evaluate()
        torch.cuda.current_stream().wait_stream(aside)

    def _evaluate(self) -> None:
        """From `_device_input` and the buffers to `_device_output`."""
        assert self._buffers is not None
        assert self._capacity is not None
        positions_A, cells_A = self._configuration()
        graph, sizes = compact(
            self._buffers,
            positions_A,
            cells_A,
            cutoff_A=self._builders[0].cutoff_A,
            angle_cutoff_A=self._builders[0].angle_cutoff_A,
            capacity=self._capacity,
        )
        n = self._total_atoms
        vectors_A = graph.vectors_A.requires_grad_()
        energies = self._energies_eV(vectors_A, graph, self._atoms)[:n]
        (dE_dr,) = torch.autograd.grad(energies.sum(), vectors_A)
        totals = [part.sum() for part in energies.detach().split(self._n_atoms)]
        fewest, isolated = graph.edges.offsets.diff()[:n].min(0)
        checks = (sizes.short, sizes.long, sizes.angles, fewest, isolated)
        self._device_output.copy_(
            torch.cat(
                (
                    torch.stack(totals),
                    atomic_forces(graph, dE_dr)[:n].flatten(),
                    virials(graph, dE_dr, self._n_atoms).flatten(),
                    torch.stack([torch.as_tensor(check) for check in checks]).double(),
                )
            )
        )


def _with_headroom(need: int) -> int:
    return int(HEADROOM * need) + 32


def _filled_up(pairs: PairList, capacity: Capacity, n_atoms: int) -> PairList:
    """The pair list with dummy pairs, up to the capacity."""
    assert pairs.bond_system is not None
    bonds, rows = capacity.pairs, 2 * capacity.pairs
    return PairList(
        source=_extended(pairs.source, rows, n_atoms),
        target=_extended(pairs.target, rows, n_atoms),
        reverse=_extended(pairs.reverse, rows, 0),
        bond=_extended(pairs.bond, rows, bonds - 1),
        bond_source=_extended(pairs.bond_source, bonds, 0),
        bond_target=_extended(pairs.bond_target, bonds, 0),
        bond_shift=_extended(pairs.bond_shift, bonds, FAR_CELLS),
        bond_system=_extended(pairs.bond_system, bonds, 0),
    )


def _extended(values: Tensor, size: int, dummy: float) -> Tensor:
    """`values` and after them the dummy's, up to `size` rows."""
    out = torch.full((size, *values.shape[1:]), dummy, dtype=values.dtype, device=values.device)
    out[: len(values)] = values
    return out


def _copy(source: PairList, target: PairList) -> None:
    """Copy in place: a captured graph reads the target's memory."""
    for name, values in vars(source).items():
        getattr(target, name).copy_(values)
