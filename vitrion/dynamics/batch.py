"""Several trajectories that step together, so that one evaluation of the potential serves all.

Each trajectory runs in a thread of its own, with its own state, seed and checkpoints, exactly as it
runs alone. They take turns: each goes on until it asks for forces, and when all have asked, the
calling thread answers all of them at once. A trajectory that has ended asks no more, and the others
go on without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, TypeVar

import numpy as np

from vitrion.base.errors import PotentialError
from vitrion.dynamics.integrators import Forces
from vitrion.dynamics.run import Potential, stop_signals

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


Question = tuple[Configuration, bool]


class _Batch:
    """Gives one thread at a time the word, so that none waits for the interpreter."""

    def __init__(self, size: int, potential: BatchPotential, stopping: threading.Event) -> None:
        self.potential, self.stopping = potential, stopping
        self._questions: SimpleQueue[Question | None] = SimpleQueue()
        self._answers: list[SimpleQueue[Forces | BaseException]] = [
            SimpleQueue() for _ in range(size)
        ]

    def run(self, tasks: Sequence[Callable[[Member], T]]) -> list[T | BaseException]:
        outcomes: dict[int, T | BaseException] = {}
        asked: dict[int, Question] = {}

        def work(number: int, task: Callable[[Member], T]) -> None:
            try:
                outcomes[number] = task(Member(_Share(self, number), self.stopping))
            except BaseException as error:
                outcomes[number] = error
            finally:
                self._questions.put(None)

        def listen(number: int) -> None:
            """Wait until a trajectory asks again or ends."""
            question = self._questions.get()
            if question is not None:
                asked[number] = question

        for number, task in enumerate(tasks):
            # A daemon: after a second interrupt nobody answers it any more.
            threading.Thread(target=work, args=(number, task), daemon=True).start()
            listen(number)
        while asked:
            answers = self._compute(asked)
            asked.clear()
            for number, answer in answers.items():
                self._answers[number].put(answer)
                listen(number)
        return [outcomes[number] for number in range(len(tasks))]

    def _compute(self, asked: Mapping[int, Question]) -> Mapping[int, Forces | BaseException]:
        configurations = {number: configuration for number, (configuration, _) in asked.items()}
        stress = any(wanted for _, wanted in asked.values())
        try:
            return self.potential.compute(configurations, stress=stress)
        except Exception as error:
            return dict.fromkeys(asked, error)

    def ask(self, number: int, configuration: Configuration, stress: bool) -> Forces:
        self._questions.put((configuration, stress))
        answer = self._answers[number].get()
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
