"""Residence times of mobile ions at centres, by the centre's environment.

Continuous survival in which short absences do not count: Impey, Madden and McDonald, J. Phys. Chem.
87, 5071 (1983). Correlations are ratios of sums over all time origins, so that each pair weighs by
the time that it spends in contact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitrion.transport.contacts import ContactIntervals
from vitrion.transport.msd import lag_grid

INTERMITTENT_ORIGINS = 400
# Groups of mobile ions that are resampled for errors.
GROUPS = 48
LEAST_EVENTS = 10
RESAMPLES = 400


@dataclass(frozen=True)
class Residence:
    """Residence with centres of one environment.

    Attributes:
        environment: name.
        lags: (lags,) in frames.
        survival, survival_err: (lags,) continuous P(t).
        intermittent, intermittent_err: (lags,) C(t) = ⟨h(0) h(t)⟩ / ⟨h⟩, h one in contact.
        tau_ps, tau_err_ps: residence time ∫ P dt.
        tau_intermittent_ps, tau_intermittent_err_ps: ∫ (C − C∞)/(1 − C∞) dt.
        n_events: number of departures.
        model: definition, and how the integral's tail was found.
    """

    environment: str
    lags: np.ndarray
    survival: np.ndarray
    survival_err: np.ndarray
    intermittent: np.ndarray
    intermittent_err: np.ndarray
    tau_ps: float
    tau_err_ps: float
    tau_intermittent_ps: float
    tau_intermittent_err_ps: float
    n_events: int
    model: str


def residence(
    intervals: ContactIntervals,
    environment_of: Mapping[int, str],
    *,
    tolerance_ps: float,
    frame_interval_ps: float,
) -> list[Residence]:
    """Residence by environment of the centre at the time origin, and over all environments.

    Args:
        intervals: of contact between centres and mobile ions.
        environment_of: name of each environment code.
        tolerance_ps: longest absence that does not end a residence.
        frame_interval_ps: time between frames.

    Returns:
        One result per environment that occurs, the most frequent first, then `all`.
    """
    tolerance = int(tolerance_ps / frame_interval_ps + 1e-9)
    horizon = intervals.n_frames - tolerance
    if horizon < 2 or not len(intervals.pair):
        return []
    lags = np.concatenate([[0], lag_grid(horizon)])
    leaves, last = intervals.departures(tolerance)
    seen, compact = np.unique(intervals.codes, return_inverse=True)
    compact = compact.reshape(intervals.codes.shape)
    n_kinds = len(seen)
    center = intervals.pair // intervals.n_mobile
    ended = np.flatnonzero(last & (leaves < horizon))
    kind_at_end = compact[center[ended], (leaves[ended] - 1) // intervals.stride]
    events = np.bincount(kind_at_end, minlength=n_kinds)

    # Continuous: an origin survives a lag when the departure comes after it.
    interval, frame = intervals.origins(intervals.stride)
    inside = frame < horizon
    interval, frame = interval[inside], frame[inside]
    groups = _Groups(intervals.n_mobile, intervals.n_frames)
    label = compact[center[interval], frame // intervals.stride] * groups.count + groups.of(
        intervals.pair[interval] % intervals.n_mobile, frame
    )
    shape = (n_kinds, groups.count, len(lags))
    survived = np.searchsorted(lags, leaves[interval] - frame, "left")
    covered = np.searchsorted(lags, horizon - 1 - frame, "right")
    kept = _at_least(label, np.minimum(survived, covered), shape)
    asked = _at_least(label, covered, shape)

    # Intermittent: an origin counts at a lag when the pair is in contact at both ends of it.
    sparse = intervals.stride * max(1, -(-intervals.codes.shape[1] // INTERMITTENT_ORIGINS))
    interval, frame = intervals.origins(sparse)
    label = compact[center[interval], frame // intervals.stride] * groups.count + groups.of(
        intervals.pair[interval] % intervals.n_mobile, frame
    )
    starts = intervals.key(slice(None)) + intervals.start
    time_in_contact = np.bincount(
        center, intervals.stop - intervals.start, minlength=len(intervals.codes)
    )
    chance = time_in_contact / (intervals.n_frames * intervals.n_mobile)
    returned, possible = np.zeros(shape), np.zeros(shape)
    size = n_kinds * groups.count
    for column, lag in enumerate(lags):
        valid = frame + lag < intervals.n_frames
        at = intervals.key(interval[valid]) + frame[valid] + lag
        latest = np.searchsorted(starts, at, "right") - 1
        in_contact = at < intervals.key(latest) + intervals.stop[latest]
        returned[..., column] = np.bincount(label[valid], in_contact, size).reshape(shape[:2])
        possible[..., column] = np.bincount(label[valid], minlength=size).reshape(shape[:2])
    limit = np.bincount(label, chance[center[interval]], size).reshape(shape[:2])

    order = np.argsort(-asked[..., 0].sum(axis=1), kind="stable")
    pools = [(environment_of[int(seen[kind])], [kind]) for kind in order.tolist()]
    pools.append(("all", order.tolist()))
    return [
        _residence(
            environment,
            lags,
            frame_interval_ps,
            continuous=(kept[kinds].sum(axis=0), asked[kinds].sum(axis=0)),
            intermittent=(
                returned[kinds].sum(axis=0),
                possible[kinds].sum(axis=0),
                limit[kinds].sum(axis=0),
            ),
            n_events=int(events[kinds].sum()),
            tolerance_ps=tolerance_ps,
        )
        for environment, kinds in pools
    ]


class _Groups:
    """Groups of mobile ions that are resampled; where ions are few, each is split by time."""

    def __init__(self, n_mobile: int, n_frames: int) -> None:
        self.by_ion = min(n_mobile, GROUPS)
        self.by_time = max(1, GROUPS // 2 // self.by_ion)
        self.count = self.by_ion * self.by_time
        self.n_frames = n_frames

    def of(self, ion: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return ion % self.by_ion * self.by_time + frame * self.by_time // self.n_frames


def _at_least(label: np.ndarray, lags_passed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Number of origins of each label that pass each lag.

    Args:
        label: (origins,) index into all but the last axis of `shape`.
        lags_passed: (origins,) number of lags, from the first, that an origin passes.
        shape: of the result, lags last.
    """
    n_lags = shape[-1]
    counts = np.bincount(
        label * (n_lags + 1) + lags_passed, minlength=np.prod(shape[:-1]) * (n_lags + 1)
    ).reshape(*shape[:-1], n_lags + 1)
    return counts[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:].astype(float)


def _residence(
    environment: str,
    lags: np.ndarray,
    frame_interval_ps: float,
    *,
    continuous: tuple[np.ndarray, np.ndarray],
    intermittent: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_events: int,
    tolerance_ps: float,
) -> Residence:
    n_groups = len(continuous[0])
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), RESAMPLES).astype(float)
    weights = np.concatenate([np.ones((1, n_groups)), draws])
    with np.errstate(invalid="ignore", divide="ignore"):
        P = (weights @ continuous[0]) / (weights @ continuous[1])
        C = (weights @ intermittent[0]) / (weights @ intermittent[1])
        level = (weights @ intermittent[2]) / (weights @ intermittent[1][:, 0])
        excess = (C - level[:, None]) / (1 - level[:, None])
    times_ps = lags * frame_interval_ps
    tau, model = _integral(times_ps, P)
    relaxed, _ = _integral(times_ps, excess)
    if n_events < LEAST_EVENTS:
        tau = relaxed = np.full(len(tau), np.nan)
        model = f"too few events (fewer than {LEAST_EVENTS})"
    bessel = np.sqrt(n_groups / (n_groups - 1)) if n_groups > 1 else np.nan

    def error(samples: np.ndarray) -> np.ndarray:
        # Half the central 68 %: a resample without late departures has a tail without end.
        low, high = np.percentile(samples[1:], [15.865, 84.135], axis=0)
        return (high - low) / 2 * bessel

    return Residence(
        environment=environment,
        lags=lags,
        survival=P[0],
        survival_err=error(P),
        intermittent=C[0],
        intermittent_err=error(C),
        tau_ps=float(tau[0]),
        tau_err_ps=float(error(tau)),
        tau_intermittent_ps=float(relaxed[0]),
        tau_intermittent_err_ps=float(error(relaxed)),
        n_events=n_events,
        model=f"continuous, t*={tolerance_ps:g} ps; {model}",
    )


def _integral(times_ps: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, str]:
    """∫ P dt, exponential between the lags and beyond the last one used.

    The decay rate of the tail is that of the last factor of two in time, before P has fallen to
    0.05 or the lags end.

    Args:
        times_ps: (lags,).
        P: (rows, lags).

    Returns:
        (rows,) in ps, NaN where P decays within the first three lags; and how the tail was found.
    """
    known = np.isfinite(P[0]) & (P[0] > 0.05)
    stop = len(known) if known.all() else int(np.argmin(known))
    if stop < 4:
        return np.full(len(P), np.nan), "the decay is faster than the frames"
    half = int(np.searchsorted(times_ps[:stop], times_ps[stop - 1] / 2))
    t, P = times_ps[:stop], np.maximum(P[:, :stop], 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        fall = np.log(P[:, :-1] / P[:, 1:])
        pieces = np.where(
            np.abs(fall) > 1e-9, (P[:, :-1] - P[:, 1:]) / fall, (P[:, :-1] + P[:, 1:]) / 2
        ) * np.diff(t)
        tail = P[:, -1] * (t[-1] - t[half]) / np.log(P[:, half] / P[:, -1])
    tail = np.where(np.isfinite(tail), tail, np.nan)
    return pieces.sum(axis=1) + tail, f"exponential tail beyond {t[-1]:.4g} ps"
