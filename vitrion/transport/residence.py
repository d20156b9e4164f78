"""How long an ion stays with a centre, by the centre's environment.

Continuous survival with transient escapes forgiven: Impey, Madden and McDonald, J. Phys. Chem. 87,
5071 (1983). Everything is pooled as a ratio of sums over all origins, so that pairs that are rarely
together do not count like pairs that are together all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitrion.structure.neighbors import Contacts
from vitrion.transport.msd import lag_grid

# Origins of survival curves; neighbouring frames say the same.
RESIDENCE_ORIGINS = 4000
INTERMITTENT_ORIGINS = 400
# Groups of mobile ions that are resampled for errors.
GROUPS = 48
LEAST_EVENTS = 10
RESAMPLES = 400


class ContactRecorder:
    """Collects when pairs come together and part, stretch after stretch.

    Memory: 16 bytes per encounter, then 12 in `Encounters`, about 80 at the peak (measured, in
    benchmarks/analyze.md); and four bytes per centre and origin for environments.
    """

    def __init__(self, n_centers: int, n_mobile: int, n_frames: int) -> None:
        self.n_centers, self.n_mobile, self.n_frames = n_centers, n_mobile, n_frames
        self.stride = max(1, -(-n_frames // RESIDENCE_ORIGINS))
        self._together = np.zeros(n_centers * n_mobile, dtype=bool)
        self._starts: list[np.ndarray] = []
        self._stops: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def add(self, contacts: Contacts, codes: np.ndarray) -> None:
        """Add a stretch: contacts of centres with mobile ions and environment codes."""
        pair = contacts.center * self.n_mobile + contacts.neighbor
        before = self._together.copy()
        self._together[:] = False
        if len(pair):
            self._together[pair] = contacts.inside[:, -1]
        known = np.concatenate([before[pair][:, None], contacts.inside], axis=1)
        for found, change in (
            (self._starts, ~known[:, :-1] & known[:, 1:]),
            (self._stops, known[:, :-1] & ~known[:, 1:]),
        ):
            row, frame = np.nonzero(change)
            found.append(self._key(pair[row], frame + contacts.start))
        # Pairs that are no longer even candidates parted before the stretch began.
        before[pair] = False
        self._stops.append(self._key(np.flatnonzero(before), contacts.start))
        offset = -contacts.start % self.stride
        self._codes.append(codes[:, offset :: self.stride])

    def _key(self, pair: np.ndarray, frame: np.ndarray | int) -> np.ndarray:
        return pair * (self.n_frames + 1) + frame

    def _sorted(self, keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs and frames of the keys, sorted; takes the list's memory."""
        every = np.concatenate(keys)
        keys.clear()
        every.sort()
        pair = (every // (self.n_frames + 1)).astype(np.int32)
        every %= self.n_frames + 1
        return pair, every.astype(np.int32)

    def result(self) -> Encounters:
        """All encounters; the recorder is empty afterwards."""
        self._stops.append(self._key(np.flatnonzero(self._together), self.n_frames))
        pair, start = self._sorted(self._starts)
        _, stop = self._sorted(self._stops)
        return Encounters(
            pair=pair,
            start=start,
            stop=stop,
            codes=np.concatenate(self._codes, axis=1),
            stride=self.stride,
            n_mobile=self.n_mobile,
            n_frames=self.n_frames,
        )


@dataclass(frozen=True)
class Encounters:
    """Stretches of time that a pair is together, sorted by pair and time.

    Attributes:
        pair: centre times n_mobile plus mobile ion, int32.
        start, stop: first frame together, first frame apart, int32.
        codes: (centers, origins) environment of each centre at every origin.
        stride: frames between origins.
        n_mobile: mobile ions.
        n_frames: length of the trajectory.
    """

    pair: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    codes: np.ndarray
    stride: int
    n_mobile: int
    n_frames: int

    def first(self, n_frames: int) -> Encounters:
        """The encounters as they would have been seen in a shorter trajectory."""
        seen = self.start < n_frames
        return replace(
            self,
            pair=self.pair[seen],
            start=self.start[seen],
            stop=np.minimum(self.stop[seen], n_frames),
            codes=self.codes[:, : -(-n_frames // self.stride)],
            n_frames=n_frames,
        )

    def departures(self, tolerance: int) -> tuple[np.ndarray, np.ndarray]:
        """When the ion of each encounter leaves, absences up to `tolerance` frames forgiven.

        Returns:
            The frame of departure of each encounter, and whether the encounter is the last before
            it. Departures within `tolerance` of the end may yet be forgiven.
        """
        last = np.ones(len(self.pair), dtype=bool)
        last[:-1] = self.pair[1:] != self.pair[:-1]
        last[:-1] |= self.start[1:] - self.stop[:-1] > tolerance
        ends = self.stop[last]
        return ends[np.cumsum(last, dtype=np.int32) - last], last

    def key(self, encounter: np.ndarray | slice) -> np.ndarray:
        """Numbers of (pair, frame 0) that, with a frame added, sort as encounters do."""
        return self.pair[encounter].astype(np.int64) * (self.n_frames + 1)

    def origins(self, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Encounter and frame of every origin, a multiple of `stride`, that a pair is together."""
        first, stop = -(-self.start // stride), -(-self.stop // stride)
        count = stop - first
        encounter = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(encounter)) - np.repeat(np.cumsum(count) - count, count)
        return encounter, (first[encounter] + within) * stride


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
