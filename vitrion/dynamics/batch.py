"""Several trajectories that step together, so that one evaluation of the potential serves all.

Each trajectory has its own state, seed and checkpoint log, and runs as it does alone until it needs
forces. When all of them need forces, one evaluation answers all. A trajectory that has ended is
left out, and the others continue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from vitrion.base.errors import PotentialError
from vitrion.dynamics.integrators import Forces
from vitrion.dynamics.run import ForceRequest, Interrupted, Stepping

T = TypeVar("T")


class BatchPotential(Protocol):
    """Potentials of several systems; see `vitrion.potential.CHGNetBatch`."""

    def compute(
        self, configurations: Mapping[int, tuple[np.ndarray, np.ndarray]], *, stress: bool = False
    ) -> Mapping[int, Forces | PotentialError]:
        """Energies, forces and stresses of some of the systems.

        Args:
            configurations: positions (n, 3) and cell (3, 3) in Å, by number of the system.
            stress: whether stresses are needed.

        Returns:
            The forces of each system, or why its potential cannot give them.
        """


def drive_together(
    steppings: Sequence[Stepping[T]], potential: BatchPotential
) -> list[T | BaseException]:
    """Run several trajectories to their ends, in step.

    Args:
        steppings: the runs, in the order of the potential's systems.
        potential: potential of all of them.

    Returns:
        What each run has returned, or the error that ended it.
    """
    outcomes: dict[int, T | BaseException] = {}
    requests: dict[int, ForceRequest] = {}

    def resume(number: int, step: Callable[[], ForceRequest]) -> None:
        """Let a trajectory run until it needs forces again or ends."""
        try:
            requests[number] = step()
        except StopIteration as end:
            outcomes[number] = end.value
        except (Exception, Interrupted) as error:
            outcomes[number] = error

    for number, stepping in enumerate(steppings):
        resume(number, partial(next, stepping))
    while requests:
        answers = _evaluate(requests, potential)
        requests.clear()
        for number, answer in answers.items():
            if isinstance(answer, Exception):
                resume(number, partial(steppings[number].throw, answer))
            else:
                resume(number, partial(steppings[number].send, answer))
    return [outcomes[number] for number in range(len(steppings))]


def _evaluate(
    requests: Mapping[int, ForceRequest], potential: BatchPotential
) -> Mapping[int, Forces | Exception]:
    """Forces for all requests; where the evaluation fails as a whole, its error for each."""
    configurations = {
        number: (request.positions_A, request.cell_A) for number, request in requests.items()
    }
    stress = any(request.stress for request in requests.values())
    try:
        return potential.compute(configurations, stress=stress)
    except Exception as error:
        return dict.fromkeys(requests, error)
