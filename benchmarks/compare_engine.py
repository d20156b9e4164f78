"""CPU time of a step with the code of two checkouts, frame by frame in turn.

    git worktree add ../old COMMIT
    python benchmarks/compare_engine.py ../old . --atoms 84 336
    python benchmarks/compare_engine.py . . --threads 1 2   # two threads beside one

Each checkout's engine runs in a process of its own; both get the same frames (rattled packings of
LiAlCl2.5O0.75), one after the other. The figures are CPU times of the process, which other load on
the machine changes less than wall times. Prints medians, their ratio and the largest differences.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import vitrion  # noqa: F401  before torch, so that threads sleep while they wait

MODEL = Path(__file__).parents[1] / "vitrion" / "data" / "vitrion.safetensors"


def work() -> None:
    """Evaluate the frames that come in and send out CPU time, energy, forces and stress."""
    import torch

    from vitrion.potential import CHGNetPotential, load_model

    model, threads, numbers = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    potential = CHGNetPotential(load_model(model), numbers, device="cpu")
    while True:
        try:
            positions_A, cell_A, stress = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        start, wall = time.process_time(), time.perf_counter()
        result = potential.compute(positions_A, cell_A, stress=stress)
        taken = time.process_time() - start, time.perf_counter() - wall
        found = taken, result.energy_eV, result.forces_eV_A, result.stress_eV_A3
        sys.stdout.buffer.write(pickle.dumps(found))
        sys.stdout.buffer.flush()


class Engine:
    """The engine of a checkout, in a process of its own."""

    def __init__(self, checkout: Path, model: str, threads: int, numbers: np.ndarray) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
            cwd=checkout,
        )
        self._send((model, threads, numbers))

    def _send(self, message: object) -> None:
        assert self.process.stdin is not None
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def compute(self, positions_A: np.ndarray, cell_A: np.ndarray, stress: bool) -> tuple:
        """CPU and wall time in seconds, energy, forces, and stress where asked."""
        self._send((positions_A, cell_A, stress))
        return pickle.load(self.process.stdout)


def compare(
    checkouts: list[Path], model: str, size: int, frames: int, threads: list[int], stress: bool
) -> dict[str, object]:
    """Medians over the frames of one system."""
    from vitrion.bench.md import packed

    atoms = packed(size, 1)
    atoms.rattle(0.1, seed=1)
    engines = [
        Engine(checkout, model, n, atoms.numbers)
        for checkout, n in zip(checkouts, threads, strict=True)
    ]
    rng = np.random.default_rng(0)
    times = np.empty((frames, 2, 2))
    force_difference = energy_difference = stress_difference = 0.0
    for frame in range(-2, frames):  # two frames warm up
        atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
        results = [engine.compute(atoms.positions, atoms.cell.array, stress) for engine in engines]
        if frame >= 0:
            times[frame] = [result[0] for result in results]
        (_, energy, forces, tensor), (_, new_energy, new_forces, new_tensor) = results
        energy_difference = max(energy_difference, abs(new_energy - energy) / size)
        force_difference = max(force_difference, float(abs(new_forces - forces).max()))
        if stress:
            stress_difference = max(stress_difference, float(abs(new_tensor - tensor).max()))
    for engine in engines:
        assert engine.process.stdin is not None
        engine.process.stdin.close()
        engine.process.wait()
    (old_cpu, old_wall), (new_cpu, new_wall) = np.median(times, axis=0).tolist()
    fastest, fastest_wall = times.min(axis=0).T
    return {
        "atoms": size,
        "threads": threads,
        "old_cpu_ms": round(1000 * old_cpu, 2),
        "new_cpu_ms": round(1000 * new_cpu, 2),
        "ratio": round(float(np.median(times[:, 1, 0] / times[:, 0, 0])), 3),
        "ratio_of_fastest": round(float(fastest[1] / fastest[0]), 3),
        "ratio_of_wall_times": round(new_wall / old_wall, 3),
        "ratio_of_fastest_wall_times": round(float(fastest_wall[1] / fastest_wall[0]), 3),
        "energy_difference_eV_atom": energy_difference,
        "max_force_difference_eV_A": force_difference,
        "max_stress_difference_eV_A3": stress_difference if stress else None,
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout")
    parser.add_argument("new", type=Path, help="checkout")
    parser.add_argument("--atoms", type=int, nargs="+", default=[84, 336], help="multiples of 21")
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of both, or of each")
    parser.add_argument("--model", default=str(MODEL), help="0.3.0 or a .safetensors file")
    parser.add_argument("--stress", action="store_true")
    args = parser.parse_args()
    threads = args.threads * 2 if len(args.threads) == 1 else args.threads
    for size in args.atoms:
        checkouts = [args.old, args.new]
        row = compare(checkouts, args.model, size, args.frames, threads, args.stress)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    work() if sys.argv[1:] == ["--worker"] else main()
