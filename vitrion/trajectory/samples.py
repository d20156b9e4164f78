"""Samples of a trajectory: a row of numbers and a frame at regular steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from vitrion.base.units import U_A3_TO_G_CM3


@dataclass(frozen=True)
class Samples:
    """Consecutive samples of one trajectory, one entry of each array per sample.

    Attributes:
        step: (s,) steps since the start of the run.
        stage: (s,) name of the stage.
        target_K: (s,) temperature asked for.
        temperature_K: (s,) kinetic temperature.
        energy_eV: (s,) potential energy.
        conserved_eV: (s,) conserved quantity of the integrator.
        pressure_GPa: (s,) pressure.
        cell_A: (s, 3, 3) cell.
        positions_A: (s, n, 3) unwrapped positions in float32 (1e-5 Å at 100 Å).
    """

    step: np.ndarray
    stage: np.ndarray
    target_K: np.ndarray
    temperature_K: np.ndarray
    energy_eV: np.ndarray
    conserved_eV: np.ndarray
    pressure_GPa: np.ndarray
    cell_A: np.ndarray
    positions_A: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def none(cls, n_atoms: int) -> Samples:
        """No samples."""
        numbers = {item.name: np.zeros(0) for item in fields(cls)}
        return cls(
            **{
                **numbers,
                "step": np.zeros(0, dtype=np.int64),
                "stage": np.zeros(0, dtype="U1"),
                "cell_A": np.zeros((0, 3, 3)),
                "positions_A": np.zeros((0, n_atoms, 3), dtype=np.float32),
            }
        )

    @classmethod
    def join(cls, parts: Iterable[Samples]) -> Samples:
        """Consecutive parts as one."""
        parts = list(parts)
        return cls(
            **{
                item.name: np.concatenate([getattr(part, item.name) for part in parts])
                for item in fields(cls)
            }
        )

    def where(self, selection: np.ndarray | slice) -> Samples:
        """The samples that a mask, indices or a slice select."""
        return Samples(**{item.name: getattr(self, item.name)[selection] for item in fields(self)})

    def without_positions(self) -> Samples:
        """The same samples without positions, as of no atoms."""
        return replace(self, positions_A=self.positions_A[:, :0])

    @property
    def volume_A3(self) -> np.ndarray:
        """(s,) cell volume."""
        return np.abs(np.linalg.det(self.cell_A))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every field, for storage."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Samples:
        """The samples that `to_arrays` was made from."""
        return cls(**{item.name: arrays[item.name] for item in fields(cls)})

    def thermo(self, *, masses_u: np.ndarray, timestep_ps: float) -> pd.DataFrame:
        """The table `thermo` of these samples."""
        n_atoms = len(masses_u)
        return pd.DataFrame(
            {
                "stage": self.stage,
                "time_ps": self.step * timestep_ps,
                "target_temperature_K": self.target_K,
                "temperature_K": self.temperature_K,
                "potential_energy_eV_atom": self.energy_eV / n_atoms,
                "conserved_energy_eV_atom": self.conserved_eV / n_atoms,
                "pressure_GPa": self.pressure_GPa,
                "density_g_cm3": masses_u.sum() * U_A3_TO_G_CM3 / self.volume_A3,
            }
        )
