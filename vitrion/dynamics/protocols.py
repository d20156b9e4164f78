"""The protocols of a campaign: melt and quench a glass, equilibrate it, produce a trajectory.

Each is restartable: called again after a kill with the same arguments, it goes on from its journal
(see `vitrion.dynamics.checkpoint`) and writes what an undisturbed call would have written.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import ase.io
import numpy as np
import pandas as pd
import torch
from ase import Atoms

from vitrion.compositions import Composition
from vitrion.config import Dynamics, GlassLimits, Quench
from vitrion.dynamics.checkpoint import Block, Journal
from vitrion.dynamics.checks import check_energy, check_glass, check_temperature
from vitrion.dynamics.frames import (
    read_checkpoint,
    read_samples,
    write_checkpoint,
    write_segment,
)
from vitrion.dynamics.integrators import NVE, BussiNVT, Integrator, NoseHooverNVT, RescaleNPT
from vitrion.dynamics.run import BlowUp, Potential, Stage, run
from vitrion.dynamics.samples import Samples
from vitrion.dynamics.state import State
from vitrion.errors import InputError
from vitrion.packing import random_packing
from vitrion.potential import CHGNetPotential, model_hash
from vitrion.seeds import derive_seed
from vitrion.tables import write_table
from vitrion.units import EV_A3_TO_GPA

logger = logging.getLogger("vitrion.dynamics")

Ensemble = Literal["nve", "nvt", "npt"]
MELT = ("melt_nvt", "melt_npt")
ANNEAL = "anneal"
# A packing is relaxed before it moves: so many steps at most, each atom no farther than this in
# one, until no force is larger.
RELAX_STEPS = 100
RELAX_STEP_A = 0.05
RELAX_FORCE_eV_A = 3.0


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
    """Make one glass: pack, relax, melt (NVT, NPT), quench and anneal (NPT), and check it.

    A glass that blows up or fails a check is tried again with the next seed. When no attempt
    passes, the one with the fewest failed checks is written; its table tells which.

    Args:
        composition: what to make.
        out: folder for glass.extxyz, thermo.parquet and glass_checks.parquet.
        formula_units: size.
        settings: protocol and limits.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.
        seed: seed of the first attempt; those of the others derive from it.

    Raises:
        Interrupted: on a signal, with the state saved.
    """
    counts = composition.counts(formula_units)
    volume_A3 = composition.volume_A3(
        formula_units, settings.packing_density * composition.density_guess_g_cm3
    )
    stages = quench_stages(settings, dynamics)
    protocol = settings.model_dump(mode="json", exclude={"attempts", "limits"})
    attempts: list[_Attempt] = []
    for number in range(settings.attempts):
        attempt_seed = seed if number == 0 else derive_seed(seed, "attempt", number)
        packing = random_packing(counts, volume_A3, attempt_seed)
        journal = _journal(
            out / f"attempt-{number}",
            *(model, dynamics),
            {"quench": protocol, "counts": counts, "volume_A3": volume_A3, "seed": attempt_seed},
        )
        state, fault = _melt_and_quench(
            *(packing, stages, _potential(model, packing.numbers, dynamics), journal, dynamics),
            seed=attempt_seed,
            title=f"quench {composition.composition}, attempt {number + 1}",
        )
        samples = journal.samples(len(packing))
        checks = check_glass(
            samples,
            stages={stage.name: stage.steps for stage in stages},
            melt=MELT,
            anneal=ANNEAL,
            numbers=state.numbers,
            masses_u=state.masses_u,
            composition=composition,
            dynamics=dynamics,
            limits=settings.limits,
        )
        attempts.append(_Attempt(attempt_seed, state, samples, checks, fault, journal))
        if not attempts[-1].failed:
            break
        logger.warning("%s", attempts[-1].describe(composition.composition))
    best = min(attempts, key=lambda attempt: len(attempt.failed))
    metadata = {
        "composition": composition.composition,
        "seed": best.seed,
        "attempts": len(attempts),
        "failed_checks": best.failed,
        "fault": best.fault,
        "model_hash": model_hash(model),
        "wall_s": sum(attempt.journal.wall_s() for attempt in attempts),
    }
    thermo = best.samples.thermo(
        masses_u=best.state.masses_u, timestep_ps=dynamics.timestep_fs / 1000
    )
    write_table(out / "thermo.parquet", "thermo", thermo, metadata)
    write_table(out / "glass_checks.parquet", "glass_checks", best.checks, metadata)
    glass = best.state.to_atoms()
    glass.info.update({key: metadata[key] for key in ("composition", "seed", "model_hash")})
    glass.info["failed_checks"] = ", ".join(best.failed)
    _write_structure(out / "glass.extxyz", glass)
    for attempt in attempts:
        attempt.journal.discard()


@dataclass(frozen=True)
class _Attempt:
    """One try at a glass."""

    seed: int
    state: State
    samples: Samples
    checks: pd.DataFrame
    fault: str
    journal: Journal

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return self.checks["check"][~self.checks["passed"]].tolist()

    def describe(self, name: str) -> str:
        """What went wrong, in one line."""
        failed = self.checks[~self.checks["passed"]]
        found = ", ".join(f"{row.check} {row.value:.3g}" for row in failed.itertuples())
        return f"{name}, seed {self.seed}: failed {found}" + (f" ({self.fault})" * bool(self.fault))


def _melt_and_quench(
    packing: Atoms,
    stages: Sequence[Stage],
    potential: Potential,
    journal: Journal,
    dynamics: Dynamics,
    *,
    seed: int,
    title: str,
) -> tuple[State, str]:
    """The state at the end, or the last good one and what happened after it."""
    state = journal.state
    if state is None:
        positions_A = relax(packing.positions, packing.cell[:], potential)
        packing = Atoms(packing.numbers, positions_A, cell=packing.cell, pbc=True)
        state = State.from_atoms(packing, temperature_K=stages[0].temperature_K, seed=seed)
    try:
        return _run(state, stages, potential, journal, dynamics, title=title), ""
    except BlowUp as blow_up:
        return blow_up.state, str(blow_up)


def quench_stages(settings: Quench, dynamics: Dynamics) -> list[Stage]:
    """The stages from a packing to a glass."""
    nvt, npt = BussiNVT(*_times_ps(dynamics)), integrator("npt", dynamics)
    hot_K, cold_K = settings.melt_temperature_K, settings.glass_temperature_K
    melt = _steps(settings.melt_ps, dynamics)
    cooling = _steps((hot_K - cold_K) / settings.quench_rate_K_ps, dynamics)
    return [
        Stage("melt_nvt", melt, nvt, hot_K),
        Stage("melt_npt", melt, npt, hot_K),
        Stage("quench", cooling, npt, hot_K, cold_K),
        Stage(ANNEAL, _steps(settings.anneal_ps, dynamics), npt, cold_K),
    ]


def equilibrate(
    glass: Path,
    out: Path,
    *,
    temperature_K: float,
    equilibrate_ps: float,
    dynamics: Dynamics,
    model: str,
    seed: int,
) -> None:
    """Bring a glass to a temperature and its density: NPT, then NVT at the mean volume.

    Args:
        glass: structure to start from.
        out: checkpoint to write, at step 0 of production; thermo.parquet is written beside it.
        temperature_K: temperature of production.
        equilibrate_ps: length of each of the two stages; the mean is over the last half of NPT.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.
        seed: seed of velocities and noise.

    Raises:
        InputError: the glass cannot be read.
        BlowUp: the trajectory has left physics; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    atoms = read_structure(glass)
    journal = _journal(
        *(out, model, dynamics),
        {
            "glass": hashlib.sha256(glass.read_bytes()).hexdigest(),
            "temperature_K": temperature_K,
            "equilibrate_ps": equilibrate_ps,
            "seed": seed,
        },
    )
    steps = _steps(equilibrate_ps, dynamics)
    npt, nvt = integrator("npt", dynamics), integrator("nvt", dynamics)
    stages = [
        Stage("equilibrate_npt", steps, npt, temperature_K),
        Stage("equilibrate_nvt", steps, nvt, temperature_K, prepare=_to_mean_volume),
    ]
    state = _run(
        State.from_atoms(atoms, temperature_K=temperature_K, seed=seed),
        *(stages, _potential(model, atoms.numbers, dynamics), journal, dynamics),
        title=f"equilibrate at {temperature_K:g} K",
        last_good=out,
    )
    samples = journal.samples(len(atoms))
    metadata = {
        "glass": {key: value for key, value in atoms.info.items() if np.isscalar(value)},
        "temperature_K": temperature_K,
        "equilibrate_ps": equilibrate_ps,
        "seed": seed,
        "model_hash": model_hash(model),
        "dynamics": dynamics.model_dump(mode="json"),
        "wall_s": journal.wall_s(),
    }
    thermo = samples.thermo(masses_u=state.masses_u, timestep_ps=dynamics.timestep_fs / 1000)
    write_table(out.parent / "thermo.parquet", "thermo", thermo, metadata)
    write_checkpoint(out, replace(state, step=0, seed=derive_seed(seed, "produce")), metadata)
    journal.discard()


def _to_mean_volume(state: State, journal: Journal) -> State:
    """Scale to the mean volume of the last half of the stage before."""
    volumes = journal.samples(len(state.numbers)).volume_A3
    return state.scaled_to(float(volumes[len(volumes) // 2 :].mean())) if len(volumes) else state


def produce_segment(
    previous: Path,
    out: Path,
    *,
    temperature_K: float,
    segment_ps: float,
    frame_interval_ps: float,
    position_precision_A: float,
    dynamics: Dynamics,
    model: str,
    limits: GlassLimits | None = None,
) -> None:
    """Produce the next segment of a trajectory in NVT.

    Args:
        previous: the segment before, or the checkpoint that `equilibrate` wrote.
        out: segment to write.
        temperature_K: temperature.
        segment_ps: length of every segment.
        frame_interval_ps: time between frames.
        position_precision_A: precision of stored positions.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.
        limits: of temperature and energy drift; the metadata's `flags` tell what is outside.

    Raises:
        InputError: `previous` cannot be read, or segments of another length led to it.
        BlowUp: the trajectory has left physics; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    state, history = read_checkpoint(previous)
    steps = _steps(segment_ps, dynamics)
    if state.step % steps:
        raise InputError(
            "segment_ps",
            segment_ps,
            f"{previous} ends at step {state.step}, which is no multiple of {steps}; keep "
            "production.segment_ps and dynamics.timestep_fs of the segments before",
        )
    journal = _journal(
        *(out, model, dynamics),
        {
            "previous": state.fingerprint(),
            "temperature_K": temperature_K,
            "segment_ps": segment_ps,
            "frame_interval_ps": frame_interval_ps,
        },
    )
    stage = Stage("produce", state.step + steps, integrator("nvt", dynamics), temperature_K)
    state = _run(
        *(state, [stage], _potential(model, state.numbers, dynamics), journal, dynamics),
        title=f"produce {out.stem} at {temperature_K:g} K",
        sample_ps=frame_interval_ps,
        last_good=out,
    )
    _finish_segment(
        *(out, journal, state, dynamics, model),
        temperature_K=temperature_K,
        frame_interval_ps=frame_interval_ps,
        precision_A=position_precision_A,
        limits=limits or GlassLimits(),
        history=history,
    )


def simulate(
    atoms: Atoms,
    out: Path,
    *,
    ensemble: Ensemble,
    temperature_K: float,
    steps: int,
    frame_interval_ps: float,
    position_precision_A: float,
    dynamics: Dynamics,
    model: str,
    seed: int,
    resume: bool = False,
) -> None:
    """One run of a structure in one ensemble, written as a segment.

    Args:
        atoms: structure to start from; velocities are drawn.
        out: segment to write.
        ensemble: nve, nvt or npt.
        temperature_K: temperature (of the first velocities in nve).
        steps: length of the whole run.
        frame_interval_ps: time between frames.
        position_precision_A: precision of stored positions.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.
        seed: seed of velocities and noise.
        resume: go on with a run that was stopped, or that finished with fewer steps.

    Raises:
        InputError: `out` exists and `resume` was not asked for.
        BlowUp: the trajectory has left physics; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    if out.exists() and not resume:
        raise InputError("out", str(out), "exists; give another name, or --resume to go on with it")
    start = State.from_atoms(atoms, temperature_K=temperature_K, seed=seed)
    journal = _journal(
        *(out, model, dynamics),
        {
            "start": start.fingerprint(),
            "ensemble": ensemble,
            "temperature_K": temperature_K,
            "frame_interval_ps": frame_interval_ps,
        },
    )
    if not resume:
        journal.clear()
    elif journal.state is None and out.exists():
        state, history = read_checkpoint(out)
        if history.get("start") != start.fingerprint():
            raise InputError(
                "resume", str(out), "began with another structure, seed or temperature"
            )
        samples = read_samples(out)
        journal.append(Block(0, state, samples, float(history.get("wall_s", 0.0))))
    stage = Stage(ensemble, steps, integrator(ensemble, dynamics), temperature_K)
    state = _run(
        *(start, [stage], _potential(model, atoms.numbers, dynamics), journal, dynamics),
        title=f"md {ensemble}",
        sample_ps=frame_interval_ps,
        last_good=out,
    )
    _finish_segment(
        *(out, journal, state, dynamics, model),
        temperature_K=temperature_K,
        frame_interval_ps=frame_interval_ps,
        precision_A=position_precision_A,
        limits=GlassLimits(),
        history={"start": start.fingerprint(), "seed": seed, "ensemble": ensemble},
    )


def _finish_segment(
    out: Path,
    journal: Journal,
    state: State,
    dynamics: Dynamics,
    model: str,
    *,
    temperature_K: float,
    frame_interval_ps: float,
    precision_A: float,
    limits: GlassLimits,
    history: Mapping[str, object],
) -> None:
    """Write a segment from its journal, and remove the journal."""
    n_atoms, timestep_ps = len(state.numbers), dynamics.timestep_fs / 1000
    rows = journal.samples(n_atoms, positions=False)
    checks = {
        "temperature": check_temperature(rows, n_atoms, dynamics, limits),
        "energy_drift": check_energy(rows, n_atoms, dynamics, limits),
    }
    if history.get("ensemble") == "nve":
        del checks["temperature"]
    failed = {flag: check for flag, check in checks.items() if not check.passed}
    for check in failed.values():
        logger.warning(
            "%s is flagged: %s is %.3g %s, not within %.3g to %.3g",
            *(out, check.name, check.value, check.unit, check.low, check.high),
        )
    wall_s, steps = journal.wall_s(), state.step - journal.first_step
    write_segment(
        out,
        (block.samples for block in journal.blocks()),
        state,
        n_frames=len(rows),
        timestep_ps=timestep_ps,
        precision_A=precision_A,
        metadata={
            **history,
            "temperature_K": temperature_K,
            "timestep_fs": dynamics.timestep_fs,
            "frame_interval_ps": frame_interval_ps,
            "position_precision_A": precision_A,
            "model_hash": model_hash(model),
            "dynamics": dynamics.model_dump(mode="json"),
            "mean_temperature_K": float(rows.temperature_K.mean()) if len(rows) else math.nan,
            "energy_drift_meV_atom_ps": checks["energy_drift"].value,
            "flags": list(failed),
            "wall_s": wall_s,
            "steps_per_s": steps / wall_s if wall_s > 0 else 0.0,
        },
    )
    journal.discard()


def integrator(ensemble: Ensemble, dynamics: Dynamics) -> Integrator:
    """The integrator of an ensemble by the settings."""
    timestep_ps, tau_ps = _times_ps(dynamics)
    if ensemble == "nve":
        return NVE(timestep_ps)
    if ensemble == "npt":
        return RescaleNPT(
            timestep_ps,
            tau_ps,
            pressure_eV_A3=dynamics.pressure_GPa / EV_A3_TO_GPA,
            barostat_tau_ps=dynamics.barostat_tau_fs / 1000,
            compressibility_A3_eV=dynamics.compressibility_1_GPa * EV_A3_TO_GPA,
        )
    thermostats = {"bussi": BussiNVT, "nose_hoover": NoseHooverNVT}
    return thermostats[dynamics.thermostat](timestep_ps, tau_ps)


def relax(positions_A: np.ndarray, cell_A: np.ndarray, potential: Potential) -> np.ndarray:
    """Take the worst forces out of a packing by short steps along them.

    Args:
        positions_A: (n, 3).
        cell_A: (3, 3).
        potential: what pushes.

    Returns:
        (n, 3) positions.
    """
    positions_A = np.array(positions_A, dtype=np.float64)
    for _ in range(RELAX_STEPS):
        forces = potential.compute(positions_A, np.array(cell_A)).forces_eV_A
        largest = np.linalg.norm(forces, axis=1).max()
        if largest < RELAX_FORCE_eV_A:
            break
        positions_A += forces * (RELAX_STEP_A / largest)
    return positions_A


def read_structure(path: Path) -> Atoms:
    """A periodic structure from any file that ASE reads.

    Raises:
        InputError: no such file, not readable, or not periodic in three directions.
    """
    if not path.is_file():
        raise InputError("structure", str(path), "no such file")
    try:
        atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise whatever their format leads to
        raise InputError("structure", str(path), f"ASE cannot read it ({error})") from None
    if not (atoms.cell.rank == 3 and len(atoms) > 1):
        raise InputError("structure", str(path), "give at least two atoms in a periodic cell")
    return atoms


def _write_structure(path: Path, atoms: Atoms) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    ase.io.write(partial, atoms, format="extxyz")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def _run(
    state: State,
    stages: Sequence[Stage],
    potential: Potential,
    journal: Journal,
    dynamics: Dynamics,
    *,
    title: str,
    sample_ps: float | None = None,
    last_good: Path | None = None,
) -> State:
    """`run` with the settings; after a blow-up the last good frame is written beside the output."""
    try:
        return run(
            *(state, stages, potential, journal),
            sample_every=_steps(sample_ps or dynamics.sample_interval_ps, dynamics),
            checkpoint_every=_steps(dynamics.checkpoint_interval_ps, dynamics),
            checkpoint_wall_s=60 * dynamics.checkpoint_wall_minutes,
            title=title,
        )
    except BlowUp as blow_up:
        journal.close()
        if last_good is None:
            raise
        frame = last_good.with_name(f"{last_good.stem}.last_good.extxyz")
        _write_structure(frame, blow_up.state.to_atoms())
        raise BlowUp(f"{blow_up}; the last good frame is {frame}", blow_up.state) from blow_up


def _journal(out: Path, model: str, dynamics: Dynamics, inputs: Mapping[str, object]) -> Journal:
    """A journal keyed by all that determines the trajectory (and not by how it is computed)."""
    how = {"device", "threads", "checkpoint_interval_ps", "checkpoint_wall_minutes"}
    return Journal(
        out,
        {
            **inputs,
            "model": model_hash(model),
            "dynamics": dynamics.model_dump(mode="json", exclude=how),
        },
    )


def _potential(model: str, numbers: np.ndarray, dynamics: Dynamics) -> Potential:
    torch.set_num_threads(dynamics.threads)
    return CHGNetPotential(model, numbers, device=dynamics.device)


def _times_ps(dynamics: Dynamics) -> tuple[float, float]:
    """Time step and relaxation time of the thermostat."""
    return dynamics.timestep_fs / 1000, dynamics.thermostat_tau_fs / 1000


def _steps(time_ps: float, dynamics: Dynamics) -> int:
    return max(1, round(time_ps * 1000 / dynamics.timestep_fs))
