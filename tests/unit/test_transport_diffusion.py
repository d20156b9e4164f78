"""Mean squared displacements, slopes that long lags support, and what is not diffusive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from exact_systems import (
    Ions,
    analyze,
    bound,
    calibrate,
    estimates,
    exact_walkers,
    fractional,
    rotating_tetrahedra,
    transport_of,
    walkers,
)

from vitrion.base.units import conductivity_mS_cm
from vitrion.tables.io import headline
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.diffusion import (
    choose_window,
    diffusion,
    fall_weights,
    fit_windows,
    latest_window,
    slope_weights,
)
from vitrion.transport.msd import LineCovariance, displacements, lag_grid, relative_covariance
from vitrion.transport.roles import Roles

LIMITS = {"frame_interval_ps": 1.0, "tolerance": 0.1, "least_displacement_A": 1.0}


def moments_of(positions_A: np.ndarray, lags=None):
    """Displacements of (frames, atoms, 3)."""
    symbols = ["Li"] * positions_A.shape[1]
    source = Source.of_arrays(symbols, positions_A, np.eye(3) * 50, 1.0)
    with Trajectory.read(source, reference_frame="none") as trajectory:
        return displacements(trajectory, "Li", lags)


def brownian(frames: int, atoms: int, seed: int = 0, D: float = 0.05) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, np.sqrt(2 * D), (frames, atoms, 3))
    return np.cumsum(steps, axis=0)


def test_windowed_msd_is_the_mean_over_all_origins():
    positions_A = brownian(300, 4) + 1000.0
    found = moments_of(positions_A)
    for lag, msd_A2 in zip(found.lags, found.msd_A2, strict=True):
        direct = np.sum((positions_A[lag:] - positions_A[:-lag]) ** 2, axis=2).mean()
        assert msd_A2 == pytest.approx(direct, rel=1e-5)
    assert found.lags[0] == 1
    assert found.lags[-1] == 149


def test_covariance_is_that_of_simulated_walkers():
    rng = np.random.default_rng(2)
    lags, frames, runs = np.array([1, 4, 16, 50]), 400, 4000
    paths = np.cumsum(rng.normal(size=(runs, frames, 3)), axis=1)
    msd = np.stack(
        [np.sum((paths[:, m:] - paths[:, :-m]) ** 2, axis=2).mean(axis=1) for m in lags], axis=1
    )
    found = np.cov(msd.T) / np.outer(3 * lags, 3 * lags)
    assert found == pytest.approx(relative_covariance(lags, frames), rel=0.12)


def covariance_of_stationary_steps(
    msd: Callable[[np.ndarray], np.ndarray], lags: np.ndarray, frames: int
) -> np.ndarray:
    """Cov(MSD_i, MSD_j) of Gaussian motion by its definition, a sum over all pairs of windows."""
    found = np.empty((len(lags), len(lags)))
    for i, m in enumerate(lags):
        for j, n in enumerate(lags):
            apart = np.subtract.outer(np.arange(frames - n), np.arange(frames - m))
            ends = msd(np.abs(apart + n)) + msd(np.abs(apart - m))
            ends = ends - msd(np.abs(apart)) - msd(np.abs(apart + n - m))
            found[i, j] = 6 * np.mean((ends / 6) ** 2)
    return found


def test_covariance_of_diffusion_and_motion_in_bounds():
    """Exact for diffusion alone; to a twentieth with a cage of few frames' relaxation."""
    lags, frames, slope, offset, relaxation = np.array([20, 24, 40, 100]), 400, 0.06, 2.0, 2.0
    line = LineCovariance.of(lags, frames, relaxation)
    exact = covariance_of_stationary_steps(lambda t: slope * t, lags, frames)
    assert line.total(slope, 0.0) == pytest.approx(exact, rel=1e-9)
    for diffuses in (slope, 0.0):
        exact = covariance_of_stationary_steps(
            lambda t, b=diffuses: b * t + offset * (1 - np.exp(-t / relaxation)), lags, frames
        )
        assert line.total(diffuses, offset) == pytest.approx(exact, rel=0.06)


@pytest.mark.parametrize("walkers", [1, 48, 100])
def test_weights_of_a_slope(walkers):
    """Exact for a line with an offset; nearly blind to relaxation, whatever its time."""
    lags = lag_grid(2001)
    window = latest_window(lags, 2001)
    first, last = lags[window][0], lags[window][-1]
    assert (first, last) == (60, 495)
    weights = slope_weights(lags, 2001, walkers, window)
    assert not weights[: window.start].any()
    assert not weights[window.stop :].any()
    assert weights @ (0.7 * lags + 5.0) == pytest.approx(0.7)
    fall = fall_weights(lags, 2001, window)
    assert fall @ (0.7 * lags + 5.0) == pytest.approx(0, abs=1e-9)
    # From slope 1 − 2 · first/1000 to 1 − 2 · last/1000.
    assert fall @ (lags - lags**2 / 1000) == pytest.approx(2 * (last - first) / 1000)
    covariance = relative_covariance(lags, 2001) * np.outer(lags, lags) / walkers
    error = np.sqrt(weights @ covariance @ weights)
    for time in first * np.array([0.25, 0.5, 1, 2, 4]):
        at_first = 0.1 * np.exp(first / time)
        excess = weights @ (at_first * time * (1 - np.exp(-lags / time)))
        assert abs(excess) < 0.25 * error


def test_first_lag_follows_the_relaxation():
    """Without noise: 16 times the lag that ends it, and the latest where that is too late."""
    frames, ions = 40001, 100
    lags = lag_grid(frames)
    starts = [int(lags[window.start]) for window in fit_windows(lags, frames)]
    assert np.diff(np.log2(starts[3:])) == pytest.approx(1, abs=0.2)
    assert starts[-1] == pytest.approx(frames / 35, rel=0.12)

    def first_lag(msd, walkers=ions):
        covariance = relative_covariance(lags, frames) * np.outer(msd, msd) / walkers
        return lags[choose_window(lags, frames, walkers, msd, covariance).start]

    assert 16 <= first_lag(lags) < 64
    found = [first_lag(lags + time * (1 - np.exp(-lags / time))) for time in (10, 40, 160)]
    assert all(1.3 * time < lag < 9 * time for lag, time in zip(found, (10, 40, 160), strict=True))
    # Few walkers show too little; a slope that keeps falling has no end.
    assert first_lag(lags, walkers=10) == starts[-1]
    assert first_lag(lags**0.8) == starts[-1]


def test_collective_slopes_follow_the_ions():
    """A single walker shows no relaxation: its lags are those of the ions, or somewhat earlier."""
    rng = np.random.default_rng(0)
    ions = [Ions("Li", 40, 1, 0.05), Ions("Cl", 40, -1, 0.02)]
    starts = {}
    for name, rattle_A in (("free", 0.0), ("caged", 1.5)):
        source = walkers(ions, frames=6000, rng=rng)
        for first in (0, 40):
            cage_A = bound(40, frames=6000, rng=rng, relaxation=40, amplitude_A2=6 * rattle_A)
            source.chunks[0].positions_A[:, first : first + 40] += cage_A
        tables = transport_of(source, {"Li": 1, "Cl": -1}, Roles(("Li",)))
        of_ions = headline(tables["diffusion"])["fit_start_ps"].max()
        starts[name] = tables["conductivity"].attrs["fit_start_ps"]
        assert of_ions / 4.5 < starts[name] <= 6000 / 30
    assert starts["caged"] > starts["free"]


def test_rattling_ballistic_and_still_ions_do_not_diffuse():
    rng = np.random.default_rng(3)
    rattling = moments_of(rng.normal(0, 0.5, (2000, 30, 3)))
    assert not diffusion(rattling, **LIMITS).diffusive
    time = np.arange(2000.0)[:, None, None]
    ballistic = moments_of(time * rng.normal(0, 0.05, (1, 30, 3)))
    found = diffusion(ballistic, **LIMITS)
    assert not found.diffusive
    assert found.loglog_slope == pytest.approx(2, abs=0.02)
    assert np.isnan(found.D_A2_ps)
    assert not diffusion(moments_of(np.zeros((100, 5, 3))), **LIMITS).diffusive


def test_oscillators_that_cross_from_ballistic_to_caged_do_not_diffuse():
    rng = np.random.default_rng(4)
    phase, frequency = rng.uniform(0, 2 * np.pi, (2, 1, 40, 3)) * [[[[1]]], [[[0.005]]]]
    positions_A = 3 * np.sin(np.arange(3000)[:, None, None] * frequency + phase)
    assert not diffusion(moments_of(positions_A), **LIMITS).diffusive


def test_a_relaxing_cage_adds_no_diffusion():
    """System 8: 6Dt + A (1 − exp(−t/τ)); early lags alone give 30 % too much."""
    slopes, errors = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed + 100)
        cage_A = bound(48, frames=2000, rng=rng, relaxation=100, amplitude_A2=1.8)
        found = diffusion(moments_of(brownian(2000, 48, seed, D=0.01) + cage_A), **LIMITS)
        slopes.append(found.slope_A2_ps)
        errors.append(found.slope_err_A2_ps)
    assert np.mean(slopes) == pytest.approx(0.01, abs=0.0008)
    assert np.mean(errors) < 0.0011
    assert np.mean(np.abs(np.array(slopes) - 0.01) < 2 * np.array(errors)) > 0.8


@pytest.mark.parametrize("relaxation", [200, 1000])
def test_ions_bound_for_ever_do_not_diffuse(relaxation):
    """System 9: relaxation in a tenth and in half of the trajectory's length."""
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        paths_A = bound(48, frames=2000, rng=rng, relaxation=relaxation, amplitude_A2=6.0)
        found += diffusion(moments_of(paths_A), **LIMITS).diffusive
    assert found <= 1


def test_fractional_motion_does_not_diffuse():
    rng = np.random.default_rng(0)
    paths_A = fractional(48, frames=2000, rng=rng, exponent=0.7, amplitude_A2=0.06)
    found = moments_of(paths_A)
    expected_A2 = 0.06 * found.lags**0.7
    assert found.msd_A2[:40] == pytest.approx(expected_A2[:40], rel=0.1)
    assert not diffusion(found, **LIMITS).diffusive


def test_motion_that_differs_between_the_halves_has_no_diffusion_coefficient():
    slow = brownian(2000, 48, D=0.02)
    fast = slow[-1] + brownian(2000, 48, seed=1, D=0.06)
    assert not diffusion(moments_of(np.concatenate([slow, fast])), **LIMITS).diffusive


@pytest.mark.parametrize("group", [1, 2, 4])
def test_errors_know_ions_that_move_together(group):
    """System 11: the error of groups of g ions is √g times that of independent ions."""
    paths_A = np.repeat(brownian(2000, 48 // group, seed=3), group, axis=1)
    found = moments_of(paths_A)
    assert found.concerted(found) == pytest.approx(group, rel=0.35)
    D = diffusion(found, **LIMITS)
    assert D.slope_err_A2_ps / D.slope_A2_ps == pytest.approx(0.083 * np.sqrt(group), rel=0.25)


def mean_error(paths: Callable[[np.random.Generator], np.ndarray], seeds: int) -> float:
    """Root mean squared error bar of D over some seeds, Å²/ps."""
    runs = [moments_of(paths(np.random.default_rng(seed))) for seed in range(seeds)]
    return np.sqrt(np.mean([diffusion(run, **LIMITS).slope_err_A2_ps ** 2 for run in runs]))


def test_cages_do_not_dilute_the_number_of_ions_that_move_together():
    """Groups of four that rattle one by one: twice the error of independent ions."""

    def rattling(rng: np.random.Generator, group: int) -> np.ndarray:
        steps_A = rng.normal(0, np.sqrt(2 * 0.01), (2000, 48 // group, 3))
        paths_A = np.repeat(np.cumsum(steps_A, axis=0), group, axis=1)
        return paths_A + rng.normal(0, 0.4, paths_A.shape)

    alone, grouped = (mean_error(lambda rng, g=g: rattling(rng, g), seeds=8) for g in (1, 4))
    assert grouped / alone == pytest.approx(2, rel=0.15)


def test_a_large_cage_does_not_widen_the_error():
    """D of 40 ions scatters by a tenth, with a cage as without."""

    def caged(rng: np.random.Generator) -> np.ndarray:
        paths_A = np.cumsum(rng.normal(0, np.sqrt(2 * 0.005), (2000, 40, 3)), axis=0)
        return paths_A + bound(40, frames=2000, rng=rng, relaxation=12, amplitude_A2=4.0)

    assert 0.08 < mean_error(caged, seeds=12) / 0.005 < 0.135


def test_error_bars_hold_for_few_seeds():
    ions = [Ions("Li", 16, 1, 0.05, shared=0.4), Ions("Cl", 16, -1, 0.02)]
    found = calibrate(
        lambda rng: estimates(
            analyze(walkers(ions, frames=300, rng=rng), {"Li": 1, "Cl": -1}, Roles(("Li",)))
        ),
        exact_walkers(ions, temperature_K=600),
        seeds=16,
    )
    assert (found["bias"].abs() < 4).all()
    assert found["ratio"].between(0.5, 2).all()
    assert (found["refused"] < 0.3).all()


def test_rotating_ligands_of_a_frozen_framework_carry_no_current():
    """System 12: Nernst-Einstein is lithium's alone; early lags made it seven times too large."""
    source = rotating_tetrahedra(frames=600, step_rad=0.3, rng=np.random.default_rng(0))
    tables = analyze(source, {"Li": 1, "Al": 3, "Cl": -1}, Roles(("Li",)), rdf_cutoff_A=3.0)
    exact = conductivity_mS_cm(27 * 0.01, 15.0**3, 600)
    row = headline(tables["conductivity"]).set_index("method").loc["nernst_einstein"]
    assert row["not_diffusive"] == "Al,Cl"
    assert row["sigma_mS_cm"] == pytest.approx(exact, abs=3 * row["sigma_err_mS_cm"])
    assert row["t_mobile"] == pytest.approx(1, abs=3 * row["t_mobile_err"])
    assert row["sigma_err_mS_cm"] < exact
    assert headline(tables["diffusion"]).set_index("species")["diffusive"].to_dict() == {
        "Li": True,
        "Al": False,
        "Cl": False,
    }
