"""The state of a molecular dynamics run: everything that the next step depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses

from vitrion.base.units import U_A3_TO_G_CM3, BOLTZMANN_eV_K, U_A2_PS2_eV


@dataclass(frozen=True)
class State:
    """A point of a trajectory; `step` functions return a new one and never change an old one.

    It needs no random number generator: the noise of a step is a function of `seed` and `step`
    (see `noise`), so a run continued from a saved state is exactly the same trajectory.

    Attributes:
        numbers: (n,) atomic numbers.
        masses_u: (n,) masses.
        positions_A: (n, 3) positions, unwrapped.
        velocities_A_ps: (n, 3) velocities; their total momentum is zero.
        cell_A: (3, 3) cell vectors in rows.
        step: steps done since the start of the run.
        seed: seed of the run's noise, below 2**63.
        heat_eV: energy that thermostat and barostat have put in so far.
        chain: (2, m) positions (no unit) and velocities (1/ps) of a Nosé-Hoover chain; m is zero
            for other integrators.
    """

    numbers: np.ndarray
    masses_u: np.ndarray
    positions_A: np.ndarray
    velocities_A_ps: np.ndarray
    cell_A: np.ndarray
    step: int = 0
    seed: int = 0
    heat_eV: float = 0.0
    chain: np.ndarray = field(default_factory=lambda: np.zeros((2, 0)))

    @classmethod
    def from_atoms(cls, atoms: Atoms, *, temperature_K: float, seed: int) -> State:
        """Start from a structure, with its masses, and velocities drawn at a temperature."""
        numbers = atoms.get_atomic_numbers()
        state = cls(
            numbers=numbers,
            masses_u=atoms.get_masses(),
            positions_A=np.array(atoms.positions, dtype=np.float64),
            velocities_A_ps=np.zeros((len(atoms), 3)),
            cell_A=np.array(atoms.cell, dtype=np.float64),
            seed=seed,
        )
        return state.with_velocities(temperature_K)

    def with_velocities(self, temperature_K: float) -> State:
        """New velocities from the Maxwell-Boltzmann distribution, without total momentum."""
        normal = noise(self, stream=2).standard_normal(self.positions_A.shape)
        width = np.sqrt(BOLTZMANN_eV_K * temperature_K / (self.masses_u * U_A2_PS2_eV))
        velocities = without_drift(normal * width[:, None], self.masses_u)
        return replace(self, velocities_A_ps=velocities)

    def to_atoms(self) -> Atoms:
        """The structure, wrapped into the cell, without velocities; with masses of its own."""
        atoms = Atoms(self.numbers, self.positions_A, cell=self.cell_A, pbc=True)
        if not np.array_equal(self.masses_u, atomic_masses[self.numbers]):
            atoms.set_masses(self.masses_u)
        atoms.wrap()
        return atoms

    @property
    def degrees_of_freedom(self) -> int:
        """3n - 3: the total momentum is zero and stays so."""
        return 3 * len(self.numbers) - 3

    @property
    def kinetic_eV(self) -> float:
        """Kinetic energy."""
        velocities = self.velocities_A_ps
        return float(
            0.5 * U_A2_PS2_eV * np.einsum("i,ij,ij", self.masses_u, velocities, velocities)
        )

    @property
    def temperature_K(self) -> float:
        """Kinetic temperature with 3n - 3 degrees of freedom."""
        return 2 * self.kinetic_eV / (self.degrees_of_freedom * BOLTZMANN_eV_K)

    @property
    def volume_A3(self) -> float:
        """Cell volume."""
        return abs(float(np.linalg.det(self.cell_A)))

    @property
    def density_g_cm3(self) -> float:
        """Mass density."""
        return float(self.masses_u.sum()) * U_A3_TO_G_CM3 / self.volume_A3

    def scaled_to(self, volume_A3: float) -> State:
        """Cell and positions scaled uniformly to a volume."""
        scale = (volume_A3 / self.volume_A3) ** (1 / 3)
        return replace(self, cell_A=self.cell_A * scale, positions_A=self.positions_A * scale)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every field as an array, for storage."""
        return {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}

    def fingerprint(self) -> str:
        """A hash of every bit of the state."""
        return checksum(self.to_arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> State:
        """The state that `to_arrays` was made from, bit for bit."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            array = np.asarray(arrays[item.name])
            values[item.name] = array.item() if array.ndim == 0 else array
        return cls(**values)


def without_drift(velocities_A_ps: np.ndarray, masses_u: np.ndarray) -> np.ndarray:
    """Velocities (n, 3) with the centre of mass at rest."""
    return velocities_A_ps - masses_u @ velocities_A_ps / masses_u.sum()


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, hex; the same for the same names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def noise(state: State, stream: int = 0) -> np.random.Generator:
    """The random numbers of one step, a function of the state's seed and step alone.

    A counter-based generator (Salmon et al., SC 2011) needs no memory of earlier draws.

    Args:
        state: gives seed and step.
        stream: number of the independent stream; one for each use of noise within a step.
    """
    return np.random.Generator(
        np.random.Philox(key=state.seed, counter=(state.step << 128) + (stream << 64))
    )
