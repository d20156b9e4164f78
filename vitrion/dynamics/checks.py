"""Whether a glass can be trusted: the checks of a melt, quench and anneal, with figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ase.data import atomic_numbers, chemical_symbols

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.config import Dynamics, GlassLimits
from vitrion.dynamics.samples import Samples
from vitrion.structure.compositions import Composition
from vitrion.structure.neighbors import bonds, neighbor_distances
from vitrion.structure.rdf import first_shell_cutoffs, radial_distributions

# Order is judged by g(r) of the commonest element between these distances, in such bins;
# nearer than this a glass has order of its own.
LONG_RANGE_A = (7.0, 10.0)
LONG_RANGE_BIN_A = 0.25
BOND_CUTOFF_A = 6.0
MOST_FRAMES = 100


@dataclass(frozen=True)
class Check:
    """A figure with the limits it must lie within; NaN fails."""

    name: str
    value: float
    low: float
    high: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value lies within the limits."""
        return self.low <= self.value <= self.high


def check_glass(
    samples: Samples,
    *,
    stages: Mapping[str, int],
    melt: str,
    anneal: str,
    numbers: np.ndarray,
    masses_u: np.ndarray,
    composition: Composition,
    dynamics: Dynamics,
    limits: GlassLimits,
) -> pd.DataFrame:
    """The table `glass_checks` of one melt and quench.

    A run that ended early has no anneal; what could not be judged has the value NaN and fails.

    Args:
        samples: of the whole run.
        stages: length of each stage in steps.
        melt: name of the stage of the melt.
        anneal: name of the last stage, at constant temperature and pressure.
        numbers: (n,) atomic numbers.
        masses_u: (n,) masses.
        composition: what the glass is made of.
        dynamics: settings of the dynamics.
        limits: what is allowed.
    """
    melted = samples.where(samples.stage == melt)
    annealed = samples.where(samples.stage == anneal)
    settled = annealed.where(slice(len(annealed) // 2, None))
    time_ps = settled.step * dynamics.timestep_fs / 1000
    density = masses_u.sum() * U_A3_TO_G_CM3 / settled.volume_A3
    frames = settled.where(chosen_frames(len(settled)))
    done = float(samples.step[-1]) / sum(stages.values()) if len(samples) else 0.0
    checks = [
        Check("part of the protocol done", done, 0.99, math.inf),
        *(
            Check(
                f"melt displacement of {element}",
                _displacement_A(melted, numbers == atomic_numbers[element]),
                *(limits.least_melt_displacement_A, math.inf, "Å"),
            )
            for element in (composition.mobile, composition.center)
        ),
        Check(
            "density over its guess",
            _mean(density) / composition.density_guess_g_cm3,
            *limits.density_ratio,
        ),
        Check(
            "relative density drift",
            slope(time_ps, density)[0] * _length(time_ps) / _mean(density),
            *(-limits.density_drift, limits.density_drift),
        ),
        check_temperature(settled, len(numbers), dynamics, limits),
        check_energy(annealed, len(numbers), dynamics, limits),
        check_distance(frames, limits),
        check_order(frames, numbers, limits),
        Check(
            _coordinated(*composition.coordination),
            _coordinated_fraction(frames, numbers, composition),
            *(limits.least_coordinated_fraction, math.inf),
        ),
    ]
    return pd.DataFrame(
        [
            {
                "check": check.name,
                "value": check.value,
                "limit_low": check.low if math.isfinite(check.low) else math.nan,
                "limit_high": check.high if math.isfinite(check.high) else math.nan,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in checks
        ]
    )


def check_temperature(
    samples: Samples, n_atoms: int, dynamics: Dynamics, limits: GlassLimits
) -> Check:
    """Mean temperature over its target.

    The limits are widened by three standard errors of a canonical kinetic energy, which is
    remembered for the thermostat's relaxation time: small cells and short runs scatter.
    """
    length_ps = _length(samples.step * dynamics.timestep_fs / 1000)
    independent = max(1.0, length_ps / (2 * dynamics.thermostat_tau_fs / 1000))
    width = limits.temperature_tolerance + 3 * math.sqrt(2 / (3 * n_atoms - 3) / independent)
    value = _mean(samples.temperature_K) / _mean(samples.target_K)
    return Check("temperature over its target", value, 1 - width, 1 + width)


def check_energy(samples: Samples, n_atoms: int, dynamics: Dynamics, limits: GlassLimits) -> Check:
    """Drift of the conserved quantity; the limits are widened by three of its standard errors."""
    drift, error = slope(
        samples.step * dynamics.timestep_fs / 1000, 1000 / n_atoms * samples.conserved_eV
    )
    width = limits.energy_drift_meV_atom_ps + 3 * error
    return Check("drift of the conserved energy", drift, -width, width, "meV/atom/ps")


def check_distance(frames: Samples, limits: GlassLimits) -> Check:
    """Shortest distance of two atoms in any frame."""
    least = (distance.min(initial=math.inf) for _, _, distance in _pairs(frames, BOND_CUTOFF_A))
    value = float(min(least, default=math.nan))
    return Check("least distance of two atoms", value, limits.least_distance_A, math.inf, "Å")


def check_order(frames: Samples, numbers: np.ndarray, limits: GlassLimits) -> Check:
    """Largest |g(r) - 1| of the commonest element at long range, where a crystal has peaks.

    Three standard errors of counting pairs in one frame are taken off: a glass is one
    configuration, so more frames do not average its own scatter away.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    commonest, count = elements[counts.argmax()], counts.max()
    edges = np.arange(LONG_RANGE_A[0], LONG_RANGE_A[1] + 1e-9, LONG_RANGE_BIN_A)
    found = np.zeros(len(edges) - 1)
    for i, j, distance in _pairs(frames, LONG_RANGE_A[1]):
        like = (numbers[i] == commonest) & (numbers[j] == commonest) & (i != j)
        found += np.histogram(distance[like], edges)[0]
    value = math.nan
    if len(frames):
        density = np.mean(count * (count - 1) / 2 / frames.volume_A3)
        expected = density * 4 / 3 * np.pi * np.diff(edges**3)
        excess = np.abs(found / (len(frames) * expected) - 1) - 3 / np.sqrt(expected)
        value = max(0.0, float(excess.max()))
    return Check("long-range order in g(r)", value, -math.inf, limits.long_range_order)


def _coordinated(low: int, high: int) -> str:
    """Name of the check of the centres' coordination."""
    count = f"{low} to {high}" if low < high else {4: "four"}.get(low, str(low))
    return f"metals with {count} ligands"


def _coordinated_fraction(frames: Samples, numbers: np.ndarray, composition: Composition) -> float:
    """Mean share of centres with as many ligands as expected within the first minima of g(r)."""
    if not len(frames):
        return math.nan
    symbols = np.array(chemical_symbols)[numbers]
    rdf = radial_distributions(_snapshots(frames), symbols, cutoff_A=BOND_CUTOFF_A)
    pairs = rdf.g.keys() & {(composition.center, ligand) for ligand in composition.ligands}
    cutoffs_A = {
        pair: cutoff_A
        for pair, cutoff_A in first_shell_cutoffs(rdf, pairs, {}).items()
        if math.isfinite(cutoff_A)
    }
    is_center = symbols == composition.center
    low, high = composition.coordination
    coordinated = 0
    for positions_A, cell_A in _snapshots(frames) if cutoffs_A else ():
        ((i, j),) = bonds(symbols, positions_A, cell_A, cutoffs_A)
        ligands = np.bincount(np.concatenate([i, j]), minlength=len(symbols))[is_center]
        coordinated += np.count_nonzero((low <= ligands) & (ligands <= high))
    return coordinated / (len(frames) * np.count_nonzero(is_center))


def _snapshots(frames: Samples) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (atoms, 3) and cell (3, 3) of each frame."""
    for positions_A, cell_A in zip(frames.positions_A, frames.cell_A, strict=True):
        yield positions_A.astype(np.float64), cell_A


def _pairs(frames: Samples, cutoff_A: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each pair of atoms (with images) within a cutoff once: atoms i, j and distances, by frame."""
    for positions_A, cell_A in _snapshots(frames):
        yield neighbor_distances(positions_A, cell_A, cutoff_A)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def chosen_frames(count: int) -> np.ndarray:
    """Up to `MOST_FRAMES` of so many frames, evenly spread: enough to judge a structure by."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).astype(int))


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
