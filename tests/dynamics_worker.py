"""The protocols one after another with a cheap potential, as a process that tests kill.

    python dynamics_worker.py FOLDER

Prints `ready` when the imports are done. The potential is slowed down to 2 ms a step, so that
kills hit the run and not its end.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from potentials import LennardJones

from vitrion.compositions import Composition
from vitrion.config import Dynamics, GlassLimits, Quench
from vitrion.dynamics import equilibrate, produce_segment, quench_glass
from vitrion.dynamics.engine import Engine

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


def use_cheap_potential(potential=None):
    Engine.potential = lambda self, numbers: potential or Slow(0.02, 2.4, 4.0)
    Engine.model_hash = "lennard-jones"


def quench(folder):
    """Two attempts, the first of which must fail."""
    settings = Quench(
        melt_ps=0.1,
        quench_rate_K_ps=8000,
        anneal_ps=0.1,
        melt_temperature_K=1500,
        attempts=2,
        limits=GlassLimits(least_melt_displacement_A=50),
    )
    quench_glass(
        SALT, folder, formula_units=4, settings=settings, dynamics=DYNAMICS, model="x", seed=1
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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    use_cheap_potential()
    print("ready", flush=True)
    folder = Path(sys.argv[1])
    if not (folder / "glass.extxyz").exists():
        quench(folder)
    produce(folder)
