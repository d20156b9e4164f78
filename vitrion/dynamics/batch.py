"""Several trajectories that step together, so that one evaluation of the potential serves all.

Each trajectory runs in a thread of its own, with its own state, seed and journal, exactly as it
runs alone. When every thread has asked for forces, the calling thread answers all of them at once;
a trajectory that has ended asks no more, and the others go on without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from vitrion.dynamics.integrators import Forces
from vitrion.dynamics.run import Potential, stop_signals
from vitrion.errors import PotentialError

Configuration = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")


class BatchPotential(Protocol):
    """Potentials of several systems; see `vitrion.potential.CHGNetBatch`."""

    def compute(
        self, configurations: Mapping[int, Configuration], *, stress: bool = False
    ) -> Mapping[int, Forces | PotentialError]:
        """What each system's potential gives for its positions and cell, or why it does not."""


@dataclass(frozen=True)
class Member:
    """A trajectory's part in a batch.

    Attributes:
        potential: the trajectory's potential.
        stopping: set when the trajectory shall save its state and stop.
    """

    potential: Potential
    stopping: threading.Event


def step_together(
    tasks: Sequence[Callable[[Member], T]], potential: BatchPotential
) -> list[T | BaseException]:
    """Run tasks that each move one system of the potential, all in step.

    Args:
        tasks: one for each system, in the potential's order.
        potential: what moves the atoms; called in this thread alone.

    Returns:
        What each task has returned or raised.
    """
    with stop_signals() as stopping:
        return _Batch(len(tasks), potential, stopping).run(tasks)


class _Batch:
    def __init__(self, size: int, potential: BatchPotential, stopping: threading.Event) -> None:
        self.potential, self.stopping = potential, stopping
        self._changed = threading.Condition()
        self._running = size
        self._asked: dict[int, tuple[Configuration, bool]] = {}
        self._answers: dict[int, Forces | BaseException] = {}

    def run(self, tasks: Sequence[Callable[[Member], T]]) -> list[T | BaseException]:
        outcomes: dict[int, T | BaseException] = {}

        def work(number: int, task: Callable[[Member], T]) -> None:
            try:
                outcomes[number] = task(Member(_Share(self, number), self.stopping))
            except BaseException as error:
                outcomes[number] = error
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

        for number, task in enumerate(tasks):
            # A daemon: after a second interrupt nobody answers it any more.
            threading.Thread(target=work, args=(number, task), daemon=True).start()
        while asked := self._next_questions():
            answers = self._compute(asked)
            with self._changed:
                self._answers.update(answers)
                self._changed.notify_all()
        return [outcomes[number] for number in range(len(tasks))]

    def _next_questions(self) -> dict[int, tuple[Configuration, bool]]:
        """What all that still run have asked, in order; empty when none runs."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._asked) == self._running)
            asked, self._asked = dict(sorted(self._asked.items())), {}
        return asked

    def _compute(
        self, asked: Mapping[int, tuple[Configuration, bool]]
    ) -> Mapping[int, Forces | BaseException]:
        configurations = {number: configuration for number, (configuration, _) in asked.items()}
        stress = any(wanted for _, wanted in asked.values())
        try:
            return self.potential.compute(configurations, stress=stress)
        except Exception as error:
            return dict.fromkeys(asked, error)

    def ask(self, number: int, configuration: Configuration, stress: bool) -> Forces:
        with self._changed:
            self._asked[number] = configuration, stress
            self._changed.notify_all()
            self._changed.wait_for(lambda: number in self._answers)
            answer = self._answers.pop(number)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass(frozen=True)
class _Share:
    """One system of a batch as a potential."""

    batch: _Batch
    number: int

    def compute(
        self, positions_A: np.ndarray, cell_A: np.ndarray, *, stress: bool = False
    ) -> Forces:
        return self.batch.ask(self.number, (positions_A, cell_A), stress)
