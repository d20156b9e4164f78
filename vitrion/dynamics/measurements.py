"""What is measured of a glass and of a segment; limits are laid over it later.

Pure functions of samples. Judging is in `vitrion.trajectory.checks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.structure.compositions import Composition
from vitrion.structure.neighbors import bonds, neighbor_distances
from vitrion.structure.rdf import first_shell_cutoffs, radial_distributions
from vitrion.trajectory.checks import (
    COORDINATION,
    DENSITY,
    DENSITY_DRIFT,
    ENERGY_DRIFT,
    LEAST_DISTANCE,
    LONG_RANGE_ORDER,
    MELT_DISPLACEMENT,
    PROTOCOL_DONE,
    STANDARD_ERRORS,
    TEMPERATURE,
    Measurement,
)
from vitrion.trajectory.samples import Samples

# Long-range order is the deviation of g(r) of the commonest element from 1 between these distances,
# in bins of this width; at shorter distances a glass has order too.
LONG_RANGE_A = (7.0, 10.0)
LONG_RANGE_BIN_A = 0.25
BOND_RANGE_A = 6.0
MOST_FRAMES = 100


def measure_glass(
    samples: Samples,
    *,
    steps: int,
    melt: str,
    anneal: str,
    numbers: np.ndarray,
    masses_u: np.ndarray,
    composition: Composition,
    timestep_ps: float,
    thermostat_tau_ps: float,
) -> list[Measurement]:
    """Measure one melt and quench.

    A run that ended early has no anneal; what could not be measured is NaN or left out.

    Args:
        samples: of the whole run.
        steps: length of the whole protocol.
        melt: name of the stage of the melt.
        anneal: name of the last stage, at constant temperature and pressure.
        numbers: (n,) atomic numbers.
        masses_u: (n,) masses.
        composition: names the mobile ion, the central atoms and their ligands.
        timestep_ps: time step.
        thermostat_tau_ps: relaxation time of the thermostat.
    """
    melted = samples.where(samples.stage == melt)
    annealed = samples.where(samples.stage == anneal)
    settled = annealed.where(slice(len(annealed) // 2, None))
    frames = settled.where(chosen_frames(len(settled)))
    time_ps = settled.step * timestep_ps
    density = masses_u.sum() * U_A3_TO_G_CM3 / settled.volume_A3
    drift = slope(time_ps, density)[0] * _length(time_ps) / _mean(density)
    done = float(samples.step[-1]) / steps if len(samples) else 0.0
    return [
        Measurement(PROTOCOL_DONE, done),
        *(
            Measurement(
                f"{MELT_DISPLACEMENT} {element}",
                _displacement_A(melted, numbers == atomic_numbers[element]),
                "Å",
            )
            for element in (*composition.mobile, *composition.center)
        ),
        Measurement(DENSITY, _mean(density), "g/cm³"),
        Measurement(DENSITY_DRIFT, drift),
        measure_temperature(
            settled, len(numbers), timestep_ps=timestep_ps, thermostat_tau_ps=thermostat_tau_ps
        ),
        measure_energy_drift(annealed, len(numbers), timestep_ps=timestep_ps),
        measure_least_distance(frames),
        measure_order(frames, numbers),
        *measure_coordination(frames, numbers, composition),
    ]


def measure_temperature(
    samples: Samples, n_atoms: int, *, timestep_ps: float, thermostat_tau_ps: float
) -> Measurement:
    """Mean temperature over its target.

    Its standard error is that of a canonical kinetic energy of 3n - 3 degrees of freedom, whose
    correlation decays with the thermostat's relaxation time: small cells and short runs scatter.
    """
    length_ps = _length(samples.step * timestep_ps)
    independent = max(1.0, length_ps / (2 * thermostat_tau_ps))
    error = math.sqrt(2 / (3 * n_atoms - 3) / independent)
    return Measurement(
        TEMPERATURE, _mean(samples.temperature_K) / _mean(samples.target_K), "", error
    )


def measure_energy_drift(samples: Samples, n_atoms: int, *, timestep_ps: float) -> Measurement:
    """Drift of the conserved quantity per atom, with its standard error."""
    drift, error = slope(samples.step * timestep_ps, 1000 / n_atoms * samples.conserved_eV)
    return Measurement(ENERGY_DRIFT, drift, "meV/atom/ps", error)


def measure_least_distance(frames: Samples) -> Measurement:
    """Shortest distance of two atoms in any frame."""
    least = (distance_A.min(initial=math.inf) for _, _, distance_A in _pairs(frames, BOND_RANGE_A))
    return Measurement(LEAST_DISTANCE, float(min(least, default=math.nan)), "Å")


def measure_order(frames: Samples, numbers: np.ndarray) -> Measurement:
    """Largest |g(r) - 1| of the commonest element at long range, where a crystal has peaks.

    Three standard errors of counting pairs in one frame are taken off each bin: a glass is one
    configuration, so more frames do not average its own scatter away.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    commonest, count = elements[counts.argmax()], counts.max()
    edges_A = np.arange(LONG_RANGE_A[0], LONG_RANGE_A[1] + 1e-9, LONG_RANGE_BIN_A)
    found = np.zeros(len(edges_A) - 1)
    for i, j, distance_A in _pairs(frames, LONG_RANGE_A[1]):
        like = (numbers[i] == commonest) & (numbers[j] == commonest) & (i != j)
        found += np.histogram(distance_A[like], edges_A)[0]
    value = math.nan
    if len(frames):
        density_1_A3 = np.mean(count * (count - 1) / 2 / frames.volume_A3)
        expected = density_1_A3 * 4 / 3 * np.pi * np.diff(edges_A**3)
        noise = STANDARD_ERRORS / np.sqrt(expected)
        excess = np.abs(found / (len(frames) * expected) - 1) - noise
        value = max(0.0, float(excess.max()))
    return Measurement(LONG_RANGE_ORDER, value)


def measure_coordination(
    frames: Samples, numbers: np.ndarray, composition: Composition
) -> list[Measurement]:
    """Mean shares of the central atoms with 0, 1, 2, ... ligands in their first shell.

    The first shell of each ligand ends at the first minimum of g(r), as in the transport analysis;
    a ligand whose g(r) has none is not counted.
    """
    if not len(frames):
        return []
    symbols = np.array(chemical_symbols)[numbers]
    rdf = radial_distributions(_snapshots(frames), symbols, cutoff_A=BOND_RANGE_A)
    pairs = rdf.g.keys() & set(product(composition.center, composition.ligands))
    cutoffs_A = {
        pair: cutoff_A
        for pair, cutoff_A in first_shell_cutoffs(rdf, pairs, {}).items()
        if math.isfinite(cutoff_A)
    }
    if not cutoffs_A:
        return []
    centers = np.flatnonzero(np.isin(symbols, composition.center))
    found = []
    for positions_A, cell_A in _snapshots(frames):
        ((i, j),) = bonds(symbols, positions_A, cell_A, cutoffs_A)
        found.append(np.bincount(np.concatenate([i, j]), minlength=len(symbols))[centers])
    shares = np.bincount(np.concatenate(found)) / (len(frames) * len(centers))
    return [
        Measurement(COORDINATION.format(count), float(share)) for count, share in enumerate(shares)
    ]


def _snapshots(frames: Samples) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (atoms, 3) and cell (3, 3) of each frame."""
    for positions_A, cell_A in zip(frames.positions_A, frames.cell_A, strict=True):
        yield positions_A.astype(np.float64), cell_A


def _pairs(frames: Samples, cutoff_A: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each pair of atoms (with images) within a cutoff once: atoms i, j and distances, by frame."""
    for positions_A, cell_A in _snapshots(frames):
        yield neighbor_distances(positions_A, cell_A, cutoff_A)


def chosen_frames(count: int, most: int = MOST_FRAMES) -> np.ndarray:
    """Indices of at most `most` of so many frames, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _length(time_ps: np.ndarray) -> float:
    return float(time_ps[-1] - time_ps[0]) if len(time_ps) else math.nan


def slope(time_ps: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line through the values, and its standard error for white noise."""
    if len(values) < 4:
        return math.nan, math.nan
    (slope, _), covariance = np.polyfit(time_ps - time_ps[0], values, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def _displacement_A(samples: Samples, chosen: np.ndarray) -> float:
    """Root mean squared displacement from the first sample to the last.

    In a cell that changes, displacements are those of fractional coordinates in the last cell.
    """
    if len(samples) < 2 or not chosen.any():
        return math.nan
    first, last = (
        samples.positions_A[i][chosen] @ np.linalg.inv(samples.cell_A[i]) for i in (0, -1)
    )
    return float(np.sqrt((((last - first) @ samples.cell_A[-1]) ** 2).sum(axis=1).mean()))
