"""Progress of a campaign, from its results folder alone: outputs, logs, benchmarks, checkpoints.

Works on any machine that sees the folder, wherever the jobs run.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vitrion.base.locks import is_locked
from vitrion.campaign import layout
from vitrion.campaign.jobs import MD_RULES, Job, campaign_jobs
from vitrion.campaign.plan import Plan, format_rows
from vitrion.campaign.stopping import decided_segments
from vitrion.config import Config
from vitrion.runtime.job import ATTEMPT, attempts_path
from vitrion.structure.compositions import Composition

State = Literal["done", "running", "failed", "stopped", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting")
LOG_TAIL_BYTES = 50_000


@dataclass(frozen=True)
class JobStatus:
    """Where one job is.

    Attributes:
        job: the job.
        state: done (all outputs exist), running (its lock is held), failed (its last attempt
            ended with an error), stopped (killed, cancelled or out of time; the next attempt
            continues) or waiting.
        share: share of its work that is done and saved.
        seconds: wall time of its last attempt, when it is done and known.
        is_resumed: whether earlier attempts did a part of it, so that `seconds` is not all.
        message: last line of a failed job's log.
    """

    job: Job
    state: State
    share: float
    seconds: float | None = None
    is_resumed: bool = False
    message: str = ""


@dataclass(frozen=True)
class Status:
    """Where a campaign is.

    Attributes:
        results: its folder.
        jobs: all its jobs; of an undecided trajectory those of the largest length.
        lengths: number of trajectories by the outcome of `production.stop_when`: converged, at
            the largest length, or undecided.
    """

    results: Path
    jobs: tuple[JobStatus, ...]
    lengths: dict[str, int] = field(default_factory=dict)

    def count(self, state: State) -> int:
        """Jobs in a state."""
        return sum(job.state == state for job in self.jobs)

    def hours_left(self, jobs: Iterable[JobStatus] | None = None) -> float | None:
        """Work left in hours of wall time, one job after another; None while it is unknown.

        A job is taken to need the mean time of the finished jobs of its rule. Dynamics without
        a finished job of its rule counts by its steps, at the mean speed of all dynamics.
        """
        typical_s = self._typical_s
        left_s = 0.0
        for status in self.jobs if jobs is None else jobs:
            if status.state != "done":
                whole_s = typical_s(status.job)
                if whole_s is None:
                    return None
                left_s += whole_s * (1 - status.share)
        return left_s / 3600

    @property
    def _typical_s(self) -> Callable[[Job], float | None]:
        # The last attempts of resumed jobs alone are too short, but better than nothing.
        has_whole = any(s.seconds is not None and not s.is_resumed for s in self.jobs)
        seconds: dict[str, list[float]] = defaultdict(list)
        md_s, md_steps = 0.0, 0
        for status in self.jobs:
            if status.seconds is None or (status.is_resumed and has_whole):
                continue
            seconds[status.job.kind].append(status.seconds)
            if status.job.kind in MD_RULES:
                md_s, md_steps = md_s + status.seconds, md_steps + status.job.md_steps

        def typical_s(job: Job) -> float | None:
            if own := seconds.get(job.kind):
                return sum(own) / len(own)
            if job.kind in MD_RULES:
                return job.md_steps * md_s / md_steps if md_steps else None
            return 0.0  # minutes, beside the dynamics

        return typical_s

    def to_dict(self) -> dict[str, object]:
        """Counts and times, as JSON can hold them."""
        return {
            "results": str(self.results),
            **{state: self.count(state) for state in STATES},
            "hours_left": self.hours_left(),
            "lengths": self.lengths,
            "by_stage": _counts(self.jobs, lambda job: job.stage),
            "by_composition": _counts(self.jobs, lambda job: job.composition),
            "failures": [
                {"rule": s.job.rule, "job": s.job.name, "log": s.job.log, "message": s.message}
                for s in self.jobs
                if s.state == "failed"
            ],
        }

    def to_text(self) -> str:
        """The status as a page of text."""
        left_h, running = self.hours_left(), self.count("running")
        lines = [f"{self.results}: {self.count('done')} of {len(self.jobs)} jobs done", ""]
        lines += [*self._table("stage", lambda job: job.stage), ""]
        lines += [*self._table("composition", lambda job: job.composition), ""]
        if left_h is None:
            lines.append("time left: unknown until a first MD job has finished")
        elif running:
            lines.append(f"time left: {left_h / running:.3g} h with {running} jobs at once")
        else:
            lines.append(f"time left: {left_h:.3g} h of work; nothing is running")
        if self.lengths:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in self.lengths.items())
            lines.append(f"length of trajectories: {counts} (jobs of the largest length)")
        for status in self.jobs:
            if status.state == "failed":
                where = self.results / status.job.log
                lines.append(f"failed: {status.job.rule} {status.job.name}: {status.message}")
                lines.append(f"        {where}")
        return "\n".join(lines)

    def _table(self, title: str, key: Callable[[Job], str | None]) -> list[str]:
        rows = [(title, *STATES, "hours left")]
        for name, jobs in _groups(self.jobs, key).items():
            left_h = self.hours_left(jobs)
            counts = (str(sum(s.state == state for s in jobs)) for state in STATES)
            rows.append((name, *counts, "?" if left_h is None else f"{left_h:.3g}"))
        return format_rows(rows)


def read_status(
    config: Config, compositions: Mapping[str, Composition], folder: Path = Path()
) -> Status:
    """Look at every job of a campaign.

    Args:
        config: the campaign.
        compositions: its glasses.
        folder: where `results` lies.
    """
    results, production = folder / layout.results(config.campaign), config.production
    lengths = dict.fromkeys(("converged", "at the largest length", "undecided"), 0)

    def segments(trajectory: str) -> int:
        decided = decided_segments(results / trajectory, production)
        if decided is None:
            lengths["undecided"] += 1
        else:
            whole = decided == production.segments
            lengths["at the largest length" if whole else "converged"] += 1
        return decided or production.segments

    jobs = campaign_jobs(config, compositions, segments)
    found = tuple(_job_status(job, results) for job in jobs)
    return Status(results, found, lengths if production.stop_when else {})


def compare(plan: Plan, status: Status) -> list[str]:
    """Planned and measured wall time by rule, of jobs that were finished in one attempt."""
    measured: dict[str, list[float]] = defaultdict(list)
    for job in status.jobs:
        if job.seconds is not None and not job.is_resumed:
            measured[job.job.kind].append(job.seconds)
    rows = [("rule", "jobs done at once", "planned, s per job", "took, s per job")]
    for rule in plan.rules:
        if seconds := measured.get(rule.rule):
            planned_s, took_s = 3600 * rule.hours / rule.jobs, sum(seconds) / len(seconds)
            rows.append((rule.rule, str(len(seconds)), f"{planned_s:.4g}", f"{took_s:.4g}"))
    return format_rows(rows)


def _job_status(job: Job, results: Path) -> JobStatus:
    log = results / job.log
    if is_locked(attempts_path(log)):
        return JobStatus(job, "running", _share(job, results))
    if all((results / output).exists() for output in job.outputs):
        seconds = _benchmark_s(results / job.benchmark)
        return JobStatus(job, "done", 1.0, seconds, _attempts(log) > 1)
    attempt = _last_attempt(log)
    if attempt is None:
        return JobStatus(job, "waiting", _share(job, results))
    failed = "Traceback (most recent call last)" in attempt or " ERROR " in attempt
    message = attempt.rstrip().rpartition("\n")[2] if failed else ""
    return JobStatus(job, "failed" if failed else "stopped", _share(job, results), message=message)


def _attempts(log: Path) -> int:
    try:
        return len(attempts_path(log).read_text().splitlines())
    except FileNotFoundError:
        return 0


def _last_attempt(log: Path) -> str | None:
    """What the job's last attempt wrote; None when there was none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            tail = file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    return f"\n{tail}".rpartition(f"\n{ATTEMPT} ")[2]


def _share(job: Job, results: Path) -> float:
    """Share of a job's steps that its checkpoint log holds (see `vitrion.dynamics.checkpoint`)."""
    if not job.md_steps:
        return 0.0
    output = results / job.outputs[0]
    stem = "attempt-*" if job.rule == "quench_glass" else output.name
    records = sorted(output.parent.glob(f".{stem}.*/*.record"))
    if not records:
        return 0.0
    done = int(records[-1].stem.partition("-")[2]) - job.first_step
    return done / (job.md_steps / job.trajectories)


def _benchmark_s(path: Path) -> float | None:
    """Wall time of a finished job's last attempt, by Snakemake's benchmark."""
    try:
        with path.open(newline="") as file:
            return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    except (FileNotFoundError, KeyError, ValueError):
        return None


def _groups(
    jobs: Sequence[JobStatus], key: Callable[[Job], str | None]
) -> dict[str, list[JobStatus]]:
    groups: dict[str, list[JobStatus]] = defaultdict(list)
    for status in jobs:
        if (name := key(status.job)) is not None:
            groups[name].append(status)
    return groups


def _counts(
    jobs: Sequence[JobStatus], key: Callable[[Job], str | None]
) -> dict[str, dict[str, int]]:
    return {
        name: {state: sum(s.state == state for s in group) for state in STATES}
        for name, group in _groups(jobs, key).items()
    }
