"""From a glass to a trajectory: equilibrate, then produce segment after segment.

Each call is one job, of one trajectory or of several that step together. Called again after a kill
with the same arguments, it continues from its checkpoint log (see `vitrion.dynamics.checkpoint`)
and writes what an undisturbed call would have written.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import sha256
from vitrion.base.seeds import derive_seed
from vitrion.config import Dynamics, whole_multiple
from vitrion.dynamics.batch import drive_together
from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.dynamics.engine import Engine, Ensemble
from vitrion.dynamics.measurements import (
    chosen_frames,
    measure_energy_drift,
    measure_least_distance,
    measure_order,
    measure_temperature,
)
from vitrion.dynamics.run import Interrupted, Stage, Stepping, StopFlag, drive, stop_signals
from vitrion.structure.files import read_structure
from vitrion.tables.io import write_table
from vitrion.trajectory.checks import Measurement
from vitrion.trajectory.h5md import (
    frames_path,
    read_checkpoint,
    read_samples,
    write_checkpoint,
    write_segment,
)
from vitrion.trajectory.metadata import SegmentMetadata, TrajectoryKey
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")


def equilibrate(
    glass: Path,
    out: Path,
    *,
    key: TrajectoryKey,
    equilibrate_ps: float,
    dynamics: Dynamics,
    model: str,
    seed: int,
) -> None:
    """Bring a glass to a temperature and its density: NPT, then NVT at the mean volume.

    Args:
        glass: structure to start from.
        out: checkpoint to write, at step 0 of production; thermo.parquet is written beside it.
        key: the trajectory that begins here; all its segments carry it.
        equilibrate_ps: length of each of the two stages; the mean is over the last half of NPT.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.
        seed: seed of velocities and noise.

    Raises:
        InputError: the glass cannot be read.
        BlowUp: a state that no condensed phase can have; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    engine = Engine(model, dynamics)
    atoms = read_structure(glass)
    temperature_K = key.temperature_K
    checkpoints = engine.checkpoint_log(
        out,
        {
            "glass": sha256(glass),
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
        stages,
        checkpoints,
        title=f"equilibrate at {temperature_K:g} K",
        out=out,
    )
    samples = checkpoints.rows()
    metadata = SegmentMetadata(
        composition=key.composition,
        temperature_K=temperature_K,
        replica=key.replica,
        glass={name: _plain(value) for name, value in atoms.info.items() if np.ndim(value) == 0},
        equilibrate_ps=equilibrate_ps,
        seed=seed,
        model_hash=engine.model_hash,
        timestep_fs=dynamics.timestep_fs,
        dynamics=dynamics.model_dump(mode="json"),
        wall_s=checkpoints.wall_s(),
    )
    thermo = samples.thermo(masses_u=state.masses_u, timestep_ps=engine.timestep_ps)
    write_table(out.parent / "thermo.parquet", "thermo", thermo, asdict(metadata))
    write_checkpoint(out, replace(state, step=0, seed=derive_seed(seed, "produce")), metadata)
    checkpoints.discard()


def _check_same_run(
    out: Path,
    before: SegmentMetadata,
    engine: Engine,
    start: State,
    ensemble: Ensemble,
    frame_interval_ps: float,
) -> None:
    """Refuse to continue a finished run with other settings than it was begun with."""
    if before.start != start.fingerprint():
        raise InputError("resume", str(out), "began with another structure, seed or temperature")
    dynamics = type(engine.dynamics).model_validate(before.dynamics).values("physics")
    begun = {
        "model": before.model_hash,
        "ensemble": before.ensemble,
        "frame_interval_ps": before.frame_interval_ps,
        **dynamics,
    }
    asked = {
        "model": engine.model_hash,
        "ensemble": ensemble,
        "frame_interval_ps": frame_interval_ps,
        **engine.dynamics.values("physics"),
    }
    changed = [f"{key} {begun[key]}, not {asked[key]}" for key in asked if begun[key] != asked[key]]
    if changed:
        raise InputError(
            "resume",
            str(out),
            f"began with {', '.join(changed)}; give the same again, or another name to write",
        )


def _plain(value: object) -> object:
    """A number or text without numpy's type, for JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _to_mean_volume(state: State, checkpoints: CheckpointLog) -> State:
    """Scale to the mean volume of the last half of the stage before."""
    volumes = checkpoints.rows().volume_A3
    return state.scaled_to(float(volumes[len(volumes) // 2 :].mean())) if len(volumes) else state


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """How the segments of a trajectory are made and stored.

    Attributes:
        segment_ps: length of every segment.
        frame_interval_ps: time between frames.
        position_precision_A: precision of stored positions.
    """

    segment_ps: float
    frame_interval_ps: float
    position_precision_A: float


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
        out: segment to write; its frames are written beside it (see `vitrion.trajectory.h5md`).
        temperature_K: temperature of the trajectory.
        segment_ps: length of every segment.
        frame_interval_ps: time between frames.
        position_precision_A: precision of stored positions.
        dynamics: settings of the dynamics.
        model: what `vitrion.potential.load_model` takes.

    Raises:
        InputError: `previous` cannot be read, belongs to a trajectory at another temperature, or
            follows segments of another length.
        BlowUp: a state that no condensed phase can have; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    settings = SegmentSettings(
        segment_ps=segment_ps,
        frame_interval_ps=frame_interval_ps,
        position_precision_A=position_precision_A,
    )
    engine = Engine(model, dynamics)
    segment = _Segment.begin(engine, previous, out, temperature_K, settings)
    with stop_signals() as stop:
        drive(segment.stepping(stop), engine.potential(segment.state.numbers))
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
    restart data, from which either of the two continues. On a GPU all of them are one evaluation
    of the potential.

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
    settings = SegmentSettings(
        segment_ps=segment_ps,
        frame_interval_ps=frame_interval_ps,
        position_precision_A=position_precision_A,
    )
    engine = Engine(model, dynamics)
    segments: list[_Segment] = []
    try:
        for before, out, temperature_K in zip(previous, outs, temperatures_K, strict=True):
            segments.append(_Segment.begin(engine, before, out, temperature_K, settings))
        potential = engine.batch_potential([segment.state.numbers for segment in segments])
        with stop_signals() as stop:
            outcomes = drive_together([segment.stepping(stop) for segment in segments], potential)
        errors = [outcome for outcome in outcomes if outcome is not None]
        if errors:
            # Another error says more than that all were asked to stop.
            raise min(errors, key=lambda error: isinstance(error, Interrupted))
    except BaseException:
        for segment in segments:
            segment.checkpoints.close()
        raise
    # Restart data stays until all segments exist: a repeated job makes all of them again.
    for segment in segments:
        segment.checkpoints.discard()


@dataclass(frozen=True)
class _Segment:
    """A segment to produce, with its checkpoint log open.

    Attributes:
        engine: potential and settings.
        out: the file to write.
        state: at the end of the segment before.
        before: metadata of the segment before.
        checkpoints: restart data.
        settings: length and storage.
    """

    engine: Engine
    out: Path
    state: State
    before: SegmentMetadata
    checkpoints: CheckpointLog
    settings: SegmentSettings

    @classmethod
    def begin(
        cls,
        engine: Engine,
        previous: Path,
        out: Path,
        temperature_K: float,
        settings: SegmentSettings,
    ) -> _Segment:
        """Read the state it starts from and open its checkpoint log; see `produce_segment`."""
        state, before = read_checkpoint(previous)
        if before.temperature_K != temperature_K:
            raise InputError(
                "temperature_K",
                temperature_K,
                f"{previous} belongs to a trajectory at {before.temperature_K:g} K; put the right "
                "file there, or remove it to make it again",
            )
        steps = engine.steps(settings.segment_ps)
        if state.step % steps:
            raise InputError(
                "segment_ps",
                settings.segment_ps,
                f"{previous} ends at step {state.step}, which is no multiple of {steps}; keep "
                "production.segment_ps and dynamics.timestep_fs of the segments before",
            )
        checkpoints = engine.checkpoint_log(
            out,
            {
                "previous": state.fingerprint(),
                "temperature_K": temperature_K,
                "segment_ps": settings.segment_ps,
                "frame_interval_ps": settings.frame_interval_ps,
            },
        )
        return cls(engine, out, state, before, checkpoints, settings)

    def stepping(self, stop: StopFlag) -> Stepping[None]:
        """Run to the end of the segment and write it; the restart data stays."""
        engine, temperature_K = self.engine, self.before.temperature_K
        end = self.state.step + engine.steps(self.settings.segment_ps)
        state = yield from engine.stepping(
            self.state,
            [Stage("produce", end, engine.integrator("nvt"), temperature_K)],
            self.checkpoints,
            stop,
            title=f"produce {self.out.stem} at {temperature_K:g} K",
            sample_ps=self.settings.frame_interval_ps,
            out=self.out,
        )
        rows = self.checkpoints.rows()
        frames = self.checkpoints.samples(
            len(state.numbers), at=rows.step[chosen_frames(len(rows))]
        )
        measured = [
            *_measure(rows, len(state.numbers), engine),
            measure_least_distance(frames),
            measure_order(frames, state.numbers),
            *engine.measure_novelty(frames, state.numbers),
        ]
        metadata = replace(
            self.before,
            model_hash=engine.model_hash,
            timestep_fs=engine.dynamics.timestep_fs,
            dynamics=engine.dynamics.model_dump(mode="json"),
            frame_interval_ps=self.settings.frame_interval_ps,
            position_precision_A=self.settings.position_precision_A,
        )
        metadata = _measured(metadata, self.checkpoints, state, rows, measured)
        parts = (record.samples for record in self.checkpoints.records())
        write_segment(frames_path(self.out), parts, state, metadata, checkpoint=False)
        write_checkpoint(self.out, state, metadata)


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
        resume: continue a run that was stopped, or that finished with fewer steps.

    Raises:
        InputError: `out` exists and `resume` was not asked for, the run to resume was begun with
            other settings or is longer, no frame fits into the run, or a frame's interval is no
            whole number of steps.
        BlowUp: a state that no condensed phase can have; the last good frame is beside `out`.
        Interrupted: on a signal, with the state saved.
    """
    if out.exists() and not resume:
        raise InputError("out", str(out), "exists; give another name, or --resume to continue it")
    if whole_multiple(frame_interval_ps, dynamics.timestep_ps) is None:
        raise InputError(
            "frame_interval_ps",
            frame_interval_ps,
            f"make it a whole multiple of dynamics.timestep_fs ({dynamics.timestep_fs:g})",
        )
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
        keep_others=resume,
    )
    if not resume:
        if checkpoints.state is not None:
            step = checkpoints.state.step
            logger.warning("starting again; --resume would continue from step %d", step)
        checkpoints.clear()
    elif checkpoints.state is None and out.exists():
        state, before = read_checkpoint(out)
        _check_same_run(out, before, engine, start, ensemble, frame_interval_ps)
        if steps < state.step:
            raise InputError(
                "steps", steps, f"{out} has {state.step} already; give as many or more"
            )
        checkpoints.append(Record(0, state, read_samples(out), before.wall_s))
    state = engine.run(
        start,
        [Stage(ensemble, steps, engine.integrator(ensemble), temperature_K)],
        checkpoints,
        title=f"md {ensemble}",
        sample_ps=frame_interval_ps,
        out=out,
    )
    rows = checkpoints.rows()
    frames = checkpoints.samples(len(state.numbers), at=rows.step[chosen_frames(len(rows))])
    measured = [
        *_measure(rows, len(state.numbers), engine, is_thermostatted=ensemble != "nve"),
        *engine.measure_novelty(frames, state.numbers),
    ]
    metadata = SegmentMetadata(
        start=start.fingerprint(),
        seed=seed,
        ensemble=ensemble,
        temperature_K=temperature_K,
        model_hash=engine.model_hash,
        timestep_fs=dynamics.timestep_fs,
        dynamics=dynamics.model_dump(mode="json"),
        frame_interval_ps=frame_interval_ps,
        position_precision_A=position_precision_A,
    )
    metadata = _measured(metadata, checkpoints, state, rows, measured)
    parts = (record.samples for record in checkpoints.records())
    write_segment(out, parts, state, metadata)
    checkpoints.discard()


def _measure(
    rows: Samples, n_atoms: int, engine: Engine, *, is_thermostatted: bool = True
) -> list[Measurement]:
    """What is measured of every run: drift of the conserved energy, and the temperature."""
    timestep_ps = engine.timestep_ps
    measured = [measure_energy_drift(rows, n_atoms, timestep_ps=timestep_ps)]
    if is_thermostatted:
        tau_ps = engine.dynamics.thermostat_tau_fs / 1000
        measured.append(
            measure_temperature(rows, n_atoms, timestep_ps=timestep_ps, thermostat_tau_ps=tau_ps)
        )
    return measured


def _measured(
    metadata: SegmentMetadata,
    checkpoints: CheckpointLog,
    state: State,
    rows: Samples,
    measurements: Sequence[Measurement],
) -> SegmentMetadata:
    """Metadata of a run with what was measured of it.

    Args:
        metadata: of the run.
        checkpoints: its checkpoint log.
        state: at its end.
        rows: all samples without positions.
        measurements: what was measured.
    """
    wall_s, steps = checkpoints.wall_s(), state.step - checkpoints.first_step
    return replace(
        metadata,
        n_frames=len(rows),
        measurements=tuple(measurements),
        mean_temperature_K=float(rows.temperature_K.mean()),
        wall_s=wall_s,
        steps_per_s=steps / wall_s if wall_s > 0 else 0.0,
        code_version=__version__,
    )
