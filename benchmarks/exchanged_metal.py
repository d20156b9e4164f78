"""Is the coordination of the central cation physics, or what the quench happened to leave?

    python benchmarks/exchanged_metal.py LiAlCl/r2 In
    python benchmarks/exchanged_metal.py LiInCl/r0

A glass of resources/glasses, its central cation exchanged for another if one is given and its cell
scaled to the volume guessed for the new composition, is annealed at zero pressure: at 300 K, at
800 K, where such a glass is liquid, and at 300 K again after cooling. If glasses that began with
other coordination end alike, the protocol does not matter. Of the second half of each stage it
prints density (g/cm³), central cations with 3, 4, 5 and 6 ligands (%) and energy (meV/atom).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ase.io
import numpy as np

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign.opening import job_seed, open_campaign
from vitrion.dynamics.engine import Engine
from vitrion.dynamics.measurements import measure_coordination
from vitrion.dynamics.quench import relax
from vitrion.dynamics.run import Stage
from vitrion.trajectory.checks import COORDINATION
from vitrion.trajectory.state import State

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "resources/glasses"
FORMULA_UNITS = 16
HOT_K, COLD_K = 800.0, 300.0


def main(glass: str, metal: str = "") -> None:
    """Print a row for each stage."""
    config, compositions = open_campaign([LIBRARY / "library.yaml"])
    engine = Engine("shipped", config.dynamics.with_timestep_fs(4.0))
    atoms = ase.io.read(LIBRARY / glass / "glass.extxyz")
    composition = compositions[atoms.info["composition"]]
    if metal:
        (old,) = composition.center
        composition = compositions[composition.composition.replace(old, metal)]
        atoms.symbols[atoms.symbols == old] = metal
        volume_A3 = composition.volume_A3(FORMULA_UNITS, composition.density_guess_g_cm3)
        atoms.set_cell(atoms.cell * (volume_A3 / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        relax(atoms, engine.potential(atoms.numbers))
    npt = engine.integrator("npt")
    stages = [
        Stage("300 K", engine.steps(4.0), npt, COLD_K),
        Stage("800 K", engine.steps(20.0), npt, HOT_K),
        Stage("cooling", engine.steps(10.0), npt, HOT_K, COLD_K),
        Stage("300 K again", engine.steps(6.0), npt, COLD_K),
    ]
    seed = job_seed(config, "exchanged metal", glass, metal)
    state = State.from_atoms(atoms, temperature_K=COLD_K, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = engine.checkpoint_log(Path(folder, "run"), {"seed": seed})
        engine.run(state, stages, checkpoints, title=f"{glass} {metal}")
        samples = checkpoints.samples(len(atoms))
        checkpoints.close()
    for stage in stages:
        own = samples.where(samples.stage == stage.name)
        settled = own.where(slice(len(own) // 2, None))
        density_g_cm3 = np.mean(atoms.get_masses().sum() * U_A3_TO_G_CM3 / settled.volume_A3)
        shares = {
            measured.quantity: measured.value
            for measured in measure_coordination(settled, atoms.numbers, composition)
        }
        cells = [f"{composition.composition} from {glass}", stage.name, f"{density_g_cm3:.2f}"]
        for n_ligands in (3, 4, 5, 6):
            cells.append(f"{100 * shares.get(COORDINATION.format(n_ligands), 0.0):.0f}")
        cells.append(f"{1000 * settled.energy_eV.mean() / len(atoms):.1f}")
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main(*sys.argv[1:3])
