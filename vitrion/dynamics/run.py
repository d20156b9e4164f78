"""The one loop that every dynamics of Vitrion runs in."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import numpy as np

from vitrion.base.errors import PotentialError
from vitrion.base.progress import Progress
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.dynamics.integrators import Forces, Integrator, pressure_eV_A3
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")

# Beyond these nothing is left of a condensed phase; the glass checks are far narrower.
VOLUME_A3_ATOM = (2.0, 1000.0)
HOTTEST = 10.0  # times the target, and HOTTEST_K on top
HOTTEST_K = 5000.0


class Potential(Protocol):
    """Energies, forces and stresses of configurations; a pure function of its arguments."""

    def compute(
        self, positions_A: np.ndarray, cell_A: np.ndarray, *, stress: bool = False
    ) -> Forces:
        """Energy of the cell (eV), forces (eV/Å) and, when asked for, stress (eV/Å³)."""


class BlowUp(RuntimeError):
    """The trajectory has left physics; `state` is the last good one."""

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


class Interrupted(SystemExit):
    """A signal has asked to stop; the state is saved, and the same call goes on from there."""

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
    """How often a run is looked at.

    Attributes:
        sample: steps between samples, which are taken at multiples of it.
        checkpoint: most steps between records of the checkpoints.
        checkpoint_wall_s: most wall time between records.
    """

    sample: int
    checkpoint: int
    checkpoint_wall_s: float = math.inf


def run(
    state: State,
    stages: Sequence[Stage],
    potential: Potential,
    checkpoints: CheckpointLog,
    intervals: Intervals,
    *,
    title: str = "md",
    stopping: threading.Event | None = None,
) -> State:
    """Run stages one after another, from where the checkpoints ends.

    The stages count from step 0; a state that is already inside one goes on there. What is
    computed depends on the step alone, never on when the process began, so stopping and going on
    at any step gives the same trajectory.

    Args:
        state: where to start when the checkpoints is empty.
        stages: the whole run.
        potential: what moves the atoms.
        checkpoints: where samples and states are kept.
        intervals: how often.
        title: what the progress is called.
        stopping: asks to stop when it is set; by default signals do.

    Returns:
        The state at the end, which is also the checkpoints's.

    Raises:
        BlowUp: the trajectory has left physics.
        Interrupted: asked to stop, with the state saved.
    """
    state = checkpoints.state or state
    total = sum(stage.steps for stage in stages)
    if state.step >= total:
        return state
    first = 0
    signals = stop_signals() if stopping is None else nullcontext(stopping)
    with Progress(total - state.step, title) as progress, signals as stopping:
        for stage in stages:
            if first <= state.step < first + stage.steps:
                recorder = _Recorder(checkpoints, intervals, stage.name, state)
                for reached in _steps(state, stage, first, potential, recorder):
                    state = reached
                    progress.update(1, f"{stage.name} {state.temperature_K:.0f} K")
                    if stopping.is_set() and state.step < total:
                        recorder.save(state)
                        logger.warning("stopped at step %d; run again to go on", state.step)
                        raise Interrupted
                recorder.save(state)
            first += stage.steps
    return state


def _steps(
    state: State, stage: Stage, first: int, potential: Potential, recorder: _Recorder
) -> Iterator[State]:
    """The states of a stage after each step, recorded as they come."""
    integrator = stage.integrator

    def evaluate(state: State) -> Forces:
        stress = integrator.needs_stress or recorder.samples_at(state.step)
        return potential.compute(state.positions_A, state.cell_A, stress=stress)

    if state.step == first:
        if stage.prepare is not None:
            state = stage.prepare(state, recorder.checkpoints)
        state = integrator.start(state)
    try:
        forces = evaluate(state)
        while state.step < first + stage.steps:
            target_K = stage.target_K(state.step + 1 - first)
            following, forces = integrator.step(state, forces, evaluate, target_K)
            fault = _fault(following, forces, target_K)
            if fault:
                raise PotentialError(fault)
            state = following
            recorder.record(state, forces, target_K, integrator)
            yield state
    except PotentialError as error:
        raise BlowUp(f"{stage.name}, step {state.step + 1}: {error}", state) from error


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
        """Take note of a step."""
        if self.samples_at(state.step):
            conserved_eV = integrator.conserved_eV(state, forces, target_K)
            self._taken.append(
                _sample(
                    state, forces, stage=self._stage, target_K=target_K, conserved_eV=conserved_eV
                )
            )
        if (
            state.step - self._first_step >= self._intervals.checkpoint
            or time.monotonic() - self._began >= self._intervals.checkpoint_wall_s
        ):
            self.save(state)

    def save(self, state: State) -> None:
        """Make what was not yet saved a record."""
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
    state: State, forces: Forces, *, stage: str, target_K: float, conserved_eV: float
) -> Samples:
    """One sample of a state."""
    return Samples(
        step=np.array([state.step]),
        stage=np.array([stage]),
        target_K=np.array([target_K]),
        temperature_K=np.array([state.temperature_K]),
        energy_eV=np.array([forces.energy_eV]),
        conserved_eV=np.array([conserved_eV]),
        pressure_GPa=np.array([pressure_eV_A3(state, forces) * EV_A3_TO_GPA]),
        cell_A=state.cell_A[None],
        positions_A=state.positions_A[None].astype(np.float32),
    )


def _fault(state: State, forces: Forces, target_K: float) -> str:
    """Why a state is not physics; empty when it is."""
    if not (math.isfinite(forces.energy_eV) and np.isfinite(forces.forces_eV_A).all()):
        return "energy or forces are not finite"
    if not state.temperature_K < HOTTEST * target_K + HOTTEST_K:
        return f"the temperature is {state.temperature_K:.0f} K, {target_K:.0f} K was asked for"
    low, high = VOLUME_A3_ATOM
    if not low < state.volume_A3 / len(state.numbers) < high:
        return f"the cell has {state.volume_A3 / len(state.numbers):.4g} Å³ an atom"
    return ""


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM, SIGUSR1 and SIGINT set; a second SIGINT does what it did before."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if number == signal.SIGINT:
            signal.signal(number, previous[number])

    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
