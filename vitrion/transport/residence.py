"""How long mobile ions stay at centres, by the centre's environment, and environments last.

Continuous survival in which short absences do not count: Impey, Madden and McDonald, J. Phys. Chem.
87, 5071 (1983). A stay whose end is not seen counts for as long as it is seen: the estimator of
Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958), in which each pair weighs by the time that it
spends in contact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from vitrion.transport.contacts import ContactIntervals
from vitrion.transport.msd import lag_grid

INTERMITTENT_ORIGINS = 400
# Longest lag of the survival over the length; later ones have hardly any time origin.
LONGEST_LAG = 0.9
# Groups of mobile ions, and of stays, that are resampled for errors; those of mobile ions where at
# least so many hold anything.
GROUPS = 48
LEAST_GROUPS = 8
# Stretches of time that each ion is split into, as groups of the intermittent correlation.
STRETCHES = 16
LEAST_EVENTS = 10
# Fewest equal parts that the integral of the survival may be the sum of.
LEAST_PARTS = 2.0
# Groups of stays whose ends set the decay rate of the tail, and the fewest that can.
TAIL_GROUPS = 10
RESAMPLES = 400
# The intermittent correlation is integrated up to so many of its own relaxation times (automatic
# window of Sokal, in Functional Integration, 131, Plenum 1997).
WINDOW = 6.0


@dataclass(frozen=True)
class Survival:
    """Stays that begin at every moment with centres of one environment.

    Attributes:
        environment: name.
        lags: (lags,) in frames.
        survival, survival_err: (lags,) continuous P(t), NaN beyond the longest stay seen.
        tau_ps, tau_err_ps: residence time ∫ P dt.
        tail_start_ps, tail_share: where the exponential tail of the integral begins, and its share.
        open_share: share of the time origins whose stay ends beyond the trajectory.
        dwell_ps, dwell_err_ps: time in contact with this environment for each departure from it.
        leaving_rate_1_ps, leaving_rate_err_1_ps: its inverse.
        n_events: number of departures.
        model: definition, and how the integral's tail was found.
    """

    environment: str
    lags: np.ndarray
    survival: np.ndarray
    survival_err: np.ndarray
    tau_ps: float
    tau_err_ps: float
    tail_start_ps: float
    tail_share: float
    open_share: float
    dwell_ps: float
    dwell_err_ps: float
    leaving_rate_1_ps: float
    leaving_rate_err_1_ps: float
    n_events: int
    model: str


@dataclass(frozen=True)
class Intermittent:
    """Contact of a pair at a later time, whatever happened in between.

    Attributes:
        lags: (lags,) in frames.
        correlation, correlation_err: (lags,) C(t) = ⟨h(0) h(t)⟩ / ⟨h⟩, h one in contact.
        tau_ps, tau_err_ps: ∫ (C − C∞)/(1 − C∞) dt, NaN where C reaches no plateau C∞.
    """

    lags: np.ndarray
    correlation: np.ndarray
    correlation_err: np.ndarray
    tau_ps: float
    tau_err_ps: float


def residence_lags(n_frames: int, tolerance: int) -> np.ndarray:
    """(lags,) of residence in frames, from zero.

    Args:
        n_frames: length of the trajectory.
        tolerance: longest absence that does not end a residence, in frames.
    """
    return np.concatenate([[0], lag_grid(n_frames - tolerance, longest=LONGEST_LAG)])


def residence(
    intervals: ContactIntervals,
    environment_of: Mapping[int, str],
    *,
    tolerance_ps: float,
    frame_interval_ps: float,
    members: np.ndarray | None = None,
) -> list[Survival]:
    """Residence by environment of the centre at the time origin, and over all environments.

    Args:
        intervals: of contact between centres and mobile ions.
        environment_of: name of each environment code.
        tolerance_ps: longest absence that does not end a residence.
        frame_interval_ps: time between frames.
        members: (intervals,) which of the independent members of the system an interval belongs
            to; by default the mobile ion.

    Returns:
        One result per environment in which a pair is in contact, the most frequent first, then
        `all`.
    """
    tolerance = int(tolerance_ps / frame_interval_ps + 1e-9)
    horizon = intervals.n_frames - tolerance
    if horizon < 2 or not len(intervals.pair):
        return []
    members = intervals.pair % intervals.n_mobile if members is None else members
    lags = residence_lags(intervals.n_frames, tolerance)
    leaves, last = intervals.departures(tolerance)
    stay = np.cumsum(last, dtype=np.int64) - last
    seen, compact = np.unique(intervals.codes, return_inverse=True)
    compact = compact.reshape(intervals.codes.shape)
    n_kinds = len(seen)
    center = intervals.pair // intervals.n_mobile
    ended = np.flatnonzero(last & (leaves < horizon))
    kind_at_end = compact[center[ended], (leaves[ended] - 1) // intervals.stride]

    # An origin survives a lag when the departure comes after it. The end of the trajectory covers a
    # lag when it comes after it as well.
    interval, frame = intervals.origins(intervals.stride)
    inside = frame < horizon
    interval, frame = interval[inside], frame[inside]
    kind = compact[center[interval], frame // intervals.stride]
    survived = np.searchsorted(lags, leaves[interval] - frame, "left")
    covered = np.searchsorted(lags, horizon - 1 - frame, "right")
    is_open = np.bincount(kind, leaves[interval] >= horizon, n_kinds)
    kept, at_risk, events = [], [], []
    for group in (members % GROUPS, stay % GROUPS):
        label = kind * GROUPS + group[interval]
        shape = (n_kinds, GROUPS, len(lags))
        kept.append(_at_least(label, np.minimum(survived, covered), shape))
        at_risk.append(_at_least(label, np.minimum(survived + 1, covered), shape))
        ends = np.bincount(kind_at_end * GROUPS + group[ended], minlength=n_kinds * GROUPS)
        events.append(ends.reshape(n_kinds, GROUPS).astype(float))

    origins = at_risk[0][..., 0].sum(axis=1)
    if not origins.any():
        return []
    order = np.argsort(-origins, kind="stable")
    order = order[origins[order] > 0]
    pools = [(environment_of[int(seen[number])], [number]) for number in order.tolist()]
    pools.append(("all", order.tolist()))
    return [
        _survival(
            environment,
            lags,
            frame_interval_ps,
            kept=[counts[kinds].sum(axis=0) for counts in kept],
            at_risk=[counts[kinds].sum(axis=0) for counts in at_risk],
            events=[counts[kinds].sum(axis=0) for counts in events],
            n_open=float(is_open[kinds].sum()),
            origin_ps=intervals.stride * frame_interval_ps,
            tolerance_ps=tolerance_ps,
        )
        for environment, kinds in pools
    ]


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


def _effective(parts: np.ndarray) -> np.ndarray:
    """Number of parts that a sum over the first axis is as good as evenly divided among (Kish)."""
    return parts.sum(axis=0) ** 2 / np.maximum(np.sum(parts**2, axis=0), 1e-300)


class _Resamples:
    """Random weights of groups, for the value (all one) and for resamples of it.

    Bayesian bootstrap (Rubin, Ann. Stat. 9, 130, 1981): no weight is zero, so that a resample never
    loses the few ions that visit an environment.

    Args:
        share: (groups,) how much each group holds; groups without any do not count.
    """

    def __init__(self, share: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        draws = rng.exponential(size=(RESAMPLES, len(share)))
        self.weights = np.concatenate([np.ones((1, len(share))), draws])
        self.groups = float(_effective(share))

    def error(self, samples: np.ndarray) -> np.ndarray:
        """Half of the central 68 %, for as many groups as hold anything."""
        low, high = np.percentile(samples[1:], [15.865, 84.135], axis=0)
        n = max(self.groups, 1.01)
        return (high - low) / 2 * np.sqrt((n + 1) / (n - 1))


def _larger(resamples: list[_Resamples], samples: list[np.ndarray]) -> np.ndarray:
    """The larger of the errors by ion and by parts of ions (stays, stretches of time)."""
    by_ion, by_part = (r.error(found) for r, found in zip(resamples, samples, strict=True))
    # Where ions are few, parts of each are all that there is.
    return np.fmax(by_ion, by_part) if resamples[0].groups >= LEAST_GROUPS else by_part


def _survival(
    environment: str,
    lags: np.ndarray,
    frame_interval_ps: float,
    *,
    kept: list[np.ndarray],
    at_risk: list[np.ndarray],
    events: list[np.ndarray],
    n_open: float,
    origin_ps: float,
    tolerance_ps: float,
) -> Survival:
    """From counts by group, (groups, lags) and (groups,), of mobile ions and of stays."""
    times_ps = lags * frame_interval_ps
    resamples = [_Resamples(counts[:, 0]) for counts in at_risk]
    start = _tail_start(kept[-1], at_risk[-1])
    model = f"exponential tail beyond {times_ps[start]:.4g} ps"
    # Each group's part of the integral; few parts have a skewed mean and an uncertain error.
    parts = (at_risk[-1] * np.gradient(times_ps)).sum(axis=1)
    widen = float(stdtrit(max(_effective(parts), 1.0), 0.975) / ndtri(0.975))
    P, tau, tail, dwell = [], [], [], []
    for drawn, of_kept, of_risk, of_events in zip(resamples, kept, at_risk, events, strict=True):
        survivors, exposed = drawn.weights @ of_kept, drawn.weights @ of_risk
        with np.errstate(invalid="ignore", divide="ignore"):
            curve = np.cumprod(survivors / exposed, axis=1)
            dwell.append(exposed[:, 0] * origin_ps / (drawn.weights @ of_events))
        P.append(curve)
        whole, beyond = _integral(times_ps, curve, survivors, exposed, start)
        tau.append(whole)
        tail.append(beyond)
    n_origins, n_events = float(at_risk[0][:, 0].sum()) or np.nan, int(events[0].sum())
    value, error = float(tau[0][0]), float(_larger(resamples, tau)) * widen
    if n_events < LEAST_EVENTS:
        value, model = np.nan, f"too few events (fewer than {LEAST_EVENTS})"
    elif P[0][0, min(3, len(lags) - 1)] <= 0.05:
        value, model = np.nan, "the decay is faster than the frames"
    elif _effective(parts) < LEAST_PARTS:
        value, model = np.nan, "one or two stays are most of the time in contact"
    known = 1.0 if np.isfinite(value) else np.nan
    dwell_ps = float(dwell[0][0]) if n_events else np.nan
    dwell_err_ps = float(_larger(resamples, dwell)) if n_events >= LEAST_EVENTS else np.nan
    return Survival(
        environment=environment,
        lags=lags,
        survival=P[0][0],
        survival_err=_larger(resamples, P),
        tau_ps=value,
        tau_err_ps=error * known,
        tail_start_ps=float(times_ps[start]) * known,
        tail_share=float(tail[0][0]) / float(tau[0][0]) * known,
        open_share=n_open / n_origins,
        dwell_ps=dwell_ps,
        dwell_err_ps=dwell_err_ps,
        leaving_rate_1_ps=n_events / (n_origins * origin_ps),
        leaving_rate_err_1_ps=dwell_err_ps / dwell_ps**2,
        n_events=n_events,
        model=f"continuous, t*={tolerance_ps:g} ps; {model}",
    )


def _tail_start(kept: np.ndarray, at_risk: np.ndarray) -> int:
    """The last lag beyond which enough stays are seen to end, or the first.

    So late that the survival before it holds what relaxes fast, and early enough for a decay rate.

    Args:
        kept, at_risk: (groups of stays, lags).
    """
    ends = np.cumsum((at_risk - kept)[:, :0:-1], axis=1)[:, ::-1]
    enough = np.flatnonzero(_effective(ends) >= TAIL_GROUPS)
    return int(enough[-1]) if len(enough) else 0


def _integral(
    times_ps: np.ndarray, P: np.ndarray, kept: np.ndarray, at_risk: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """∫ P dt with exponentials between the lags, and the part beyond the lag `start`.

    The rate of the tail is the number of origins whose stay ends beyond that lag over the time that
    origins are followed beyond it, the maximum-likelihood estimate for stays that are cut off.

    Args:
        times_ps: (lags,).
        P, kept, at_risk: (rows, lags).
        start: lag at which the tail begins.

    Returns:
        Both (rows,) in ps; NaN where no stay ends beyond `start`.
    """
    step_ps = np.diff(times_ps)
    with np.errstate(invalid="ignore", divide="ignore"):
        body = (_log_mean(P[:, :-1], P[:, 1:]) * step_ps)[:, :start].sum(axis=1)
        followed = (_log_mean(at_risk[:, 1:], kept[:, 1:]) * step_ps)[:, start:].sum(axis=1)
        ends = (at_risk - kept)[:, start + 1 :].sum(axis=1)
        tail = np.where(ends > 0, P[:, start] * followed / ends, np.nan)
    return body + tail, tail


def _log_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean of what goes exponentially from a to b; half the way where one is not positive."""
    fall = np.log(a / b)
    exponential = (a > 0) & (b > 0) & (np.abs(fall) > 1e-9)
    return np.where(exponential, (a - b) / np.where(exponential, fall, 1.0), (a + b) / 2)


def intermittent(
    intervals: ContactIntervals, lags: np.ndarray, *, frame_interval_ps: float
) -> dict[int | None, Intermittent]:
    """Intermittent correlation by environment code of the centre at the time origin.

    Its limit C∞ is the mean of C over lags of a quarter to a half of the trajectory. It is the
    probability to be in contact by chance where ions leave for good, and larger where they return
    to their own centre.

    Args:
        intervals: of contact between centres and mobile ions.
        lags: (lags,) in frames.
        frame_interval_ps: time between frames.

    Returns:
        One result per code that occurs, and that of all together by None.
    """
    n_frames, n_mobile = intervals.n_frames, intervals.n_mobile
    seen, compact = np.unique(intervals.codes, return_inverse=True)
    compact = compact.reshape(intervals.codes.shape)
    stride = intervals.stride * max(1, -(-intervals.codes.shape[1] // INTERMITTENT_ORIGINS))
    interval, frame = intervals.origins(stride)
    kind = compact[intervals.pair[interval] // n_mobile, frame // intervals.stride]
    ion, stretch = intervals.pair[interval] % n_mobile, frame * STRETCHES // n_frames
    labels = [kind * GROUPS + part % GROUPS for part in (ion, ion * STRETCHES + stretch)]
    starts = intervals.key(slice(None)) + intervals.start
    shape = (len(seen), GROUPS)
    returned, possible = np.zeros((2, 2, *shape, len(lags)))
    for column, lag in enumerate(lags):
        valid = frame + lag < n_frames
        at = intervals.key(interval[valid]) + frame[valid] + lag
        latest = np.searchsorted(starts, at, "right") - 1
        in_contact = at < intervals.key(latest) + intervals.stop[latest]
        for way, label in enumerate(labels):
            size = len(seen) * GROUPS
            met = np.bincount(label[valid], in_contact, size)
            returned[way, ..., column] = met.reshape(shape)
            possible[way, ..., column] = np.bincount(label[valid], minlength=size).reshape(shape)
    kinds: dict[int | None, list[int]] = {int(code): [n] for n, code in enumerate(seen)}
    kinds[None] = list(range(len(seen)))
    return {
        code: _intermittent(
            lags,
            frame_interval_ps,
            slice(*np.searchsorted(lags, [n_frames / 4, n_frames / 2])),
            [counts[chosen].sum(axis=0) for counts in returned],
            [counts[chosen].sum(axis=0) for counts in possible],
        )
        for code, chosen in kinds.items()
    }


def _intermittent(
    lags: np.ndarray,
    frame_interval_ps: float,
    late: slice,
    returned: list[np.ndarray],
    possible: list[np.ndarray],
) -> Intermittent:
    times_ps = lags * frame_interval_ps
    resamples = [_Resamples(counts[:, 0]) for counts in possible]
    with np.errstate(invalid="ignore", divide="ignore"):
        C = [
            (drawn.weights @ above) / (drawn.weights @ below)
            for drawn, above, below in zip(resamples, returned, possible, strict=True)
        ]
        integrals = []
        for curve in C:
            # Lags are evenly spaced in the logarithm; each counts for the time around it.
            level = np.trapezoid(curve[:, late], lags[late]) / np.ptp(lags[late])
            excess = (curve - level[:, None]) / (1 - level[:, None])
            pieces_ps = _log_mean(excess[:, :-1], excess[:, 1:]) * np.diff(times_ps)
            integrals.append(np.cumsum(pieces_ps, axis=1))
    # The window closes before the plateau begins, or there is no plateau.
    wide = np.flatnonzero(times_ps[1 : late.start] >= WINDOW * integrals[0][0, : late.start - 1])
    tau = [i[:, wide[0]] if len(wide) else np.full(len(i), np.nan) for i in integrals]
    return Intermittent(
        lags=lags,
        correlation=C[0][0],
        correlation_err=_larger(resamples, C),
        tau_ps=float(tau[0][0]),
        tau_err_ps=float(_larger(resamples, tau)),
    )
