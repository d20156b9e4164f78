"""Small potentials with known properties and the interface of `CHGNetPotential`, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk

from vitrion.trajectory.state import State


@dataclass
class Result:
    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None


class IdealGas:
    """No forces at all."""

    def compute(self, positions_A, cell_A, *, stress=False):
        forces = np.zeros_like(positions_A)
        return Result(0.0, forces, np.zeros((3, 3)) if stress else None)


class Harmonic:
    """Every atom on its own spring, k/2 |r - r0|²; the centre of mass must be that of all r0."""

    def __init__(self, home_A, spring_eV_A2):
        self.home_A, self.spring_eV_A2 = home_A, spring_eV_A2

    def compute(self, positions_A, cell_A, *, stress=False):
        away = positions_A - self.home_A
        energy = 0.5 * float((self.spring_eV_A2 * away**2).sum())
        return Result(energy, -self.spring_eV_A2 * away, None)


class LennardJones:
    """Lennard-Jones up to a cutoff, where energy and force are shifted to zero."""

    def __init__(self, epsilon_eV=0.0103, sigma_A=3.4, cutoff_A=7.0):
        self.epsilon_eV, self.sigma_A, self.cutoff_A = epsilon_eV, sigma_A, cutoff_A

    def pair(self, r):
        s6 = (self.sigma_A / r) ** 6
        return 4 * self.epsilon_eV * (s6**2 - s6), 24 * self.epsilon_eV * (2 * s6**2 - s6) / r

    def compute(self, positions_A, cell_A, *, stress=False):
        i, j = np.triu_indices(len(positions_A), 1)
        vectors = positions_A[j] - positions_A[i]
        vectors -= np.round(vectors @ np.linalg.inv(cell_A)) @ cell_A
        distance = np.linalg.norm(vectors, axis=1)
        near = distance < self.cutoff_A
        i, j, vectors, distance = i[near], j[near], vectors[near], distance[near]
        energy, force = self.pair(distance)
        last_energy, last_force = self.pair(self.cutoff_A)
        energy = energy - last_energy + last_force * (distance - self.cutoff_A)
        pull = ((force - last_force) / distance)[:, None] * vectors
        forces = np.zeros_like(positions_A)
        np.add.at(forces, j, pull)
        np.add.at(forces, i, -pull)
        virial = -vectors.T @ pull / abs(np.linalg.det(cell_A)) if stress else None
        return Result(float(energy.sum()), forces, virial)


def argon(repeat=2, lattice_A=5.6, temperature_K=80.0, seed=1):
    """A crystal of 4 repeat³ argon atoms with velocities."""
    atoms = bulk("Ar", "fcc", a=lattice_A, cubic=True).repeat(repeat)
    return State.from_atoms(atoms, temperature_K=temperature_K, seed=seed)


def gas(n_atoms, volume_A3, temperature_K, seed=1):
    """Atoms at random places in a cube."""
    edge = volume_A3 ** (1 / 3)
    places = np.random.default_rng(seed).random((n_atoms, 3)) * edge
    atoms = Atoms(["Ar"] * n_atoms, places, cell=[edge] * 3, pbc=True)
    return State.from_atoms(atoms, temperature_K=temperature_K, seed=seed)
