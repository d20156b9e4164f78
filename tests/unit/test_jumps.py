"""Jumps, the distinct van Hove function and lifetimes of clusters on exactly known systems."""

from __future__ import annotations

import numpy as np
import pytest

from vitrion.structure.rdf import radial_distributions
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.jumps import jumps
from vitrion.transport.measure import cluster_lifetimes
from vitrion.transport.network import network
from vitrion.transport.van_hove import distinct_van_hove

AXES = np.concatenate([np.eye(3), -np.eye(3)])


def read(symbols, positions_A, cell_A, interval_ps: float = 0.1) -> Trajectory:
    return Trajectory.read(
        Source.of_arrays(symbols, positions_A, cell_A, interval_ps), reference_frame="none"
    )


def lattice_walk(
    back: float, *, ions: int, steps: int, stay: int, rng: np.random.Generator
) -> np.ndarray:
    """(frames, ions, 3) walks on a simple cubic lattice of 3 Å that rattle at each site.

    Args:
        back: probability that a step undoes the one before; the five others are equally likely.
        ions: number of ions.
        steps: number of steps.
        stay: frames between two steps.
        rng: source of randomness.
    """
    direction = rng.integers(6, size=ions)
    taken = [AXES[direction]]
    for _ in range(steps - 1):
        other = (direction + 3 + rng.integers(1, 6, size=ions)) % 6
        direction = np.where(rng.random(ions) < back, (direction + 3) % 6, other)
        taken.append(AXES[direction])
    sites_A = 3.0 * np.cumsum([np.zeros((ions, 3)), *taken], axis=0)
    return np.repeat(sites_A, stay, axis=0) + rng.normal(0, 0.2, ((steps + 1) * stay, ions, 3))


@pytest.mark.parametrize("back", [1 / 6, 0.6])
def test_back_jumps_of_a_lattice_walk(back):
    """Correlated walks: their D is that of independent jumps times (1 + c)/(1 − c)."""
    walk_A = lattice_walk(back, ions=40, steps=50, stay=20, rng=np.random.default_rng(0))
    with read(["Li"] * 40, walk_A, np.eye(3) * 500) as t:
        found = jumps(t, "Li", length_A=1.5, window_ps=0.5)
    assert found.window_ps == pytest.approx(0.5)
    assert found.n_jumps == 40 * 50
    assert found.rate_1_ps == pytest.approx(50 / 102)
    assert found.length_A == pytest.approx(3, abs=0.05)
    assert found.back_fraction == pytest.approx(back, abs=3 * found.back_fraction_err)
    assert 0.005 < found.back_fraction_err < 0.02
    # Onward and the four sideways steps: their cosines are 1 and 0.
    expected = (1 - back) / 5 - back
    assert found.cosine == pytest.approx(expected, abs=3 * found.cosine_err)
    assert found.density_1_A[25:35].sum() * 0.1 == pytest.approx(1)


def test_ions_that_rattle_do_not_jump():
    rng = np.random.default_rng(0)
    with read(["Li"] * 20, rng.normal(0, 0.4, (1000, 20, 3)), np.eye(3) * 50) as t:
        found = jumps(t, "Li", length_A=1.5, window_ps=0.5)
    assert found.n_jumps == 0
    assert found.D_A2_ps == 0
    assert np.isnan(found.back_fraction)


def test_a_visit_that_does_not_endure_is_no_jump():
    walk_A = np.zeros((400, 2, 3))
    walk_A[100:104, 0] = 3.0
    walk_A[200:, 1] = 3.0
    with read(["Li"] * 2, walk_A, np.eye(3) * 50) as t:
        found = jumps(t, "Li", length_A=1.5, window_ps=0.5)
    assert found.n_jumps == 1


def test_distinct_van_hove_of_an_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    walk_A = np.cumsum(rng.normal(0, 0.3, (300, 150, 3)), axis=0) + rng.uniform(0, 14, (150, 3))
    with read(["Li"] * 150, walk_A, np.eye(3) * 14) as t:
        found = distinct_van_hove(t, "Li", np.array([1, 10, 100]), cutoff_A=6.0)
    assert np.abs(found.g[:, 20:] - 1).mean() < 0.05
    assert found.g[:, 20:].mean(axis=1) == pytest.approx([1, 1, 1], abs=0.01)


def test_distinct_van_hove_at_no_lag_is_g_of_r_and_sees_one_ion_follow_another():
    rng = np.random.default_rng(0)
    sites_A = 4.0 * np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), axis=1)
    still_A = sites_A + rng.normal(0, 0.1, (60, 27, 3))
    with read(["Li"] * 27, still_A, np.eye(3) * 12) as t:
        found = distinct_van_hove(t, "Li", np.array([0]), cutoff_A=6.0)
        snapshots = [(p.copy(), c) for _, p, c in t.snapshots(range(0, 60, 3))]
    rdf = radial_distributions(snapshots, ["Li"] * 27, cutoff_A=6.0)
    fine = rdf.g["Li", "Li"].reshape(-1, 2).mean(axis=1)
    assert found.g[0].max() == pytest.approx(fine.max(), rel=0.1)
    assert found.g[0][:30].max() == 0
    # Every ion moves to its neighbour's site halfway through.
    still_A[30:, :, 0] += 4.0
    with read(["Li"] * 27, still_A, np.eye(3) * 12) as t:
        found = distinct_van_hove(t, "Li", np.array([30]), cutoff_A=6.0)
    assert found.g[0][:4].max() > 10


def test_lifetimes_of_clusters_of_two_state_bonds():
    """Pairs Al-O that break and form: an AlO lives as long as its bond."""
    rng, pairs, frames = np.random.default_rng(0), 60, 800
    leave, come = 1 / 40, 1 / 20
    state = rng.random(pairs) < come / (come + leave)
    bonded = np.empty((frames, pairs), dtype=bool)
    for frame in range(frames):
        bonded[frame] = state
        state = np.where(state, rng.random(pairs) >= leave, rng.random(pairs) < come)
    sites_A = 8.0 * np.stack(np.unravel_index(np.arange(pairs), (4, 4, 4)), axis=1)
    oxygen_A = sites_A + np.where(bonded, 1.7, 4.0)[..., None] * np.eye(3)[0]
    positions_A = np.concatenate([np.broadcast_to(sites_A, oxygen_A.shape), oxygen_A], axis=1)
    with read(["Al"] * pairs + ["O"] * pairs, positions_A, np.eye(3) * 32) as t:
        found = network(t, {("Al", "O"): 2.2}, ["O"])
        times = {r.environment: r for r in cluster_lifetimes(found, 0.1)}
    assert set(times) == {"AlO", "Al", "all"}
    for name, rate in (("AlO", leave), ("Al", come)):
        expected_ps = -0.1 / np.log(1 - rate)
        assert times[name].tau_ps == pytest.approx(expected_ps, abs=3 * times[name].tau_err_ps)
        assert times[name].tau_err_ps < 0.2 * expected_ps
        assert times[name].dwell_ps == pytest.approx(0.1 / rate, abs=3 * times[name].dwell_err_ps)


def test_a_cluster_of_several_centres_counts_once():
    """Twenty pairs Al-O-Al that come apart: as many departures as there are pairs that do."""
    rng, pairs, frames = np.random.default_rng(1), 20, 400
    opens = rng.integers(50, 350, size=pairs)
    sites_A = 9.0 * np.stack(np.unravel_index(np.arange(pairs), (3, 3, 3)), axis=1)
    apart_A = np.where(np.arange(frames)[:, None] < opens, 1.7, 4.0)[..., None] * np.eye(3)[0]
    other_A = np.broadcast_to(sites_A - 1.7 * np.eye(3)[0], apart_A.shape)
    oxygen_A = np.broadcast_to(sites_A, apart_A.shape)
    positions_A = np.concatenate([sites_A + apart_A, other_A, oxygen_A], axis=1)
    with read(["Al"] * 2 * pairs + ["O"] * pairs, positions_A, np.eye(3) * 27) as t:
        found = {
            r.environment: r for r in cluster_lifetimes(network(t, {("Al", "O"): 2.2}, ["O"]), 1)
        }
    assert found["Al2O"].n_events == pairs
    assert found["Al2O"].dwell_ps == pytest.approx(opens.mean())
    assert set(found) == {"Al2O", "Al", "AlO", "all"}
