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
from vitrion.potential.graph import Candidates, Graph, GraphBuilder
from vitrion.potential.network import Network


@dataclass(frozen=True)
class Sample:
    """One labelled frame.

    Attributes:
        numbers: (n) atomic numbers.
        free_eV: energy of the free atoms, which labels are aligned to.
        positions_A: (n, 3) float64.
        cell_A: (3, 3) float64.
        bonds: all pairs within the cutoff.
        targets: float32; e in eV/atom, f (n, 3) in eV/Å, s (3, 3) in GPa.
    """

    numbers: np.ndarray
    free_eV: float
    positions_A: Tensor
    cell_A: Tensor
    bonds: Candidates
    targets: dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Frames side by side.

    Attributes:
        numbers: (n) atomic numbers of all atoms.
        graph: bonds and angles.
        system: (n) which frame an atom is in.
        bond_system: (bonds) which frame a bond is in.
        atoms: (frames) number of atoms, float64.
        free_eV: (frames) energy of free atoms, float64.
        volume_A3: (frames) float64.
        targets: float32; e (frames) in eV/atom, f (n, 3) in eV/Å, s (3 frames, 3) in GPa.
    """

    numbers: np.ndarray
    graph: Graph
    system: Tensor
    bond_system: Tensor
    atoms: Tensor
    free_eV: Tensor
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
            _, free_eV = network.atoms(frame.numbers)
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
                free_eV=free_eV,
                positions_A=torch.tensor(positions_A, device=network.device),
                cell_A=torch.tensor(cell_A, device=network.device),
                bonds=builder.candidates(positions_A, cell_A),
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
    sizes = [len(sample.numbers) for sample in samples]
    cells_A = torch.stack([sample.cell_A for sample in samples])
    graph = builder.compact(
        Candidates.join([sample.bonds for sample in samples], sizes),
        torch.cat([sample.positions_A for sample in samples]),
        cells_A,
    )
    atoms = torch.tensor(sizes, device=device)
    system = torch.repeat_interleave(torch.arange(len(samples), device=device), atoms)
    start = torch.empty(len(graph.vectors_A), dtype=torch.int64, device=device)
    start[graph.bond] = graph.edges.source
    return Batch(
        numbers=np.concatenate([sample.numbers for sample in samples]),
        graph=graph,
        system=system,
        bond_system=system[start],
        atoms=atoms.double(),
        free_eV=torch.tensor(
            [sample.free_eV for sample in samples], dtype=torch.float64, device=device
        ),
        volume_A3=torch.linalg.det(cells_A).abs(),
        targets={
            "e": torch.stack([sample.targets["e"] for sample in samples]),
            **{name: torch.cat([sample.targets[name] for sample in samples]) for name in "fs"},
        },
    )


def builder_for(network: Network) -> GraphBuilder:
    """What makes a frame's graph; frames do not move, so its candidates are its bonds."""
    return GraphBuilder(
        cutoff_A=network.cutoff_A,
        angle_cutoff_A=network.angle_cutoff_A,
        skin_A=0.0,
        device=network.device,
    )
