"""How well a potential describes crystals: density, bulk modulus, pressure at the measured cell."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, nan
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from vitrion.base.errors import InputError, PotentialError
from vitrion.base.progress import Progress
from vitrion.base.units import EV_A3_TO_GPA, U_A3_TO_G_CM3
from vitrion.config import Dynamics
from vitrion.dynamics import simulate
from vitrion.potential import CHGNetCalculator
from vitrion.trajectory.h5md import read_samples

MOST_STEPS = 1000
# Relative change of the volume, to either side, for the bulk modulus. With 0.01 the waves that
# cutoffs leave in a soft crystal's pressure gave K = -4 GPa for KBr.
VOLUME_STEP = 0.03
# Of a run at zero pressure: shortest edge of the supercell, share left out, means for the error.
LEAST_EDGE_A = 10.0
DISCARDED = 0.3
BLOCKS = 5
FRAME_INTERVAL_PS = 0.1
SHORTEST_PS = 1.0  # a frame and more for each block


@dataclass(frozen=True)
class CrystalBenchmark:
    """One crystal with one model, at 0 K where no temperature is named.

    Attributes:
        crystal: name of the crystal.
        model: name or file of the model.
        n_atoms: atoms of the cell.
        experimental_density_g_cm3: measured at room temperature.
        density_g_cm3: after relaxation of cell and positions; NaN where that did not converge.
        density_deviation: density over the experimental one, less one.
        largest_length_deviation: of a cell vector's length over the experimental one, less one.
        bulk_modulus_GPa: -V dP/dV at the relaxed cell, by central differences with relaxed ions.
        pressure_GPa: at the experimental cell with relaxed ions; negative where the model would
            contract.
        warm_density_g_cm3: mean of a run at `temperature_K` and zero pressure, in which the cell
            keeps its shape; None without such a run.
        warm_density_err_g_cm3: standard error, from the means of `BLOCKS` parts.
        warm_density_deviation: warm density over the experimental one, less one.
    """

    crystal: str
    model: str
    n_atoms: int
    experimental_density_g_cm3: float
    density_g_cm3: float
    density_deviation: float
    largest_length_deviation: float
    bulk_modulus_GPa: float
    pressure_GPa: float
    warm_density_g_cm3: float | None = None
    warm_density_err_g_cm3: float | None = None
    warm_density_deviation: float | None = None


def read_crystals(path: Path) -> list[Atoms]:
    """Crystals with ``name`` and ``density_g_cm3`` in their info.

    Raises:
        InputError: a file that cannot be read, or a frame without name or density.
    """
    try:
        crystals = list(ase.io.iread(path, index=":", format="extxyz"))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError("crystals", str(path), f"cannot be read as extxyz ({error})") from None
    for number, crystal in enumerate(crystals):
        for key in ("name", "density_g_cm3"):
            if key not in crystal.info:
                raise InputError(
                    "crystals", str(path), f"frame {number} has no {key}; add it to its comment"
                )
    return crystals


def bench_crystals(
    crystals: Sequence[Atoms],
    models: Sequence[str],
    *,
    device: str = "cpu",
    largest_force_eV_A: float = 0.02,
    temperature_K: float | None = None,
    length_ps: float = 10.0,
) -> list[CrystalBenchmark]:
    """Relax each crystal with each model and compare with experiment.

    Args:
        crystals: as `read_crystals` gives them.
        models: what `vitrion.potential.load_model` takes.
        device: `auto`, `cpu` or `cuda`.
        largest_force_eV_A: where a relaxation ends; also of the cell, as force per atom.
        temperature_K: of a run at zero pressure for the warm density; None for no run.
        length_ps: of that run, `SHORTEST_PS` or more.
    """
    found = []
    with Progress(len(crystals) * len(models), "crystals", unit="crystal") as progress:
        for model in models:
            calculator = CHGNetCalculator(model, device=device)
            for crystal in crystals:
                row, relaxed = _measure(crystal, model, calculator, largest_force_eV_A)
                if temperature_K is not None and relaxed is not None:
                    dynamics = Dynamics(device=device, threads=torch.get_num_threads())
                    row = _with_warm_density(row, relaxed, dynamics, temperature_K, length_ps)
                found.append(row)
                progress.update(1, crystal.info["name"])
    return found


def _measure(
    crystal: Atoms, model: str, calculator: Calculator, largest_force_eV_A: float
) -> tuple[CrystalBenchmark, Atoms | None]:
    """What is measured at 0 K, and the relaxed crystal where there is one."""
    experimental = float(crystal.info["density_g_cm3"])
    at_experiment = _relaxed(crystal, calculator, largest_force_eV_A, cell=False)
    start = crystal if at_experiment is None else at_experiment
    relaxed = _relaxed(start, calculator, largest_force_eV_A, cell=True)
    density = bulk_modulus = length = nan
    if relaxed is not None:
        density = relaxed.get_masses().sum() * U_A3_TO_G_CM3 / relaxed.get_volume()
        ratios = relaxed.cell.lengths() / crystal.cell.lengths() - 1
        length = float(ratios[np.abs(ratios).argmax()])
        bulk_modulus = _bulk_modulus_GPa(relaxed, calculator, largest_force_eV_A)
    row = CrystalBenchmark(
        crystal=str(crystal.info["name"]),
        model=model,
        n_atoms=len(crystal),
        experimental_density_g_cm3=experimental,
        density_g_cm3=float(density),
        density_deviation=float(density / experimental - 1),
        largest_length_deviation=length,
        bulk_modulus_GPa=bulk_modulus,
        pressure_GPa=nan if at_experiment is None else _pressure_GPa(at_experiment),
    )
    return row, relaxed


def _with_warm_density(
    row: CrystalBenchmark,
    relaxed: Atoms,
    dynamics: Dynamics,
    temperature_K: float,
    length_ps: float,
) -> CrystalBenchmark:
    """The row with the density of a run at zero pressure."""
    atoms = relaxed.repeat([ceil(LEAST_EDGE_A / edge) for edge in relaxed.cell.lengths()])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "npt.h5"
        simulate(
            atoms,
            out,
            ensemble="npt",
            temperature_K=temperature_K,
            steps=round(length_ps / dynamics.timestep_ps),
            frame_interval_ps=FRAME_INTERVAL_PS,
            position_precision_A=0.01,
            dynamics=dynamics,
            model=row.model,
            seed=0,
        )
        volumes_A3 = read_samples(out).volume_A3
    densities = atoms.get_masses().sum() * U_A3_TO_G_CM3 / volumes_A3
    densities = densities[round(DISCARDED * len(densities)) :]
    parts = [part.mean() for part in np.array_split(densities, BLOCKS)]
    return replace(
        row,
        warm_density_g_cm3=float(densities.mean()),
        warm_density_err_g_cm3=float(np.std(parts, ddof=1) / BLOCKS**0.5),
        warm_density_deviation=float(densities.mean() / row.experimental_density_g_cm3 - 1),
    )


def _relaxed(
    crystal: Atoms, calculator: Calculator, largest_force_eV_A: float, *, cell: bool
) -> Atoms | None:
    """The crystal with relaxed positions, and cell where asked; None where that fails."""
    atoms = crystal.copy()
    atoms.calc = calculator
    try:
        optimizer = FIRE(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
        converged = optimizer.run(fmax=largest_force_eV_A, steps=MOST_STEPS)
    except PotentialError:
        return None
    return atoms if converged else None


def _pressure_GPa(atoms: Atoms) -> float:
    return float(-np.trace(atoms.get_stress(voigt=False)) / 3 * EV_A3_TO_GPA)


def _bulk_modulus_GPa(relaxed: Atoms, calculator: Calculator, largest_force_eV_A: float) -> float:
    pressures_GPa = []
    for change in (-VOLUME_STEP, VOLUME_STEP):
        strained = relaxed.copy()
        strained.set_cell(strained.cell * (1 + change) ** (1 / 3), scale_atoms=True)
        found = _relaxed(strained, calculator, largest_force_eV_A, cell=False)
        pressures_GPa.append(nan if found is None else _pressure_GPa(found))
    return (pressures_GPa[0] - pressures_GPa[1]) / (2 * VOLUME_STEP)
