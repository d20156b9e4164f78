"""The loop of every run of molecular dynamics, stopped at each force evaluation.

A run is a generator: it yields the configuration whose forces it needs and is sent the forces. One
run is driven with its own potential (`drive`); several are driven together with one evaluation per
step (`vitrion.dynamics.batch`).
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, TypeVar

import numpy as np

from vitrion.base.errors import PotentialError
from vitrion.base.progress import Progress
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.dynamics.integrators import (
    Forces,
    Integrator,
    half_step_temperature_K,
    pressure_eV_A3,
)
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")

# A state outside these limits is not that of a condensed phase; the glass checks are far narrower.
VOLUME_A3_ATOM = (2.0, 1000.0)
# The temperature must stay below HOTTEST times the target plus HOTTEST_K.
HOTTEST = 10.0
HOTTEST_K = 5000.0


class Potential(Protocol):
    """Energies, forces and stresses of configurations; a pure function of its arguments."""

    def compute(
        self, positions_A: np.ndarray, cell_A: np.ndarray, *, stress: bool = False
    ) -> Forces:
        """Energy of the cell (eV), forces (eV/Å) and, when asked for, stress (eV/Å³)."""


class BlowUp(RuntimeError):
    """A state that no simulation of a condensed phase can have; `state` is the last good one."""

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


class Interrupted(SystemExit):
    """A signal asked to stop. The state is saved, and the same call continues from it."""

    def __init__(self) -> None:
        super().__init__(75)  # EX_TEMPFAIL of sysexits.h: try again


@dataclass(frozen=True)
class Stage:
    """A part of a run with one integrator.

    Attributes:
        name: of the stage, as in the table `thermo`.
        steps: its length.
        integrator: what advances the state.
        temperature_K: temperature at its start.
        final_temperature_K: temperature at its end, if another; linear in between.
        prepare: changes the state once, at the start.
    """

    name: str
    steps: int
    integrator: Integrator
    temperature_K: float
    final_temperature_K: float | None = None
    prepare: Callable[[State, CheckpointLog], State] | None = None

    def target_K(self, done: int) -> float:
        """Temperature asked for after some of its steps."""
        if self.final_temperature_K is None:
            return self.temperature_K
        change = self.final_temperature_K - self.temperature_K
        return self.temperature_K + change * done / self.steps


@dataclass(frozen=True)
class Intervals:
    """How often samples and checkpoints are taken.

    Attributes:
        sample: steps between samples, which are taken at multiples of it.
        checkpoint: most steps between records of the checkpoint log.
        checkpoint_wall_s: most wall time between records.
    """

    sample: int
    checkpoint: int
    checkpoint_wall_s: float = math.inf


@dataclass(frozen=True)
class ForceRequest:
    """A configuration whose forces a trajectory needs for its next step.

    Attributes:
        positions_A: (n, 3) positions, unwrapped.
        cell_A: (3, 3) cell vectors in rows.
        stress: whether the stress is needed too.
    """

    positions_A: np.ndarray
    cell_A: np.ndarray
    stress: bool


T = TypeVar("T")
# A run that stops at every force evaluation: it yields what it needs and is sent the forces.
Stepping = Generator[ForceRequest, Forces, T]


class StopFlag:
    """Set when a run shall save its state and stop."""

    is_set = False


def drive(stepping: Stepping[T], potential: Potential) -> T:
    """Run one trajectory to its end with its own potential.

    Errors of the potential are raised inside the run, at the step that needed the forces.
    """
    try:
        request = next(stepping)
        while True:
            try:
                forces = potential.compute(
                    request.positions_A, request.cell_A, stress=request.stress
                )
            except BaseException as error:
                request = stepping.throw(error)
            else:
                request = stepping.send(forces)
    except StopIteration as end:
        return end.value


def run(
    state: State,
    stages: Sequence[Stage],
    potential: Potential,
    checkpoints: CheckpointLog,
    intervals: Intervals,
    *,
    title: str = "md",
) -> State:
    """Run one trajectory with its own potential; see `run_stages`. Signals stop it."""
    with stop_signals() as stop:
        return drive(run_stages(state, stages, checkpoints, intervals, stop, title), potential)


def run_stages(
    state: State,
    stages: Sequence[Stage],
    checkpoints: CheckpointLog,
    intervals: Intervals,
    stop: StopFlag,
    title: str = "md",
) -> Stepping[State]:
    """Run stages one after another, from where the checkpoint log ends.

    The stages count from step 0; a state that is already inside one continues there. What is
    computed depends on the step alone, never on when the process began, so a run that was stopped
    at any step and continued gives the same trajectory.

    Args:
        state: where to start when the checkpoint log is empty.
        stages: the whole run.
        checkpoints: where samples and states are kept.
        intervals: how often.
        stop: asks to save the state and stop.
        title: name of the run in its progress.

    Yields:
        The configurations whose forces are needed.

    Returns:
        The state at the end, which is also the last in the checkpoint log.

    Raises:
        BlowUp: a state that no simulation of a condensed phase can have.
        Interrupted: asked to stop, with the state saved.
    """
    state = checkpoints.state or state
    total = sum(stage.steps for stage in stages)
    if state.step >= total:
        return state
    first = 0
    with Progress(total - state.step, title) as progress:
        for stage in stages:
            if first <= state.step < first + stage.steps:
                recorder = _Recorder(checkpoints, intervals, stage.name, state)
                state = yield from _run_stage(state, stage, first, total, recorder, progress, stop)
            first += stage.steps
    return state


def _run_stage(
    state: State,
    stage: Stage,
    first: int,
    total: int,
    recorder: _Recorder,
    progress: Progress,
    stop: StopFlag,
) -> Stepping[State]:
    """Run one stage, which begins at step `first` of `total`, to its end."""
    integrator = stage.integrator

    def request(state: State) -> ForceRequest:
        stress = integrator.needs_stress or recorder.samples_at(state.step)
        return ForceRequest(state.positions_A, state.cell_A, stress)

    if state.step == first:
        if stage.prepare is not None:
            state = stage.prepare(state, recorder.checkpoints)
        state = integrator.start(state)
    try:
        forces = yield request(state)
        while state.step < first + stage.steps:
            target_K = stage.target_K(state.step + 1 - first)
            moved, complete = integrator.step(state, forces, target_K)
            forces = yield request(moved)
            following = complete(forces)
            reason = _rejection_reason(following, forces, target_K)
            if reason:
                raise PotentialError(reason)
            state = following
            recorder.record(state, forces, target_K, integrator)
            progress.update(1, f"{stage.name} {state.temperature_K:.0f} K")
            if stop.is_set and state.step < total:
                recorder.save(state)
                logger.warning("stopped at step %d, its state is saved", state.step)
                raise Interrupted
    except PotentialError as error:
        raise BlowUp(f"{stage.name}, step {state.step + 1}: {error}", state) from error
    recorder.save(state)
    return state


class _Recorder:
    """Takes the samples of a stage and adds them to the checkpoint log, a record at a time."""

    def __init__(
        self, checkpoints: CheckpointLog, intervals: Intervals, stage: str, state: State
    ) -> None:
        self.checkpoints, self._intervals, self._stage = checkpoints, intervals, stage
        self._begin(state)

    def samples_at(self, step: int) -> bool:
        """Whether a sample is taken at a step."""
        return step % self._intervals.sample == 0

    def record(self, state: State, forces: Forces, target_K: float, integrator: Integrator) -> None:
        """Take the sample of a step, if there is one, and save when it is time."""
        if self.samples_at(state.step):
            self._taken.append(_sample(state, forces, self._stage, target_K, integrator))
        if (
            state.step - self._first_step >= self._intervals.checkpoint
            or time.monotonic() - self._began >= self._intervals.checkpoint_wall_s
        ):
            self.save(state)

    def save(self, state: State) -> None:
        """Append what was not yet saved as a record."""
        if state.step == self._first_step:
            return
        samples = Samples.join([Samples.none(len(state.numbers)), *self._taken])
        wall_s = time.monotonic() - self._began
        self.checkpoints.append(Record(self._first_step, state, samples, wall_s))
        self._begin(state)

    def _begin(self, state: State) -> None:
        self._first_step, self._began = state.step, time.monotonic()
        self._taken: list[Samples] = []


def _sample(
    state: State, forces: Forces, stage: str, target_K: float, integrator: Integrator
) -> Samples:
    """One sample of a state."""
    timestep_ps = integrator.timestep_ps
    pressure_GPa = pressure_eV_A3(state, forces, timestep_ps) * EV_A3_TO_GPA
    return Samples(
        step=np.array([state.step]),
        stage=np.array([stage]),
        target_K=np.array([target_K]),
        temperature_K=np.array([half_step_temperature_K(state, forces, timestep_ps)]),
        energy_eV=np.array([forces.energy_eV]),
        conserved_eV=np.array([integrator.conserved_eV(state, forces, target_K)]),
        pressure_GPa=np.array([pressure_GPa]),
        cell_A=state.cell_A[None],
        positions_A=state.positions_A[None].astype(np.float32),
    )


def _rejection_reason(state: State, forces: Forces, target_K: float) -> str:
    """Why a state cannot belong to a simulation of a condensed phase; empty when it can."""
    if not (math.isfinite(forces.energy_eV) and np.isfinite(forces.forces_eV_A).all()):
        return "energy or forces are not finite"
    if not state.temperature_K < HOTTEST * target_K + HOTTEST_K:
        return f"the temperature is {state.temperature_K:.0f} K, {target_K:.0f} K was asked for"
    volume_A3_atom = state.volume_A3 / len(state.numbers)
    low, high = VOLUME_A3_ATOM
    if not low < volume_A3_atom < high:
        return f"the cell has {volume_A3_atom:.4g} Å³ per atom"
    return ""


@contextmanager
def stop_signals() -> Iterator[StopFlag]:
    """A flag that SIGTERM, SIGUSR1 and SIGINT set; a second SIGINT does what it did before.

    Outside the main thread, where Python allows no signal handlers, nothing sets the flag.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, frame: FrameType | None) -> None:
        flag.is_set = True
        if number == signal.SIGINT:
            signal.signal(number, previous[number])

    previous: dict[int, Any] = {
        int(number): signal.signal(number, stop)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
