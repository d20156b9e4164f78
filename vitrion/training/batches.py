"""Frames to train on, with their bonds and labels, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from vitrion.base.errors import InputError, PotentialError
from vitrion.dataset.labels import stress_extent, stress_label_GPa
from vitrion.potential.graph import Graph, GraphBuilder
from vitrion.potential.network import Network
from vitrion.potential.verlet import PairList


@dataclass(frozen=True)
class TrainingFrame:
    """One labelled frame, ready to train on.

    Attributes:
        numbers: (n) atomic numbers.
        reference_energy_eV: of its atoms (`Network.atoms`), which labels are aligned to.
        positions_A: (n, 3) float64.
        cell_A: (3, 3) float64.
        bonds: all pairs within the cutoff.
        targets: float32; e in eV/atom, f (n, 3) in eV/Å, s (3, 3) in GPa, NaN where unknown.
        has_pressure_only: whether of the stress its trace alone is known.
    """

    numbers: np.ndarray
    reference_energy_eV: float
    positions_A: Tensor
    cell_A: Tensor
    bonds: PairList
    targets: dict[str, Tensor]
    has_pressure_only: bool


@dataclass(frozen=True)
class Batch:
    """Several frames as one system, as the network takes them.

    Attributes:
        numbers: (n) atomic numbers of all atoms.
        graph: bonds and angles.
        system: (n) which frame an atom is in.
        n_atoms: number of atoms of each frame.
        reference_energy_eV: (frames) of the atoms of each frame, float64.
        volume_A3: (frames) float64.
        targets: float32; e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa,
            NaN where unknown.
        has_pressure_only: (frames) whether of the stress its trace alone is known.
    """

    numbers: np.ndarray
    graph: Graph
    system: Tensor
    n_atoms: list[int]
    reference_energy_eV: Tensor
    volume_A3: Tensor
    targets: dict[str, Tensor]
    has_pressure_only: Tensor


def training_frames(frames: Sequence[Atoms], network: Network) -> list[TrainingFrame]:
    """Frames with their bonds and targets.

    Raises:
        InputError: a frame of atoms that the network does not know, or that it cannot describe.
    """
    found = []
    for number, frame in enumerate(frames):
        builder = builder_for(network)
        positions_A, cell_A = frame.positions, frame.cell.array
        try:
            builder.build(positions_A, cell_A)
            _, reference_energy_eV = network.atoms(frame.numbers)
        except (PotentialError, InputError) as error:
            name = frame.info.get("frame_id", f"number {number}")
            raise InputError(
                f"frame {name}", str(frame.symbols), f"leave it out: {error}"
            ) from error
        targets = {
            "e": frame.get_potential_energy() / len(frame),
            "f": frame.get_forces(apply_constraint=False),
            "s": stress_label_GPa(frame),
        }
        found.append(
            TrainingFrame(
                numbers=frame.numbers,
                reference_energy_eV=reference_energy_eV,
                positions_A=torch.tensor(positions_A, device=network.device),
                cell_A=torch.tensor(cell_A, device=network.device),
                bonds=builder.pairs(positions_A, cell_A),
                targets={
                    name: torch.tensor(target, dtype=torch.float32, device=network.device)
                    for name, target in targets.items()
                },
                has_pressure_only=stress_extent(frame) == "pressure",
            )
        )
    return found


def collate(frames: Sequence[TrainingFrame], builder: GraphBuilder) -> Batch:
    """Frames as one batch, with the bonds and angles that `builder` makes."""
    device = builder.device
    n_atoms = [len(frame.numbers) for frame in frames]
    cells_A = torch.stack([frame.cell_A for frame in frames])
    graph = builder.compact(
        PairList.join([frame.bonds for frame in frames], n_atoms),
        torch.cat([frame.positions_A for frame in frames]),
        cells_A,
    )
    system = torch.repeat_interleave(
        torch.arange(len(frames), device=device), torch.tensor(n_atoms, device=device)
    )
    return Batch(
        numbers=np.concatenate([frame.numbers for frame in frames]),
        graph=graph,
        system=system,
        n_atoms=n_atoms,
        reference_energy_eV=torch.tensor(
            [frame.reference_energy_eV for frame in frames], dtype=torch.float64, device=device
        ),
        volume_A3=torch.linalg.det(cells_A).abs(),
        targets={
            "e": torch.stack([frame.targets["e"] for frame in frames]),
            **{name: torch.cat([frame.targets[name] for frame in frames]) for name in "fs"},
        },
        has_pressure_only=torch.tensor(
            [frame.has_pressure_only for frame in frames], device=device
        ),
    )


def builder_for(network: Network) -> GraphBuilder:
    """Builds the graphs of frames, without a skin because their atoms do not move."""
    return GraphBuilder(
        cutoff_A=network.cutoff_A,
        angle_cutoff_A=network.angle_cutoff_A,
        skin_A=0.0,
        device=network.device,
    )
