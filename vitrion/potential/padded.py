"""One evaluation in buffers of fixed size: on a GPU a single CUDA graph, replayed step after step.

From positions to forces nothing waits for the host and no shape depends on the configuration, so
the hundreds of small operations of a step are launched at once. Lists that differ from step to step
(bonds, angles) are padded: what fills them up hangs on an atom of its own, beyond the real ones,
whose energy is not counted. When a list outgrows its buffer, the buffer is enlarged and the step is
done again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitrion.base.errors import PotentialError
from vitrion.potential.graph import Adjacency, Candidates, Graph, GraphBuilder, offsets_of
from vitrion.potential.network import Network

logger = logging.getLogger("vitrion.potential")

SPARE = 1.1  # of a new buffer over what it holds at first
FAR_CELLS = 1000.0  # between the ends of a candidate that only fills the list
COUNTS = 5  # of `_Padded`


@dataclass(frozen=True)
class Room:
    """Sizes of the buffers.

    Attributes:
        candidates: pairs that may be bonds; one at least stays empty.
        short: bonds within the angle cutoff; one at least stays empty.
        long: the other bonds.
        angles: ordered pairs of short bonds of one atom.
    """

    candidates: int
    short: int
    long: int
    angles: int

    @classmethod
    def for_graph(cls, candidates: Candidates, graph: Graph, at_least: Room | None) -> Room:
        """Enough for a graph and some more, nowhere less than what there was."""
        need = (
            len(candidates.bond_source),
            graph.short,
            len(graph.vectors_A) - graph.short,
            len(graph.angles.source),
        )
        had = (0, 0, 0, 0) if at_least is None else astuple(at_least)
        return cls(*(max(h, _with_spare(n)) for n, h in zip(need, had, strict=True)))

    @property
    def edges(self) -> int:
        """Directed bonds."""
        return 2 * (self.short + self.long)

    def holds(self, short: int, long: int, angles: int) -> bool:
        """Whether a graph of these sizes fits."""
        return short < self.short and long <= self.long and angles <= self.angles


class PaddedEvaluation:
    """Energies, forces and virials of systems side by side, always by the same operations.

    Args:
        network: CHGNet.
        builders: of each system's candidates.
        atoms: features of the atoms of each system (`Network.atoms`).
    """

    def __init__(
        self,
        network: Network,
        builders: Sequence[GraphBuilder],
        atoms: Sequence[Tensor],
    ) -> None:
        self._network, self._energies_eV = network, network.energies_eV
        self._builders = builders
        self._sizes = [len(part) for part in atoms]
        self._natoms = sum(self._sizes)
        self._device = atoms[0].device
        # The last atom is nobody's: it takes what fills up the lists.
        self._atoms = torch.cat((*atoms, atoms[0][:1]))
        systems = len(self._sizes)
        self._input = self._host_buffer(3 * self._natoms + 9 * systems)
        self._output = self._host_buffer(systems + 3 * self._natoms + 9 * systems + COUNTS)
        self._device_input = torch.zeros_like(self._input, device=self._device)
        self._device_output = torch.zeros_like(self._output, device=self._device)
        self._parts: list[Candidates] = []
        self._candidates: Candidates | None = None
        self._room: Room | None = None
        self._buffers: Candidates | None = None
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
            Energies over those of free atoms (systems), eV; forces (n, 3) of each system, eV/Å;
            virials (systems, 3, 3), eV.

        Raises:
            PotentialError: one of them cannot be described (see `GraphBuilder.build`).
        """
        self._renew_candidates(positions_A, cells_A)
        flat = [*(p.ravel() for p in positions_A), *(c.ravel() for c in cells_A)]
        np.concatenate(flat, out=self._input.numpy())
        while True:
            self._device_input.copy_(self._input, non_blocking=True)
            if self._room is None:
                self._make_room()
            self._replay()
            self._output.copy_(self._device_output)  # waits
            result = self._output.numpy().copy()
            short, long, angles, fewest, loneliest = map(int, result[-COUNTS:])
            if self._room.holds(short, long, angles):
                break
            self._make_room()
        if fewest == 0:
            raise PotentialError(self._builders[0].lonely(loneliest))
        systems = len(self._sizes)
        energies, forces, virials, _ = np.split(
            result, np.cumsum([systems, 3 * self._natoms, 9 * systems])
        )
        forces = np.split(forces.reshape(-1, 3), np.cumsum(self._sizes)[:-1])
        return energies, forces, virials.reshape(-1, 3, 3)

    def _renew_candidates(
        self, positions_A: Sequence[np.ndarray], cells_A: Sequence[np.ndarray]
    ) -> None:
        parts = [
            builder.candidates(positions, cell)
            for builder, positions, cell in zip(self._builders, positions_A, cells_A, strict=True)
        ]
        if self._parts and all(a is b for a, b in zip(parts, self._parts, strict=True)):
            return
        self._parts, self._candidates = parts, Candidates.join(parts, self._sizes)
        fit = self._room and len(self._candidates.bond_source) < self._room.candidates
        if self._buffers is not None and fit:
            self._fill_buffers()
        else:
            self._buffers = None

    def _make_room(self) -> None:
        """Buffers that hold the configuration in `_device_input`."""
        positions, cells = self._configuration()
        graph = self._builders[0].compact(self._candidates, positions, cells)
        self._room = Room.for_graph(self._candidates, graph, self._room)
        self._buffers = None

    def _configuration(self) -> tuple[Tensor, Tensor]:
        positions, cells = self._device_input.split((3 * self._natoms, 9 * len(self._sizes)))
        return positions.view(-1, 3), cells.view(-1, 3, 3)

    def _fill_buffers(self) -> None:
        """Put the candidates into their buffers, in place where there are some."""
        new, room = self._candidates, self._room
        rows, bonds = 2 * room.candidates, room.candidates
        filled = Candidates(
            source=_filled(new.source, rows, self._natoms),
            target=_filled(new.target, rows, self._natoms),
            reverse=_filled(new.reverse, rows, 0),
            bond=_filled(new.bond, rows, bonds - 1),
            bond_source=_filled(new.bond_source, bonds, 0),
            bond_target=_filled(new.bond_target, bonds, 0),
            bond_shift=_filled(new.bond_shift, bonds, FAR_CELLS),
            bond_system=_filled(new.bond_system, bonds, 0),
        )
        if self._buffers is None:
            self._buffers = filled
        else:
            for name, values in vars(filled).items():
                getattr(self._buffers, name).copy_(values)

    def _replay(self) -> None:
        if self._buffers is None:
            need = len(self._candidates.bond_source)
            if need >= self._room.candidates:
                self._room = replace(self._room, candidates=_with_spare(need))
            self._fill_buffers()
            self._captured = self._capture() if self._device.type == "cuda" else None
        if self._captured is None:
            self._evaluate()
        else:
            self._captured.replay()

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """The evaluation, compiled, as a CUDA graph.

        Where it cannot be compiled or captured it goes on without, after a warning.
        """
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
        positions, cells = self._configuration()
        padded = _pad(
            *(self._buffers, positions, cells, self._room),
            cutoff_A=self._builders[0].cutoff_A,
            angle_cutoff_A=self._builders[0].angle_cutoff_A,
        )
        graph, n = padded.graph, self._natoms
        vectors = graph.vectors_A.requires_grad_()
        energies = self._energies_eV(vectors, graph, self._atoms)[:n]
        (pull,) = torch.autograd.grad(energies.sum(), vectors)
        forces = pull.new_zeros((n + 1, 3))
        forces.index_add_(0, graph.edges.source, pull[graph.bond] * graph.sign[:, None])
        # By atoms first: sums straight into a few systems would queue for the same addresses.
        virials = pull.new_zeros((n + 1, 9))
        products = vectors.detach()[:, :, None] * pull[:, None, :]
        virials.index_add_(0, padded.start, products.flatten(1))
        parts = [
            torch.stack([part.sum(0) for part in table[:n].split(self._sizes)]).flatten()
            for table in (energies.detach(), virials)
        ]
        self._device_output.copy_(
            torch.cat((parts[0], forces[:n].flatten(), parts[1], padded.counts))
        )


@dataclass(frozen=True)
class _Padded:
    """A graph of fixed size.

    Attributes:
        graph: with an atom, a short bond and a spoke more than the real ones, for what fills up.
        start: (bonds) an atom at one end of each bond; the last atom for those that fill up.
        counts: (5) float64: short bonds, long bonds, angles, the fewest neighbours that an atom
            has, and that atom.
    """

    graph: Graph
    start: Tensor
    counts: Tensor


def _pad(
    all_: Candidates,
    positions: Tensor,
    cells: Tensor,
    room: Room,
    *,
    cutoff_A: float,
    angle_cutoff_A: float,
) -> _Padded:
    """What `GraphBuilder.compact` makes, in the same order, filled up to fixed sizes."""
    device, natoms = positions.device, len(positions)
    nobody, no_bond, no_spoke = natoms, room.short - 1, 2 * room.short - 1
    vectors = positions[all_.bond_target] - positions[all_.bond_source]
    vectors += all_.shifts_A(cells)
    squared = (vectors * vectors).sum(1)
    near, close = squared < cutoff_A**2, squared < angle_cutoff_A**2

    short_bonds, shorts = _select(close, room.short)
    long_bonds, longs = _select(near & ~close, room.long)
    order, kept = torch.cat((short_bonds, long_bonds)), torch.cat((shorts.used, longs.used))
    number = _slots(order, kept, len(near), no_bond)

    rows, edges = _select(near[all_.bond], room.edges)
    source = torch.where(edges.used, all_.source[rows], nobody)
    target = torch.where(edges.used, all_.target[rows], nobody)
    here = torch.arange(room.edges, device=device)
    places = _slots(rows, edges.used, len(all_.source), room.edges - 1)
    reverse = torch.where(edges.used, places[all_.reverse[rows]], here)
    bond = torch.where(edges.used, number[all_.bond[rows]], no_bond)
    forward = here <= reverse
    neighbors = _count(source, natoms + 1)
    fewest, loneliest = neighbors[:natoms].min(0)

    spoke, spokes = _select(edges.used & (bond < room.short), 2 * room.short)
    spoke = torch.where(spokes.used, spoke, room.edges - 1)
    hub = torch.where(spokes.used, source[spoke], nobody)
    nodes = torch.arange(2 * room.short, device=device)
    spokes_of_bond = torch.full((room.short, 2), no_spoke, device=device)
    spokes_of_bond[bond[spoke], (~forward[spoke]).long()] = nodes

    spokes_of_atom = _count(hub, natoms + 1)
    pairs = torch.where(spokes.used, spokes_of_atom[hub] - 1, 0)
    first = offsets_of(spokes_of_atom)[hub]
    offsets = offsets_of(pairs)
    angle = torch.arange(room.angles, device=device)
    used = angle < offsets[-1]
    from_ = torch.searchsorted(offsets[1:], angle, right=True).clamp(max=no_spoke)
    place = from_ - first[from_]
    other = angle - offsets[from_]
    other += other >= place
    to = torch.where(used, first[from_] + other, no_spoke).clamp(max=no_spoke)
    from_ = torch.where(used, from_, no_spoke)
    back = offsets[to] + place - (place > to - first[to]).long()
    angle_offsets = torch.cat(
        (offsets[:-1].clamp(max=room.angles), offsets.new_full((1,), room.angles))
    )

    graph = Graph(
        vectors_A=torch.where(kept[:, None], vectors[order], 2 * cutoff_A),
        short=room.short,
        edges=Adjacency(offsets_of(neighbors), source, target, reverse),
        bond=bond,
        sign=forward.to(vectors.dtype) * 2 - 1,
        angles=Adjacency(angle_offsets, from_, to, torch.where(used, back, angle)),
        spoke=spoke,
        spokes_of_bond=spokes_of_bond,
    )
    counts = torch.stack((shorts.count, longs.count, offsets[-1], fewest, loneliest))
    start = torch.where(kept, all_.bond_source[order], nobody)
    return _Padded(graph, start, counts.to(torch.float64))


def _with_spare(need: int) -> int:
    """Size of a new buffer."""
    return int(SPARE * need) + 32


@dataclass(frozen=True)
class _Selection:
    """Which of the slots are used, and how many things wanted one."""

    used: Tensor
    count: Tensor


def _select(mask: Tensor, size: int) -> tuple[Tensor, _Selection]:
    """The places where `mask` holds, in order, in `size` slots; zeros in those not used."""
    place = mask.cumsum(0) - 1
    slot = torch.where(mask & (place < size), place, size)
    chosen = torch.zeros(size + 1, dtype=torch.int64, device=mask.device)
    chosen[slot] = torch.arange(len(mask), device=mask.device)
    count = place[-1] + 1
    used = torch.arange(size, device=mask.device) < count
    return torch.where(used, chosen[:size], 0), _Selection(used, count)


def _slots(chosen: Tensor, used: Tensor, size: int, otherwise: int) -> Tensor:
    """In which slot each of `size` things is; `otherwise` where it is in none."""
    slots = torch.full((size + 1,), otherwise, dtype=torch.int64, device=chosen.device)
    slots[torch.where(used, chosen, size)] = torch.arange(len(chosen), device=chosen.device)
    return slots[:size]


def _count(values: Tensor, size: int) -> Tensor:
    """How often each of 0 to size - 1 is there; `bincount` would wait for the device."""
    return values.new_zeros(size).index_add_(0, values, torch.ones_like(values))


def _filled(values: Tensor, size: int, fill: float) -> Tensor:
    """`values` and after them `fill`, up to `size` rows."""
    out = torch.full((size, *values.shape[1:]), fill, dtype=values.dtype, device=values.device)
    out[: len(values)] = values
    return out
