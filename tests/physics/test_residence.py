"""Residence on systems whose answer is known, over 60 seeds: no bias, and error bars that hold.

Run with `-s` to see the figures; `benchmarks/residence_error_bars.txt` keeps those of the release.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from exact_systems import Visits, calibrate, disagreements, keep_figures, recorded, visits

from vitrion.transport.contacts import ContactIntervals
from vitrion.transport.residence import intermittent, residence, residence_lags

pytestmark = pytest.mark.physics
SEEDS = 60


def check(name: str, found: pd.DataFrame) -> None:
    """Print the figures of a system, and fail where they contradict right errors."""
    keep_figures(f"{name}\n{found.to_string(float_format='%.3g')}\n")
    assert not disagreements(found, SEEDS)


def mixed_stays(
    kinds: Sequence[tuple[float, float]],
    *,
    pairs: int,
    frames: int,
    rng: np.random.Generator,
    off: float = 30.0,
) -> np.ndarray:
    """(pairs, frames) contact whose stays are drawn from several kinds, in equilibrium.

    Args:
        kinds: mean length in frames and share of the stays.
        pairs: number of pairs.
        frames: length.
        rng: source of randomness.
        off: mean length of the absences.
    """
    length, share = (np.array(column) for column in zip(*kinds, strict=True))
    # At frame 0 a pair is in each state in proportion to the time that is spent in it.
    weight = np.append(share * length, off * share.sum())
    leave = 1 - np.exp(-1 / np.append(length, off))
    away = len(kinds)
    cycles = int(2 * frames / (length @ share / share.sum() + off)) + 20
    near = np.zeros((pairs, frames), dtype=bool)
    for row in near:
        first = rng.choice(away + 1, p=weight / weight.sum())
        stays = rng.choice(away, p=share / share.sum(), size=cycles)
        states = np.stack([np.full(cycles, away), stays], axis=1).ravel()[int(first == away) :]
        states = np.concatenate([[first], states])
        history = np.repeat(states < away, rng.geometric(leave[states]))
        assert len(history) >= frames
        row[:] = history[:frames]
    return near


def estimates(intervals: ContactIntervals, tolerance: int = 0) -> dict[str, tuple[float, float]]:
    """τ, dwell time and intermittent time by environment, `A` for code 0 and so on."""
    names = {code: "ABC"[code] for code in np.unique(intervals.codes).tolist()}
    results = residence(intervals, names, tolerance_ps=tolerance, frame_interval_ps=1.0)
    lags = residence_lags(intervals.n_frames, tolerance)
    later = intermittent(intervals, lags, frame_interval_ps=1.0)
    found = {}
    for r in results:
        found[f"tau:{r.environment}"] = r.tau_ps, r.tau_err_ps
        found[f"dwell:{r.environment}"] = r.dwell_ps, r.dwell_err_ps
    for code, c in later.items():
        found[f"intermittent:{'all' if code is None else names[code]}"] = c.tau_ps, c.tau_err_ps
    return found


def discrete(mean: float) -> float:
    """Mean number of frames of a stay that ends in each frame with probability 1 − e^(−1/mean)."""
    return 1 / (1 - np.exp(-1 / mean))


@pytest.mark.parametrize("tolerance", [0, 5])
def test_two_states(tolerance):
    """System 5: environments of different lifetimes, each recovered on its own."""
    kinds = [Visits(20.0, 30.0, 0, 24), Visits(60.0, 60.0, 1, 24)]
    exact = {}
    for name, kind in zip("AB", kinds, strict=True):
        exact[f"tau:{name}"] = lifetime(kind, tolerance)
        if not tolerance:
            exact[f"dwell:{name}"] = discrete(kind.on_ps)
        remains = np.exp(-1 / kind.on_ps) + np.exp(-1 / kind.off_ps) - 1
        exact[f"intermittent:{name}"] = -1 / np.log(remains)
    check(
        f"two states, t* = {tolerance}",
        calibrate(
            lambda rng: estimates(visits(kinds, frames=1500, rng=rng), tolerance), exact, SEEDS
        ),
    )


def lifetime(kind: Visits, tolerance: int) -> float:
    """∫ P dt of the two-state process in steps of 1 ps with absences up to `tolerance` forgiven.

    A stay is followed by an absence that is forgiven with probability f, and then by another stay.
    The integral of P is half a step less than its sum over frames.
    """
    leave, come = (1 - np.exp(-1 / time) for time in (kind.on_ps, kind.off_ps))
    if not tolerance:
        return kind.on_ps
    absence = np.arange(1, tolerance + 1)
    probability = (1 - come) ** (absence - 1) * come
    forgiven = probability.sum()
    mean_absence = (absence * probability).sum() / forgiven
    return 1 / leave + forgiven / (1 - forgiven) * (mean_absence + 1 / leave) - 0.5


def test_two_states_along_the_curves():
    kind = Visits(20.0, 30.0, 0, 48)
    leave, come = (1 - np.exp(-1 / time) for time in (kind.on_ps, kind.off_ps))
    share, exact = come / (come + leave), {}

    def run(rng):
        intervals = visits([kind], frames=1500, rng=rng)
        (only, _) = residence(intervals, {0: "A"}, tolerance_ps=0, frame_interval_ps=1.0)
        later = intermittent(intervals, only.lags, frame_interval_ps=1.0)[0]
        found = {}
        for column in np.searchsorted(only.lags, [5, 20, 60]):
            lag = only.lags[column]
            exact[f"P:{lag}"] = np.exp(-lag / kind.on_ps)
            exact[f"C:{lag}"] = share + (1 - share) * (1 - leave - come) ** lag
            found[f"P:{lag}"] = only.survival[column], only.survival_err[column]
            found[f"C:{lag}"] = later.correlation[column], later.correlation_err[column]
        return found

    run(np.random.default_rng(0))
    check("two states, curves", calibrate(run, exact, SEEDS))


def test_a_long_lived_minority():
    """System 14: 4 % of the time origins hold 80 % of the integral; some 50 long stays."""
    short, long = 5.0, 480.0
    # Of the time in contact 4 % belong to long stays, so they are few.
    kinds = [(short, 0.96 / discrete(short)), (long, 0.04 / discrete(long))]
    exact = {"tau:A": 0.96 * short + 0.04 * long}
    exact["dwell:A"] = 1 / (0.96 / discrete(short) + 0.04 / discrete(long))

    def run(rng):
        contact = mixed_stays(kinds, pairs=192, frames=12_000, off=15.0, rng=rng)
        return estimates(recorded(contact, np.zeros(len(contact), dtype=int)))

    check("long-lived minority", calibrate(run, exact, SEEDS))


@pytest.mark.parametrize(("pairs", "frames"), [(1, 12_000), (2, 6000), (5, 6000)])
def test_an_environment_that_few_ions_visit(pairs, frames):
    """System 14: one to five ions, beside an environment of many."""
    kinds = [Visits(20.0, 30.0, 0, 48), Visits(60.0, 60.0, 1, pairs)]
    exact = {"tau:B": 60.0, "dwell:B": discrete(60.0), "intermittent:B": 30.0}
    check(
        f"visited by {pairs}",
        calibrate(lambda rng: estimates(visits(kinds, frames=frames, rng=rng)), exact, SEEDS),
    )


def test_ions_that_return_to_their_own_centre():
    """System 14: the intermittent time is that of the two-state process in steps of a frame."""
    kinds = [Visits(2.0, 5.0, 0, 24)]
    exact = {"intermittent:A": -1 / np.log(np.exp(-1 / 2) + np.exp(-1 / 5) - 1)}
    check(
        "own centre",
        calibrate(lambda rng: estimates(visits(kinds, frames=3000, rng=rng)), exact, SEEDS),
    )


def test_stays_longer_than_the_trajectory():
    """Half of the stays are cut off at both ends of the trajectory."""
    kinds = [Visits(1500.0, 500.0, 0, 96)]
    exact = {"tau:A": 1500.0, "dwell:A": discrete(1500.0)}
    check(
        "longer than the trajectory",
        calibrate(lambda rng: estimates(visits(kinds, frames=1000, rng=rng)), exact, SEEDS),
    )
