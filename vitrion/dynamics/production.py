"""From a glass to a trajectory: equilibrate, then produce segment after segment.

Each call is one job, of one trajectory or of several that step together. Called again after a kill
with the same arguments, it continues from its checkpoint log (see `vitrion.dynamics.checkpoint`)
and writes what an undisturbed call would have written.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from vitrion.base.errors import InputError
from vitrion.base.seeds import derive_seed
from vitrion.config import Dynamics
from vitrion.dynamics.batch import Member, step_together
from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.dynamics.engine import Engine, Ensemble, read_structure
from vitrion.dynamics.measurements import (
    chosen_frames,
    measure_energy_drift,
    measure_least_distance,
    measure_order,
    measure_temperature,
)
from vitrion.dynamics.run import Interrupted, Stage
from vitrion.tables.io import write_table
from vitrion.trajectory.h5md import read_checkpoint, read_samples, write_checkpoint, write_segment
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")


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
    engine = Engine(model, dynamics)
    atoms = read_structure(glass)
    checkpoints = engine.checkpoint_log(
        out,
        {
            "glass": hashlib.sha256(glass.read_bytes()).hexdigest(),
            "temperature_K": temperature_K,
            "equilibrate_ps": equilibrate_ps,
            "seed": seed,
        },
    )
    steps = engine.steps(equilibrate_ps)
    npt, nvt = engine.integrator("npt"), engine.integrator("nvt")
    stages = [
        Stage("equilibrate_npt", steps, npt, temperature_K),
        Stage("equilibrate_nvt", steps, nvt, temperature_K, prepare=_to_mean_volume),
    ]
    state = engine.run(
        State.from_atoms(atoms, temperature_K=temperature_K, seed=seed),
        *(stages, checkpoints),
        title=f"equilibrate at {temperature_K:g} K",
        out=out,
    )
    samples = checkpoints.rows()
    metadata = {
        "glass": {key: _plain(value) for key, value in atoms.info.items() if np.ndim(value) == 0},
        "temperature_K": temperature_K,
        "equilibrate_ps": equilibrate_ps,
        "seed": seed,
        "model_hash": engine.model_hash,
        "dynamics": dynamics.model_dump(mode="json"),
        "wall_s": checkpoints.wall_s(),
    }
    thermo = samples.thermo(masses_u=state.masses_u, timestep_ps=engine.timestep_ps)
    write_table(out.parent / "thermo.parquet", "thermo", thermo, metadata)
    write_checkpoint(out, replace(state, step=0, seed=derive_seed(seed, "produce")), metadata)
    checkpoints.discard()


def _plain(value: object) -> object:
    """A number or text without numpy's type, for JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _to_mean_volume(state: State, checkpoints: CheckpointLog) -> State:
    """Scale to the mean volume of the last half of the stage before."""
    volumes = checkpoints.rows().volume_A3
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

    Raises:
        InputError: `previous` cannot be read, or segments of another length led to it.
        BlowUp: the trajectory has left physics; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    segment = _Segment.begin(
        *(Engine(model, dynamics), previous, out),
        temperature_K=temperature_K,
        segment_ps=segment_ps,
        frame_interval_ps=frame_interval_ps,
        position_precision_A=position_precision_A,
    )
    segment.run()
    segment.checkpoints.discard()


def produce_segments(
    previous: Sequence[Path],
    outs: Sequence[Path],
    *,
    temperatures_K: Sequence[float],
    segment_ps: float,
    frame_interval_ps: float,
    position_precision_A: float,
    dynamics: Dynamics,
    model: str,
) -> None:
    """Produce the next segments of several trajectories that step together.

    Each is the trajectory that `produce_segment` makes, on the CPU bit for bit, and has its own
    restart data, which either of the two goes on from. On a GPU all of them are one evaluation of
    the potential.

    Args:
        previous: for each trajectory, the segment before or the equilibrated checkpoint.
        outs: segments to write.
        temperatures_K: temperature of each.
        segment_ps, frame_interval_ps, position_precision_A, dynamics, model: as for
            `produce_segment`.

    Raises:
        InputError, BlowUp, Interrupted: as `produce_segment`, for any of them, after the others
            have come to their end or saved their states; no segment is complete then.
    """
    engine = Engine(model, dynamics)
    segments: list[_Segment] = []
    try:
        for before, out, temperature_K in zip(previous, outs, temperatures_K, strict=True):
            segment = _Segment.begin(
                *(engine, before, out),
                temperature_K=temperature_K,
                segment_ps=segment_ps,
                frame_interval_ps=frame_interval_ps,
                position_precision_A=position_precision_A,
            )
            segments.append(segment)
        potential = engine.batch_potential([segment.state.numbers for segment in segments])
        faults = [f for f in step_together([s.run for s in segments], potential) if f is not None]
        if faults:
            # Why one cannot go on tells more than that all were asked to stop.
            raise min(faults, key=lambda fault: isinstance(fault, Interrupted))
    except BaseException:
        for segment in segments:
            segment.checkpoints.close()
        raise
    # Not before all segments are there: what makes one of them again makes all of them.
    for segment in segments:
        segment.checkpoints.discard()


@dataclass(frozen=True)
class _Segment:
    """A segment to produce, with its checkpoints open.

    Attributes:
        state: at the end of the segment before.
        history: what that says about the trajectory so far.
    """

    engine: Engine
    out: Path
    state: State
    history: Mapping[str, object]
    checkpoints: CheckpointLog
    steps: int
    temperature_K: float
    frame_interval_ps: float
    position_precision_A: float

    @classmethod
    def begin(
        cls,
        engine: Engine,
        previous: Path,
        out: Path,
        *,
        temperature_K: float,
        segment_ps: float,
        frame_interval_ps: float,
        position_precision_A: float,
    ) -> _Segment:
        """Read where it starts and open its checkpoints; see `produce_segment`."""
        state, history = read_checkpoint(previous)
        steps = engine.steps(segment_ps)
        if state.step % steps:
            raise InputError(
                "segment_ps",
                segment_ps,
                f"{previous} ends at step {state.step}, which is no multiple of {steps}; keep "
                "production.segment_ps and dynamics.timestep_fs of the segments before",
            )
        checkpoints = engine.checkpoint_log(
            out,
            {
                "previous": state.fingerprint(),
                "temperature_K": temperature_K,
                "segment_ps": segment_ps,
                "frame_interval_ps": frame_interval_ps,
            },
        )
        return cls(
            *(engine, out, state, history, checkpoints, steps),
            *(temperature_K, frame_interval_ps, position_precision_A),
        )

    def run(self, member: Member | None = None) -> None:
        """Run to the end of the segment and write it; the checkpoints stays."""
        nvt = self.engine.integrator("nvt")
        stage = Stage("produce", self.state.step + self.steps, nvt, self.temperature_K)
        state = self.engine.run(
            *(self.state, [stage], self.checkpoints),
            title=f"produce {self.out.stem} at {self.temperature_K:g} K",
            sample_ps=self.frame_interval_ps,
            out=self.out,
            member=member,
        )
        _write_segment(
            *(self.out, self.checkpoints, state, self.engine),
            temperature_K=self.temperature_K,
            frame_interval_ps=self.frame_interval_ps,
            precision_A=self.position_precision_A,
            glass=True,
            history=self.history,
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
        InputError: `out` exists and `resume` was not asked for, or no frame fits into the run.
        BlowUp: the trajectory has left physics; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    if out.exists() and not resume:
        raise InputError("out", str(out), "exists; give another name, or --resume to go on with it")
    engine = Engine(model, dynamics)
    if steps < engine.steps(frame_interval_ps):
        raise InputError("steps", steps, f"no frame in so few; a frame is {frame_interval_ps:g} ps")
    start = State.from_atoms(atoms, temperature_K=temperature_K, seed=seed)
    checkpoints = engine.checkpoint_log(
        out,
        {
            "start": start.fingerprint(),
            "ensemble": ensemble,
            "temperature_K": temperature_K,
            "frame_interval_ps": frame_interval_ps,
        },
    )
    if not resume:
        if checkpoints.state is not None:
            logger.warning(
                "starting anew; --resume would go on from step %d", checkpoints.state.step
            )
        checkpoints.clear()
    elif checkpoints.state is None and out.exists():
        state, history = read_checkpoint(out)
        if history.get("start") != start.fingerprint():
            raise InputError(
                "resume", str(out), "began with another structure, seed or temperature"
            )
        samples = read_samples(out)
        checkpoints.append(Record(0, state, samples, float(history.get("wall_s", 0.0))))
    stage = Stage(ensemble, steps, engine.integrator(ensemble), temperature_K)
    state = engine.run(
        *(start, [stage], checkpoints), title=f"md {ensemble}", sample_ps=frame_interval_ps, out=out
    )
    _write_segment(
        *(out, checkpoints, state, engine),
        temperature_K=temperature_K,
        frame_interval_ps=frame_interval_ps,
        precision_A=position_precision_A,
        glass=False,
        history={"start": start.fingerprint(), "seed": seed, "ensemble": ensemble},
    )
    checkpoints.discard()


def _write_segment(
    out: Path,
    checkpoints: CheckpointLog,
    state: State,
    engine: Engine,
    *,
    temperature_K: float,
    frame_interval_ps: float,
    precision_A: float,
    glass: bool,
    history: Mapping[str, object],
) -> None:
    """Write a segment from its checkpoints."""
    n_atoms = len(state.numbers)
    rows = checkpoints.rows()
    timestep_ps = engine.timestep_ps
    measurements = [measure_energy_drift(rows, n_atoms, timestep_ps=timestep_ps)]
    if history.get("ensemble") != "nve":
        tau_ps = engine.dynamics.thermostat_tau_fs / 1000
        measurements.append(
            measure_temperature(rows, n_atoms, timestep_ps=timestep_ps, thermostat_tau_ps=tau_ps)
        )
    if glass:
        frames = checkpoints.samples(n_atoms, at=rows.step[chosen_frames(len(rows))])
        measurements += [measure_least_distance(frames), measure_order(frames, state.numbers)]
    wall_s, steps = checkpoints.wall_s(), state.step - checkpoints.first_step
    write_segment(
        out,
        (record.samples for record in checkpoints.records()),
        state,
        n_frames=len(rows),
        timestep_ps=engine.timestep_ps,
        precision_A=precision_A,
        metadata={
            **history,
            "temperature_K": temperature_K,
            "timestep_fs": engine.dynamics.timestep_fs,
            "frame_interval_ps": frame_interval_ps,
            "position_precision_A": precision_A,
            "model_hash": engine.model_hash,
            "dynamics": engine.dynamics.model_dump(mode="json"),
            "mean_temperature_K": float(rows.temperature_K.mean()) if len(rows) else math.nan,
            "measurements": [asdict(measurement) for measurement in measurements],
            "wall_s": wall_s,
            "steps_per_s": steps / wall_s if wall_s > 0 else 0.0,
        },
    )
