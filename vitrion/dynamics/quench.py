"""Melt and quench: from a packing of ions to a glass and the measurements that judge it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from vitrion import __version__
from vitrion.base.seeds import derive_seed
from vitrion.config import Dynamics, Quench
from vitrion.dynamics.checkpoint import CheckpointLog
from vitrion.dynamics.engine import Engine
from vitrion.dynamics.integrators import BussiNVT
from vitrion.dynamics.measurements import measure_glass
from vitrion.dynamics.run import BlowUp, Potential, Stage
from vitrion.structure.compositions import Composition
from vitrion.structure.files import write_structure
from vitrion.structure.packing import ionic_packing
from vitrion.tables.io import write_table
from vitrion.trajectory.checks import check_glass, measurements_table
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")

MELT, ANNEAL = "melt", "anneal"
# A packing is relaxed before the melt, until no force is larger than this.
RELAX_FORCE_eV_A = 3.0
RELAX_STEPS = 100  # at most
RELAX_STEP_A = 0.05  # displacement of the atom with the largest force in one step


def quench_glass(
    composition: Composition,
    out: Path,
    *,
    formula_units: int,
    settings: Quench,
    dynamics: Dynamics,
    model: str,
    seed: int,
) -> None:
    """Make one glass: pack, relax, melt and quench (NVT), anneal (NPT), and measure it.

    An attempt that blows up or lies outside `settings.limits` is followed by one with the next
    seed. When no attempt passes, the one with the fewest failed checks is written. Only the
    measurements are stored; `vitrion.trajectory.checks.check_glass` judges them, with these limits
    or others. Called again after a kill, it continues and writes what an undisturbed call would
    have written.

    Args:
        composition: what to make.
        out: folder for glass.extxyz, thermo.parquet and glass_measurements.parquet.
        formula_units: size.
        settings: protocol, number of attempts, and the limits that ask for another attempt.
        dynamics: settings of the dynamics but the time step, which is that of `settings`.
        model: what `vitrion.potential.load_model` takes.
        seed: seed of the first attempt; those of the others derive from it.

    Raises:
        Interrupted: on a signal, with the state saved.
    """
    engine = Engine(model, dynamics.with_timestep_fs(settings.melt_timestep_fs))
    counts = composition.counts(formula_units)
    volume_A3 = composition.volume_A3(
        formula_units, settings.packing_density * composition.density_guess_g_cm3
    )
    stages = quench_stages(settings, engine)
    protocol = settings.protocol
    attempts: list[_Attempt] = []
    for number in range(settings.attempts):
        attempt_seed = seed if number == 0 else derive_seed(seed, "attempt", number)
        # Before the packing, which takes a while: the log reads the model, which may be wrong.
        checkpoints = engine.checkpoint_log(
            out / f"attempt-{number}",
            {
                "quench": protocol,
                "counts": counts,
                "volume_A3": volume_A3,
                "seed": attempt_seed,
                "charges": composition.charges,
            },
        )
        packing = ionic_packing(counts, volume_A3, attempt_seed, charges=composition.charges)
        title = f"quench {composition.composition}, attempt {number + 1}"
        state, blow_up = _melt_and_quench(packing, stages, engine, checkpoints, attempt_seed, title)
        samples = checkpoints.samples(len(packing))
        measurements = measurements_table(
            measure_glass(
                samples,
                steps=sum(stage.steps for stage in stages),
                melt=MELT,
                anneal=ANNEAL,
                numbers=state.numbers,
                masses_u=state.masses_u,
                composition=composition,
                timestep_ps=engine.timestep_ps,
                thermostat_tau_ps=dynamics.thermostat_tau_fs / 1000,
            )
        )
        checks = check_glass(measurements, composition, settings.limits)
        attempts.append(
            _Attempt(attempt_seed, state, samples, measurements, checks, blow_up, checkpoints)
        )
        if not attempts[-1].failed:
            break
        logger.warning("%s: %s", composition.composition, attempts[-1].describe())
    best = min(attempts, key=lambda attempt: len(attempt.failed))
    metadata = {
        "composition": composition.composition,
        "seed": best.seed,
        "attempts": len(attempts),
        "blow_up": best.blow_up,
        "model_hash": engine.model_hash,
        "wall_s": sum(attempt.checkpoints.wall_s() for attempt in attempts),
    }
    thermo = best.samples.thermo(masses_u=best.state.masses_u, timestep_ps=engine.timestep_ps)
    write_table(out / "thermo.parquet", "thermo", thermo, metadata)
    write_table(
        out / "glass_measurements.parquet", "glass_measurements", best.measurements, metadata
    )
    glass = best.state.to_atoms()
    glass.info.update(
        composition=composition.composition,
        seed=best.seed,
        model_hash=engine.model_hash,
        density_g_cm3=float(f"{best.state.density_g_cm3:.5g}"),
        protocol={**protocol, "dynamics": engine.dynamics.values("physics")},
        code_version=__version__,
    )
    write_structure(out / "glass.extxyz", glass)
    for attempt in attempts:
        attempt.checkpoints.discard()


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a glass.

    Attributes:
        seed: of packing, velocities and noise.
        state: the last one.
        samples: of the whole run.
        measurements: the table `glass_measurements`.
        checks: the table `glass_checks`.
        blow_up: why the run ended early; empty when it did not.
        checkpoints: restart data of the run.
    """

    seed: int
    state: State
    samples: Samples
    measurements: pd.DataFrame
    checks: pd.DataFrame
    blow_up: str
    checkpoints: CheckpointLog

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return self.checks["check"][~self.checks["passed"]].tolist()

    def describe(self) -> str:
        """Its failed checks and its blow-up, in one line."""
        failed = self.checks[~self.checks["passed"]]
        found = ", ".join(f"{row.check} {row.value:.3g}" for row in failed.itertuples())
        return f"seed {self.seed} failed {found}" + (f" ({self.blow_up})" if self.blow_up else "")


def quench_stages(settings: Quench, engine: Engine) -> list[Stage]:
    """The stages from a packing to a glass.

    The melt is at constant volume, and so is the quench, down to `constant_pressure_below_K` where
    that is given: at 1500 K and zero pressure these melts boil, and a quench is too short for the
    vapour to condense (LiAlCl ended at 1.05 g/cm³). The glass reaches its own density in the anneal
    at the latest.
    """
    tau_ps = engine.dynamics.thermostat_tau_fs / 1000
    nvt, npt = BussiNVT(engine.timestep_ps, tau_ps), engine.integrator("npt")
    hot_K, cold_K = settings.melt_temperature_K, settings.glass_temperature_K
    free_K = settings.constant_pressure_below_K or cold_K
    melt, cooling = engine.steps(settings.melt_ps), engine.steps(settings.cooling_ps)
    confined = round(cooling * (hot_K - free_K) / (hot_K - cold_K))
    return [
        Stage(MELT, melt, nvt, hot_K),
        Stage("quench", confined, nvt, hot_K, free_K),
        Stage("quench_npt", cooling - confined, npt, free_K, cold_K),
        Stage(ANNEAL, engine.steps(settings.anneal_ps), npt, cold_K),
    ]


def _melt_and_quench(
    packing: Atoms,
    stages: Sequence[Stage],
    engine: Engine,
    checkpoints: CheckpointLog,
    seed: int,
    title: str,
) -> tuple[State, str]:
    """The state at the end and an empty text, or the last good state and why the run blew up."""
    state = checkpoints.state
    if state is None:
        relax(packing, engine.potential(packing.numbers))
        state = State.from_atoms(packing, temperature_K=stages[0].temperature_K, seed=seed)
    try:
        return engine.run(state, stages, checkpoints, title=title), ""
    except BlowUp as blow_up:
        return blow_up.state, str(blow_up)


def relax(packing: Atoms, potential: Potential) -> None:
    """Reduce the largest forces of a packing, in place, by short steps along the forces."""
    cell_A = np.array(packing.cell)
    for _ in range(RELAX_STEPS):
        forces = potential.compute(packing.positions, cell_A).forces_eV_A
        largest = np.linalg.norm(forces, axis=1).max()
        if largest < RELAX_FORCE_eV_A:
            return
        packing.positions += forces * (RELAX_STEP_A / largest)
