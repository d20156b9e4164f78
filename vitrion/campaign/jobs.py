"""The jobs of a campaign, counted without Snakemake: what `vitrion plan` and `vitrion status` use.

The rules are the source; a test holds this list against the graph that Snakemake builds from them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrion.campaign.figures import FIGURES, FORMATS
from vitrion.campaign.stopping import decision_name
from vitrion.config import Config, Dynamics, load_config
from vitrion.structure.compositions import Composition, table_path
from vitrion.tables import SUMMARY_TABLES, TRANSPORT_TABLES

WORKFLOW = Path(__file__).parents[2]  # where the Snakefile lies
STAGES = {
    "sample_frames": "dataset",
    "label_frame": "dataset",
    "prepare_dataset": "dataset",
    "finetune_model": "finetune",
    "use_model": "finetune",
    "evaluate_model": "finetune",
    "validate_model": "finetune",
    "quench_glass": "quench",
    "check_glass": "quench",
    "equilibrate_glass": "production",
    "produce_segment": "production",
    "produce_batch": "production",
    "decide_length": "production",
    "analyze_trajectory": "transport",
    "thin_trajectory": "transport",
    "summarize_campaign": "report",
    "plot_figure": "report",
    "build_report": "report",
}
MD_RULES = ("quench_glass", "equilibrate_glass", "produce_segment", "produce_batch")


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        rule: its rule.
        name: stem of its log and benchmark, below `logs/<rule>`; the rule's name when it runs once.
        outputs: its files, from the campaign's results folder.
        composition: of the glass it works on, if there is one.
        md_steps: steps of molecular dynamics, of all its trajectories.
        trajectories: how many step together.
        first_step: step of the trajectory that it starts from.
        segments: how many of its trajectory it reads, where it analyses.
        generation: folder of its round of training, with a slash; empty for the first and for
            what is no part of training.
    """

    rule: str
    name: str
    outputs: tuple[str, ...]
    composition: str | None = None
    md_steps: int = 0
    trajectories: int = 1
    first_step: int = 0
    segments: int = 0
    generation: str = ""

    @property
    def kind(self) -> str:
        """Its rule, without the number where each batch of trajectories has a rule of its own."""
        return re.sub(r"^(produce_batch)_\d+$", r"\1", self.rule)

    @property
    def stage(self) -> str:
        """Stage of the campaign, as in the README."""
        return STAGES[self.kind]

    @property
    def log(self) -> str:
        """Its log, from the results folder."""
        return self._beside("logs", "log")

    @property
    def benchmark(self) -> str:
        """Its benchmark, from the results folder."""
        return self._beside("benchmarks", "tsv")

    def _beside(self, folder: str, suffix: str) -> str:
        stem = self.rule if self.name == self.rule else f"{self.rule}/{self.name}"
        return f"{folder}/{self.generation}{stem}.{suffix}"


def open_campaign(configfiles: Sequence[Path | str]) -> tuple[Config, dict[str, Composition]]:
    """The configuration as the Snakefile reads it, and its compositions.

    Files are laid over the `config.yaml` of the working folder, or else of the workflow's folder.

    Raises:
        InputError: anything wrong in them.
    """
    bases = (Path("config.yaml"), WORKFLOW / "config.yaml")
    base = next((path for path in bases if path.is_file()), None)
    config = load_config(*([base] if base else []), *configfiles)
    return config, config.read_compositions(compositions_path(config))


def compositions_path(config: Config) -> Path:
    """The table of compositions: shipped, from the working folder, or beside the workflow."""
    table = table_path(config.compositions)
    beside = WORKFLOW / table
    return beside if beside.exists() and not table.exists() else table


def campaign_jobs(
    config: Config,
    compositions: Mapping[str, Composition],
    segments: Callable[[str], int] | None = None,
) -> Iterator[Job]:
    """Every job of a campaign that starts from nothing, but for the rule `all`.

    Args:
        config: the campaign.
        compositions: its glasses.
        segments: how many segments a trajectory gets, by its folder from the results folder;
            as many as there may be when left out (see `production.stop_when`).
    """
    rounds = range(1, config.finetune.iterate.rounds + 1)
    for generation in ("", *(f"round-{number}/" for number in rounds)):
        yield from _dataset_jobs(config, compositions, generation)
        yield from _finetune_jobs(config, generation)
    if config.finetune.model == "train":
        outputs = tuple(
            f"{generation}finetune/{table}.parquet" for table in ("validation", "stability")
        )
        yield Job("validate_model", "validate_model", outputs)
    for name in compositions:
        yield from _dynamics_jobs(config, name, segments)
    yield Job(
        "summarize_campaign",
        "summarize_campaign",
        tuple(f"summary/{table}.parquet" for table in SUMMARY_TABLES),
    )
    for figure in FIGURES:
        outputs = tuple(f"report/figures/{figure}.{suffix}" for suffix in FORMATS)
        yield Job("plot_figure", figure, outputs)
    yield Job("build_report", "build_report", ("report/index.html",))


def _dataset_jobs(
    config: Config, compositions: Mapping[str, Composition], generation: str
) -> Iterator[Job]:
    """From sampling to the data set; `generation` is empty for the first training."""
    folder = f"{generation}dataset"
    if config.dataset.label.engine != "none":
        first, later = config.dataset.sample, config.finetune.iterate
        count = (later if generation else first).frames_per_composition
        for name in compositions:
            if generation and name in config.dataset.split.held_out:
                continue
            outputs = (f"{folder}/sampled/{name}.extxyz",)
            yield Job("sample_frames", name, outputs, name, generation=generation)
            for frame in range(count):
                output = f"{folder}/labelled/{name}/{frame:03d}.extxyz"
                job = f"{name}/{frame:03d}"
                yield Job("label_frame", job, (output,), name, generation=generation)
    files = ("train.extxyz", "val.extxyz", "test.extxyz", "dataset.parquet", "alignment.json")
    outputs = tuple(f"{folder}/{file}" for file in files)
    yield Job("prepare_dataset", "prepare_dataset", outputs, generation=generation)


def _finetune_jobs(config: Config, generation: str) -> Iterator[Job]:
    """Training, or a model taken as it is, and its errors."""
    folder = f"{generation}finetune"
    model = (f"{folder}/model.safetensors", f"{folder}/model.json")
    if config.finetune.model == "train":
        outputs = (*model, f"{folder}/learning.parquet")
        yield Job("finetune_model", "finetune_model", outputs, generation=generation)
    else:
        yield Job("use_model", "use_model", model)
    tables = ("model_metrics", "element_metrics", "frame_errors", "parity")
    outputs = tuple(f"{folder}/{table}.parquet" for table in tables)
    yield Job("evaluate_model", "evaluate_model", outputs, generation=generation)


def _dynamics_jobs(
    config: Config, name: str, segments: Callable[[str], int] | None
) -> Iterator[Job]:
    """From packing to the analysis, for one composition."""
    production, quench = config.production, config.quench
    melt_and_anneal_ps = quench.melt_ps + quench.anneal_ps
    cooling_K = quench.melt_temperature_K - quench.glass_temperature_K
    quench_steps = _steps(melt_and_anneal_ps + cooling_K / quench.quench_rate_K_ps, config.dynamics)
    for replica in range(config.replicas):
        folder = f"quench/{name}/r{replica}"
        files = ("glass.extxyz", "thermo.parquet", "glass_measurements.parquet")
        outputs = tuple(f"{folder}/{file}" for file in files)
        yield Job("quench_glass", f"{name}-r{replica}", outputs, name, quench_steps)
        yield Job("check_glass", f"{name}-r{replica}", (f"{folder}/glass_checks.parquet",), name)
        for temperature_K in config.temperatures_K:
            folder = f"{name}/T{temperature_K:04d}/r{replica}"
            trajectory = f"{name}-T{temperature_K:04d}-r{replica}"
            yield Job(
                "equilibrate_glass",
                trajectory,
                tuple(
                    f"production/{folder}/{file}" for file in ("equilibrated.h5", "thermo.parquet")
                ),
                name,
                _steps(2 * production.equilibrate_ps, config.dynamics),
            )
    yield from _production_jobs(config, name, segments)


def _production_jobs(
    config: Config, name: str, segments: Callable[[str], int] | None
) -> Iterator[Job]:
    """The segments of one composition, each a job or those of a batch together, to the analysis."""
    production, steps = config.production, _steps(config.production.segment_ps, config.dynamics)
    counts = {
        (temperature_K, replica): segments(f"production/{name}/T{temperature_K:04d}/r{replica}")
        if segments
        else production.segments
        for temperature_K, replica in itertools.product(
            config.temperatures_K, range(config.replicas)
        )
    }
    for number, members in enumerate(config.batches):
        folders = [f"T{temperature_K:04d}/r{replica}" for temperature_K, replica in members]
        for segment in range(counts[members[0]]):  # alike in a batch of several
            rule, job = f"produce_batch_{number}", f"{name}-{segment:04d}"
            if production.batch == 1:
                trajectory = folders[0].replace("/", "-")
                rule, job = "produce_segment", f"{name}-{trajectory}-{segment:04d}"
            yield Job(
                rule,
                job,
                tuple(f"production/{name}/{folder}/segment-{segment:04d}.h5" for folder in folders),
                name,
                md_steps=steps * len(members),
                trajectories=len(members),
                first_step=segment * steps,
            )
    for (temperature_K, replica), count in counts.items():
        folder = f"{name}/T{temperature_K:04d}/r{replica}"
        trajectory = f"{name}-T{temperature_K:04d}-r{replica}"
        for so_far in range(production.least_segments, min(count + 1, production.segments)):
            decision = f"production/{folder}/{decision_name(so_far)}"
            job = f"{trajectory}-{so_far - 1:04d}"
            yield Job("decide_length", job, (decision,), name, segments=so_far)
        outputs = tuple(f"transport/{folder}/{table}.parquet" for table in TRANSPORT_TABLES)
        yield Job("analyze_trajectory", trajectory, outputs, name, segments=count)
        if production.keep_every != 1:
            outputs = (f"production/{folder}/retention.parquet",)
            yield Job("thin_trajectory", trajectory, outputs, name, segments=count)


def _steps(time_ps: float, dynamics: Dynamics) -> int:
    return round(time_ps * 1000 / dynamics.timestep_fs)
