"""Residence, collective algebra, Arrhenius lines, pooled replicas and campaign tables."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from exact_systems import Ions, Visits, analyze, visits, walkers

from vitrion.base.errors import InputError
from vitrion.base.units import BOLTZMANN_eV_K
from vitrion.statistics.arrhenius import fit_arrhenius, pool_replicas
from vitrion.statistics.summary import arrhenius_table, summarize
from vitrion.tables import TABLES
from vitrion.tables.io import headline, read_table, write_table
from vitrion.trajectory.unwrapping import Source
from vitrion.transport.environments import EnvironmentSpells
from vitrion.transport.quantities import quantities
from vitrion.transport.residence import intermittent, residence, residence_lags
from vitrion.transport.roles import Roles

IONS = [Ions("Li", 12, 1, 0.05, shared=0.4), Ions("Cl", 12, -1, 0.02)]
CHARGES = {"Li": 1, "Cl": -1}


@pytest.fixture(scope="module")
def tables():
    source = walkers(IONS, frames=400, rng=np.random.default_rng(0))
    return analyze(source, CHARGES, Roles(("Li",)))


@pytest.mark.parametrize("frame", ["network", "center_of_mass", "none"])
def test_onsager_coefficients_add_up(tables, frame):
    onsager, conductivity, haven = (
        tables[name][tables[name]["frame"] == frame]
        for name in ("onsager", "conductivity", "haven")
    )
    sigma = conductivity.set_index("method")["sigma_mS_cm"]
    assert onsager["L"].sum() * 1000 == pytest.approx(sigma["einstein"])
    assert onsager["L_self"].sum() * 1000 == pytest.approx(sigma["nernst_einstein"])
    assert (onsager["L_self"] + onsager["L_distinct"]).to_numpy() == pytest.approx(onsager["L"])
    by_pair = onsager.set_index(["species_i", "species_j"])
    assert by_pair.loc[("Li", "Cl"), "L_self"] == 0
    lithium = by_pair.loc[("Li", "Li")]
    assert haven["haven_ratio"].iloc[0] == pytest.approx(lithium["L_self"] / lithium["L"])


def test_the_einstein_conductivity_does_not_depend_on_the_frame(tables):
    """Nor on the frame that displacements were read in."""
    tables = {"none": tables}
    for reference_frame in ("center_of_mass", "framework"):
        source = walkers(IONS, frames=400, rng=np.random.default_rng(0))
        tables[reference_frame] = analyze(
            source, CHARGES, Roles(("Li",)), reference_frame=reference_frame
        )
    found = pd.concat(
        [table["conductivity"].assign(read_in=name) for name, table in tables.items()]
    )
    found = found.set_index(["read_in", "frame", "method"])["sigma_mS_cm"]
    einstein = found.xs("einstein", level="method")
    assert len(einstein) == 7
    assert einstein.to_numpy() == pytest.approx(einstein.iloc[0], rel=1e-4)
    single = found.xs("nernst_einstein", level="method").unstack("frame")
    assert single["network"].to_numpy() == pytest.approx(single.loc["none", "network"], rel=1e-4)
    assert single["network"].iloc[0] != pytest.approx(single["center_of_mass"].iloc[0], rel=1e-2)


def test_a_rigid_network_has_its_own_frame():
    """System 13: for free ions of mass share w, H_R is 1, and 1/(1 − w)² of the centre of mass."""
    rng = np.random.default_rng(1)
    paths_A = np.cumsum(rng.normal(0, 0.3, (600, 24, 3)), axis=0)
    paths_A -= paths_A.mean(axis=1, keepdims=True)
    paths_A += np.cumsum(rng.normal(0, 0.3 / np.sqrt(24), (600, 1, 3)), axis=0)
    network_A = np.broadcast_to(rng.uniform(0, 20, (1, 24, 3)), paths_A.shape)
    source = Source.of_arrays(
        ["K"] * 24 + ["Cl"] * 24, np.concatenate([paths_A, network_A], axis=1), np.eye(3) * 50, 1.0
    )
    tables = analyze(
        source,
        {"K": 1, "Cl": -1},
        Roles(("K",)),
        reference_frame="center_of_mass",
        rdf_cutoff_A=3.0,
    )
    haven = tables["haven"].set_index("frame")["haven_ratio"]
    w = 39.0983 / (39.0983 + 35.45)
    assert haven["network"] == pytest.approx(1, abs=3 * tables["haven"]["haven_ratio_err"].iloc[0])
    einstein = tables["conductivity"].set_index(["method", "frame"]).loc["einstein"]
    assert einstein.loc["network", "t_mobile"] == pytest.approx(1, abs=1e-3)
    assert einstein.loc["center_of_mass", "t_mobile"] == pytest.approx(1 - w, abs=1e-3)
    L = tables["onsager"].set_index(["frame", "species_i", "species_j"])["L"]
    ratio = L["center_of_mass", "K", "K"] / L["network", "K", "K"]
    assert ratio == pytest.approx((1 - w) ** 2, rel=1e-3)


def test_convergence_is_what_shorter_trajectories_say(tables):
    """Every value and error at half the length, against an analysis that never saw the rest."""
    source = walkers(IONS, frames=400, rng=np.random.default_rng(0))
    half = Source.of_arrays(source.symbols, source.chunks[0].positions_A[:200], np.eye(3) * 50, 1.0)
    convergence = tables["convergence"]
    assert sorted(convergence["length_ps"].unique()) == [49, 99, 199, 399]
    for length_ps, shorter in ((199, analyze(half, CHARGES, Roles(("Li",)))), (399, tables)):
        found = convergence[convergence["length_ps"] == length_ps].set_index("quantity")
        expected = quantities(shorter).set_index("quantity")
        assert set(found.index) == set(expected.index) >= {"D_mobile", "haven_ratio"}
        for column in ("value", "err"):
            assert found[column].to_numpy() == pytest.approx(
                expected.loc[found.index, column].to_numpy(), rel=1e-6, nan_ok=True
            )


def test_residence_by_environment_in_one_run():
    kinds = [Visits(20.0, 30.0, 7, 30), Visits(60.0, 60.0, 3, 30)]
    intervals = visits(kinds, frames=1000, rng=np.random.default_rng(0))
    results = residence(intervals, {7: "Cl4", 3: "Cl3O1"}, tolerance_ps=0, frame_interval_ps=1.0)
    found = {r.environment: r for r in results}
    assert set(found) == {"Cl4", "Cl3O1", "all"}
    assert found["Cl4"].tau_ps == pytest.approx(20, abs=4 * found["Cl4"].tau_err_ps)
    assert found["Cl3O1"].tau_ps == pytest.approx(60, abs=4 * found["Cl3O1"].tau_err_ps)
    assert found["Cl4"].n_events + found["Cl3O1"].n_events == found["all"].n_events
    assert found["all"].survival[0] == 1
    assert (np.diff(found["Cl4"].survival[:20]) <= 0).all()


def test_too_few_events_give_no_lifetime():
    intervals = visits([Visits(5000.0, 5000.0, 0, 4)], frames=300, rng=np.random.default_rng(0))
    (only, _) = residence(intervals, {0: "Cl4"}, tolerance_ps=0, frame_interval_ps=1.0)
    assert np.isnan(only.tau_ps)
    assert "too few events" in only.model


def test_an_environment_of_one_ion_has_an_error():
    kinds = [Visits(20.0, 30.0, 0, 30), Visits(20.0, 30.0, 1, 1)]
    intervals = visits(kinds, frames=2000, rng=np.random.default_rng(1))
    results = residence(intervals, {0: "Cl4", 1: "O4"}, tolerance_ps=0, frame_interval_ps=1.0)
    found = {r.environment: r for r in results}
    assert abs(found["O4"].tau_ps - 20) < 3 * found["O4"].tau_err_ps < 60
    assert found["O4"].tau_err_ps > 2 * found["Cl4"].tau_err_ps
    assert abs(found["Cl4"].dwell_ps - 20.5) < 4 * found["Cl4"].dwell_err_ps
    assert found["Cl4"].leaving_rate_1_ps == pytest.approx(1 / found["Cl4"].dwell_ps)
    assert found["Cl4"].tail_share < 0.05


def test_stays_that_the_end_of_the_trajectory_cuts_off_count_for_as_long_as_they_are_seen():
    """Two thirds of the stays are open, yet τ is not their seen length."""
    intervals = visits([Visits(900.0, 10.0, 0, 400)], frames=600, rng=np.random.default_rng(0))
    (only, _) = residence(intervals, {0: "Cl4"}, tolerance_ps=0, frame_interval_ps=1.0)
    assert only.tau_ps == pytest.approx(900, abs=3 * only.tau_err_ps)
    assert only.tau_err_ps < 200
    assert only.tail_share > 0.3
    assert only.open_share > 0.5


def test_ions_that_return_to_their_own_centre_have_an_intermittent_time():
    intervals = visits([Visits(2.0, 5.0, 0, 24)], frames=3000, rng=np.random.default_rng(0))
    found = intermittent(intervals, residence_lags(3000, 0), frame_interval_ps=1.0)[None]
    relaxation = -1 / np.log(np.exp(-1 / 2) + np.exp(-1 / 5) - 1)
    assert found.tau_ps == pytest.approx(relaxation, abs=3 * found.tau_err_ps)
    assert found.tau_err_ps < 0.1
    slow = visits([Visits(800.0, 900.0, 0, 24)], frames=3000, rng=np.random.default_rng(0))
    found = intermittent(slow, residence_lags(3000, 0), frame_interval_ps=1.0)[None]
    assert np.isnan(found.tau_ps)


def test_lifetimes_of_environments_by_hand():
    """Intervals of each centre and environment, from codes that come in stretches."""
    codes = np.array([[0, 0, 5, 5, 5, 0], [5, 5, 5, 5, 5, 5]])
    spells = EnvironmentSpells(2, 6)
    spells.add(codes[:, :2])
    spells.add(codes[:, 2:])
    found = spells.result()
    assert (found.codes == codes).all()
    kept = zip(found.pair.tolist(), found.start.tolist(), found.stop.tolist(), strict=True)
    assert list(kept) == [(0, 0, 2), (0, 5, 6), (1, 2, 5), (3, 0, 6)]
    (most, other, every) = residence(
        found, {0: "Cl4", 5: "Cl3O1"}, tolerance_ps=0, frame_interval_ps=1.0
    )
    assert (most.environment, most.n_events, most.dwell_ps) == ("Cl3O1", 1, 9)
    assert (other.environment, other.n_events, other.dwell_ps) == ("Cl4", 1, 3)
    assert every.n_events == 2


T_K = np.array([500.0, 600, 700, 800])
D_CM2_S = 3e-4 * np.exp(-0.25 / (BOLTZMANN_eV_K * T_K))


def series(D, err, T=T_K, replicas: int = 1) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame({"temperature_K": T, "replica": replica, "value": D, "err": err})
        for replica in range(replicas)
    )


def test_arrhenius_recovers_an_exact_line():
    (fit,) = fit_arrhenius([series(D_CM2_S, 0.05 * D_CM2_S, replicas=3)])
    assert fit.Ea_eV == pytest.approx(0.25)
    assert fit.ln_prefactor == pytest.approx(np.log(3e-4))
    assert fit.value_300K == pytest.approx(3e-4 * np.exp(-0.25 / (BOLTZMANN_eV_K * 300)))
    assert fit.value_300K_low < fit.value_300K < fit.value_300K_high
    assert (fit.n_glasses, fit.freedom, fit.flags) == (3, 2, ())


def test_arrhenius_error_bars_hold():
    rng = np.random.default_rng(0)
    data = [series(D_CM2_S * (1 + 0.05 * rng.normal(size=4)), 0.05 * D_CM2_S) for _ in range(600)]
    fits = fit_arrhenius(data)
    energies = np.array([fit.Ea_eV for fit in fits])
    reported = np.array([fit.Ea_err_eV for fit in fits])
    assert energies.mean() == pytest.approx(0.25, abs=0.002)
    assert 0.9 < np.sqrt(np.mean(reported**2)) / energies.std() < 1.25
    assert 0.62 < np.mean(np.abs(energies - 0.25) < reported) < 0.85
    # One in a hundred is taken for curved.
    assert np.mean(["curved" in fit.flags for fit in fits]) < 0.025


def test_arrhenius_refuses_and_flags():
    def flags(T, D, err, replicas=1):
        (fit,) = fit_arrhenius([series(np.array(D), np.array(err), T, replicas)])
        return fit

    two = flags([500, 600, 700], [1e-6, 2e-6, np.nan], [1e-8] * 3)
    assert np.isnan(two.Ea_eV)
    assert two.flags == ("left_out:700K", "fewer_than_3_temperatures")
    bent = flags(T_K, [1e-6, 5e-6, 6e-6, 2e-5], [1e-8] * 4)
    assert {"poor_fit", "one_glass"} <= set(bent.flags)
    falling = flags([500, 600, 700], [3e-6, 2e-6, 1e-6], [1e-6] * 3, replicas=2)
    assert falling.flags == ("not_activated",)


def test_a_liquid_has_no_value_at_300_K():
    """Vogel-Fulcher-Tammann with T0 = 250 K: a line through 500 to 800 K is a factor of 1e4 off."""
    T = np.array([500.0, 575, 650, 725, 800])
    D = 1e-4 * np.exp(-800 / (T - 250))
    rng = np.random.default_rng(0)
    noisy = pd.concat(
        series(D * (1 + 0.05 * rng.normal(size=5)), 0.05 * D, T).assign(replica=g) for g in range(3)
    )
    (fit,) = fit_arrhenius([noisy])
    assert "curved" in fit.flags
    assert np.isnan(fit.value_300K)
    assert np.isfinite(fit.Ea_eV)


def test_replicas_are_pooled_alike_and_their_spread_counts():
    agree = pool_replicas([1.0, 1.0, 1.0], [0.3, 0.3, 0.3])
    assert agree.err == pytest.approx(0.3 / np.sqrt(3))
    differ = pool_replicas([1.0, 2.0, 3.0], [0.1, 0.1, 0.1])
    assert (differ.value, differ.n) == (2.0, 3)
    assert differ.err == pytest.approx(1 / np.sqrt(3))
    partly = pool_replicas([np.nan, 4.0], [np.nan, 1.0])
    assert (partly.value, partly.err, partly.n, partly.n_missing) == (4.0, 1.0, 1, 1)
    assert np.isnan(pool_replicas([np.nan], [np.nan]).value)


@pytest.mark.parametrize(("between", "covered"), [(0.0, 0.70), (0.5, 0.577)])
def test_pooled_errors_hold(between, covered):
    """Three glasses. Where their spread dominates, one error covers what Student's t says."""
    rng = np.random.default_rng(0)
    values = 1 + between * rng.normal(size=(3000, 3)) + 0.1 * rng.normal(size=(3000, 3))
    pooled = [pool_replicas(of_one, [0.1] * 3) for of_one in values]
    mean, err = np.array([one.value for one in pooled]), np.array([one.err for one in pooled])
    assert mean.mean() == pytest.approx(1, abs=0.02)
    assert 0.95 < np.sqrt(np.mean(err**2)) / mean.std() < 1.2
    assert np.mean(np.abs(mean - 1) < err) == pytest.approx(covered, abs=0.03)


def test_ratios_are_pooled_as_the_ratio_of_means():
    """Haven ratios of noisy divisors: a mean of ratios would be far too large."""
    rng = np.random.default_rng(1)
    above, below = 1 + 0.02 * rng.normal(size=(2000, 3)), 2 + 0.5 * rng.normal(size=(2000, 3))
    ratios, errors = above / below, 0.5 * above / below**2
    pooled = [pool_replicas(*row) for row in zip(ratios, errors, below, strict=True)]
    found, err = np.array([(one.value, one.err) for one in pooled]).T
    assert np.mean(ratios) > 0.53
    assert np.mean(found) == pytest.approx(0.5, abs=0.015)
    assert 0.9 < np.median(err) / found.std() < 1.25
    assert 0.65 < np.mean(np.abs(found - 0.5) < err) < 0.8


def test_ratios_whose_denominators_cancel_are_not_given():
    """Weights of 1.002 and −0.998 made 585 ± 116820 of ratios of 1 and 2."""
    pooled = pool_replicas([1.0, 2.0], [0.1, 0.1], [1.002, -0.998])
    assert np.isnan(pooled.value)
    assert (pooled.n, pooled.n_missing) == (0, 2)


def glasses(
    rng, *, noise: float, shared: float, own: float, Ea_eV: float, replicas: int, compositions: int
) -> pd.DataFrame:
    """D of glasses that differ: by a factor, by a factor at each temperature, and in Ea."""
    parts = []
    for c, replica in product(range(compositions), range(replicas)):
        Ea = 0.25 + Ea_eV * rng.normal()
        D = 3e-4 * np.exp(-Ea / (BOLTZMANN_eV_K * T_K) + shared * rng.normal())
        D *= np.exp(own * rng.normal(size=4))
        key = {"composition": f"c{c:02}", "mobile": "Li", "center": "Al", "ligands": "Cl"}
        part = series(D * (1 + noise * rng.normal(size=4)), noise * D)
        parts.append(part.assign(**key, replica=replica, quantity="D_mobile", weight=1.0))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("shared", "own", "Ea_eV", "replicas"),
    [(0, 0, 0, 3), (0.3, 0, 0, 3), (0, 0.2, 0, 3), (0.1, 0.1, 0.02, 3), (0, 0, 0.02, 5)],
)
def test_activation_energies_of_a_few_glasses_have_errors_that_hold(shared, own, Ea_eV, replicas):
    """System 15: 27 compositions, at four temperatures and at 300 K, however glasses differ."""
    rng = np.random.default_rng(3)
    rows = pd.concat(
        arrhenius_table(
            glasses(rng, noise=0.08, shared=shared, own=own, Ea_eV=Ea_eV, replicas=replicas,
                    compositions=27)
        )
        for _ in range(3)
    )  # fmt: skip
    assert (rows["freedom"] == 27 * (replicas - 1)).all()
    rows = rows.dropna(subset="value_300K")  # a few are curved by chance
    assert len(rows) > 0.9 * 3 * 27
    room = np.log(3e-4) - 0.25 / (BOLTZMANN_eV_K * 300)
    for found, err, true in (
        (rows["Ea_eV"], rows["Ea_err_eV"], 0.25),
        (np.log(rows["value_300K"]), np.log(rows["value_300K_high"] / rows["value_300K"]), room),
    ):
        n = len(found)
        assert abs(found.mean() - true) < 3.3 * found.std() / np.sqrt(n)
        # 81 values: a ratio is known to 8 %, shares to 5 and 3 %.
        assert 0.8 - 0.2 < np.sqrt(np.mean(err**2)) / found.std() < 1.25 + 0.2
        assert 0.60 - 0.13 < np.mean(np.abs(found - true) < err) < 0.76 + 0.13
        assert 0.90 - 0.08 < np.mean(np.abs(found - true) < 2 * err) <= 1


@pytest.mark.parametrize("replicas", [3, 5])
def test_activation_energies_of_a_single_composition(replicas):
    """Few degrees of freedom: one error is widened to cover 68 % all the same."""
    rng = np.random.default_rng(4)
    options = {"noise": 0.05, "shared": 0.1, "own": 0.0, "Ea_eV": 0.02, "compositions": 1}
    rows = pd.concat(arrhenius_table(glasses(rng, replicas=replicas, **options)) for _ in range(80))
    off = np.abs(rows["Ea_eV"] - 0.25) / rows["Ea_err_eV"]
    assert 0.52 < np.mean(off < 1) < 0.84
    assert np.mean(off < 2) > 0.8


def test_residence_and_diffusion_are_compared():
    """D τ grows with temperature by the difference of the activation energies."""
    key = {"composition": "LiAlCl", "mobile": "Li", "center": "Al", "ligands": "Cl", "replica": 0}
    T = np.array([500, 600, 700, 800])
    beta = 1 / (BOLTZMANN_eV_K * T)
    D, tau = 3e-4 * np.exp(-0.30 * beta), 0.02 * np.exp(0.22 * beta)
    base = pd.DataFrame({**key, "temperature_K": T})
    empty = {name: base.head(0).reindex(columns=TABLES[name]) for name in TABLES}
    tables = {
        **{name: empty[name] for name in ("conductivity", "transference", "onsager", "haven")},
        "diffusion": base.assign(frame="network", species="Li", D_cm2_s=D, D_err_cm2_s=0.03 * D),
        "residence": base.assign(
            species="Li", center_element="Al", environment="Cl4", tau_ps=tau, tau_err_ps=0.04 * tau
        ),
    }
    rows = arrhenius_table(quantities(tables)).set_index("quantity")
    assert rows.loc["residence:Cl4", "Ea_eV"] == pytest.approx(0.22)
    assert rows.loc["D_tau:Cl4", "Ea_eV"] == pytest.approx(0.08)
    parts = rows.loc[["D_mobile", "residence:Cl4"], "Ea_err_eV"]
    assert rows.loc["D_tau:Cl4", "Ea_err_eV"] == pytest.approx(np.hypot(*parts))
    room = 3e-4 * 1e4 * 0.02 * np.exp(-0.08 / (BOLTZMANN_eV_K * 300))
    assert rows.loc["D_tau:Cl4", "value_300K"] == pytest.approx(room)


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
    assert arrhenius.loc["D_mobile", "Ea_eV"] == pytest.approx(0.3, abs=1e-6)
    assert arrhenius.loc["D_mobile", "n_points"] == 3
    pooled = read_table(tmp_path / "summary" / "pooled.parquet")
    haven = pooled[pooled["quantity"] == "haven_ratio"].set_index("temperature_K")
    ratio = headline(tables["haven"])["haven_ratio"][0]
    assert haven["n_replicas"].to_dict() == {500: 2, 600: 2, 700: 1}
    assert haven["value"].to_numpy() == pytest.approx(ratio)
    assert len(read_table(tmp_path / "summary" / "trajectories.parquet")) == 6
    assert len(read_table(tmp_path / "summary" / "haven.parquet")) == 5 * 3
    summarize(folders, tmp_path / "all", exclude_flagged=False)
    assert len(read_table(tmp_path / "all" / "haven.parquet")) == 6 * 3
    # Flags by the limits of now replace those of the tables.
    flags = [("glass: density", "production: drift"), *[()] * 5]
    summarize(folders, tmp_path / "judged", exclude_flagged=True, flags=flags)
    judged = read_table(tmp_path / "judged" / "trajectories.parquet")
    assert judged["flags"].tolist() == ["glass: density,production: drift", *[""] * 5]
    assert len(read_table(tmp_path / "judged" / "haven.parquet")) == 5 * 3
    with pytest.raises(InputError, match="twice"):
        summarize([folders[0], folders[0]], tmp_path / "twice", exclude_flagged=True)
