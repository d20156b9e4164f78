"""The jobs of a campaign, counted without Snakemake: what `vitrion plan` and `vitrion status` use.

The rules are the source; a test holds this list against the graph that Snakemake builds from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vitrion.campaign import layout
from vitrion.campaign.figures import FIGURES
from vitrion.config import Config
from vitrion.structure.compositions import Composition

MD_RULES = ("quench_glass", "equilibrate_glass", "produce_segment", "produce_batch")


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        rule: its rule.
        name: stem of its log and benchmark, below `logs/<rule>`; the rule's name when it has one
            job.
        outputs: its files, from the campaign's results folder.
        log: its log, from there as well.
        benchmark: its benchmark, from there as well.
        composition: of the glass it works on, if there is one.
        md_steps: steps of molecular dynamics, of all its trajectories.
        trajectories: how many step together.
        first_step: step of the trajectory that it starts from.
        segments: how many of its trajectory it reads, where it analyses.
    """

    rule: str
    name: str
    outputs: tuple[str, ...]
    log: str
    benchmark: str
    composition: str | None = None
    md_steps: int = 0
    trajectories: int = 1
    first_step: int = 0
    segments: int = 0

    @property
    def kind(self) -> str:
        """Its rule, without the number where each batch of trajectories has a rule of its own."""
        return layout.kind(self.rule)

    @property
    def stage(self) -> str:
        """Stage of the campaign, as in the README."""
        return layout.RULES[self.kind].stage


@dataclass(frozen=True)
class _Maker:
    """Makes jobs whose wildcards have some values."""

    values: Mapping[str, object]

    def __call__(
        self,
        rule: str,
        *,
        outputs: tuple[str, ...] | None = None,
        md_steps: int = 0,
        trajectories: int = 1,
        first_step: int = 0,
        segments: int = 0,
    ) -> Job:
        templates = layout.RULES[layout.kind(rule)].outputs.values()
        composition = self.values.get("composition")
        return Job(
            rule,
            self._fill(layout.job_name(rule)),
            outputs or tuple(map(self._fill, templates)),
            self._fill(layout.log(rule)),
            self._fill(layout.benchmark(rule)),
            composition=None if composition is None else str(composition),
            md_steps=md_steps,
            trajectories=trajectories,
            first_step=first_step,
            segments=segments,
        )

    def with_values(self, **values: object) -> _Maker:
        return _Maker({**self.values, **values})

    def _fill(self, template: str) -> str:
        return layout.fill(template, **self.values)


def campaign_jobs(
    config: Config,
    compositions: Mapping[str, Composition],
    segments: Callable[[str], int] | None = None,
) -> Iterator[Job]:
    """Every job of a campaign that starts from nothing, but for the rule `all`.

    Args:
        config: the campaign.
        compositions: its glasses.
        segments: number of segments of a trajectory, by its folder from the results folder; the
            largest number when left out (see `production.stop_when`).
    """
    job = _Maker({})
    generations = layout.generations(config.finetune.iterate.rounds)
    for generation in generations:
        yield from _potential_jobs(config, compositions, generation)
    if config.finetune.model == "train":
        for rule in ("validate_model", "judge_model"):
            yield job.with_values(generation=generations[-1])(rule)
    for name in compositions:
        yield from _dynamics_jobs(config, name, segments)
    yield job("summarize_campaign")
    for figure in FIGURES:
        yield job.with_values(figure=figure)("plot_figure")
    yield job("build_report")


def _potential_jobs(
    config: Config, compositions: Mapping[str, Composition], generation: str
) -> Iterator[Job]:
    """From sampling to a trained model, or one that is used unchanged, and its errors."""
    job = _Maker({"generation": generation})
    if config.dataset.label.engine != "none":
        for name in compositions:
            if generation and name in config.dataset.split.held_out:
                continue
            of_composition = job.with_values(composition=name)
            yield of_composition("sample_frames")
            for frame in range(config.sampling(generation).frames_per_composition):
                yield of_composition.with_values(frame=frame)("label_frame")
    yield job("prepare_dataset")
    yield job("finetune_model" if config.finetune.model == "train" else "use_model")
    yield job("evaluate_model")


def _dynamics_jobs(
    config: Config, name: str, segments: Callable[[str], int] | None
) -> Iterator[Job]:
    """From packing to the analysis, for one composition."""
    job, dynamics, quench = _Maker({"composition": name}), config.dynamics, config.quench
    melt = dynamics.with_timestep_fs(quench.melt_timestep_fs)
    quench_ps = (quench.melt_ps, quench.cooling_ps, quench.anneal_ps)
    for replica in range(config.replicas):
        of_glass = job.with_values(replica=replica)
        if quench.from_library:
            yield of_glass("take_glass")
        else:
            yield of_glass("quench_glass", md_steps=sum(map(melt.steps, quench_ps)))
        yield of_glass("check_glass")
        for temperature_K in config.temperatures_K:
            yield of_glass.with_values(temperature=temperature_K)(
                "equilibrate_glass", md_steps=2 * dynamics.steps(config.production.equilibrate_ps)
            )
    yield from _production_jobs(config, name, segments)


def _production_jobs(
    config: Config, name: str, segments: Callable[[str], int] | None
) -> Iterator[Job]:
    """The segments of one composition, each a job or those of a batch together, to the analysis."""
    job, production = _Maker({"composition": name}), config.production
    steps = config.dynamics.steps(production.segment_ps)
    trajectories = {
        key: job.with_values(temperature=key[0], replica=key[1])
        for key in itertools.product(config.temperatures_K, range(config.replicas))
    }
    counts = {
        key: segments(layout.fill(layout.PRODUCTION, **trajectory.values))
        if segments
        else production.segments
        for key, trajectory in trajectories.items()
    }
    for number, members in enumerate(config.batches):
        for segment in range(counts[members[0]]):  # the same for all members of a batch
            parts = [trajectories[key].with_values(segment=segment) for key in members]
            alone = production.batch == 1
            maker = parts[0] if alone else job.with_values(segment=segment)
            yield maker(
                "produce_segment" if alone else f"produce_batch_{number}",
                outputs=tuple(layout.fill(layout.SEGMENT, **part.values) for part in parts),
                md_steps=steps * len(members),
                trajectories=len(members),
                first_step=segment * steps,
            )
    for key, count in counts.items():
        trajectory = trajectories[key]
        for so_far in range(production.least_segments, min(count + 1, production.segments)):
            yield trajectory.with_values(segment=so_far - 1)("decide_length", segments=so_far)
        yield trajectory("analyze_trajectory", segments=count)
        if production.keep_every != 1:
            yield trajectory("thin_trajectory", segments=count)
