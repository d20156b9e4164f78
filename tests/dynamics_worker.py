"""The protocols one after another with a cheap potential, in processes that tests kill.

The potential is slowed down to 2 ms per step, so that kills hit the run and not its end.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from potentials import LennardJones

from vitrion.base.errors import PotentialError
from vitrion.config import Dynamics, GlassLimits, Quench
from vitrion.dynamics import equilibrate, produce_segment, produce_segments, quench_glass
from vitrion.dynamics.engine import Engine
from vitrion.structure.compositions import Composition
from vitrion.trajectory.metadata import TrajectoryKey

DYNAMICS = Dynamics(
    timestep_fs=2,
    threads=1,
    device="cpu",
    checkpoint_interval_ps=0.014,
    sample_interval_ps=0.01,
    barostat_tau_fs=200,
)
TEMPERATURES_K = (300, 400, 500)
PRODUCTION = {
    "segment_ps": 0.2,
    "frame_interval_ps": 0.01,
    "position_precision_A": 0.001,
    "dynamics": DYNAMICS,
    "model": "x",
}
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
SALT = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 1.5, CHARGES)


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
            folder / "glass.extxyz",
            previous,
            key=TrajectoryKey("LiAlCl", 300, 0),
            equilibrate_ps=0.1,
            seed=5,
            dynamics=DYNAMICS,
            model="x",
        )
    for number in range(2):
        segment = folder / f"segment-{number:04d}.h5"
        if not segment.exists():
            produce_segment(previous, segment, temperature_K=300, **PRODUCTION)
        previous = segment


def equilibrate_all(folder):
    """The starts of three trajectories."""
    for number, temperature_K in enumerate(TEMPERATURES_K):
        start = folder / f"T{temperature_K}/equilibrated.h5"
        if not start.exists():
            start.parent.mkdir(exist_ok=True)
            equilibrate(
                folder / "glass.extxyz",
                start,
                key=TrajectoryKey("LiAlCl", temperature_K, 0),
                equilibrate_ps=0.02,
                seed=number,
                dynamics=DYNAMICS,
                model="x",
            )


def produce_batch(folder):
    """Two segments of each, together."""
    names = ("equilibrated.h5", "segment-0000.h5", "segment-0001.h5")
    files = [[folder / f"T{t}/{name}" for t in TEMPERATURES_K] for name in names]
    for previous, outs in itertools.pairwise(files):
        if not all(out.exists() for out in outs):
            produce_segments(previous, outs, temperatures_K=TEMPERATURES_K, **PRODUCTION)


def work(folder, kind):
    """Make what is missing of a trajectory, or of three that step together."""
    use_cheap_potential()
    if not (folder / "glass.extxyz").exists():
        quench(folder)
    if kind == "batch":
        equilibrate_all(folder)
        produce_batch(folder)
    else:
        produce(folder)


class Worker:
    """Runs jobs in processes of their own, forked from one that has done the imports."""

    def __enter__(self):
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *exception):
        self._server.communicate()

    def run(self, folder, kind="single", kill_after_s=None):
        """Run a job; kill it some time after its start. Gives its exit code, negative by signal."""
        self._server.stdin.write(f"{kind} {folder}\n")
        self._server.stdin.flush()
        job = int(self._server.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(job, signal.SIGKILL)  # not yet reaped, so the number is still its own
        self._server.stdin.write("wait\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def serve():
    """Start a job for each line, and answer with its process and, when asked, its exit code."""
    for line in sys.stdin:
        kind, _, folder = line.rstrip("\n").partition(" ")
        job = os.fork()
        if job == 0:
            try:
                work(Path(folder), kind)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(job, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve()
