"""Mean squared displacements, slopes and windows."""

from __future__ import annotations

import numpy as np
import pytest
from exact_systems import Ions, analyze, calibrate, estimates, exact_walkers, walkers

from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.diffusion import diffusion, line_weights
from vitrion.transport.msd import displacements, lag_grid, relative_covariance
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


def test_slope_ignores_an_offset():
    lags = lag_grid(1000)[3:40]
    slope, offset = line_weights(lags, 1000) @ (0.7 * lags + 5.0)
    assert slope == pytest.approx(0.7)
    assert offset == pytest.approx(5.0)


def test_rattling_ballistic_and_still_ions_do_not_diffuse():
    rng = np.random.default_rng(3)
    rattling = moments_of(rng.normal(0, 0.5, (2000, 30, 3)))
    assert not diffusion(rattling, **LIMITS).window.diffusive
    time = np.arange(2000.0)[:, None, None]
    ballistic = moments_of(time * rng.normal(0, 0.05, (1, 30, 3)))
    found = diffusion(ballistic, **LIMITS)
    assert not found.window.diffusive
    assert found.window.loglog_slope == pytest.approx(2, abs=0.01)
    assert np.isnan(found.D_A2_ps)
    assert not diffusion(moments_of(np.zeros((100, 5, 3))), **LIMITS).window.diffusive


def test_oscillators_that_cross_from_ballistic_to_caged_do_not_diffuse():
    rng = np.random.default_rng(4)
    phase, frequency = rng.uniform(0, 2 * np.pi, (2, 1, 40, 3)) * [[[[1]]], [[[0.005]]]]
    positions_A = 3 * np.sin(np.arange(3000)[:, None, None] * frequency + phase)
    assert not diffusion(moments_of(positions_A), **LIMITS).window.diffusive


def test_window_starts_after_the_cage():
    """Diffusion on top of rattling: the window begins where the offset no longer matters."""
    rng = np.random.default_rng(5)
    positions_A = brownian(4000, 60, D=0.03) + rng.normal(0, 0.5, (4000, 60, 3))
    found = diffusion(moments_of(positions_A), **LIMITS)
    assert found.window.diffusive
    assert found.fit_start_ps > 20
    assert found.slope_A2_ps == pytest.approx(0.03, abs=3 * found.slope_err_A2_ps)


def test_error_bars_hold_for_few_seeds():
    ions = [Ions("Li", 16, 1, 0.05, shared=0.4), Ions("Cl", 16, -1, 0.02)]
    found = calibrate(
        lambda rng: estimates(
            analyze(walkers(ions, frames=300, rng=rng), {"Li": 1, "Cl": -1}, Roles("Li"))
        ),
        exact_walkers(ions, temperature_K=600),
        seeds=16,
    )
    assert (found["bias"].abs() < 4).all()
    assert found["ratio"].between(0.5, 2).all()
    assert (found["refused"] == 0).all()
