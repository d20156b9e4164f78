"""How long an ion stays with a centre, by the centre's environment.

Continuous survival with transient escapes forgiven: Impey, Madden and McDonald, J. Phys. Chem. 87,
5071 (1983). Everything is pooled as a ratio of sums over all origins, so that pairs that are rarely
together do not count like pairs that are together all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrion.transport.contacts import Encounters
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
        intermittent, intermittent_err: (lags,) ⟨h(0) h(t)⟩ / ⟨h⟩.
        tau_ps, tau_err_ps: ∫ P dt.
        tau_intermittent_ps, tau_intermittent_err_ps: ∫ (C − C∞)/(1 − C∞) dt.
        n_events: departures seen.
        model: how the integral was closed.
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
    encounters: Encounters,
    environment_of: Sequence[str],
    *,
    tolerance_ps: float,
    frame_interval_ps: float,
) -> list[Residence]:
    """Residence by environment of the centre at the origin, and over all of them.

    Args:
        encounters: when pairs were together.
        environment_of: name of each environment code.
        tolerance_ps: absence that is forgiven.
        frame_interval_ps: time between frames.

    Returns:
        One result per environment that was seen, the most frequent first, then `all`.
    """
    tolerance = int(tolerance_ps / frame_interval_ps + 1e-9)
    horizon = encounters.n_frames - tolerance
    if horizon < 2 or not len(encounters.pair):
        return []
    lags = np.concatenate([[0], lag_grid(horizon)])
    leaves, last = encounters.departures(tolerance)
    seen, compact = np.unique(encounters.codes, return_inverse=True)
    compact = compact.reshape(encounters.codes.shape)
    n_kinds = len(seen)
    center = encounters.pair // encounters.n_mobile
    ended = np.flatnonzero(last & (leaves < horizon))
    kind_at_end = compact[center[ended], (leaves[ended] - 1) // encounters.stride]
    events = np.bincount(kind_at_end, minlength=n_kinds)

    # Continuous: an origin survives a lag when the departure comes later than that.
    encounter, frame = encounters.origins(encounters.stride)
    inside = frame < horizon
    encounter, frame = encounter[inside], frame[inside]
    groups = _Groups(encounters.n_mobile, encounters.n_frames)
    label = compact[center[encounter], frame // encounters.stride] * groups.count + groups.of(
        encounters.pair[encounter] % encounters.n_mobile, frame
    )
    shape = (n_kinds, groups.count, len(lags))
    survived = np.searchsorted(lags, leaves[encounter] - frame, "left")
    covered = np.searchsorted(lags, horizon - 1 - frame, "right")
    kept = _at_least(label, np.minimum(survived, covered), shape)
    asked = _at_least(label, covered, shape)

    # Intermittent: an origin counts at a lag when the pair is together then, whatever was between.
    sparse = encounters.stride * max(1, -(-encounters.codes.shape[1] // INTERMITTENT_ORIGINS))
    encounter, frame = encounters.origins(sparse)
    label = compact[center[encounter], frame // encounters.stride] * groups.count + groups.of(
        encounters.pair[encounter] % encounters.n_mobile, frame
    )
    starts = encounters.key(slice(None)) + encounters.start
    time_together = np.bincount(
        center, encounters.stop - encounters.start, minlength=len(encounters.codes)
    )
    chance = time_together / (encounters.n_frames * encounters.n_mobile)
    returned, possible = np.zeros(shape), np.zeros(shape)
    size = n_kinds * groups.count
    for column, lag in enumerate(lags):
        valid = frame + lag < encounters.n_frames
        at = encounters.key(encounter[valid]) + frame[valid] + lag
        latest = np.searchsorted(starts, at, "right") - 1
        together = at < encounters.key(latest) + encounters.stop[latest]
        returned[..., column] = np.bincount(label[valid], together, size).reshape(shape[:2])
        possible[..., column] = np.bincount(label[valid], minlength=size).reshape(shape[:2])
    limit = np.bincount(label, chance[center[encounter]], size).reshape(shape[:2])

    results = []
    order = np.argsort(-asked[..., 0].sum(axis=1), kind="stable")
    for kind in (*order, slice(None)):
        pool = (lambda x: x.sum(axis=0)) if isinstance(kind, slice) else (lambda x, k=kind: x[k])
        results.append(
            _residence(
                "all" if isinstance(kind, slice) else environment_of[int(seen[kind])],
                lags,
                frame_interval_ps,
                continuous=(pool(kept), pool(asked)),
                intermittent=(pool(returned), pool(possible), pool(limit)),
                n_events=int(events[kind].sum()),
                tolerance_ps=tolerance_ps,
            )
        )
    return results


class _Groups:
    """Mobile ions in groups for resampling; few ions are split by time as well."""

    def __init__(self, n_mobile: int, n_frames: int) -> None:
        self.by_ion = min(n_mobile, GROUPS)
        self.by_time = max(1, GROUPS // 2 // self.by_ion)
        self.count = self.by_ion * self.by_time
        self.n_frames = n_frames

    def of(self, ion: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return ion % self.by_ion * self.by_time + frame * self.by_time // self.n_frames


def _at_least(label: np.ndarray, lags_passed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How many origins with a label pass at least each lag, in the given shape."""
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
    times_ps = lags * frame_interval_ps
    tau, model = _integral(times_ps, P)
    relaxed, _ = _integral(times_ps, (C - level[:, None]) / (1 - level[:, None]))
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
    """∫ P dt of each row: exponentials between the lags, and one for the tail.

    The tail is that of the last factor of two in time before P has fallen to 0.05 or the lags end.
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
