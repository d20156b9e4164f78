"""T_g along a quench, and the dependence on the size of the cell, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_campaign import transport_tables

from vitrion.statistics.finite_size import size_trend, viscosity_mPa_s
from vitrion.statistics.glass_transition import glass_transition, glass_transition_table
from vitrion.statistics.summary import campaign_tables
from vitrion.structure.compositions import read_compositions
from vitrion.tables import TABLES


def quench(rng: np.random.Generator, *, Tg_K: float, bend: float, noise: float) -> tuple:
    """2400 samples from 1500 to 300 K, as the campaign stores them, with correlated noise."""
    T = np.linspace(1500, 300, 2400)
    white = rng.normal(0, noise, 2401)
    values = -4 + 1.3e-4 * T + bend * np.maximum(T - Tg_K, 0)
    return T, values + (white[1:] + white[:-1]) / np.sqrt(2)


def test_the_crossing_of_two_lines_and_its_error():
    found = [
        glass_transition(*quench(np.random.default_rng(s), Tg_K=700, bend=1e-4, noise=3e-3))
        for s in range(60)
    ]
    Tg_K, err_K = np.array([(f.Tg_K, f.Tg_err_K) for f in found]).T
    assert np.isfinite(Tg_K).all()
    assert Tg_K.mean() == pytest.approx(700, abs=3.5 * Tg_K.std() / np.sqrt(60))
    assert 0.8 < np.sqrt(np.mean(err_K**2)) / Tg_K.std() < 1.3
    assert 0.55 < np.mean(np.abs(Tg_K - 700) < err_K) < 0.85
    slopes = np.array([(f.slope_below, f.slope_above) for f in found]).mean(axis=0)
    assert slopes == pytest.approx([1.3e-4, 2.3e-4], rel=0.05)


def test_one_line_has_no_transition():
    found = [
        glass_transition(*quench(np.random.default_rng(s), Tg_K=700, bend=0, noise=3e-3))
        for s in range(60)
    ]
    assert np.mean([np.isnan(f.Tg_K) for f in found]) > 0.95
    assert np.mean([f.p < 0.05 for f in found]) < 0.15


def test_a_melt_that_changes_more_slowly_than_its_glass_has_no_transition():
    found = glass_transition(*quench(np.random.default_rng(0), Tg_K=700, bend=-1e-4, noise=1e-3))
    assert found.p < 1e-3
    assert np.isnan(found.Tg_K)


def test_lines_without_noise_cross_where_they_do():
    found = glass_transition(*quench(np.random.default_rng(0), Tg_K=650, bend=1e-4, noise=0))
    assert found.Tg_K == pytest.approx(650, abs=5)
    assert np.isnan(glass_transition(np.array([300.0, 400.0]), np.array([1.0, 2.0])).Tg_K)


def test_only_what_changes_along_the_quench_is_fitted():
    """At constant volume the density says nothing."""
    T, energy = quench(np.random.default_rng(0), Tg_K=700, bend=1e-4, noise=1e-3)
    thermo = pd.DataFrame({"stage": "quench", "target_temperature_K": T})
    for column in set(TABLES["thermo"]) - set(thermo):
        thermo[column] = 2.0
    thermo["potential_energy_eV_atom"] = energy
    key = {"composition": "A", "mobile": "Li", "center": "Al", "ligands": "Cl", "glass": 0}
    assert list(glass_transition_table([(key, thermo)])["quantity"]) == ["energy"]
    thermo["density_g_cm3"] = 2.4 - 1e-4 * T - 2e-4 * np.maximum(T - 800, 0)
    table = glass_transition_table([(key, thermo)]).set_index("quantity")
    assert table.loc["density", "Tg_K"] == pytest.approx(800, abs=5)
    assert table.loc["energy", "Tg_K"] == pytest.approx(700, abs=30)


def test_where_the_volume_becomes_free_is_no_transition():
    """The quench at constant volume ends at 1000 K with a bend of its own."""
    T, energy = quench(np.random.default_rng(0), Tg_K=700, bend=1e-4, noise=1e-3)
    energy = energy + 1e-3 * np.maximum(T - 1000, 0)
    stage = np.where(T > 1000, "quench", "quench_npt")
    thermo = pd.DataFrame({"stage": stage, "target_temperature_K": T})
    for column in set(TABLES["thermo"]) - set(thermo):
        thermo[column] = 2.0
    thermo["potential_energy_eV_atom"] = energy
    key = {"composition": "A", "mobile": "Li", "center": "Al", "ligands": "Cl", "glass": 0}
    (row,) = glass_transition_table([(key, thermo)]).itertuples()
    assert row.Tg_K == pytest.approx(700, abs=30)
    (row,) = glass_transition_table([(key, thermo.assign(stage="quench"))]).itertuples()
    assert abs(row.Tg_K - 700) > 100


def test_yeh_and_hummer_are_recovered():
    """D of a liquid of 10 mPa s at 1000 K in cells of 12 to 40 Å, glasses that scatter by 2 %."""
    eta, T, D = 10.0, 1000.0, 5e-5
    # k_B T ξ / 6πη in SI, to cm²/s times Å.
    slope = -1.380649e-23 * T * 2.837297 / (6 * np.pi * eta * 1e-3) * 1e4 * 1e10
    assert viscosity_mPa_s(slope, T) == pytest.approx(eta, rel=1e-6)
    edges_A, runs = np.repeat([12.0, 20, 40], 4), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        runs.append(size_trend(edges_A, (D + slope / edges_A) + 1e-6 * rng.normal(size=12),
                               np.full(12, 1e-6)))  # fmt: skip
    infinite, err = np.array([(r.infinite, r.infinite_err) for r in runs]).T
    assert infinite.mean() == pytest.approx(D, abs=3.5 * infinite.std() / np.sqrt(60))
    assert 0.8 < np.sqrt(np.mean(err**2)) / infinite.std() < 1.3
    assert np.isnan(viscosity_mPa_s(1e-6, T))


def test_equal_sizes_are_found_different_in_one_campaign_of_twenty():
    p = []
    for seed in range(400):
        values = 1 + 0.05 * np.random.default_rng(seed).normal(size=6)
        p.append(size_trend(np.repeat([12.0, 20, 40], 2), values, np.full(6, 1e-3)).p)
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085


def test_a_campaign_with_cells_of_two_sizes_has_a_table(tmp_path):
    composition = read_compositions("shipped")["LiAlCl"]
    tables = transport_tables(
        [composition], np.random.default_rng(0), temperatures_K=(800,), replicas=4, curves=False
    )
    assert campaign_tables(tables)["finite_size"].empty
    small = tables["trajectories"]["replica"] < 2
    tables["trajectories"].loc[small, ["n_atoms", "volume_A3"]] = [84, 3e4 * 84 / 1302]
    table = campaign_tables(tables)["finite_size"].set_index("quantity")
    assert set(table.index) == {"D_mobile", "sigma_einstein", "haven_ratio"}
    assert table.loc["D_mobile", "sizes"] == "84,1302"
    assert table.loc["D_mobile", "n_glasses"] == 4
    assert table.loc["haven_ratio", "value_infinite"] == pytest.approx(1, abs=0.2)
