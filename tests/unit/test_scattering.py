"""S(q) and the total PDF against Bragg peaks, Debye's formula, the ideal gas and pymatgen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from pymatgen.analysis.diffraction.neutron import ATOMIC_SCATTERING_LEN
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from vitrion.base.errors import InputError
from vitrion.bench.analysis import glass
from vitrion.cli import main
from vitrion.structure.rdf import radial_distributions
from vitrion.structure.scattering import (
    Q_BIN_1_A,
    StructureFactor,
    displaced_supercell,
    mixture,
    powder,
    scattering_amplitude,
    structure_factor,
    total_pdf,
)
from vitrion.tables.io import read_table


def test_amplitudes_are_the_tables():
    for element, length in ATOMIC_SCATTERING_LEN.items():
        assert scattering_amplitude(element, np.zeros(1), "neutron")[0] == length
    q = np.array([0.0, 5.0])
    assert scattering_amplitude("Cl", q, "neutron") == pytest.approx([9.577, 9.577])
    assert scattering_amplitude("Li", q, "neutron") == pytest.approx([-1.9, -1.9])
    f = scattering_amplitude("Cl", q, "x-ray")
    assert f[0] == 17
    # Waasmaier and Kirfel (1995) at sin θ/λ = q/4π.
    assert f[1] == pytest.approx(8.27, abs=0.15)
    with pytest.raises(InputError, match="'Po': has no tabulated neutron"):
        scattering_amplitude("Po", q, "neutron")


def test_bragg_peaks_of_rock_salt():
    """Positions and |F|² of LiCl: N ((f1 ± f2)/2)² at allowed reflections, nothing elsewhere."""
    crystal = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    found = structure_factor(
        [(crystal.positions, np.asarray(crystal.cell))], crystal.get_chemical_symbols(),
        q_max_1_A=5.0,
    )  # fmt: skip
    for hkl, same, unlike in (
        ((1, 1, 1), 2, -2), ((2, 0, 0), 2, 2), ((2, 2, 0), 2, 2), ((3, 1, 1), 2, -2),
        ((1, 1, 0), 0, 0), ((2, 1, 0), 0, 0), ((2, 1, 1), 0, 0),
    ):  # fmt: skip
        q = 2 * np.pi / 5.13 * np.linalg.norm(hkl)
        column = int(np.argmin(np.abs(found.q_1_A - q)))
        assert found.q_1_A[column] == pytest.approx(q)
        expected = [[same, unlike], [unlike, same]]
        density = [[found.binned(of)[0][column] for of in row] for row in found.density]
        assert np.array(density) == pytest.approx(np.array(expected), abs=1e-4)
    powder = XRDCalculator("MoKa1").get_pattern(
        Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ),
        two_theta_range=(0, 30),
    )
    bragg = {round(4 * np.pi / 0.7093 * np.sin(np.radians(x / 2)), 2) for x in powder.x}
    peaks = found.density.max(axis=(0, 1)) > 0.01
    intense = {round(q, 2) for q in found.lengths_1_A[peaks].tolist()}
    assert {q for q in bragg if q < 4.9} == {q for q in intense if q < 4.9}


def test_an_ideal_gas_scatters_like_its_atoms():
    rng = np.random.default_rng(0)
    symbols = ["Li"] * 100 + ["Cl"] * 200
    frames = [(rng.uniform(0, 20, (300, 3)), np.eye(3) * 20) for _ in range(40)]
    found = structure_factor(frames, symbols, q_max_1_A=6.0)
    for pair in (("Li", "Li"), ("Li", "Cl"), ("Cl", "Cl")):
        S, err = found.partial(*pair)
        known = found.q_1_A > 2
        off = (S - 1)[known] / err[known]
        assert abs(off.mean()) < 0.5
        assert 0.6 < off.std() < 1.5
    for radiation in ("neutron", "x-ray"):
        S, err = found.total(radiation)
        assert abs(np.mean((S - 1)[known] / err[known])) < 0.5


@pytest.mark.parametrize("radiation", ["neutron", "x-ray"])
def test_a_molecule_scatters_by_debyes_formula(radiation):
    """Σ f_i f_j sin(q r_ij)/(q r_ij) of CCl4 in all orientations, alone in a large cell."""
    one = molecule("CCl4")
    symbols, f = one.get_chemical_symbols(), {}
    rng, frames = np.random.default_rng(0), []
    for turn in Rotation.random(100, rng=rng):
        frames.append((turn.apply(one.positions), np.eye(3) * 30))
    found = structure_factor(frames, symbols, q_max_1_A=8.0, vectors_per_bin=60)
    for s in set(symbols):
        f[s] = scattering_amplitude(s, found.q_1_A, radiation)
    distances = one.get_all_distances()
    debye = sum(
        f[a] * f[b] * np.sinc(found.q_1_A * distances[i, j] / np.pi)
        for i, a in enumerate(symbols)
        for j, b in enumerate(symbols)
    ) / len(symbols)
    mean = sum(f[s] for s in symbols) / len(symbols)
    squares = sum(f[s] ** 2 for s in symbols) / len(symbols)
    expected = 1 + (debye - squares) / mean**2
    known = found.q_1_A > 1.5
    off = (found.total(radiation)[0] - expected)[known]
    assert np.abs(off).max() < 0.12
    assert np.abs(off).mean() < 0.03


def test_total_pdf_is_the_weighted_sum_and_its_transform_the_structure_factor():
    rng = np.random.default_rng(1)
    crystal = bulk("LiCl", "rocksalt", a=5.13, cubic=True) * (3, 3, 3)
    symbols, cell = crystal.get_chemical_symbols(), np.asarray(crystal.cell)
    frames = [(crystal.positions + rng.normal(0, 0.15, (216, 3)), cell) for _ in range(10)]
    rdf = radial_distributions(frames, symbols, cutoff_A=7.0)
    found = total_pdf(rdf, {"Li": 108, "Cl": 108}, crystal.get_volume(), "neutron")
    b = {"Li": -1.9, "Cl": 9.577}
    by_hand = sum(b[x] * b[y] * rdf.g[x, y] for x in b for y in b) / sum(b.values()) ** 2
    assert found.g == pytest.approx(by_hand)
    near = (found.r_A > 2.3) & (found.r_A < 2.8)
    assert found.G_1_A2[near].min() < -2  # Li-Cl neighbours, whose lengths differ in sign
    first = found.r_A < 1.5
    rho = 216 / crystal.get_volume()
    assert found.G_1_A2[first] == pytest.approx(-4 * np.pi * rho * found.r_A[first])


def test_a_mixture_of_a_phase_with_itself_is_that_phase(
    gas: Callable[[int], StructureFactor],
):
    masses = {"Li": 6.94, "Cl": 35.45}
    one, two = gas(0), gas(1)
    q = one.q_1_A
    same = mixture([(0.89, one), (0.11, one)], masses, "x-ray", q)
    # Form factors vary a little over the vectors of a bin.
    assert same == pytest.approx(one.total("x-ray")[0], abs=5e-4)
    both = mixture([(0.5, one), (0.5, two)], masses, "x-ray", q)
    between = (one.total("x-ray")[0] + np.interp(q, two.q_1_A, two.total("x-ray")[0])) / 2
    assert both == pytest.approx(between, abs=0.02)


def test_a_mixture_weighs_phases_by_their_atoms(gas: Callable[[int], StructureFactor]):
    """A glass with 11 wt% LiCl: one (LiCl) of 6.94 + 35.45 u per 2 atoms, one of pure Li."""
    masses = {"Li": 6.94, "Cl": 35.45}
    salt, metal = gas(0), gas(0, ["Li"] * 300)
    q = np.linspace(2, 5, 20)
    found = mixture([(0.11, salt), (0.89, metal)], masses, "neutron", q)
    n = np.array([0.11 / ((100 * 6.94 + 200 * 35.45) / 300), 0.89 / 6.94])
    n /= n.sum()
    mean = n @ [(-1.9 + 2 * 9.577) / 3, -1.9]
    shares = [((-1.9 + 2 * 9.577) / 3) ** 2, 1.9**2]
    total = [np.interp(q, s.q_1_A, s.total("neutron")[0]) for s in (salt, metal)]
    expected = 1 + sum(
        n[i] * shares[i] * (total[i] - 1) for i in range(2)
    ) / mean**2  # fmt: skip
    assert found == pytest.approx(expected, abs=0.05)


@pytest.fixture
def gas() -> Callable[..., StructureFactor]:
    def make(seed: int, symbols: list[str] | None = None) -> StructureFactor:
        rng = np.random.default_rng(seed)
        symbols = symbols or ["Li"] * 100 + ["Cl"] * 200
        frames = [(rng.uniform(0, 20, (300, 3)), np.eye(3) * 20) for _ in range(5)]
        return structure_factor(frames, symbols, q_max_1_A=6.0)

    return make


def test_a_powder_pattern_is_that_of_a_large_displaced_crystal():
    """Over windows of q wider than the distances between peaks, and 1 far out."""
    crystal = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    large = crystal.repeat(4)
    rng = np.random.default_rng(0)
    shape = (6, len(large), 3)
    frames = [(large.positions + step, large.cell.array) for step in rng.normal(0, 0.2, shape)]
    sampled = structure_factor(
        frames, large.get_chemical_symbols(), q_max_1_A=6.0, vectors_per_bin=10**6
    )
    cell = crystal.positions, crystal.cell.array, crystal.get_chemical_symbols()
    found = powder(*cell, displacement_A2=0.04)
    n_max = int(6.0 / Q_BIN_1_A)
    for low, high in ((1.0, 2.6), (2.6, 4.2), (4.2, 5.8)):
        inside = (sampled.lengths_1_A > low) & (sampled.lengths_1_A < high)
        expected = sampled.density[..., inside].mean(axis=-1)
        q = found.q_1_A[:n_max]
        within = (q > low) & (q < high)
        weights = q[within] ** 2 / np.sum(q[within] ** 2)
        assert found.density[..., :n_max][..., within] @ weights == pytest.approx(
            expected, abs=0.03 * expected.max()
        )
    for radiation in ("neutron", "x-ray"):
        S, _ = found.total(radiation)
        far = found.q_1_A > 10
        weights = found.q_1_A[far] ** 2
        assert S[far] @ weights / weights.sum() == pytest.approx(1, abs=0.02)


def test_mixtures_are_sums_by_hand(tmp_path, monkeypatch):
    """S − 1 and G of each phase with its share of the atoms and its squared mean amplitude."""
    monkeypatch.chdir(tmp_path)
    crystal = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    write("LiCl.cif", crystal)
    source = glass(16, frames=20)
    symbols = list(source.symbols)
    frames = [
        Atoms(symbols, positions=positions_A, cell=cell_A, pbc=True)
        for chunk in source.chunks
        for positions_A, cell_A in zip(chunk.positions_A, chunk.cells_A, strict=True)
    ]
    write("glass.extxyz", frames)
    options = "--temperature-K 600 --frame-interval-ps 0.1 --charges Li=1,Al=3,Cl=-1,O=-2"
    options += " --mobile Li --rdf-cutoff-A 6 --unwrapped --out out --crystals LiCl.cif=0.11"
    assert main(["analyze", "glass.extxyz", *options.split()]) == 0
    share = {
        "glass": 0.89 * len(frames[0]) / frames[0].get_masses().sum(),
        "crystal": 0.11 * len(crystal) / crystal.get_masses().sum(),
    }
    share = {name: n / sum(share.values()) for name, n in share.items()}
    cell = crystal.positions, crystal.cell.array, crystal.get_chemical_symbols()
    pattern = powder(*cell)

    def amplitude(of: list[str], q: np.ndarray, radiation: str) -> np.ndarray:
        return np.mean([scattering_amplitude(s, q, radiation) for s in of], axis=0)

    for table, value, at in (("structure_factor", "S", "q_1_A"), ("total_pdf", "G_1_A2", "r_A")):
        rows = read_table(f"out/{table}.parquet")
        rows = rows.set_index("of" if table == "structure_factor" else "radiation")
        for radiation in ("neutron", "x-ray"):
            own, mixed = rows.loc[radiation], rows.loc[f"{radiation}, mixture"]
            q = own[at].to_numpy() if value == "S" else np.zeros(1)
            f = {
                "glass": amplitude(symbols, q, radiation),
                "crystal": amplitude(cell[2], q, radiation),
            }
            mean = sum(share[name] * f[name] for name in f)
            less = 1.0 if value == "S" else 0.0
            if value == "S":
                other = np.interp(q, pattern.q_1_A, pattern.total(radiation)[0])
            else:
                supercell, moved = displaced_supercell(*cell, n_frames=20)
                rdf = radial_distributions(moved, supercell, cutoff_A=6.0)
                other = total_pdf(rdf, {"Li": 4, "Cl": 4}, 5.13**3, radiation).G_1_A2
            parts = {"glass": own[value].to_numpy(), "crystal": other}
            by_hand = less + sum(share[n] * (f[n] / mean) ** 2 * (parts[n] - less) for n in f)
            assert mixed[value].to_numpy() == pytest.approx(
                by_hand, abs=2e-3 * np.abs(by_hand).max()
            )
