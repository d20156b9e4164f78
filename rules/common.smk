# Validation of the configuration and the functions that the rules' inputs and resources use.
# Everything that knows physics or files is in the package; this file only names paths.
import os
from pathlib import Path

# Rule environments (--sdm conda) import the package beside this workflow.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")]))
)

from snakemake.exceptions import WorkflowError

from vitrion.config import validate_config
from vitrion.base.errors import InputError
from vitrion.campaign.stopping import Decision
from vitrion.campaign.figures import FIGURES
from vitrion.base.seeds import derive_seed
from vitrion.tables import SUMMARY_TABLES, TRANSPORT_TABLES


def locate(path):
    """A path of the configuration: as it is from the working directory, else beside the workflow."""
    beside = Path(workflow.basedir) / path
    return str(beside) if beside.exists() and not Path(path).exists() else str(path)


try:
    CAMPAIGN = validate_config({key: config[key] for key in config if key != "pathvars"})
    COMPOSITIONS = CAMPAIGN.read_compositions(locate(CAMPAIGN.compositions))
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None


# Folders of the trainings: the first has no folder of its own, each round after it has one.
GENERATIONS = ["", *(f"round-{n + 1}/" for n in range(CAMPAIGN.finetune.iterate.rounds))]


pathvars:
    results=f"results/{CAMPAIGN.campaign}",
    potential=f"results/{CAMPAIGN.campaign}/{GENERATIONS[-1]}finetune",


wildcard_constraints:
    generation=f"({'|'.join(GENERATIONS)})",
    composition="|".join(COMPOSITIONS),
    temperature=r"\d{4}",
    replica=r"\d+",
    segment=r"\d{4}",
    frame=r"\d{3}",


def settings(*sections):
    """Slices of the configuration for `params`, so that a change reruns only the jobs that use it."""
    return {section: getattr(CAMPAIGN, section).model_dump(mode="json") for section in sections}


def seed(stage):
    """Seed of a job from the campaign's seed, the stage and the job's wildcards."""
    return lambda wildcards: derive_seed(CAMPAIGN.seed, stage, *filter(None, wildcards))


def provenance():
    """What every table records about where it came from."""
    return {"campaign": CAMPAIGN.campaign, "campaign_seed": CAMPAIGN.seed}


def package_modules(*folders):
    """Modules of the package whose change must rerun a job."""
    root = Path(workflow.basedir)
    return sorted(str(p) for folder in folders for p in (root / "vitrion" / folder).rglob("*.py"))


def atoms(wildcards):
    """Atoms in a glass."""
    return sum(COMPOSITIONS[wildcards.composition].counts(CAMPAIGN.formula_units).values())


def md_mem_mb(wildcards, attempt):
    """Memory of one MD job: the libraries, then what CHGNet holds per atom."""
    return attempt * (3000 + 8 * atoms(wildcards))


def batch_mem_mb(size):
    """The same for a job that steps several trajectories."""
    return lambda wildcards, attempt: attempt * (3000 + 8 * size * atoms(wildcards))


KEEPS_FRAMES = CAMPAIGN.production.keep_every == 1
MD_GPUS = 0 if CAMPAIGN.dynamics.device == "cpu" else 1


def previous_state(wildcards):
    """What a segment starts from: the segment before, or the equilibrated glass."""
    folder = "<results>/production/{composition}/T{temperature}/r{replica}/"
    number = int(wildcards.segment)
    return folder + ("equilibrated.h5" if number == 0 else f"segment-{number - 1:04d}.h5")


def previous_states(members):
    """The same for each trajectory of a batch, given as temperature and replica."""

    def states(wildcards):
        number = int(wildcards.segment)
        name = "equilibrated.h5" if number == 0 else f"segment-{number - 1:04d}.h5"
        folder = f"<results>/production/{wildcards.composition}"
        return [
            f"{folder}/T{temperature:04d}/r{replica}/{name}" for temperature, replica in members
        ]

    return states


def first_segments(count):
    """The first segments of a trajectory."""
    return collect(
        "<results>/production/{{composition}}/T{{temperature}}/r{{replica}}/segment-{number:04d}.h5",
        number=range(count),
    )


def decisions(trajectory):
    """The decisions on a trajectory so far as they are made, and whether the last one ended it."""
    key = {name: trajectory[name] for name in ("composition", "temperature", "replica")}
    found = []
    for count in range(CAMPAIGN.production.least_segments, CAMPAIGN.production.segments):
        decided = checkpoints.decide_length.get(**key, segment=f"{count - 1:04d}").output
        found.append(decided.decision)
        if Decision.read(decided.decision).converged:
            return found, True
    return found, False


def all_segments(wildcards):
    """The segments of a trajectory; with `production.stop_when`, as many as its decisions say."""
    found, converged = decisions(wildcards)
    return first_segments(CAMPAIGN.production.least_segments + len(found) - converged)


def last_decisions():
    """The last decision on every trajectory, as targets of their own.

    For tables that are there Snakemake does not ask for a decision that is missing behind them, as
    it is when `production.stop_when` has become stricter.
    """
    keys = [
        {"composition": composition, "temperature": f"{temperature:04d}", "replica": str(replica)}
        for composition in COMPOSITIONS
        for temperature in CAMPAIGN.temperatures_K
        for replica in range(CAMPAIGN.replicas)
    ]
    return [lambda _, key=key: decisions(key)[0][-1:] for key in keys]


def trajectory_outputs():
    """The tables of one trajectory by name."""
    folder = "<results>/transport/{composition}/T{temperature}/r{replica}"
    return {table: f"{folder}/{table}.parquet" for table in TRANSPORT_TABLES}


def every_trajectory(stage, file):
    """A file of every trajectory of the campaign."""
    return collect(
        f"<results>/{stage}/{{composition}}/T{{temperature:04d}}/r{{replica}}/{file}",
        composition=COMPOSITIONS,
        temperature=CAMPAIGN.temperatures_K,
        replica=range(CAMPAIGN.replicas),
    )


def retention_tables():
    """What tells that frames were left out, where the configuration says so."""
    return [] if KEEPS_FRAMES else every_trajectory("production", "retention.parquet")


def glass_tables(table):
    """One table of every glass of the campaign."""
    return collect(
        f"<results>/quench/{{composition}}/r{{replica}}/{table}.parquet",
        composition=COMPOSITIONS,
        replica=range(CAMPAIGN.replicas),
    )


def summary_tables():
    """The tables over the whole campaign."""
    return collect("<results>/summary/{table}.parquet", table=SUMMARY_TABLES)


def validation():
    """What dynamics waits for: a potential trained here must have passed its checks."""
    return "<potential>/validation.parquet" if CAMPAIGN.finetune.model == "train" else []


def potential_tables():
    """What tells how good the potential is."""
    tables = ["model_metrics", "parity"]
    if CAMPAIGN.finetune.model == "train":
        tables += ["learning", "validation"]
    earlier = collect(
        "<results>/{generation}finetune/model_metrics.parquet", generation=GENERATIONS[:-1]
    )
    return collect("<potential>/{table}.parquet", table=tables) + earlier


def previous_round(wildcards):
    """What a round samples with, and the labelled frames that it keeps away from."""
    if not wildcards.generation:
        return {}
    folder = f"<results>/{GENERATIONS[GENERATIONS.index(wildcards.generation) - 1]}"
    return {
        "model": f"{folder}finetune/model.safetensors",
        "known": [f"{folder}dataset/{split}.extxyz" for split in ("train", "val")],
    }


def sampling(wildcards):
    """How a generation samples."""
    sample, iterate = CAMPAIGN.dataset.sample, CAMPAIGN.finetune.iterate
    if wildcards.generation:
        changes = {"frames_per_composition": iterate.frames_per_composition, "large_frames": 0}
        sample = sample.model_copy(update=changes)
    return sample.model_dump(mode="json")


def labelled_frames(wildcards):
    """Sampled frames with labels, of a generation and those before it; none without an engine.

    Rounds leave out held-out compositions, so that the test is the same in all of them.
    """
    if CAMPAIGN.dataset.label.engine == "none":
        return []
    held_out = CAMPAIGN.dataset.split.held_out
    found = []
    for generation in GENERATIONS[: GENERATIONS.index(wildcards.generation) + 1]:
        count = CAMPAIGN.dataset.sample.frames_per_composition
        if generation:
            count = CAMPAIGN.finetune.iterate.frames_per_composition
        found += collect(
            "<results>/{generation}dataset/labelled/{composition}/{frame:03d}.extxyz",
            generation=generation,
            composition=[c for c in COMPOSITIONS if not (generation and c in held_out)],
            frame=range(count),
        )
    return found


SOURCES = [locate(source) for source in CAMPAIGN.dataset.sources]


def source_files():
    """Files of the data sets that the configuration names."""
    found = []
    for source in SOURCES:
        path = Path(source)
        found += (
            sorted(str(p) for p in path.rglob("*") if p.is_file()) if path.is_dir() else [source]
        )
    return found
