"""Every path of a campaign, for the rules and for the commands that count or read the files.

Paths start at the results folder of the campaign. They are templates with the wildcards of the
rules (`{composition}`, `{temperature}`, ...); `fill` replaces wildcards by values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrion.campaign.figures import FORMATS
from vitrion.tables import SUMMARY_TABLES, TRANSPORT_TABLES

RESULTS = "results/{campaign}"

# Folders. A generation is a round of training: "" for the first, then "round-1/", "round-2/", ...
DATASET = "{generation}dataset"
POTENTIAL = "{generation}finetune"
QUENCH = "quench"
LIBRARY_GLASS = "{composition}/r{replica}"  # below the folder of a library of glasses
GLASS = f"{QUENCH}/{LIBRARY_GLASS}"
TRAJECTORY = "{composition}/T{temperature}/r{replica}"
PRODUCTION = f"production/{TRAJECTORY}"
TRANSPORT = f"transport/{TRAJECTORY}"

SEGMENT = f"{PRODUCTION}/segment-{{segment}}.h5"
DECISION = f"{PRODUCTION}/decision-{{segment}}.json"


@dataclass(frozen=True)
class RuleFiles:
    """The files of one rule.

    Attributes:
        stage: stage of the campaign, as in the README.
        job: name of a job among those of its rule; empty where the rule has one job.
        outputs: the outputs by name.
    """

    stage: str
    job: str
    outputs: Mapping[str, str]


def _tables(folder: str, tables: Iterable[str]) -> dict[str, str]:
    return {table: f"{folder}/{table}.parquet" for table in tables}


_GLASS_FILES = {
    "glass": f"{GLASS}/glass.extxyz",
    "thermo": f"{GLASS}/thermo.parquet",
    "measurements": f"{GLASS}/glass_measurements.parquet",
}

RULES = {
    "sample_frames": RuleFiles(
        "dataset", "{composition}", {"frames": f"{DATASET}/sampled/{{composition}}.extxyz"}
    ),
    "label_frame": RuleFiles(
        "dataset",
        "{composition}/{frame}",
        {"frame": f"{DATASET}/labelled/{{composition}}/{{frame}}.extxyz"},
    ),
    "prepare_dataset": RuleFiles(
        "dataset",
        "",
        {
            "train": f"{DATASET}/train.extxyz",
            "val": f"{DATASET}/val.extxyz",
            "test": f"{DATASET}/test.extxyz",
            "table": f"{DATASET}/dataset.parquet",
            "alignment": f"{DATASET}/alignment.json",
        },
    ),
    "finetune_model": RuleFiles(
        "finetune",
        "",
        {
            "model": f"{POTENTIAL}/model.safetensors",
            "card": f"{POTENTIAL}/model.json",
            **_tables(POTENTIAL, ["learning"]),
        },
    ),
    "use_model": RuleFiles(
        "finetune",
        "",
        {"model": f"{POTENTIAL}/model.safetensors", "card": f"{POTENTIAL}/model.json"},
    ),
    "evaluate_model": RuleFiles(
        "finetune",
        "",
        {
            "metrics": f"{POTENTIAL}/model_metrics.parquet",
            "elements": f"{POTENTIAL}/element_metrics.parquet",
            "frames": f"{POTENTIAL}/frame_errors.parquet",
            "parity": f"{POTENTIAL}/parity.parquet",
        },
    ),
    "validate_model": RuleFiles("finetune", "", _tables(POTENTIAL, ["stability"])),
    "judge_model": RuleFiles("finetune", "", _tables(POTENTIAL, ["validation"])),
    "quench_glass": RuleFiles("quench", "{composition}-r{replica}", _GLASS_FILES),
    "take_glass": RuleFiles("quench", "{composition}-r{replica}", _GLASS_FILES),
    "check_glass": RuleFiles(
        "quench", "{composition}-r{replica}", {"checks": f"{GLASS}/glass_checks.parquet"}
    ),
    "equilibrate_glass": RuleFiles(
        "production",
        "{composition}-T{temperature}-r{replica}",
        {"state": f"{PRODUCTION}/equilibrated.h5", "thermo": f"{PRODUCTION}/thermo.parquet"},
    ),
    "produce_segment": RuleFiles(
        "production",
        "{composition}-T{temperature}-r{replica}-{segment}",
        {"segment": SEGMENT},
    ),
    # The outputs are one segment of each trajectory of the batch.
    "produce_batch": RuleFiles("production", "{composition}-{segment}", {}),
    "decide_length": RuleFiles(
        "production",
        "{composition}-T{temperature}-r{replica}-{segment}",
        {"decision": DECISION},
    ),
    "analyze_trajectory": RuleFiles(
        "transport",
        "{composition}-T{temperature}-r{replica}",
        _tables(TRANSPORT, TRANSPORT_TABLES),
    ),
    "thin_trajectory": RuleFiles(
        "transport",
        "{composition}-T{temperature}-r{replica}",
        _tables(PRODUCTION, ["retention"]),
    ),
    "summarize_campaign": RuleFiles("report", "", _tables("summary", SUMMARY_TABLES)),
    "plot_figure": RuleFiles(
        "report",
        "{figure}",
        {suffix: f"report/figures/{{figure}}.{suffix}" for suffix in FORMATS},
    ),
    "build_report": RuleFiles("report", "", {"html": "report/index.html"}),
}


def results(campaign: str) -> Path:
    """Results folder of a campaign, from the working folder."""
    return Path(RESULTS.format(campaign=campaign))


def generations(rounds: int) -> list[str]:
    """Start of the paths of each generation; empty for the first training."""
    return ["", *(f"round-{number}/" for number in range(1, rounds + 1))]


def job_name(rule: str) -> str:
    """Template of the name of a rule's jobs: that of the rule where it has one job.

    Args:
        rule: its name; batches of trajectories are `produce_batch_0`, `produce_batch_1`, ...
    """
    return RULES[kind(rule)].job or rule


def log(rule: str) -> str:
    """Template of a rule's log."""
    return f"logs/{_stem(rule)}.log"


def benchmark(rule: str) -> str:
    """Template of a rule's benchmark."""
    return f"benchmarks/{_stem(rule)}.tsv"


def kind(rule: str) -> str:
    """The rule as `RULES` has it: batches of trajectories have numbers of their own."""
    return "produce_batch" if rule.startswith("produce_batch") else rule


def _stem(rule: str) -> str:
    files = RULES[kind(rule)]
    generation = "{generation}" if any("{generation}" in p for p in files.outputs.values()) else ""
    return f"{generation}{rule}/{files.job}" if files.job else f"{generation}{rule}"


def fill(template: str, **values: object) -> str:
    """Replace wildcards by values; wildcards without a value stay.

    Temperatures are written with four digits, as are segments; frames with three.
    """
    widths = {"temperature": 4, "segment": 4, "frame": 3}
    for name, value in values.items():
        text = f"{value:0{widths[name]}d}" if isinstance(value, int) and name in widths else value
        template = template.replace(f"{{{name}}}", str(text))
    return template
