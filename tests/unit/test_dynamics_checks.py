"""Checks: values known by construction, errors found, small cells not flagged for scatter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.config import GlassLimits
from vitrion.dynamics.measurements import (
    measure_energy_drift,
    measure_glass,
    measure_temperature,
)
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import random_packing
from vitrion.tables.io import read_table, write_table
from vitrion.trajectory.checks import check_glass, check_segment, measurements_table
from vitrion.trajectory.samples import Samples

LIALCL = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.0)
TIMESTEP_PS, TAU_PS = 0.002, 0.1
LIMITS = GlassLimits()


def samples_of(positions_A, cell_A, stage="anneal", temperature_K=300.0, conserved_eV=0.0):
    """Samples 0.1 ps apart; numbers may be given as one for all."""
    count = len(positions_A)
    cells = np.asarray(cell_A, dtype=np.float64)

    def column(value):
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))

    return Samples(
        step=50 * np.arange(1, count + 1),
        stage=np.array([stage] * count),
        target_K=column(300.0),
        temperature_K=column(temperature_K),
        energy_eV=column(0.0),
        conserved_eV=column(conserved_eV),
        pressure_GPa=column(0.0),
        cell_A=np.broadcast_to(cells, (count, 3, 3)),
        positions_A=np.asarray(positions_A, dtype=np.float32),
    )


def measure(melt, anneal, atoms):
    """The table of measurements, for a run whose stages were done."""
    joined = Samples.join([melt, anneal])
    joined.step[:] = 50 * np.arange(1, len(joined) + 1)
    measurements = measure_glass(
        joined,
        steps=50 * len(joined),
        melt="melt",
        anneal="anneal",
        numbers=atoms.numbers,
        masses_u=atoms.get_masses(),
        composition=LIALCL,
        timestep_ps=TIMESTEP_PS,
        thermostat_tau_ps=TAU_PS,
    )
    return measurements_table(measurements)


def check(melt, anneal, atoms, limits=LIMITS):
    """The table of checks by name."""
    return check_glass(measure(melt, anneal, atoms), LIALCL, limits).set_index("check")


def thermal(atoms, frames=12, width_A=0.15, seed=0):
    random = np.random.default_rng(seed)
    return atoms.positions + random.normal(size=(frames, len(atoms), 3)) * width_A


def still(atoms, stage="melt"):
    return samples_of(thermal(atoms, 3, 0.0), atoms.cell[:], stage)


@pytest.fixture(scope="module")
def packing():
    counts = LIALCL.counts(64)
    return random_packing(counts, LIALCL.volume_A3(64, 2.0), seed=4)


def test_displacement_in_the_melt(packing):
    """Two diffuse by 5 and 1 Å; a cell that grows by itself moves nothing."""
    elements = np.array(packing.get_chemical_symbols())
    jump = np.zeros((len(packing), 3))
    jump[elements == "Li"] = (3, 4, 0)
    jump[elements == "Al"] = (0, 0, -1)
    grown = 1.1
    first, last = packing.positions, grown * packing.positions + jump
    cells = np.array([packing.cell[:], packing.cell[:], grown * packing.cell[:]])
    melt = samples_of([first, first, last], cells, "melt")
    found = check(melt, samples_of(thermal(packing), packing.cell[:]), packing)
    assert found.loc["melt displacement of Li", "value"] == pytest.approx(5, abs=1e-3)
    assert found.loc["melt displacement of Al", "value"] == pytest.approx(1, abs=1e-3)
    assert found.loc["melt displacement of Li", "passed"]
    assert not found.loc["melt displacement of Al", "passed"]


@pytest.mark.parametrize(("prototype", "fraction"), [("zincblende", 1), ("rocksalt", 0)])
def test_fourfold_metals(prototype, fraction):
    crystal = bulk("AlCl", prototype, a=5.5, cubic=True).repeat(3)
    found = check(still(crystal), samples_of(thermal(crystal), crystal.cell[:]), crystal)
    assert found.loc["central atoms with 4 ligands", "value"] == fraction


@pytest.mark.parametrize("repeat", [4, 6])
@pytest.mark.parametrize("prototype", ["zincblende", "rocksalt", "cesiumchloride"])
def test_a_crystal_is_not_a_glass(packing, prototype, repeat):
    a = {"zincblende": 5.8, "rocksalt": 5.2, "cesiumchloride": 3.5}[prototype]
    crystal = bulk("AlCl", prototype, a=a, cubic=True).repeat(repeat)
    found = check(still(crystal), samples_of(thermal(crystal), crystal.cell[:]), crystal)
    assert not found.loc["long-range order in g(r)", "passed"]
    glass = check(still(packing), samples_of(thermal(packing), packing.cell[:]), packing)
    assert glass.loc["long-range order in g(r)", "passed"]


def test_density_its_drift_and_least_distance(packing):
    frames = np.repeat(packing.positions[None], 41, axis=0)
    frames[30, 0] = frames[30, 1] + (0.7, 0, 0)
    scale = (1 + 0.2 * np.linspace(0, 1, 41)) ** (-1 / 3)  # the density grows by a fifth
    cells = scale[:, None, None] * packing.cell[:]
    found = check(still(packing), samples_of(scale[:, None, None] * frames, cells), packing)
    assert found.loc["density over its guess", "value"] == pytest.approx(1.15, rel=1e-3)
    assert found.loc["relative density drift", "value"] == pytest.approx(0.1 / 1.15, rel=1e-3)
    assert not found.loc["relative density drift", "passed"]
    assert found.loc["least distance of two atoms", "value"] == pytest.approx(0.7 * scale[30], 1e-3)
    assert not found.loc["least distance of two atoms", "passed"]
    mass = packing.get_masses().sum() * U_A3_TO_G_CM3
    assert mass / packing.get_volume() == pytest.approx(2.0)


def test_a_run_that_ended_early_fails(packing):
    found = check(still(packing), samples_of(np.zeros((0, 336, 3)), np.zeros((0, 3, 3))), packing)
    unjudged = found.drop(index=["melt displacement of Li", "melt displacement of Al"])
    assert not unjudged.drop(index="part of the protocol done")["passed"].any()
    assert not found["passed"].all()
    assert isinstance(found, pd.DataFrame)


def kinetic_series(n_atoms, length_ps, temperature_K, seed):
    """Canonical kinetic temperatures every 0.1 ps, correlated over 0.1 ps."""
    random = np.random.default_rng(seed)
    width = np.sqrt(2 / (3 * n_atoms - 3))
    series = np.empty(round(length_ps / 0.1))
    value = random.normal()
    for step in range(len(series)):
        value = value * np.exp(-1) + np.sqrt(1 - np.exp(-2)) * random.normal()
        series[step] = temperature_K * (1 + width * value)
    return series


@pytest.mark.parametrize("n_atoms", [21, 84, 1302])
@pytest.mark.parametrize("length_ps", [1.0, 50.0])
def test_scatter_of_the_temperature_is_allowed_for(n_atoms, length_ps):
    passed = {300.0: 0, 500.0: 0}
    for kelvin in passed:
        for seed in range(100):
            series = kinetic_series(n_atoms, length_ps, kelvin, seed)
            samples = samples_of(np.zeros((len(series), 1, 3)), np.eye(3), temperature_K=series)
            measured = measure_temperature(
                samples, n_atoms, timestep_ps=TIMESTEP_PS, thermostat_tau_ps=TAU_PS
            )
            passed[kelvin] += check_segment([measured], LIMITS)[0].passed
    assert passed[300.0] == 100
    if n_atoms > 21 or length_ps > 1:
        assert passed[500.0] == 0


def test_drift_of_the_conserved_energy():
    random = np.random.default_rng(0)
    noise = random.normal(size=200) * 0.05
    time_ps = 0.1 * np.arange(1, 201)
    for drift, passed in ((0.0, True), (0.5, True), (3.0, False), (-3.0, False)):
        conserved = -50 + noise + 21 * drift / 1000 * time_ps
        samples = samples_of(np.zeros((200, 1, 3)), np.eye(3), conserved_eV=conserved)
        measured = measure_energy_drift(samples, 21, timestep_ps=TIMESTEP_PS)
        assert measured.value == pytest.approx(drift, abs=0.1)
        (judged,) = check_segment([measured], LIMITS)
        assert judged.passed is passed
        wider = GlassLimits(energy_drift_meV_atom_ps=5.0)
        assert check_segment([measured], wider)[0].passed


def test_limits_judge_a_table_that_was_stored(tmp_path, packing):
    """Any limit can change after the run; what was measured stays."""
    measured = measure(still(packing), samples_of(thermal(packing), packing.cell[:]), packing)
    write_table(tmp_path / "m.parquet", "glass_measurements", measured)
    stored = read_table(tmp_path / "m.parquet")
    for limits in (LIMITS, LIMITS.model_copy(update={"least_distance_A": 99.0})):
        expected = check_glass(measured, LIALCL, limits)
        pd.testing.assert_frame_equal(check_glass(stored, LIALCL, limits), expected)
    failed = expected.set_index("check").loc["least distance of two atoms"]
    assert not failed["passed"]
    assert failed["limit_low"] == 99.0
    heavier = replace(LIALCL, density_guess_g_cm3=4.0, coordination=(4, 6))
    again = check_glass(stored, heavier, LIMITS).set_index("check")
    assert again.loc["density over its guess", "value"] == pytest.approx(0.5)
    shares = stored.set_index("quantity")["value"]
    counted = [shares.get(f"central atoms with {count} ligands", 0.0) for count in (4, 5, 6)]
    assert again.loc["central atoms with 4 to 6 ligands", "value"] == pytest.approx(sum(counted))


def test_a_segment_too_short_to_measure_is_not_flagged():
    samples = samples_of(np.zeros((2, 1, 3)), np.eye(3))
    measured = measure_energy_drift(samples, 21, timestep_ps=TIMESTEP_PS)
    assert np.isnan(measured.value)
    assert check_segment([measured], LIMITS) == []


def test_checks_import_no_torch():
    """Flags are made by many small jobs."""
    code = (
        "import sys, vitrion.trajectory.checks; "
        "print([m for m in ('torch', 'vesin', 'chgnet') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
