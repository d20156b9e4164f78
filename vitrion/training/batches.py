"""Labelled frames, and the batches that a network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from vitrion.base.errors import InputError, PotentialError
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.potential.graph import Graph, GraphBuilder
from vitrion.potential.network import Network
from vitrion.potential.verlet import PairList


@dataclass(frozen=True)
class Sample:
    """One labelled frame.

    Attributes:
        numbers: (n) atomic numbers.
        reference_energy_eV: of its atoms (`Network.atoms`), which labels are aligned to.
        positions_A: (n, 3) float64.
        cell_A: (3, 3) float64.
        bonds: all pairs within the cutoff.
        targets: float32; e in eV/atom, f (n, 3) in eV/Å, s (3, 3) in GPa.
    """

    numbers: np.ndarray
    reference_energy_eV: float
    positions_A: Tensor
    cell_A: Tensor
    bonds: PairList
    targets: dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Frames side by side.

    Attributes:
        numbers: (n) atomic numbers of all atoms.
        graph: bonds and angles.
        system: (n) which frame an atom is in.
        n_atoms: number of atoms of each frame.
        reference_energy_eV: (frames) of the atoms of each frame, float64.
        volume_A3: (frames) float64.
        targets: float32; e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa.
    """

    numbers: np.ndarray
    graph: Graph
    system: Tensor
    n_atoms: list[int]
    reference_energy_eV: Tensor
    volume_A3: Tensor
    targets: dict[str, Tensor]


def to_samples(frames: Sequence[Atoms], network: Network) -> list[Sample]:
    """Frames with their bonds and targets.

    Raises:
        InputError: a frame of atoms that the network does not know, or that it cannot describe.
    """
    samples = []
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
        stress_GPa = frame.get_stress(voigt=False) * EV_A3_TO_GPA
        targets = {
            "e": frame.get_potential_energy() / len(frame),
            "f": frame.get_forces(),
            "s": stress_GPa,
        }
        samples.append(
            Sample(
                numbers=frame.numbers,
                reference_energy_eV=reference_energy_eV,
                positions_A=torch.tensor(positions_A, device=network.device),
                cell_A=torch.tensor(cell_A, device=network.device),
                bonds=builder.pairs(positions_A, cell_A),
                targets={
                    name: torch.tensor(target, dtype=torch.float32, device=network.device)
                    for name, target in targets.items()
                },
            )
        )
    return samples


def collate(samples: Sequence[Sample], builder: GraphBuilder) -> Batch:
    """Frames as one batch, with the bonds and angles that `builder` makes."""
    device = builder.device
    n_atoms = [len(sample.numbers) for sample in samples]
    cells_A = torch.stack([sample.cell_A for sample in samples])
    graph = builder.compact(
        PairList.join([sample.bonds for sample in samples], n_atoms),
        torch.cat([sample.positions_A for sample in samples]),
        cells_A,
    )
    system = torch.repeat_interleave(
        torch.arange(len(samples), device=device), torch.tensor(n_atoms, device=device)
    )
    return Batch(
        numbers=np.concatenate([sample.numbers for sample in samples]),
        graph=graph,
        system=system,
        n_atoms=n_atoms,
        reference_energy_eV=torch.tensor(
            [sample.reference_energy_eV for sample in samples], dtype=torch.float64, device=device
        ),
        volume_A3=torch.linalg.det(cells_A).abs(),
        targets={
            "e": torch.stack([sample.targets["e"] for sample in samples]),
            **{name: torch.cat([sample.targets[name] for sample in samples]) for name in "fs"},
        },
    )


def builder_for(network: Network) -> GraphBuilder:
    """What makes a frame's graph; frames do not move, so its pairs are its bonds."""
    return GraphBuilder(
        cutoff_A=network.cutoff_A,
        angle_cutoff_A=network.angle_cutoff_A,
        skin_A=0.0,
        device=network.device,
    )
