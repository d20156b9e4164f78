"""The protocols one after another with a cheap potential, as a process that tests kill.

    python dynamics_worker.py FOLDER [batch]

With `batch`, three trajectories step together instead of one alone.
Prints `ready` when the imports are done. The potential is slowed down to 2 ms a step, so that
kills hit the run and not its end.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from pathlib import Path

from potentials import LennardJones

from vitrion.base.errors import PotentialError
from vitrion.config import Dynamics, GlassLimits, Quench
from vitrion.dynamics import equilibrate, produce_segment, produce_segments, quench_glass
from vitrion.dynamics.engine import Engine
from vitrion.structure.compositions import Composition

DYNAMICS = Dynamics(
    timestep_fs=2,
    threads=1,
    device="cpu",
    checkpoint_interval_ps=0.014,
    sample_interval_ps=0.01,
    barostat_tau_fs=200,
)
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
SALT = Composition("LiAlCl", "Li", "Al", ("Cl", "O"), "LiAlCl2.5O0.75", 1.5, CHARGES)


class Slow(LennardJones):
    def compute(self, positions_A, cell_A, *, stress=False):
        time.sleep(0.002)
        return super().compute(positions_A, cell_A, stress=stress)


class Batch:
    """Potentials one after another, as a batch."""

    def __init__(self, potentials):
        self.potentials = potentials

    def compute(self, configurations, *, stress=False):
        found = {}
        for k, configuration in configurations.items():
            try:
                found[k] = self.potentials[k].compute(*configuration, stress=stress)
            except PotentialError as error:
                found[k] = error
        return found


def use_cheap_potential():
    Engine.potential = lambda self, numbers: Slow(0.02, 2.4, 4.0)
    Engine.batch_potential = lambda self, numbers: Batch([self.potential(n) for n in numbers])
    Engine.model_hash = "lennard-jones"


QUENCH = Quench(
    melt_ps=0.1,
    quench_rate_K_ps=8000,
    anneal_ps=0.1,
    melt_temperature_K=1500,
    attempts=2,
    limits=GlassLimits(least_melt_displacement_A=50),
)


def quench(folder):
    """Two attempts, the first of which must fail."""
    quench_glass(
        SALT, folder, formula_units=4, settings=QUENCH, dynamics=DYNAMICS, model="x", seed=1
    )


def produce(folder):
    """Equilibrate the glass, then two segments."""
    previous = folder / "equilibrated.h5"
    if not previous.exists():
        equilibrate(
            *(folder / "glass.extxyz", previous),
            **{"temperature_K": 300, "equilibrate_ps": 0.1, "seed": 5},
            **{"dynamics": DYNAMICS, "model": "x"},
        )
    for number in range(2):
        segment = folder / f"segment-{number:04d}.h5"
        if not segment.exists():
            produce_segment(
                *(previous, segment),
                **{"temperature_K": 300, "segment_ps": 0.2, "frame_interval_ps": 0.01},
                **{"position_precision_A": 0.001, "dynamics": DYNAMICS, "model": "x"},
            )
        previous = segment


TEMPERATURES_K = (300, 400, 500)
PRODUCTION = {
    **{"segment_ps": 0.2, "frame_interval_ps": 0.01, "position_precision_A": 0.001},
    **{"dynamics": DYNAMICS, "model": "x"},
}


def equilibrate_all(folder):
    """The starts of three trajectories."""
    for number, temperature_K in enumerate(TEMPERATURES_K):
        start = folder / f"T{temperature_K}/equilibrated.h5"
        if not start.exists():
            start.parent.mkdir(exist_ok=True)
            equilibrate(
                *(folder / "glass.extxyz", start),
                **{"temperature_K": temperature_K, "equilibrate_ps": 0.02, "seed": number},
                **{"dynamics": DYNAMICS, "model": "x"},
            )


def produce_batch(folder):
    """Two segments of each, together."""
    names = ("equilibrated.h5", "segment-0000.h5", "segment-0001.h5")
    files = [[folder / f"T{t}/{name}" for t in TEMPERATURES_K] for name in names]
    for previous, outs in itertools.pairwise(files):
        if not all(out.exists() for out in outs):
            produce_segments(previous, outs, temperatures_K=TEMPERATURES_K, **PRODUCTION)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    use_cheap_potential()
    print("ready", flush=True)
    folder = Path(sys.argv[1])
    if not (folder / "glass.extxyz").exists():
        quench(folder)
    if sys.argv[2:] == ["batch"]:
        equilibrate_all(folder)
        produce_batch(folder)
    else:
        produce(folder)
