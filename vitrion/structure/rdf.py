"""Radial distribution functions, running coordination, and first-shell cutoffs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from vitrion.structure.neighbors import neighbor_distances
from vitrion.trajectory.unwrapping import Trajectory

BIN_A = 0.05
# Width of the smoothing before a minimum is looked for; thermal peaks are wider.
SMOOTH_A = 0.1
RDF_FRAMES = 200


@dataclass(frozen=True)
class Rdf:
    """g(r) of every ordered pair of elements.

    Attributes:
        r_A: (bins,) middles.
        g: by (center, neighbor), (bins,).
        coordination: by (center, neighbor), neighbours of one centre within r.
        n_frames: snapshots averaged over.
    """

    r_A: np.ndarray
    g: dict[tuple[str, str], np.ndarray]
    coordination: dict[tuple[str, str], np.ndarray]
    n_frames: int


def evenly(n_frames: int, most: int) -> np.ndarray:
    """At most `most` frames, evenly spaced over a trajectory and a whole number of frames apart."""
    stride = -(-n_frames // most)
    return np.arange(0, n_frames, stride)


def radial_distributions(
    trajectory: Trajectory, *, cutoff_A: float, frames: Iterable[int] | None = None
) -> Rdf:
    """g(r) = n(r) / (4π r² dr ρ) averaged over snapshots.

    Every periodic image counts as a neighbour, so that g is right beyond half the cell as well; an
    atom's own images do not count. ρ is N/V, or (N − 1)/V for an element with itself, so that an
    ideal gas has g = 1.
    """
    frames = evenly(trajectory.n_frames, RDF_FRAMES) if frames is None else np.asarray(frames)
    species, counts = trajectory.species, trajectory.counts()
    edges_A = np.arange(0, cutoff_A + BIN_A / 2, BIN_A)
    n_bins, n_species = len(edges_A) - 1, len(species)
    kind = trajectory.kinds
    histogram = np.zeros(n_species * n_species * n_bins)
    density = 0.0
    for _, positions_A, cell_A in trajectory.snapshots(frames):
        i, j, distance_A = neighbor_distances(positions_A, cell_A, edges_A[-1])
        # An atom's own images fall into a bin of their own, which is thrown away.
        bins = np.minimum((distance_A / BIN_A).astype(np.int64), n_bins - 1)
        code = (kind[i] * n_species + kind[j]) * n_bins + bins
        code[i == j] = histogram.size
        histogram += np.bincount(code, minlength=histogram.size + 1)[:-1]
        density += 1 / abs(np.linalg.det(cell_A))
    found = histogram.reshape(n_species, n_species, n_bins) / len(frames)
    found += found.transpose(1, 0, 2)
    density /= len(frames)
    shells_A3 = 4 / 3 * np.pi * np.diff(edges_A**3)
    g, coordination = {}, {}
    for (k, a), (m, b) in product(enumerate(species), repeat=2):
        per_center = found[k, m] / counts[a]
        neighbors = counts[b] - (a == b)
        g[a, b] = per_center / (shells_A3 * density * max(neighbors, 1))
        coordination[a, b] = np.cumsum(per_center) - per_center / 2
    return Rdf((edges_A[1:] + edges_A[:-1]) / 2, g, coordination, len(frames))


def first_minimum_A(r_A: np.ndarray, g: np.ndarray) -> float:
    """End of the first shell: the first minimum of the smoothed g(r) after its first peak.

    Where g stays near zero between two shells, the middle of that gap.

    Returns:
        The distance in Å, or NaN when there is no peak with a minimum behind it.
    """
    smooth = gaussian_filter1d(g, SMOOTH_A / (r_A[1] - r_A[0]))
    peaks, _ = find_peaks(smooth, height=1.0, prominence=0.1 * smooth.max())
    if not len(peaks):
        return float("nan")
    first = peaks[0]
    # Ends where g has risen again by more than noise: a tenth of the first peak above the valley.
    lowest = np.minimum.accumulate(smooth[first:])
    risen = np.flatnonzero(smooth[first:] > lowest + 0.1 * smooth[first])
    stop = first + (risen[0] if len(risen) else len(lowest))
    valley = smooth[first:stop]
    floor = valley.min()
    if not len(risen) and floor > 0.9 * smooth[first]:
        return float("nan")
    bottom = np.flatnonzero(valley <= floor + 0.01 * smooth[first])
    lowest_at = int(np.argmin(valley))
    # The contiguous stretch of bins around the minimum that are as low.
    breaks = np.flatnonzero(np.diff(bottom) > 1)
    runs = np.split(bottom, breaks + 1)
    run = next(run for run in runs if lowest_at in run)
    return float(r_A[first + run].mean())


def first_shell_cutoffs(
    rdf: Rdf, pairs: Iterable[tuple[str, str]], given_A: dict[str, float]
) -> dict[tuple[str, str], float]:
    """Cutoff of each pair: given (`Al-Cl` or `Cl-Al`), else from g(r); NaN where there is none."""
    return {
        (a, b): given_A.get(f"{a}-{b}", given_A.get(f"{b}-{a}"))
        or first_minimum_A(rdf.r_A, rdf.g[a, b])
        for a, b in pairs
    }
