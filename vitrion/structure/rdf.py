"""Radial distribution functions, running coordination numbers and first-shell cutoffs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vitrion.structure.neighbors import neighbor_distances

BIN_A = 0.05
# Standard deviation of the Gaussian that smooths g(r) before a minimum is looked for.
SMOOTH_A = 0.1
# A maximum or minimum of g(r) counts when g changes by this share of the height beyond it.
SIGNIFICANT_CHANGE = 0.1
# g(r) tends to 1, so a higher first peak sets no higher standard for the rise of the second shell.
HIGHEST_SCALE = 3.0
# So many standard errors of the counts a change must exceed as well, so that g(r) of few pairs at
# short distances shows no shell that is noise.
SIGNIFICANT_ERRORS = 4.0
# Into an empty gap behind the first shell a cutoff goes this far, or to its middle if that is less.
INTO_GAP_A = 0.5


@dataclass(frozen=True)
class Rdf:
    """g(r) of every ordered pair of elements.

    Attributes:
        r_A: (bins,) middles.
        g: by (center, neighbor), (bins,).
        coordination: by (center, neighbor), (bins,) neighbours of one centre within r.
        uniform: by (center, neighbor), (bins,) pairs that an ideal gas would have counted.
        n_frames: frames averaged over.
    """

    r_A: np.ndarray
    g: dict[tuple[str, str], np.ndarray]
    coordination: dict[tuple[str, str], np.ndarray]
    uniform: dict[tuple[str, str], np.ndarray]
    n_frames: int


def radial_distributions(
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    symbols: Sequence[str] | np.ndarray,
    *,
    cutoff_A: float,
) -> Rdf:
    """g(r) = n(r) / (4π r² dr ρ) averaged over frames, and N(r), the integral of n.

    Every periodic image counts as a neighbour, so that g is right beyond half the cell as well. An
    atom's own images do not count. ρ is N/V, or (N − 1)/V for an element with itself, so that an
    ideal gas has g = 1.

    Args:
        frames: positions (atoms, 3) and cell (3, 3) in Å of each frame, read once.
        symbols: (atoms,) element of each atom.
        cutoff_A: largest distance.
    """
    species = list(dict.fromkeys(symbols))
    kinds = np.array([species.index(symbol) for symbol in symbols])
    counts = np.bincount(kinds)
    edges_A = np.arange(0, cutoff_A + BIN_A / 2, BIN_A)
    n_bins, n_species = len(edges_A) - 1, len(species)
    histogram = np.zeros(n_species * n_species * n_bins)
    inverse_volume, n_frames = 0.0, 0
    for positions_A, cell_A in frames:
        i, j, distances_A = neighbor_distances(positions_A, cell_A, edges_A[-1])
        bins = np.minimum((distances_A / BIN_A).astype(np.int64), n_bins - 1)
        code = (kinds[i] * n_species + kinds[j]) * n_bins + bins
        # An atom's own images go into a bin of their own, which is left out.
        code[i == j] = histogram.size
        histogram += np.bincount(code, minlength=histogram.size + 1)[:-1]
        inverse_volume += 1 / abs(np.linalg.det(cell_A))
        n_frames += 1
    pairs = histogram.reshape(n_species, n_species, n_bins) / n_frames
    # Each pair was found once, in either order of its elements.
    pairs += pairs.transpose(1, 0, 2)
    shells_A3 = 4 / 3 * np.pi * np.diff(edges_A**3)
    g, coordination, uniform = {}, {}, {}
    for (k, a), (m, b) in product(enumerate(species), repeat=2):
        per_center = pairs[k, m] / counts[k]
        neighbors = max(counts[m] - (a == b), 1)
        expected = shells_A3 * neighbors * inverse_volume
        g[a, b] = per_center / (expected / n_frames)
        uniform[a, b] = counts[k] * expected / (1 + (a == b))
        coordination[a, b] = np.cumsum(per_center) - per_center / 2
    return Rdf((edges_A[1:] + edges_A[:-1]) / 2, g, coordination, uniform, n_frames)


def first_minimum_A(r_A: np.ndarray, g: np.ndarray, uniform: np.ndarray | None = None) -> float:
    """End of the first shell: where g(r) is lowest between its first peak and the next rise.

    The smoothed g is followed outwards. Its first peak is the highest value before a significant
    fall, the first minimum the lowest value before the next significant rise, so nothing beyond
    that rise matters. Where g is zero over a gap, every point of it has the same coordination
    number; the cutoff then is the middle of the gap, but no more than 0.5 Å into it, so that
    it depends on the first shell alone.

    Args:
        r_A: (bins,) middles, evenly spaced.
        g: (bins,) normalised so that it tends to 1.
        uniform: (bins,) pairs that an ideal gas would have counted; changes of g must exceed the
            noise of the counts. Without it g has no noise.

    Returns:
        The distance in Å, or NaN where no peak above 1 has a minimum behind it.
    """
    width = SMOOTH_A / (r_A[1] - r_A[0])
    smooth = gaussian_filter1d(g, width)
    noise = np.zeros(len(g))
    if uniform is not None:
        # Of Poisson counts with a Gaussian filter, whose squares sum to 1/(2 sqrt(pi) width). Where
        # hardly any pair is expected, one that is found may be chance.
        variance = (smooth + 1 / np.maximum(uniform, 1e-12)) / np.maximum(uniform, 1e-12)
        noise = SIGNIFICANT_ERRORS * np.sqrt(variance / (2 * np.sqrt(np.pi) * width))
    peak = _first_peak(smooth, noise)
    if peak is None:
        return float("nan")
    scale = min(smooth[peak], HIGHEST_SCALE)
    lowest = np.minimum.accumulate(smooth[peak:])
    least_rise = SIGNIFICANT_CHANGE * (scale + lowest) + noise[peak:]
    risen = np.flatnonzero(smooth[peak:] > lowest + least_rise)
    valley = smooth[peak : peak + int(risen[0]) if len(risen) else None]
    at = int(valley.argmin())
    flat = valley <= valley[at] + 0.01 * scale
    above = np.flatnonzero(~flat)
    first = peak + int(max(above[above < at], default=-1)) + 1
    last = peak + int(min(above[above > at], default=len(flat))) - 1
    return float(min((r_A[first] + r_A[last]) / 2, r_A[first] + INTO_GAP_A))


def _first_peak(smooth: np.ndarray, noise: np.ndarray) -> int | None:
    """Index of the highest value before the first significant fall from above 1, if there is.

    Args:
        smooth: (bins,) g(r).
        noise: (bins,) by how much it may change by chance.
    """
    # What is left of a peak when the noise at it is taken off.
    certain = np.where(smooth - noise >= 1, smooth - noise, 0.0)
    highest = np.maximum.accumulate(certain)
    fallen = np.flatnonzero((highest > 0) & (smooth < (1 - SIGNIFICANT_CHANGE) * highest))
    return int(smooth[: fallen[0]].argmax()) if len(fallen) else None


def first_shell_cutoffs(
    rdf: Rdf, pairs: Iterable[tuple[str, str]], given_A: Mapping[str, float]
) -> dict[tuple[str, str], float]:
    """First-shell cutoff of each pair of elements in Å.

    Args:
        rdf: g(r) of the pairs.
        pairs: which.
        given_A: cutoffs that replace the first minimum, by `Al-Cl` or `Cl-Al`.

    Returns:
        The given cutoff, else the first minimum of g(r), NaN where there is none.
    """
    found_A = {}
    for a, b in pairs:
        given = given_A.get(f"{a}-{b}") or given_A.get(f"{b}-{a}")
        found_A[a, b] = given or first_minimum_A(rdf.r_A, rdf.g[a, b], rdf.uniform[a, b])
    return found_A
