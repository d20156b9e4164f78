"""Costs of a campaign before it runs: jobs, GPU-hours, core-hours, storage, longest chain.

Molecular dynamics dominates. Its speed is measured (or given), and its cost follows from the
configuration. The other rules count with typical times. `vitrion plan --against` compares a plan
with the run that followed (results: benchmarks/scale.md).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from vitrion.campaign.jobs import MD_RULES, Job, campaign_jobs
from vitrion.config import Config, Production
from vitrion.structure.compositions import Composition

# Seconds on one core: the start of a job (interpreter, torch, model), and typical times of rules
# without dynamics. Beside weeks of dynamics they need not be precise.
START_S = 5.0
ATOM_FRAMES_PER_S = {"analyze_trajectory": 4e5, "decide_length": 2e6, "thin_trajectory": 2e6}
OTHER_S = {
    "sample_frames": 60.0,
    "label_frame": 60.0,
    "prepare_dataset": 30.0,
    "finetune_model": 3600.0,
    "evaluate_model": 60.0,
    "validate_model": 600.0,
    "summarize_campaign": 30.0,
}
TRAINING_RULES = ("finetune_model", "evaluate_model", "validate_model")
# Positions are stored to precision p with log2(4 Å / p) bits per coordinate: within a chunk of 500
# frames an atom stays within about 4 Å. Chunks and checksums cost one more bit.
CHUNK_RANGE_A = 4.0
FRAME_BYTES = 40  # step, time, cell and observables, compressed
FILE_BYTES = 20_000
CHECKPOINT_BYTES_ATOM = 64  # positions, velocities, masses and numbers, not compressed
TABLES_MB = 2.0  # of one trajectory


@dataclass(frozen=True)
class RulePlan:
    """The jobs of one rule.

    Attributes:
        rule: its name.
        jobs: how many.
        md_steps: of all of them.
        hours: wall time of all of them, one after another.
        gpu_hours: hours in which a GPU is held.
        core_hours: hours times CPU threads.
    """

    rule: str
    jobs: int
    md_steps: int
    hours: float
    gpu_hours: float
    core_hours: float


@dataclass(frozen=True)
class Plan:
    """A campaign's costs.

    Attributes:
        campaign: its name.
        atoms: of the largest glass.
        steps_per_s: MD steps per second of that glass.
        rules: costs by rule, in the order of the workflow.
        storage_GB: by kind of file, at the end.
        most_storage_GB: total, if no trajectory is thinned before the last one is complete.
        longest_chain: rules on the longest path through the graph.
        longest_chain_hours: its wall time; no number of GPUs makes the campaign shorter.
        least: the same when every trajectory ends as early as `production.stop_when` allows.
    """

    campaign: str
    atoms: int
    steps_per_s: float
    rules: tuple[RulePlan, ...]
    storage_GB: dict[str, float]
    most_storage_GB: float
    longest_chain: tuple[str, ...]
    longest_chain_hours: float
    least: Plan | None = None

    @property
    def jobs(self) -> int:
        """All jobs."""
        return sum(rule.jobs for rule in self.rules)

    @property
    def gpu_hours(self) -> float:
        """Of all jobs."""
        return sum(rule.gpu_hours for rule in self.rules)

    @property
    def core_hours(self) -> float:
        """Of all jobs."""
        return sum(rule.core_hours for rule in self.rules)

    def to_dict(self) -> dict[str, object]:
        """Everything, as JSON can hold it."""
        totals = {key: getattr(self, key) for key in ("jobs", "gpu_hours", "core_hours")}
        totals["total_storage_GB"] = sum(self.storage_GB.values())
        least = self.least.to_dict() if self.least else None
        return {**asdict(replace(self, least=None)), **totals, "least": least}

    def to_text(self) -> str:
        """The plan as a page of text."""
        rows = [("rule", "jobs", "MD steps", "GPU-hours", "core-hours")]
        for rule in self.rules:
            steps = f"{rule.md_steps:.4g}" if rule.md_steps else ""
            hours = (_number(rule.gpu_hours), _number(rule.core_hours))
            rows.append((rule.rule, str(rule.jobs), steps, *hours))
        totals = (_number(self.gpu_hours), _number(self.core_hours))
        rows.append(("total", str(self.jobs), "", *totals))
        if least := self.least:
            totals = (_number(least.gpu_hours), _number(least.core_hours))
            rows.append(("at least", str(least.jobs), "", *totals))
        return "\n".join(
            (
                f"campaign {self.campaign}: glasses of up to {self.atoms} atoms, "
                f"{self.steps_per_s:.4g} MD steps/s",
                "",
                *format_rows(rows),
                "",
                *self._storage_and_chain(),
                *(f"at least: {line}" for line in (least._storage_and_chain() if least else ())),
            )
        )

    def _storage_and_chain(self) -> tuple[str, str]:
        storage = ", ".join(f"{kind} {_number(GB)}" for kind, GB in self.storage_GB.items())
        if self.most_storage_GB > sum(self.storage_GB.values()):
            storage += f" (up to {_number(self.most_storage_GB)} before frames are left out)"
        chain_h = self.longest_chain_hours
        return (
            f"storage, GB: {storage}",
            f"longest chain: {_number(chain_h)} h ({chain_h / 24:.3g} days): "
            + " → ".join(self.longest_chain),
        )


def make_plan(
    config: Config, compositions: Mapping[str, Composition], *, steps_per_s: float, on_gpu: bool
) -> Plan:
    """Plan a campaign that starts from nothing, with trajectories as long as they may become.

    Args:
        config: the campaign.
        compositions: its glasses.
        steps_per_s: MD steps per second of the largest glass; smaller ones are faster in
            proportion.
        on_gpu: whether jobs of the potential hold a GPU.
    """
    longest, shortest = config.production.segments, config.production.least_segments
    plan = _plan_of_length(config, compositions, longest, steps_per_s=steps_per_s, on_gpu=on_gpu)
    if config.production.stop_when is None:
        return plan
    least = _plan_of_length(config, compositions, shortest, steps_per_s=steps_per_s, on_gpu=on_gpu)
    return replace(plan, least=least)


def cost_line(config: Config, compositions: Mapping[str, Composition]) -> str:
    """What a campaign that starts from nothing costs, in one line that needs no speed."""
    plan = make_plan(config, compositions, steps_per_s=1.0, on_gpu=False)
    steps = sum(rule.md_steps for rule in plan.rules)
    most = "at most " if plan.least else ""
    return (
        f"campaign {plan.campaign}, from nothing: {most}{plan.jobs} jobs, {steps:.2g} MD steps of "
        f"up to {plan.atoms} atoms, {_number(sum(plan.storage_GB.values()))} GB "
        "(vitrion plan tells the hours)"
    )


def _plan_of_length(
    config: Config,
    compositions: Mapping[str, Composition],
    segments: int,
    *,
    steps_per_s: float,
    on_gpu: bool,
) -> Plan:
    """The plan for trajectories of a given number of segments."""
    atoms = {name: n_atoms(item, config) for name, item in compositions.items()}
    largest = max(atoms.values())
    jobs = list(campaign_jobs(config, compositions, lambda folder: segments))
    seconds = [
        _job_s(
            job, config, atoms, steps_per_s * largest / atoms.get(job.composition or "", largest)
        )
        for job in jobs
    ]
    rules = []
    for rule in dict.fromkeys(job.kind for job in jobs):
        own = [(job, s) for job, s in zip(jobs, seconds, strict=True) if job.kind == rule]
        potential = rule in (*MD_RULES, *TRAINING_RULES)
        hours = sum(s for _, s in own) / 3600
        rules.append(
            RulePlan(
                rule=rule,
                jobs=len(own),
                md_steps=sum(job.md_steps for job, _ in own),
                hours=hours,
                gpu_hours=hours if potential and on_gpu else 0.0,
                core_hours=hours * (config.dynamics.threads if potential else 1),
            )
        )
    chain, chain_s = _longest_chain(jobs, seconds)
    return Plan(
        campaign=config.campaign,
        atoms=largest,
        steps_per_s=steps_per_s,
        rules=tuple(rules),
        storage_GB=storage_GB(config, atoms, segments),
        most_storage_GB=sum(storage_GB(config, atoms, segments, thinned=False).values()),
        longest_chain=chain,
        longest_chain_hours=chain_s / 3600,
    )


def n_atoms(composition: Composition, config: Config) -> int:
    """Atoms in a glass."""
    return sum(composition.counts(config.formula_units).values())


def segment_bytes(atoms: int, production: Production, *, thinned: bool = False) -> float:
    """Size of one segment file with all frames, or those that `production.keep_every` keeps."""
    frames = production.segment_ps / production.frame_interval_ps
    if thinned:
        frames = frames / production.keep_every if production.keep_every else 0.0
    bits = math.log2(CHUNK_RANGE_A / production.position_precision_A) + 1
    checkpoint = CHECKPOINT_BYTES_ATOM * atoms
    return FILE_BYTES + checkpoint + frames * (FRAME_BYTES + 3 * atoms * bits / 8)


def format_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as aligned lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _job_s(job: Job, config: Config, atoms: Mapping[str, int], steps_per_s: float) -> float:
    """Wall time of one job."""
    if job.kind in MD_RULES:
        return START_S + job.md_steps / steps_per_s
    if job.segments:
        frames = job.segments * config.production.segment_ps / config.production.frame_interval_ps
        return START_S + frames * atoms[job.composition or ""] / ATOM_FRAMES_PER_S[job.rule]
    return START_S + OTHER_S.get(job.rule, 0.0)


def _longest_chain(jobs: Sequence[Job], seconds: Sequence[float]) -> tuple[tuple[str, ...], float]:
    """Rules and wall time of the longest path, on which each rule waits for the one before."""
    slowest: dict[str, float] = {}
    for job, job_s in zip(jobs, seconds, strict=True):
        slowest[job.kind] = max(slowest.get(job.kind, 0.0), job_s)
    # Segments and decisions of one trajectory follow each other.
    chains = Counter((job.kind, job.outputs[0].rpartition("/")[0]) for job in jobs)
    for rule in {"produce_segment", "produce_batch", "decide_length"} & slowest.keys():
        slowest[rule] *= max(count for (kind, _), count in chains.items() if kind == rule)
    if "use_model" in slowest:  # dynamics then waits for neither data nor evaluation
        for rule in ("sample_frames", "label_frame", "prepare_dataset", "evaluate_model"):
            slowest.pop(rule, None)
    return tuple(slowest), sum(slowest.values())


def storage_GB(
    config: Config, atoms: Mapping[str, int], segments: int | None = None, *, thinned: bool = True
) -> dict[str, float]:
    """Size of the results folder at the end, by kind of file.

    Args:
        config: the campaign.
        atoms: of each composition's glass.
        segments: of each trajectory; by default the largest number.
        thinned: whether frames were left out after the analysis (`production.keep_every`).
    """
    trajectories = config.replicas * len(config.temperatures_K)
    files = trajectories * (segments or config.production.segments)
    frames = sum(
        files * segment_bytes(n, config.production, thinned=thinned) for n in atoms.values()
    )
    return {
        "trajectories": frames / 1e9,
        "tables": len(atoms) * trajectories * TABLES_MB / 1e3,
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
