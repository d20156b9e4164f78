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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitrion.trajectory.unwrapping import Frames, Source, Trajectory

IONS = 248
FORMULA_UNITS = 248
FRAMES = 20_000
STEP_A, INTERVAL_PS = 0.1, 0.1
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}


def bench_analyze(
    frames: Sequence[int] = (FRAMES,),
    *,
    formula_units: int = FORMULA_UNITS,
    peers: bool = True,
) -> list[dict[str, object]]:
    """Time the whole analysis, and displacements and D beside each peer that is installed.

    Args:
        frames: lengths of the trajectories.
        formula_units: size of the glass of the whole analysis, 5.25 atoms each.
        peers: whether to run other people's codes as well.

    Returns:
        A row for each length and code with `task`, `code`, `frames`, `atoms`, `wall_s`, `cpu_s`,
        `peak_memory_MB`; for displacements `max_relative_difference` to a plain sum over all
        origins at three lags, and for D what was found beside what is true.
    """
    rows = []
    for length in frames:
        for name, code in CODES.items():
            if code.module and (not peers or importlib.util.find_spec(code.module) is None):
                continue
            command = [sys.executable, "-m", "vitrion.bench.analysis", name, str(length)]
            command.append(str(formula_units))
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def _chunks(frames: int) -> Iterator[Frames]:
    """Brownian paths in Å, a few frames at a time."""
    rng, last_A = np.random.default_rng(0), np.zeros((IONS, 3))
    for first in range(0, frames, 256):
        steps_A = rng.normal(0, STEP_A, (min(256, frames - first), IONS, 3))
        positions_A = last_A + np.cumsum(steps_A, axis=0, out=steps_A)
        last_A = positions_A[-1]
        yield Frames(positions_A, np.broadcast_to(np.eye(3) * 50, (len(positions_A), 3, 3)))


def _walks(frames: int) -> np.ndarray:
    """(frames, ions, 3), the paths in memory, as peers want them."""
    out = np.empty((frames, IONS, 3))
    for number, chunk in enumerate(_chunks(frames)):
        out[number * 256 : number * 256 + len(chunk.positions_A)] = chunk.positions_A
    return out


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


def _ours_D(trajectory: Trajectory) -> tuple[float, float]:
    from vitrion.transport.diffusion import diffusion
    from vitrion.transport.msd import displacements

    found = diffusion(
        displacements(trajectory, "Li"),
        frame_interval_ps=trajectory.frame_interval_ps,
        tolerance=0.1,
        least_displacement_A=1.0,
    )
    return found.D_A2_ps, found.D_err_A2_ps


def _with_sum(positions_A: np.ndarray) -> np.ndarray:
    """The ions and, after them, the sum of their paths, whose displacements are the collective."""
    return np.concatenate([positions_A, positions_A.sum(axis=1, keepdims=True)], axis=1)


def _tidynamics(positions_A: np.ndarray) -> np.ndarray:
    """Path by path."""
    import tidynamics

    paths_A = _with_sum(positions_A).swapaxes(0, 1)
    every = [tidynamics.msd(np.ascontiguousarray(path_A)) for path_A in paths_A]
    return np.mean(every[:-1], axis=0)[_lags(len(positions_A))]


def _mdanalysis(positions_A: np.ndarray) -> np.ndarray:
    """FFT through tidynamics."""
    import MDAnalysis
    from MDAnalysis.analysis.msd import EinsteinMSD

    paths_A = _with_sum(positions_A)
    universe = MDAnalysis.Universe.empty(paths_A.shape[1], trajectory=True)
    universe.load_new(paths_A.astype(np.float32), order="fac")
    found = EinsteinMSD(universe, select="all", fft=True).run()
    return found.results.msds_by_particle[_lags(len(positions_A)), :-1].mean(axis=1)


def _freud(positions_A: np.ndarray) -> np.ndarray:
    """Of every path on its own, so that the sum is distinct from the ions."""
    import freud

    found = freud.msd.MSD(mode="window").compute(_with_sum(positions_A)).particle_msd
    return found[_lags(len(positions_A)), :-1].mean(axis=1)


def _kinisi_paths(positions_A: np.ndarray):
    """Its parser, at a hundred lags evenly spaced in the logarithm; all of them take days."""
    import scipp as sc
    from kinisi.parser import Parser

    frames = len(positions_A)
    # An atom at rest, since the drift of others is always removed.
    everything_A = np.concatenate([positions_A, np.zeros((frames, 1, 3))], axis=1)
    lags = np.geomspace(1, frames // 4, 100).round().astype(int)
    lags = np.union1d(lags, _lags(frames))
    cells_A = np.broadcast_to(np.eye(3) * 50, (frames, 3, 3))
    return lags, Parser(
        coords=sc.array(dims=["time", "particle", "dimension"], values=everything_A / 50),
        latt=sc.array(
            dims=["time", "dimension1", "dimension2"], values=cells_A, unit=sc.units.angstrom
        ),
        time_step=INTERVAL_PS * sc.Unit("ps"),
        step_skip=1 * sc.units.dimensionless,
        dt=sc.array(dims=["time interval"], values=lags * INTERVAL_PS, unit="ps"),
        specie_indices=sc.array(dims=["particle"], values=np.arange(IONS)),
        drift_indices=sc.array(dims=["particle"], values=[IONS]),
    )


def _kinisi(positions_A: np.ndarray) -> np.ndarray:
    """Self and collective, at a hundred lags."""
    from kinisi.displacement import calculate_msd, calculate_mstd

    lags, paths = _kinisi_paths(positions_A)
    found = calculate_msd(paths, progress=False)["da"].values
    calculate_mstd(paths, progress=False)
    return found[np.searchsorted(lags, _lags(len(positions_A)))]


def _kinisi_D(positions_A: np.ndarray) -> tuple[float, float]:
    """Self displacements at a hundred lags, and its Bayesian regression over all of them."""
    import scipp as sc
    from kinisi.diffusion import Diffusion
    from kinisi.displacement import calculate_msd

    _, paths = _kinisi_paths(positions_A)
    fit = Diffusion(dg=calculate_msd(paths, progress=False))
    fit._diffusion(INTERVAL_PS * sc.Unit("ps"), progress=False)
    D_A2_ps = fit.D.values * sc.to_unit(1.0 * fit.D.unit, "angstrom^2/ps").value
    return float(np.mean(D_A2_ps)), float(np.std(D_A2_ps))


def _full(frames: int, formula_units: int = FORMULA_UNITS) -> None:
    """All tables of the whole analysis."""
    from vitrion.config import Transport
    from vitrion.transport.analyze import analyze_source
    from vitrion.transport.roles import Roles

    key = {"composition": "glass", "mobile": "Li", "center": "Al", "ligands": "Cl,O"}
    with tempfile.TemporaryDirectory() as folder:
        analyze_source(
            glass(formula_units, frames=frames),
            Path(folder),
            roles=Roles(("Li",), ("Al",), ("Cl", "O")),
            key={**key, "temperature_K": 600, "replica": 0},
            settings=Transport(discard_ps=0.0, charges=CHARGES, cutoffs_A={"Al-Li": 4.0}),
        )


@dataclass(frozen=True)
class _Code:
    """What to run on the walks (nothing: all tables of a glass), and the module that it needs."""

    task: str
    run: Callable[..., Any] | None
    module: str | None = None


DISPLACEMENTS, DIFFUSION = "self and collective displacements", "D with its error"
CODES = {
    "vitrion": _Code(DISPLACEMENTS, _ours),
    "freud": _Code(DISPLACEMENTS, _freud, "freud"),
    "tidynamics": _Code(DISPLACEMENTS, _tidynamics, "tidynamics"),
    "MDAnalysis": _Code(DISPLACEMENTS, _mdanalysis, "MDAnalysis"),
    "kinisi": _Code(DISPLACEMENTS, _kinisi, "kinisi"),
    "vitrion, D": _Code(DIFFUSION, _ours_D),
    "kinisi, D": _Code(DIFFUSION, _kinisi_D, "kinisi"),
    "vitrion, all tables": _Code("all tables", None),
}


def _measure(name: str, frames: int, formula_units: int) -> dict[str, object]:
    code = CODES[name]
    row: dict[str, object] = {"code": name, "task": code.task, "frames": frames}
    data: Trajectory | np.ndarray | None = None
    if code.run is None:
        row["atoms"] = formula_units * 21 // 4
        run: Callable[[], Any] = partial(_full, frames, formula_units)
    else:
        row["atoms"] = IONS
        # Peers start from an array in memory; ours from its scratch file.
        if code.module:
            data = _walks(frames)
        else:
            source = Source(("Li",) * IONS, INTERVAL_PS, False, _chunks(frames), "walks", frames)
            data = Trajectory.read(source, reference_frame="none")
        run = partial(code.run, data)
    start, start_cpu = time.perf_counter(), time.process_time()
    found = run()
    row["wall_s"] = round(time.perf_counter() - start, 2)
    row["cpu_s"] = round(time.process_time() - start_cpu, 2)
    row["peak_memory_MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if code.task == DISPLACEMENTS and data is not None:
        row["max_relative_difference"] = float(np.abs(found / _plain(data) - 1).max())
    elif code.task == DIFFUSION:
        row["D_A2_ps"], row["D_err_A2_ps"] = found
        row["true_D_A2_ps"] = STEP_A**2 / (2 * INTERVAL_PS)
    return row


def _plain(data: Trajectory | np.ndarray) -> np.ndarray:
    """Mean squared displacements by the definition, one ion after another."""
    paths = data.transpose(1, 2, 0)[None] if isinstance(data, np.ndarray) else data.histories("Li")
    lags, squared = _lags(len(data)), np.zeros(3)
    for path_A in (path_A for several_A in paths for path_A in several_A.astype(float)):
        for column, lag in enumerate(lags):
            step_A = path_A[:, lag:] - path_A[:, :-lag]
            squared[column] += np.einsum("xf,xf->f", step_A, step_A).mean() / IONS
    return squared


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
    parser.add_argument("formula_units", type=int, nargs="?", default=FORMULA_UNITS)
    arguments = parser.parse_args()
    print(json.dumps(_measure(arguments.code, arguments.frames, arguments.formula_units)))
