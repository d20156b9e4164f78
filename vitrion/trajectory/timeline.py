"""Which frames of some files make one trajectory, and how far apart in time they are.

The one place that decides about times. Times or steps that files hold decide; where there are none,
positions tell what is there twice. Frames that a restart repeats are dropped with a note, the later
ones are used. What is not evenly spaced is refused.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.motion import Motion
from vitrion.trajectory.recording import Recording

SAME_INTERVAL = 0.01  # relative difference that rounding explains
SAME_TIME = 0.25  # of an interval, between times that are one
# Largest distance of a time from evenly spaced ones, in intervals.
STRAIGHT = 0.1
EXACT = 1e-3  # of an interval, for times that are not rounded
# Farther from the frame before than so many usual steps, a file does not continue the one before;
# so close, it does in any case; between, not if the first file continues it instead.
CONTINUES, FOLLOWS = 4.0, 1.5
# Two runs that overlap may drift apart, but not so many usual steps.
DIVERGES = 12.0
# So many frames off the grid of the others are left out.
MOST_ODD, MOST_ODD_SHARE = 2, 0.01
# Steps of molecular dynamics with atoms.
LEAST_STEP_FS, MOST_STEP_FS = 0.01, 10.0
# A time without a unit is in ps below, in fs above; between, both would do.
BARE_PS, BARE_FS = 0.5, 100.0


@dataclass(frozen=True)
class Timeline:
    """The frames that are used.

    Attributes:
        rows: (frames,) their numbers in the recording, in order of time.
        frame_interval_ps: time between them.
        notes: what was decided.
    """

    rows: np.ndarray
    frame_interval_ps: float
    notes: tuple[str, ...]


def arrange(
    recording: Recording,
    motion: Motion,
    paths: Sequence[Path],
    *,
    frame_interval_ps: float | None = None,
    ignore_times: bool = False,
) -> Timeline:
    """Order frames in time.

    Args:
        recording: the frames.
        motion: their distances.
        paths: the files.
        frame_interval_ps: time between frames, where the files do not hold it.
        ignore_times: whether the times in the files are wrong.

    Raises:
        InputError: frames that are missing, unevenly spaced or in the wrong order, an interval that
            contradicts the files, or none at all.
    """
    clock = None if ignore_times else _clock(recording, paths)
    plan = _Plan(motion, recording.file, paths, clock)
    if clock is None:
        plan.by_positions()
    else:
        plan.by_clock()
        plan.leave_out_odd_frames()
        plan.check_spacing()
    interval_ps = _interval(plan, clock, frame_interval_ps, paths)
    return Timeline(np.array(plan.rows), interval_ps, tuple(plan.notes))


@dataclass(frozen=True)
class _Clock:
    """What tells when each frame was: values (frames,) in `unit`, and ps per unit if known.

    `spacing` is that of two numbers where the values are in single precision, and 0 otherwise;
    `error` is the relative error of the ps.
    """

    values: np.ndarray
    unit: str
    ps: float | None = None
    spacing: float = 0.0
    error: float = 0.0

    @classmethod
    def of_times(cls, values: np.ndarray, unit: str, ps: float | None) -> _Clock:
        """A clock of times, which may be in single precision."""
        spacing = _single_spacing(values)
        return cls(values, unit, ps, spacing, spacing / float(np.ptp(values)))

    def text(self, value: float) -> str:
        return f"step {value:.0f}" if self.unit == "steps" else f"{value:g} {self.unit}".strip()


def _clock(recording: Recording, paths: Sequence[Path]) -> _Clock | None:
    """The times of the frames, otherwise their steps, if every file has them and they change."""
    known = {}
    for name, values in (
        ("ps", recording.time_ps),
        ("bare", recording.bare_time),
        ("steps", recording.step),
    ):
        has = np.isfinite(values)
        if has.any() and not has.all():
            row = int(np.argmin(has))
            raise InputError(
                "trajectory",
                str(paths[int(recording.file[row])]),
                f"frame {row + 1} has no time or step and others have; give frames of one kind, or "
                "--frame-interval-ps and --ignore-times",
            )
        known[name] = values, has.all() and len(values) > 1 and np.ptp(values) > 0
    times_ps, have_times = known["ps"]
    if have_times:
        steps, have_steps = known["steps"]
        spacing_ps = _single_spacing(times_ps)
        if have_steps and spacing_ps > 0.1 * _usual(times_ps):
            # Late in a long run single precision does not part the times, but the steps are exact.
            length_ps, ps = float(np.ptp(times_ps)), float(np.ptp(times_ps) / np.ptp(steps))
            line = times_ps - ps * steps
            if np.abs(line - np.median(line)).max() < 4 * spacing_ps:
                return _Clock(steps, "steps", ps, error=spacing_ps / length_ps)
        return _Clock.of_times(times_ps, "ps", 1.0)
    bare, have_bare = known["bare"]
    if have_bare:
        return _Clock.of_times(bare, "", _ps_of_bare(bare))
    steps, have_steps = known["steps"]
    return _Clock(steps, "steps") if have_steps else None


def _single_spacing(values: np.ndarray) -> float:
    """Spacing of single precision at the values where they are in it, otherwise 0."""
    single = values.astype(np.float32)
    is_single = bool((single == values).all())
    return float(np.spacing(np.median(np.abs(single)))) if is_single else 0.0


def _ps_of_bare(values: np.ndarray) -> float | None:
    """ps per unit of a time without a unit, where the interval leaves one possibility."""
    gaps = np.abs(np.diff(values))
    usual = float(np.median(gaps[gaps > 0]))
    if usual < BARE_PS:
        return 1.0
    return 1e-3 if usual > BARE_FS else None


@dataclass
class _Plan:
    """Frames that are used so far; clock readings are those of an unbroken clock."""

    motion: Motion
    file: np.ndarray
    paths: Sequence[Path]
    clock: _Clock | None
    rows: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name(self, row: int) -> str:
        return str(self.paths[int(self.file[row])])

    def starts_file(self, row: int) -> bool:
        return row > 0 and self.file[row] != self.file[row - 1]

    def by_positions(self) -> None:
        """Drop what is there twice, where no clock tells.

        Where atoms rest from frame to frame, as on the sites of a lattice model, equal frames are
        no repetition; then only the ends of files are compared.
        """
        repeats = self.motion.repeats()
        if self.motion.is_by_hops:
            repeats = {
                n: n - 1 for n in repeats if self.starts_file(n) and self.motion.rests[n - 1]
            }
        # By the earliest of equal frames, the one that is used: a frame may be there many times.
        used: dict[int, int] = {}
        for row in range(len(self.file)):
            earliest = repeats.get(row, row)
            same = used.get(earliest, earliest)
            place = bisect_left(self.rows, same)
            is_used = self.rows[place : place + 1] == [same]
            if is_used and (same == self.rows[-1] or self._begins_again(row, repeats)):
                self._note_twice(row, place, f"before frame {row + 1}")
                del self.rows[place:]
                is_used = False
            elif self.starts_file(row):
                self._check_continues(row)
            if not is_used:
                used[earliest] = row
            self.rows.append(row)
        self.notes[:] = _counted(self.notes)

    def _note_twice(self, row: int, place: int, when: str) -> None:
        count = len(self.rows) - place
        self.notes.append(
            f"{Path(self.name(row)).name}: {_frames(count)} {when} {_be(count)} there twice; the "
            "later are used"
        )

    def _begins_again(self, row: int, repeats: dict[int, int]) -> bool:
        """Whether a restart begins here: a new file, or several frames that repeat others."""
        return self.starts_file(row) or repeats.get(row + 1) == repeats[row] + 1

    def _check_continues(self, row: int) -> None:
        problem = self._break(row)
        if problem:
            raise InputError(
                "trajectory",
                self.name(row),
                f"does not continue {self.name(self.rows[-1])}: {problem}; give the files in order "
                "of time, and independent runs one by one",
            )

    def _break(self, row: int) -> str:
        """Why the frames from here cannot follow those used so far; empty where they can."""
        distance_A, usual_A = self.motion.distance_A(self.rows[-1], row), self.motion.usual_A
        apart = (
            f"its atoms are {distance_A:.2g} Å away, usually {usual_A:.2g} Å from frame to frame"
        )
        if not usual_A or distance_A <= FOLLOWS * usual_A:
            return ""
        own = np.flatnonzero(self.file == self.file[row])
        backward_A = self.motion.distance_A(int(own[-1]), self.rows[0])
        return apart if distance_A > CONTINUES * usual_A or backward_A < distance_A / 2 else ""

    def by_clock(self) -> None:
        """Follow the clock, back to where a restart begins and on where it was set back."""
        assert self.clock is not None
        values, offset = self.clock.values, 0.0
        usual = _usual(values)
        latest = -np.inf
        for row, value in enumerate(values):
            at = float(value) + offset
            if self.at and at < self.at[-1] + SAME_TIME * usual:
                offset += self._go_back(row, at, usual)
                at = float(value) + offset
            self.rows.append(row)
            self.at.append(at)
            latest = max(latest, at)
        if self.at[-1] < latest - SAME_TIME * usual:
            raise InputError(
                "trajectory",
                self.name(self.rows[-1]),
                f"ends at {self.clock.text(self.at[-1])}, before frames that are read earlier "
                "(until "
                f"{self.clock.text(latest)}); give the files in order of time, and each run once",
            )
        self.notes[:] = _counted(self.notes)

    def _go_back(self, row: int, at: float, usual: float) -> float:
        """Drop frames that a restart repeats; what to add to a clock that was set back."""
        assert self.clock is not None
        place = bisect_left(self.at, at - SAME_TIME * usual)
        is_there = place < len(self.at) and abs(self.at[place] - at) <= SAME_TIME * usual
        same = self.rows[place] if is_there else None
        own = float(self.clock.values[row])
        was_set_back = at > own + SAME_TIME * usual
        if was_set_back and abs(own - float(self.clock.values[0])) <= SAME_TIME * usual:
            # Again from its start: the reading says nothing about the frames since the last time.
            return self._set_back(row, at, usual)
        if at < self.at[0] - SAME_TIME * usual or (
            place == 0 and (same is None or not self.motion.is_same(same, row))
        ):
            return self._set_back(row, at, usual)
        distance_A = self.motion.distance_A(same, row) if same is not None else 0.0
        if distance_A > DIVERGES * self.motion.usual_A:
            raise self._wrong(row, at, "and its atoms are elsewhere")
        if place == 0 and len(self.rows) > 1 and not self._repeats_more(row):
            raise self._wrong(row, at, "as another run from the same start")
        first, last = self.clock.text(self.at[place]), self.clock.text(self.at[-1])
        self._note_twice(row, place, f"from {first} to {last}")
        del self.rows[place:], self.at[place:]
        return 0.0

    def _repeats_more(self, row: int) -> bool:
        """Whether the frames from here are those that were read before, up to the last of both."""
        count = min(len(self.rows), len(self.file) - row, 20)
        return all(self.motion.is_same(self.rows[n], row + n) for n in range(count))

    def _set_back(self, row: int, at: float, usual: float) -> float:
        """Continue with a clock that starts again, if the atoms continue."""
        assert self.clock is not None
        own_start = float(self.clock.values[row])
        first = float(self.clock.values[0])
        if abs(own_start - first) > 1.5 * usual:
            raise self._wrong(row, at, "and its clock does not start again")
        first = len(self.rows) - 1 if self.motion.is_by_hops else 0  # their states come back
        place = self.motion.last_same(self.rows[first:], row)
        place = None if place is None else first + place
        problem = self._break(row) if place is None else ""
        if problem:
            raise self._wrong(row, at, f"and {problem}")
        self.notes.append(
            f"the clock of {Path(self.name(row)).name} starts again at "
            f"{self.clock.text(own_start)}; its "
            "frames are taken to follow"
        )
        if place is None:
            return self.at[-1] + usual - at
        shift = self.at[place] - at
        if place < len(self.rows) - 1:  # it continues from an earlier frame
            self._note_twice(row, place, f"before frame {row + 1}")
        del self.rows[place:], self.at[place:]
        return shift

    def _wrong(self, row: int, at: float, what: str) -> InputError:
        assert self.clock is not None
        return InputError(
            "trajectory",
            self.name(row),
            f"frame {row + 1} goes back to {self.clock.text(at)}, behind "
            f"{self.clock.text(self.at[-1])} "
            f"of {self.name(self.rows[-1])}, {what}; give the files in order of time, each run "
            "once, and "
            "independent runs one by one",
        )

    def leave_out_odd_frames(self) -> None:
        """Leave out a few frames between the others, such as the last step of a run."""
        assert self.clock is not None
        at = np.array(self.at)
        gaps = np.diff(at)
        if len(at) < 4:
            return
        usual = float(np.median(gaps))
        start = at[int(np.argmin(np.abs(gaps - usual)))]
        phase = (at - start) / usual
        odd = np.abs(phase - np.round(phase)) > SAME_TIME + self.clock.spacing / usual
        if not odd.any() or odd.sum() > max(MOST_ODD, MOST_ODD_SHARE * len(at)):
            return
        first = self.clock.text(at[np.argmax(odd)])
        self.notes.append(
            f"{_frames(odd.sum())} between the others (the first at {first}) {_be(odd.sum())} left "
            "out"
        )
        self.rows = [row for row, is_odd in zip(self.rows, odd, strict=True) if not is_odd]
        self.at = at[~odd].tolist()

    def check_spacing(self) -> None:
        """Refuse what is not evenly spaced.

        Raises:
            InputError: names the times between which frames are missing, and the remedy.
        """
        assert self.clock is not None
        at = np.array(self.at)
        if len(at) < 3:
            return
        gaps = np.diff(at)
        usual = float(np.median(gaps))
        rounding = 2 * self.clock.spacing
        odd = np.flatnonzero(np.abs(gaps - usual) > 0.5 * usual + rounding)
        line = at[0] + np.arange(len(at)) * (at[-1] - at[0]) / (len(at) - 1)
        drift = np.abs(at - line)
        if not len(odd) and drift.max() <= STRAIGHT * usual + rounding:
            return
        place = int(odd[0]) if len(odd) else int(np.argmax(drift)) - 1
        before, after = self.clock.text(at[place]), self.clock.text(at[place + 1])
        if len(odd) and len(odd) <= max(3, 0.05 * len(gaps)) and gaps[place] > usual:
            problem = f"frames are missing between {before} and {after}"
            remedy = "give the missing frames, or analyse the pieces one by one"
        else:
            problem = f"frames are not evenly spaced: from {before} to {after}"
            remedy = (
                "give frames at one interval; where the times in the file are wrong, give "
                "--frame-interval-ps and --ignore-times"
            )
        usual_text = f"{usual:g} {self.clock.unit}".strip()
        raise InputError(
            "trajectory",
            self.name(self.rows[place + 1]),
            f"{problem}, where {usual_text} are usual; {remedy}",
        )

    @property
    def interval(self) -> float:
        """Interval in the unit of the clock.

        Times are exact, but for a few, or rounded; rounding cancels between first and last.
        """
        gaps = np.diff(self.at)
        usual = float(np.median(gaps))
        is_usual = np.abs(gaps - usual) <= EXACT * usual
        return float(gaps[is_usual].mean() if is_usual.mean() > 0.8 else gaps.mean())


def _usual(values: np.ndarray) -> float:
    gaps = np.diff(values)
    forward = gaps[gaps > 0]
    return float(np.median(forward)) if len(forward) else float(np.abs(gaps).max())


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _be(count: int) -> str:
    return "are" if count != 1 else "is"


def _counted(notes: list[str]) -> list[str]:
    """A few notes, and how many more there are."""
    return notes if len(notes) <= 4 else [*notes[:3], f"{len(notes) - 3} more places like these"]


def _check_step(given_ps: float, steps: float, name: str) -> None:
    """Refuse an interval that makes steps which no molecular dynamics has.

    Frames one step apart may be numbered frames, of which nothing is known.
    """
    step_fs = given_ps * 1e3 / steps
    if steps > 1.5 and not LEAST_STEP_FS <= step_fs <= MOST_STEP_FS:
        raise InputError(
            "frame-interval-ps",
            given_ps,
            f"the frames of {name} are {steps:g} steps apart, so that a step had {step_fs:g} fs; "
            "correct it, or add --ignore-times if the steps in the file are wrong",
        )


def _interval(
    plan: _Plan, clock: _Clock | None, given_ps: float | None, paths: Sequence[Path]
) -> float:
    """Time between frames: the file's, which a given one must not contradict."""
    name = str(paths[0])
    if clock is None or (clock.unit == "steps" and clock.ps is None) or len(plan.rows) < 2:
        if given_ps is not None:
            if clock is not None and len(plan.rows) > 1:
                _check_step(given_ps, plan.interval, name)
            return given_ps
        what = "its steps are known, but not how long one is" if clock else "it holds no times"
        raise InputError(
            "frame-interval-ps", None, f"give the time between the frames of {name}; {what}"
        )
    own = plan.interval
    if clock.ps is not None:
        own_ps = own * clock.ps
        if given_ps is not None and abs(given_ps / own_ps - 1) > SAME_INTERVAL + clock.error:
            raise InputError(
                "frame-interval-ps",
                given_ps,
                f"the file says {own_ps:.6g} ps ({name}); leave it out to use that, or add "
                "--ignore-times "
                "if the times in the file are wrong",
            )
        if not clock.unit:
            unit = "ps" if clock.ps == 1 else "fs"
            plan.notes.append(
                f"the times of {Path(name).name} have no unit and are taken as {unit}"
            )
        return given_ps if given_ps is not None and clock.error else own_ps
    choices = " or ".join(f"{own * ps:g}" for ps in (1e-3, 1.0))
    if given_ps is None:
        raise InputError(
            "frame-interval-ps",
            None,
            f"the times of {name} have no unit; give {choices}, for fs or ps",
        )
    if all(abs(given_ps / (own * ps) - 1) > SAME_INTERVAL for ps in (1e-3, 1.0)):
        raise InputError(
            "frame-interval-ps",
            given_ps,
            f"the times of {name} say {choices} (fs or ps); give one of these, or add "
            "--ignore-times if "
            "they are wrong",
        )
    return given_ps
