"""Residence, collective algebra, Arrhenius lines, pooled replicas and campaign tables."""

from __future__ import annotations

import numpy as np
import pytest
from exact_systems import Ions, Visits, analyze, visits, walkers

from vitrion.errors import InputError
from vitrion.tables import read_table, write_table
from vitrion.transport.analyze import Roles
from vitrion.transport.arrhenius import fit_arrhenius, pool_replicas
from vitrion.transport.residence import residence
from vitrion.transport.summarize import summarize
from vitrion.units import BOLTZMANN_eV_K

IONS = [Ions("Li", 12, 1, 0.05, shared=0.4), Ions("Cl", 12, -1, 0.02)]
CHARGES = {"Li": 1, "Cl": -1}


@pytest.fixture(scope="module")
def tables():
    source = walkers(IONS, frames=400, rng=np.random.default_rng(0))
    return analyze(source, CHARGES, Roles("Li"))


def test_onsager_coefficients_add_up(tables):
    onsager = tables["onsager"]
    sigma = tables["conductivity"].set_index("method")["sigma_mS_cm"]
    assert onsager["L"].sum() * 1000 == pytest.approx(sigma["einstein"])
    assert onsager["L_self"].sum() * 1000 == pytest.approx(sigma["nernst_einstein"])
    assert (onsager["L_self"] + onsager["L_distinct"]).to_numpy() == pytest.approx(onsager["L"])
    by_pair = onsager.set_index(["species_i", "species_j"])
    assert by_pair.loc[("Li", "Cl"), "L_self"] == 0
    lithium = by_pair.loc[("Li", "Li")]
    assert tables["haven"]["haven_ratio"][0] == pytest.approx(lithium["L_self"] / lithium["L"])


def test_haven_ratio_is_that_of_pymatgen_analysis_diffusion():
    """Its definition: D of the tracer over the charge diffusivity d⟨|Σ Δr|²⟩/6N dτ.

    Here with the slope between two lags, so that both codes fit the same straight line.
    """
    source = walkers(IONS, frames=400, rng=np.random.default_rng(1))
    positions_A = source.chunks[0].positions_A[:, :12]
    lags = np.array([1, 2])
    step_A = [positions_A[m:] - positions_A[:-m] for m in lags]
    tracer = np.diff([np.mean(np.sum(s**2, axis=2)) for s in step_A])
    charge = np.diff([np.mean(np.sum(s.sum(axis=1) ** 2, axis=1)) / 12 for s in step_A])
    from vitrion.transport.collective import correlations, onsager
    from vitrion.transport.msd import displacements
    from vitrion.transport.trajectory import Trajectory

    with Trajectory.read(source, reference_frame="none") as t:
        data = correlations({s: displacements(t, s, lags) for s in t.species})
    ratio, _ = onsager(data, [1, -1], slice(0, 2), 1.0).haven(0)
    assert ratio == pytest.approx((tracer / charge)[0], rel=1e-4)


def test_the_einstein_conductivity_does_not_depend_on_the_frame():
    sigma = {}
    for frame in ("none", "center_of_mass"):
        source = walkers(IONS, frames=300, rng=np.random.default_rng(2))
        conductivity = analyze(source, CHARGES, Roles("Li"), reference_frame=frame)["conductivity"]
        sigma[frame] = conductivity.set_index("method")["sigma_mS_cm"]
    assert sigma["none"]["einstein"] == pytest.approx(sigma["center_of_mass"]["einstein"], rel=1e-4)
    assert sigma["none"]["nernst_einstein"] != pytest.approx(
        sigma["center_of_mass"]["nernst_einstein"], rel=1e-2
    )


def test_convergence_ends_at_the_value_itself(tables):
    last = tables["convergence"].sort_values("length_ps").groupby("quantity").last()
    sigma = tables["conductivity"].set_index("method")["sigma_mS_cm"]
    assert last.loc["sigma_einstein", "value"] == pytest.approx(sigma["einstein"])
    lengths = tables["convergence"].query("quantity == 'sigma_einstein'").sort_values("length_ps")
    assert lengths["err"].iloc[0] > lengths["err"].iloc[-1]


def test_residence_by_environment_in_one_run():
    kinds = [Visits(20.0, 30.0, 7, 30), Visits(60.0, 60.0, 3, 30)]
    encounters = visits(kinds, frames=1000, rng=np.random.default_rng(0))
    results = residence(encounters, {7: "Cl4", 3: "Cl3O1"}, tolerance_ps=0, frame_interval_ps=1.0)
    found = {r.environment: r for r in results}
    assert set(found) == {"Cl4", "Cl3O1", "all"}
    assert found["Cl4"].tau_ps == pytest.approx(20, abs=4 * found["Cl4"].tau_err_ps)
    assert found["Cl3O1"].tau_ps == pytest.approx(60, abs=4 * found["Cl3O1"].tau_err_ps)
    assert found["Cl4"].n_events + found["Cl3O1"].n_events == found["all"].n_events
    assert found["all"].survival[0] == 1
    assert (np.diff(found["Cl4"].survival[:20]) <= 0).all()


def test_too_few_events_give_no_lifetime():
    encounters = visits([Visits(5000.0, 5000.0, 0, 4)], frames=300, rng=np.random.default_rng(0))
    (only, _) = residence(encounters, {0: "Cl4"}, tolerance_ps=0, frame_interval_ps=1.0)
    assert np.isnan(only.tau_ps)
    assert "too few events" in only.model


def test_arrhenius_recovers_an_exact_line():
    T = np.array([500.0, 600, 700, 800])
    D = 3e-4 * np.exp(-0.25 / (BOLTZMANN_eV_K * T))
    fit = fit_arrhenius(T, D, 0.05 * D)
    assert fit.Ea_eV == pytest.approx(0.25)
    assert fit.ln_prefactor == pytest.approx(np.log(3e-4))
    assert fit.value_300K == pytest.approx(3e-4 * np.exp(-0.25 / (BOLTZMANN_eV_K * 300)))
    assert fit.value_300K_low < fit.value_300K < fit.value_300K_high
    assert fit.flags == ()


def test_arrhenius_error_bars_hold():
    rng = np.random.default_rng(0)
    T = np.array([500.0, 600, 700, 800])
    D = 3e-4 * np.exp(-0.25 / (BOLTZMANN_eV_K * T))
    fits = [fit_arrhenius(T, D * (1 + 0.05 * rng.normal(size=4)), 0.05 * D) for _ in range(600)]
    energies = np.array([fit.Ea_eV for fit in fits])
    reported = np.array([fit.Ea_err_eV for fit in fits])
    assert energies.mean() == pytest.approx(0.25, abs=0.002)
    assert 0.9 < np.sqrt(np.mean(reported**2)) / energies.std() < 1.25
    assert 0.62 < np.mean(np.abs(energies - 0.25) < reported) < 0.85


def test_arrhenius_refuses_and_flags():
    two = fit_arrhenius([500, 600, 700], [1e-6, 2e-6, np.nan], [1e-8] * 3)
    assert np.isnan(two.Ea_eV)
    assert two.flags == ("left_out:700K", "fewer_than_3_temperatures")
    bent = fit_arrhenius([500, 600, 700, 800], [1e-6, 5e-6, 6e-6, 2e-5], [1e-8] * 4)
    assert "poor_fit" in bent.flags
    falling = fit_arrhenius([500, 600, 700], [3e-6, 2e-6, 1e-6], [1e-6] * 3)
    assert "not_activated" in falling.flags


def test_replicas_are_pooled_alike_and_their_spread_counts():
    agree = pool_replicas([1.0, 1.0, 1.0], [0.3, 0.3, 0.3])
    assert agree.err == pytest.approx(0.3 / np.sqrt(3))
    differ = pool_replicas([1.0, 2.0, 3.0], [0.1, 0.1, 0.1])
    assert (differ.value, differ.n) == (2.0, 3)
    assert differ.err == pytest.approx(1 / np.sqrt(3))
    assert pool_replicas([np.nan, 4.0], [np.nan, 1.0]).value == 4.0


def test_a_campaign_is_put_together(tmp_path, tables):
    folders = []
    for temperature_K in (500, 600, 700):
        for replica in (0, 1):
            folder = tmp_path / f"{temperature_K}-{replica}"
            folders.append(folder)
            growth = np.exp(-0.3 / BOLTZMANN_eV_K * (1 / temperature_K - 1 / 600))
            for name, frame in tables.items():
                frame = frame.assign(temperature_K=temperature_K, replica=replica)
                for column in ("D_cm2_s", "D_err_cm2_s", "sigma_mS_cm", "sigma_err_mS_cm"):
                    if column in frame:
                        frame[column] *= growth
                if name == "trajectories" and (temperature_K, replica) == (700, 1):
                    frame["flags"] = "density_drift"
                write_table(folder / f"{name}.parquet", name, frame)
    summarize(folders, tmp_path / "summary", exclude_flagged=True)
    arrhenius = read_table(tmp_path / "summary" / "arrhenius.parquet").set_index("quantity")
    assert arrhenius.loc["D_alkali", "Ea_eV"] == pytest.approx(0.3, abs=1e-6)
    assert arrhenius.loc["D_alkali", "n_points"] == 3
    assert len(read_table(tmp_path / "summary" / "trajectories.parquet")) == 6
    assert len(read_table(tmp_path / "summary" / "haven.parquet")) == 5
    summarize(folders, tmp_path / "all", exclude_flagged=False)
    assert len(read_table(tmp_path / "all" / "haven.parquet")) == 6
    with pytest.raises(InputError, match="twice"):
        summarize([folders[0], folders[0]], tmp_path / "twice", exclude_flagged=True)
