# Validation of the configuration, and the functions of the rules' inputs, params and resources.
# Everything that knows physics or files is in the package; paths are in vitrion/campaign/layout.py.
#
# What makes a job run again: newer inputs, other inputs, and changed `params`. So `params` hold the
# settings that change the result of the rule, by their dotted keys (`settings`), the columns of the
# compositions that do (`columns`), seeds, and digests of files that are not made here. Settings of
# execution and paths are never in them, limits only in those of rules that judge. Scripts read the
# configuration when they run. (Snakemake compares plain Python values alone, so no other is used.)
import os
import sys
from pathlib import Path

# The package beside this workflow, here and in scripts (also in rule environments, --sdm conda),
# whatever other copy is installed.
sys.path.insert(0, str(workflow.basedir))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")]))
)

from snakemake.logging import logger
from snakemake.resources import Resources

from vitrion.base.errors import InputError
from vitrion.campaign import layout
from vitrion.campaign.figures import FIGURES
from vitrion.campaign.library import library_contents
from vitrion.campaign.opening import (
    campaign_compositions,
    contents,
    digest,
    identify,
    job_seed,
    locate,
    unread_config,
)
from vitrion.campaign.plan import cost_line
from vitrion.campaign.stopping import Decision
from vitrion.commands import check_campaign
from vitrion.config import read_yaml, validate_config
from vitrion.tables import SUMMARY_TABLES

try:
    for file in workflow.configfiles:
        read_yaml(file)  # Snakemake takes the last of two equal keys
    CAMPAIGN = validate_config(config)
    COMPOSITIONS = campaign_compositions(CAMPAIGN)
    SOURCES = [str(locate(source)) for source in CAMPAIGN.dataset.sources]
    if workflow.is_main_process:
        check_campaign(CAMPAIGN, COMPOSITIONS)
except InputError as error:
    # As every command: the message alone, and exit code 2. Snakemake would add lines of rules.
    print(f"configuration: {error}", file=sys.stderr)
    sys.exit(2)

if workflow.is_main_process:
    if message := unread_config(workflow.configfiles):
        logger.warning(message)
    logger.info(cost_line(CAMPAIGN, COMPOSITIONS))

GENERATIONS = layout.generations(CAMPAIGN.finetune.iterate.rounds)
TRAINS = CAMPAIGN.finetune.model == "train"
KEEPS_FRAMES = CAMPAIGN.production.keep_every == 1
MD_GPUS = 0 if CAMPAIGN.dynamics.device == "cpu" else 1


pathvars:
    results=str(layout.results(CAMPAIGN.campaign)),
    potential=f"{layout.results(CAMPAIGN.campaign)}/{GENERATIONS[-1]}finetune",


wildcard_constraints:
    generation=f"({'|'.join(GENERATIONS)})",
    composition="|".join(COMPOSITIONS),
    temperature=r"\d{4}",
    replica=r"\d+",
    segment=r"\d{4}",
    frame=r"\d{3}",


def outputs(rule, **values):
    """The outputs of a rule by name."""
    return {
        name: f"<results>/{layout.fill(path, **values)}"
        for name, path in layout.RULES[rule].outputs.items()
    }


def log_of(rule, **values):
    """The log of a rule."""
    return f"<results>/{layout.fill(layout.log(rule), **values)}"


def benchmark_of(rule, **values):
    """The benchmark of a rule."""
    return f"<results>/{layout.fill(layout.benchmark(rule), **values)}"


def settings(*keys):
    """Settings that change the result of a rule, by dotted key."""
    return CAMPAIGN.select(*keys)


def columns(*names):
    """Columns of the composition that change the result of a rule."""
    return lambda wildcards: {
        name: COMPOSITIONS[wildcards.composition].column(name) for name in names
    }


def all_columns(*names):
    """The same of all compositions."""
    return {
        composition: {name: row.column(name) for name in names}
        for composition, row in COMPOSITIONS.items()
    }


def seed(stage):
    """Seed of a job from the campaign's seed, the stage and the job's wildcards."""
    return lambda wildcards: job_seed(CAMPAIGN, stage, *wildcards)


def model_of(key):
    """A model that the configuration names, by its content where it is a file."""
    return identify(CAMPAIGN.select(key)[key])


def code(*packages):
    """Digest of packages of the library whose change must rerun a job."""
    return digest(Path(workflow.basedir, "vitrion", package) for package in packages)


def source_contents(wildcards):
    """Digests of the data sets that the configuration names, wherever they lie."""
    return contents(SOURCES)


def atoms(wildcards):
    """Atoms in a glass."""
    return sum(COMPOSITIONS[wildcards.composition].counts(CAMPAIGN.formula_units).values())


def md_mem_mb(wildcards, attempt):
    """Memory of one MD job: the libraries, then what CHGNet holds per atom."""
    return attempt * (3000 + 8 * atoms(wildcards))


def batch_mem_mb(size):
    """The same for a job that steps several trajectories."""
    return lambda wildcards, attempt: attempt * (3000 + 8 * size * atoms(wildcards))


def previous_state(wildcards):
    """Start of a segment: the segment before, or the equilibrated glass."""
    number = int(wildcards.segment)
    if number == 0:
        return rules.equilibrate_glass.output.state
    return f"<results>/{layout.fill(layout.SEGMENT, segment=number - 1)}"


def previous_states(members):
    """The same for each trajectory of a batch, given as temperature and replica."""
    return lambda wildcards: [
        layout.fill(str(previous_state(wildcards)), temperature=temperature, replica=replica)
        for temperature, replica in members
    ]


def batch_segments(members):
    """Segments that one job of a batch makes."""
    return [
        f"<results>/{layout.fill(layout.SEGMENT, temperature=temperature, replica=replica)}"
        for temperature, replica in members
    ]


def first_segments(count):
    """The first segments of a trajectory."""
    return [f"<results>/{layout.fill(layout.SEGMENT, segment=n)}" for n in range(count)]


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

    Where the tables exist, Snakemake does not make a decision that they depend on and that is
    missing, as after a change to a stricter `production.stop_when`.
    """
    keys = [
        {"composition": composition, "temperature": f"{temperature:04d}", "replica": str(replica)}
        for composition in COMPOSITIONS
        for temperature in CAMPAIGN.temperatures_K
        for replica in range(CAMPAIGN.replicas)
    ]
    return [lambda _, key=key: decisions(key)[0][-1:] for key in keys]


def of_every_trajectory(rule, output):
    """An output of a rule for every trajectory of the campaign."""
    return [
        f"<results>/{layout.fill(layout.RULES[rule].outputs[output], composition=composition, temperature=temperature, replica=replica)}"
        for composition in COMPOSITIONS
        for temperature in CAMPAIGN.temperatures_K
        for replica in range(CAMPAIGN.replicas)
    ]


def of_every_glass(rule, output):
    """An output of a rule for every glass of the campaign."""
    return [
        f"<results>/{layout.fill(layout.RULES[rule].outputs[output], composition=composition, replica=replica)}"
        for composition in COMPOSITIONS
        for replica in range(CAMPAIGN.replicas)
    ]


def retention_tables():
    """Which frames were left out, where the configuration leaves some out."""
    return [] if KEEPS_FRAMES else of_every_trajectory("thin_trajectory", "retention")


def summary_tables():
    """The tables over the whole campaign."""
    return list(outputs("summarize_campaign").values())


def validation():
    """What dynamics waits for: a potential trained here must have passed its checks."""
    return "<potential>/stability.parquet" if TRAINS else []


def potential_tables():
    """Errors of the potential, and of those of earlier rounds."""
    names = ["metrics", "parity"]
    tables = [outputs("evaluate_model", generation=GENERATIONS[-1])[name] for name in names]
    if TRAINS:
        tables += ["<potential>/learning.parquet", "<potential>/validation.parquet"]
    earlier = [outputs("evaluate_model", generation=g)["metrics"] for g in GENERATIONS[:-1]]
    return tables + earlier


def previous_round(wildcards):
    """The model that a round samples with, and the labelled frames that it keeps away from."""
    if not wildcards.generation:
        return {}
    generation = GENERATIONS[GENERATIONS.index(wildcards.generation) - 1]
    dataset = outputs("prepare_dataset", generation=generation)
    return {
        "model": outputs("finetune_model", generation=generation)["model"],
        "known": [dataset[split] for split in ("train", "val")],
    }


def sampling(wildcards):
    """How a generation samples."""
    return CAMPAIGN.sampling(wildcards.generation).values("physics")


def labelling():
    """How frames are labelled: the engine and its settings."""
    label = CAMPAIGN.dataset.label
    chosen = {} if label.engine == "none" else getattr(label, label.engine).values("physics")
    return {"engine": label.engine, **chosen}


def labelled_frames(wildcards):
    """Sampled frames with labels, of a generation and those before it; none without an engine.

    Rounds leave out held-out compositions, so that the test is the same in all of them.
    """
    if CAMPAIGN.dataset.label.engine == "none":
        return []
    held_out = CAMPAIGN.dataset.split.held_out
    return [
        outputs("label_frame", generation=generation, composition=composition, frame=frame)["frame"]
        for generation in GENERATIONS[: GENERATIONS.index(wildcards.generation) + 1]
        for composition in COMPOSITIONS
        if not (generation and composition in held_out)
        for frame in range(CAMPAIGN.sampling(generation).frames_per_composition)
    ]
