"""The potential as an ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from chgnet.model import CHGNet

from vitrion.base.errors import InputError
from vitrion.potential.engine import CHGNetPotential
from vitrion.potential.weights import load_model


class CHGNetCalculator(Calculator):
    """CHGNet for ASE: energy (eV, whole cell), forces (eV/Å) and stress (eV/Å³).

    The stress is right in a left-handed cell too, where chgnet's own calculator has the wrong sign.

    Args:
        model: a loaded model, or a name or file for `load_model`: `shipped`, `0.3.0`, ….
        device: `auto`, `cpu` or `cuda`.
        dtype: precision of the network.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: CHGNet | str = "shipped",
        device: str = "auto",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, CHGNet) else load_model(model)
        self.device, self.dtype = device, dtype
        self._potential: CHGNetPotential | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Called by ASE; see `CHGNetPotential.compute` for the errors raised."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        if not self.atoms.pbc.all():
            raise InputError("pbc", self.atoms.pbc.tolist(), "CHGNet here is periodic in all three")
        numbers = self.atoms.numbers
        potential = self._potential
        if potential is None or potential.numbers.tolist() != numbers.tolist():
            potential = CHGNetPotential(self.model, numbers, device=self.device, dtype=self.dtype)
            self._potential = potential
        result = potential.compute(
            self.atoms.positions, self.atoms.cell.array, stress="stress" in properties
        )
        self.results = {
            "energy": result.energy_eV,
            "free_energy": result.energy_eV,
            "forces": result.forces_eV_A,
        }
        if result.stress_eV_A3 is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(result.stress_eV_A3)
