"""The analysis and its peers on the same synthetic trajectory: time, peak memory, agreement.

Every measurement is a process of its own, so that one code's memory is not another's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vitrion.transport.trajectory import Frames, Source, Trajectory

IONS = 248
FORMULA_UNITS = 248
FRAMES = 20_000
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}


def bench_analyze(frames: int = FRAMES) -> list[dict[str, object]]:
    """Time the whole analysis, and mean squared displacements beside each peer that is installed.

    Args:
        frames: length of the trajectories.

    Returns:
        A row for each code with `task`, `code`, `wall_s`, `cpu_s`, `peak_memory_MB` and, for
        displacements, `max_relative_difference` to a plain sum over all origins at three lags.
    """
    rows = []
    for name, (module, _) in CODES.items():
        if module and importlib.util.find_spec(module) is None:
            continue
        command = [sys.executable, "-m", "vitrion.transport.bench", name, str(frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def _walks(frames: int) -> np.ndarray:
    """(frames, ions, 3) Brownian paths in Å."""
    steps_A = np.random.default_rng(0).normal(0, 0.1, (frames, IONS, 3))
    return np.cumsum(steps_A, axis=0, out=steps_A)


def _lags(frames: int) -> np.ndarray:
    return np.array([1, 10, frames // 20])


def _ours(trajectory: Trajectory) -> np.ndarray:
    """Self and collective displacements, their fourth moments, blocks and van Hove function."""
    from vitrion.transport.collective import correlations
    from vitrion.transport.msd import displacements, lag_grid

    wanted = _lags(trajectory.n_frames)
    lags = np.union1d(lag_grid(trajectory.n_frames), wanted)
    moments = displacements(trajectory, "Li", lags)
    correlations({"Li": moments})
    return moments.msd_A2[np.searchsorted(lags, wanted)]


def _tidynamics(positions_A: np.ndarray) -> np.ndarray:
    """Self only, ion by ion."""
    import tidynamics

    every = [tidynamics.msd(np.ascontiguousarray(path)) for path in positions_A.swapaxes(0, 1)]
    return np.mean(every, axis=0)[_lags(len(positions_A))]


def _mdanalysis(positions_A: np.ndarray) -> np.ndarray:
    """Self only, FFT through tidynamics."""
    import MDAnalysis
    from MDAnalysis.analysis.msd import EinsteinMSD

    universe = MDAnalysis.Universe.empty(IONS, trajectory=True)
    universe.load_new(positions_A.astype(np.float32), order="fac")
    found = EinsteinMSD(universe, select="all", fft=True).run()
    return found.results.timeseries[_lags(len(positions_A))]


def _freud(positions_A: np.ndarray) -> np.ndarray:
    """Self only."""
    import freud

    return freud.msd.MSD(mode="window").compute(positions_A).msd[_lags(len(positions_A))]


def _full(frames: int) -> None:
    """All tables of the whole analysis."""
    from vitrion.config import Transport
    from vitrion.transport.analyze import Roles, analyze_source

    key = {"composition": "glass", "alkali": "Li", "metal": "Al", "halogen": "Cl"}
    with tempfile.TemporaryDirectory() as folder:
        analyze_source(
            glass(FORMULA_UNITS, frames=frames),
            Path(folder),
            roles=Roles("Li", "Al", ("Cl", "O")),
            key={**key, "temperature_K": 600, "replica": 0},
            settings=Transport(discard_ps=0.0, charges=CHARGES, cutoffs_A={"Al-Li": 4.0}),
        )


# By name: the module that must be installed, and what to run on the walks (None: all tables).
CODES: dict[str, tuple[str | None, Callable[..., np.ndarray] | None]] = {
    "vitrion": (None, _ours),
    "freud": ("freud", _freud),
    "tidynamics": ("tidynamics", _tidynamics),
    "MDAnalysis": ("MDAnalysis", _mdanalysis),
    "vitrion, all tables": (None, None),
}


def _measure(name: str, frames: int) -> dict[str, object]:
    code = CODES[name][1]
    if code is None:
        row: dict[str, object] = {"code": name, "task": "all tables", "frames": frames}
        row["atoms"] = FORMULA_UNITS * 21 // 4
        run: Callable[[], object] = partial(_full, frames)
    else:
        row = {"code": name, "task": "mean squared displacement", "frames": frames, "atoms": IONS}
        positions_A = _walks(frames)
        source = Source.of_arrays(["Li"] * IONS, positions_A, np.eye(3) * 50, 0.1)
        # Peers start from an array in memory; ours from its scratch file.
        data = Trajectory.read(source, reference_frame="none") if code is _ours else positions_A
        run = partial(code, data)
    start, start_cpu = time.perf_counter(), time.process_time()
    found = run()
    row["wall_s"] = time.perf_counter() - start
    row["cpu_s"] = time.process_time() - start_cpu
    if code is not None:
        exact = [
            np.mean(np.sum((positions_A[m:] - positions_A[:-m]) ** 2, axis=2))
            for m in _lags(frames)
        ]
        row["max_relative_difference"] = float(np.abs(found / exact - 1).max())
    row["peak_memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def glass(
    formula_units: int,
    *,
    frames: int,
    seed: int = 0,
    interval_ps: float = 0.1,
    D_A2_ps: float = 0.002,
) -> Source:
    """A glass LiAlCl2.5O0.75 in looks and cost: rattling tetrahedra and walking lithium.

    Generated chunk by chunk, so that its length costs no memory.
    """
    counts = {
        "Li": formula_units,
        "Al": formula_units,
        "Cl": formula_units * 5 // 2,
        "O": formula_units * 3 // 4,
    }
    symbols = [element for element, count in counts.items() for _ in range(count)]
    cell_A = (len(symbols) / 0.045) ** (1 / 3)
    rng = np.random.default_rng(seed)
    edge = int(np.ceil(formula_units ** (1 / 3)))
    sites_A = (
        np.stack(np.unravel_index(np.arange(formula_units), (edge,) * 3), axis=1) * cell_A / edge
    )
    corners_A = (sites_A[:, None] + 2.1 * TETRAHEDRON).reshape(-1, 3)
    ligands_A = rng.permutation(corners_A)[: counts["Cl"] + counts["O"]]
    lithium_A = sites_A + np.array([cell_A / edge / 2, 0, 0])
    sites_A = np.concatenate([lithium_A, sites_A, ligands_A])

    def chunks() -> Iterator[Frames]:
        random = np.random.default_rng(seed + 1)
        walk_A = np.zeros((formula_units, 3))
        for first in range(0, frames, 256):
            length = min(256, frames - first)
            positions_A = sites_A + random.normal(0, 0.15, (length, len(symbols), 3))
            steps_A = random.normal(
                0, np.sqrt(2 * D_A2_ps * interval_ps), (length, formula_units, 3)
            )
            walked_A = walk_A + np.cumsum(steps_A, axis=0)
            walk_A = walked_A[-1]
            positions_A[:, :formula_units] += walked_A
            yield Frames(positions_A, np.broadcast_to(np.eye(3) * cell_A, (length, 3, 3)))

    return Source(
        symbols=tuple(symbols),
        frame_interval_ps=interval_ps,
        wrapped=False,
        chunks=chunks(),
        name="synthetic glass",
        n_frames=frames,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("code", choices=CODES)
    parser.add_argument("frames", type=int)
    arguments = parser.parse_args()
    print(json.dumps(_measure(arguments.code, arguments.frames)))
