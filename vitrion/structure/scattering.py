"""What X-rays and neutrons see of a structure: partial and total S(q), and the total PDF.

Definitions after Faber and Ziman, Philos. Mag. 11, 153 (1965), and Keen, J. Appl. Cryst. 34, 172
(2001). Neutron scattering lengths and X-ray form factors of neutral atoms are pymatgen's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Any, Literal

import numpy as np
from ase.data import atomic_numbers

from vitrion.base.errors import InputError
from vitrion.structure.rdf import Rdf

Radiation = Literal["neutron", "x-ray"]
RADIATIONS: tuple[Radiation, ...] = ("neutron", "x-ray")

Q_MAX_1_A = 15.0
Q_BIN_1_A = 0.06
# Reciprocal vectors of a bin, where the cell has more.
VECTORS_PER_BIN = 24
# Phases that are held in memory at a time.
PHASES = 500_000
# Of a crystal's atoms along one direction, about that of alkali halides at room temperature
# (B = 8π²u² = 1.2 Å²), and the least atoms of which its g(r) is taken.
DISPLACEMENT_A2 = 0.015
SUPERCELL_ATOMS = 1000


@cache
def _table(radiation: Radiation) -> dict[str, Any]:
    """pymatgen's tables. They are read as files: its modules take 40 MB and half a second."""
    name = "neutron_scattering_length" if radiation == "neutron" else "atomic_scattering_params"
    path = resources.files("pymatgen.analysis") / "diffraction" / f"{name}.json"
    return dict(json.loads(path.read_text()))


def scattering_amplitude(element: str, q_1_A: np.ndarray, radiation: Radiation) -> np.ndarray:
    """Neutron scattering length in fm, or X-ray form factor in electrons.

    Args:
        element: symbol.
        q_1_A: (q,).
        radiation: neutron or x-ray.

    Returns:
        (q,). A neutron's does not depend on q.

    Raises:
        InputError: an element that is not tabulated.
    """
    table = _table(radiation)
    if element not in table:
        raise InputError("element", element, f"has no tabulated {radiation} scattering")
    if radiation == "neutron":
        return np.full(len(q_1_A), float(table[element]))
    squared = (np.asarray(q_1_A) / (4 * np.pi)) ** 2
    a, b = np.array(table[element]).T
    return atomic_numbers[element] - 41.78214 * squared * (
        a @ np.exp(-np.multiply.outer(b, squared))
    )


@dataclass(frozen=True)
class StructureFactor:
    """Correlations of the density in reciprocal space, by pair of elements.

    Attributes:
        species: elements.
        counts: (species,) atoms in the cell.
        lengths_1_A: (vectors,) of the reciprocal vectors.
        density: (species, species, vectors) ⟨ρ_a(q) ρ_b(−q)⟩ / N over the frames.
        n_frames: frames averaged over.
    """

    species: tuple[str, ...]
    counts: np.ndarray
    lengths_1_A: np.ndarray
    density: np.ndarray
    n_frames: int

    @property
    def concentration(self) -> np.ndarray:
        """(species,) share of the atoms."""
        return self.counts / self.counts.sum()

    @property
    def q_1_A(self) -> np.ndarray:
        """(bins,) mean length of the vectors of each bin `Q_BIN_1_A` wide that has one."""
        return self.binned(self.lengths_1_A)[0]

    def binned(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean over the vectors of each bin and its standard error, from the spread between them.

        In an isotropic glass vectors are independent samples, frames are not.

        Args:
            values: (vectors,).
        """
        bins = np.round(self.lengths_1_A / Q_BIN_1_A).astype(int)
        _, which, n = np.unique(bins, return_inverse=True, return_counts=True)
        mean = np.bincount(which, values) / n
        squares = np.bincount(which, (values - mean[which]) ** 2)
        with np.errstate(invalid="ignore"):
            return mean, np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1) / n), np.nan)

    def partial(self, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
        """Faber-Ziman S_ab(q), 1 without order, and its standard error, (bins,) each."""
        i, j = self.species.index(a), self.species.index(b)
        c = self.concentration
        return self.binned(1 + (self.density[i, j] - (i == j) * c[i]) / (c[i] * c[j]))

    def total(self, radiation: Radiation) -> tuple[np.ndarray, np.ndarray]:
        """Faber-Ziman total S(q) = Σ_ab c_a c_b f_a f_b S_ab / ⟨f⟩² and its error, (bins,) each."""
        f = np.array([scattering_amplitude(s, self.lengths_1_A, radiation) for s in self.species])
        mean, mean_of_squares = self.concentration @ f, self.concentration @ f**2
        coherent = np.einsum("aq,bq,abq->q", f, f, self.density)
        return self.binned(1 + (coherent - mean_of_squares) / mean**2)


def structure_factor(
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    symbols: Sequence[str] | np.ndarray,
    *,
    q_max_1_A: float = Q_MAX_1_A,
    vectors_per_bin: int = VECTORS_PER_BIN,
) -> StructureFactor:
    """⟨ρ_a(q) ρ_b(−q)⟩/N at reciprocal vectors of the cell, with no cutoff in real space.

    Args:
        frames: positions (atoms, 3) and cell (3, 3) in Å of each frame, read once. Vectors are
            those of the first frame's cell; they follow the cell where it changes.
        symbols: (atoms,) element of each atom.
        q_max_1_A: largest q.
        vectors_per_bin: most vectors of a bin `Q_BIN_1_A` wide, chosen at random.
    """
    species, order, starts = _by_species(symbols)
    miller = np.empty((0, 3))
    lengths, sums, n_frames = np.empty(0), np.empty(0), 0
    for positions_A, cell_A in frames:
        if not n_frames:
            miller = _vectors(cell_A, q_max_1_A, vectors_per_bin)
            lengths = np.zeros(len(miller))
            sums = np.zeros((len(species), len(species), len(miller)))
        inverse = np.linalg.inv(cell_A)
        lengths += 2 * np.pi * np.linalg.norm(miller @ inverse.T, axis=1)
        fractional = (positions_A[order] @ inverse) % 1.0
        step = max(1, PHASES // len(order))
        for first in range(0, len(miller), step):
            rho = _amplitudes(miller[first : first + step], fractional, starts)
            sums[..., first : first + step] += np.einsum("ka,kb->abk", rho, rho.conj()).real
        n_frames += 1
    return StructureFactor(
        species=species,
        counts=np.diff([*starts, len(order)]),
        lengths_1_A=lengths / n_frames,
        density=sums / (n_frames * len(order)),
        n_frames=n_frames,
    )


def powder(
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    symbols: Sequence[str],
    *,
    displacement_A2: float = DISPLACEMENT_A2,
    q_max_1_A: float = Q_MAX_1_A,
) -> StructureFactor:
    """Powder pattern of a crystal, its Bragg peaks as wide as the bins of a glass's S(q).

    A reciprocal vector G of the unit cell stands for a volume (2π)³/V. Its |F(G)|² spreads over the
    shell of its bin. Atoms are displaced independently: exp(−q²u²) is left of each peak, and the
    rest is even.

    Args:
        positions_A, cell_A, symbols: of a unit cell or of any supercell.
        displacement_A2: u², mean squared displacement of an atom along one direction.
        q_max_1_A: largest q.

    Returns:
        With a vector in the middle of every bin.
    """
    species, order, starts = _by_species(symbols)
    cell_A = np.asarray(cell_A, dtype=float)
    miller = _vectors(cell_A, q_max_1_A + Q_BIN_1_A / 2, sys.maxsize)
    inverse = np.linalg.inv(cell_A)
    q_1_A = 2 * np.pi * np.linalg.norm(miller @ inverse.T, axis=1)
    rho = _amplitudes(miller, (np.asarray(positions_A)[order] @ inverse) % 1.0, starts)
    n_bins = round(q_max_1_A / Q_BIN_1_A)
    bins = np.round(q_1_A / Q_BIN_1_A).astype(int)
    middles = np.arange(n_bins + 1) * Q_BIN_1_A
    shells = 4 * np.pi * (middles**2 + Q_BIN_1_A**2 / 12) * Q_BIN_1_A
    volume = (2 * np.pi) ** 3 / abs(np.linalg.det(cell_A))
    counts = np.diff([*starts, len(order)])
    damped = np.exp(-(middles**2) * displacement_A2)
    density = np.zeros((len(species), len(species), n_bins + 1))
    for i, j in product(range(len(species)), repeat=2):
        # One of each pair k and −k is there.
        F2 = 2 * (rho[:, i] * rho[:, j].conj()).real / len(order)
        density[i, j] = damped * np.bincount(bins, F2, n_bins + 1)[: n_bins + 1] * volume / shells
        density[i, j] += (1 - damped) * counts[i] / len(order) * (i == j)
    return StructureFactor(species, counts, middles[1:], density[..., 1:], n_frames=1)


def displaced_supercell(
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    symbols: Sequence[str],
    *,
    n_frames: int,
    displacement_A2: float = DISPLACEMENT_A2,
    seed: int = 0,
) -> tuple[list[str], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Frames of a crystal whose atoms are displaced at random, for g(r).

    Args:
        positions_A, cell_A, symbols, displacement_A2: as of `powder`.
        n_frames: frames.
        seed: of the displacements.

    Returns:
        Symbols of a supercell of `SUPERCELL_ATOMS` or more, and its frames (positions, cell).
    """
    edge = int(np.ceil((SUPERCELL_ATOMS / len(symbols)) ** (1 / 3)))
    cells = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites_A = (np.asarray(positions_A) + (cells @ cell_A)[:, None]).reshape(-1, 3)
    rng, large_A = np.random.default_rng(seed), edge * np.asarray(cell_A)
    width_A = np.sqrt(displacement_A2)
    frames = ((sites_A + rng.normal(0, width_A, sites_A.shape), large_A) for _ in range(n_frames))
    return list(symbols) * len(cells), frames


def _by_species(
    symbols: Sequence[str] | np.ndarray,
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Elements, an order of the atoms by element (atoms,), and where each element starts in it."""
    species = tuple(dict.fromkeys(symbols))
    atoms = [np.flatnonzero(np.asarray(symbols) == s) for s in species]
    return species, np.concatenate(atoms), np.cumsum([0, *map(len, atoms[:-1])])


def _vectors(cell_A: np.ndarray, q_max_1_A: float, most: int) -> np.ndarray:
    """(vectors, 3) whole numbers of reciprocal cell vectors, one of each pair k and −k."""
    limits = np.floor(q_max_1_A * np.linalg.norm(cell_A, axis=1) / (2 * np.pi)).astype(int)
    rng, inverse = np.random.default_rng(0), np.linalg.inv(cell_A)
    chosen: list[np.ndarray] = []
    taken: dict[int, int] = {}
    # Plane after plane in a random order, so that memory holds one of them, until bins are full.
    grid = np.stack(
        np.meshgrid(*(np.arange(-limit, limit + 1) for limit in limits[1:]), indexing="ij"), -1
    ).reshape(-1, 2)
    planes = rng.permutation(limits[0] + 1)
    quota = max(1, -(-most // 8))
    for h in planes.tolist():
        miller = np.column_stack([np.full(len(grid), h), grid])
        if h == 0:
            miller = miller[(grid[:, 0] > 0) | ((grid[:, 0] == 0) & (grid[:, 1] > 0))]
        q_1_A = 2 * np.pi * np.linalg.norm(miller @ inverse.T, axis=1)
        miller, q_1_A = miller[q_1_A <= q_max_1_A], q_1_A[q_1_A <= q_max_1_A]
        bins = np.round(q_1_A / Q_BIN_1_A).astype(int)
        shuffled = rng.permutation(len(miller))
        shuffled = shuffled[np.argsort(bins[shuffled], kind="stable")]
        present, first, count = np.unique(bins[shuffled], return_index=True, return_counts=True)
        for number, start, n in zip(present.tolist(), first, count, strict=True):
            free = most - taken.get(number, 0)
            # A plane fills no bin of many vectors alone.
            wanted = min(free, n if n <= quota else max(quota, n * most // 10_000))
            chosen.append(miller[shuffled[start : start + wanted]])
            taken[number] = taken.get(number, 0) + wanted
    return np.concatenate(chosen)


def _amplitudes(miller: np.ndarray, fractional: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """ρ_a(k) = Σ exp(−i k·r) over the atoms of each element, (vectors, species)."""
    turns = miller.astype(np.float32) @ fractional.T.astype(np.float32)
    phases = np.float32(-2 * np.pi) * (turns - np.round(turns))
    real = np.add.reduceat(np.cos(phases), starts, axis=1, dtype=float)
    return real + 1j * np.add.reduceat(np.sin(phases), starts, axis=1, dtype=float)


@dataclass(frozen=True)
class TotalPdf:
    """Total pair distribution function.

    Attributes:
        r_A: (bins,) middles.
        g: (bins,) Σ_ab w_ab g_ab(r), 1 without order.
        G_1_A2: (bins,) reduced PDF, 4π ρ r (g − 1).
    """

    r_A: np.ndarray
    g: np.ndarray
    G_1_A2: np.ndarray


def total_pdf(
    rdf: Rdf, counts: Mapping[str, int], volume_A3: float, radiation: Radiation
) -> TotalPdf:
    """Total PDF from the partial g(r), with w_ab = c_a c_b f_a f_b / ⟨f⟩².

    X-ray form factors are taken at q = 0, as is usual where they are divided out.

    Args:
        rdf: g(r) of all pairs.
        counts: atoms of each element in the cell.
        volume_A3: of the cell.
        radiation: neutron or x-ray.
    """
    n_atoms = sum(counts.values())
    f = {s: float(scattering_amplitude(s, np.zeros(1), radiation)[0]) for s in counts}
    mean = sum(n * f[s] for s, n in counts.items()) / n_atoms
    share = {s: n * f[s] / (n_atoms * mean) for s, n in counts.items()}
    r_A = rdf.r_A
    g = np.zeros(len(r_A))
    for a, b in product(counts, repeat=2):
        g += share[a] * share[b] * rdf.g[a, b]
    return TotalPdf(r_A, g, 4 * np.pi * n_atoms / volume_A3 * r_A * (g - 1))


def mixture(
    phases: Sequence[tuple[float, StructureFactor]],
    masses_u: Mapping[str, float],
    radiation: Radiation,
    q_1_A: np.ndarray,
) -> np.ndarray:
    """Total S(q) of a powder of several phases that scatter independently, (q,).

    Coherent intensities add up, each phase by its number of atoms; then the mean amplitude of all
    atoms normalises. For a glass of which a part crystallised, its crystal is one of the phases.

    Args:
        phases: weight (any unit) and structure factor of each.
        masses_u: of each element.
        radiation: neutron or x-ray.
        q_1_A: (q,) at which S is wanted; it is interpolated between the bins of each phase.
    """
    coherent, atoms, mean, mean_of_squares = (np.zeros(len(q_1_A)) for _ in range(4))
    for weight, phase in phases:
        f = np.array([scattering_amplitude(s, q_1_A, radiation) for s in phase.species])
        c = phase.concentration
        n = weight / (c @ [masses_u[s] for s in phase.species])
        density = np.array(
            [
                [np.interp(q_1_A, phase.q_1_A, phase.binned(of)[0]) for of in row]
                for row in phase.density
            ]
        )
        coherent += n * np.einsum("aq,bq,abq->q", f, f, density)
        atoms += n
        mean += n * (c @ f)
        mean_of_squares += n * (c @ f**2)
    return 1 + (coherent - mean_of_squares) / atoms / (mean / atoms) ** 2


def mixture_pdf(
    phases: Sequence[tuple[float, TotalPdf]],
    counts: Sequence[Mapping[str, int]],
    masses_u: Mapping[str, float],
    radiation: Radiation,
) -> np.ndarray:
    """G(r) of a powder of several phases in 1/Å², (bins,).

    Each phase's own G adds with its share of the atoms and its ⟨f⟩², over ⟨f⟩² of all atoms.

    Args:
        phases: weight (any unit) and total PDF of each, at the same distances.
        counts: atoms of each element in the cell of each phase.
        masses_u: of each element.
        radiation: neutron or x-ray.
    """
    total, atoms, amplitude = np.zeros_like(phases[0][1].r_A), 0.0, 0.0
    for (weight, pdf), of in zip(phases, counts, strict=True):
        n = sum(of.values())
        f = sum(
            k * float(scattering_amplitude(s, np.zeros(1), radiation)[0]) for s, k in of.items()
        )
        share = weight * n / sum(k * masses_u[s] for s, k in of.items())
        total += share * (f / n) ** 2 * pdf.G_1_A2
        atoms += share
        amplitude += share * f / n
    return total * atoms / amplitude**2
