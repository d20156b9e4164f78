"""Which rules run again when a setting of a finished campaign changes.

The campaign is made of empty files and finished by Snakemake's own `--touch`, which records inputs
and params as a real run does. Each dry run is a call in this process, a fraction of a second; the
last tests prove with whole commands that these calls see what a user sees.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from glass_library import make_library
from snakemake.api import SnakemakeApi
from snakemake.logging import logger
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    Quietness,
    RerunTrigger,
    ResourceSettings,
)
from workflow import PAPER, ROOT, TOY, Workflow

from vitrion.campaign import layout
from vitrion.campaign.jobs import MD_RULES, campaign_jobs
from vitrion.campaign.opening import campaign_compositions
from vitrion.campaign.stopping import Decision
from vitrion.config import Config, Section, load_config, merge, validate_config

TRIGGERS = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())["rerun-triggers"]

# A trained potential, the shipped one with open lengths and thinned frames, and rounds of training.
LABELLED = {"label": {"engine": "gpaw"}, "sample": {"frames_per_composition": 1}}
SMALL = {"campaign": "x", "replicas": 1, "temperatures_K": [800], "dynamics": {"device": "cpu"}}
CAMPAIGNS: dict[str, dict] = {
    "trained": {
        **SMALL,
        "dataset": {**LABELLED, "compositions": "campaign"},
        "finetune": {"model": "train"},
        "report": {"exclude_flagged": False},
    },
    "shipped": {
        **SMALL,
        "production": {"length_ps": 9.0, "stop_when": {"least_ps": 3.0}, "keep_every": 2},
        "finetune": {"model": "shipped"},
    },
    "rounds": {
        **SMALL,
        "dataset": {**LABELLED, "split": {"held_out": []}},
        "finetune": {"model": "train", "iterate": {"rounds": 1, "frames_per_composition": 1}},
    },
}

# Each rule with the rules that depend on its result.
REPORT = {"plot_figure", "build_report"}
SUMMARY = {"summarize_campaign"} | REPORT
ANALYSIS = {"analyze_trajectory"} | SUMMARY
PRODUCTION = {"produce_segment"} | ANALYSIS
EQUILIBRATION = {"equilibrate_glass"} | PRODUCTION
CHECKS = {"check_glass"} | SUMMARY
QUENCH = {"quench_glass"} | CHECKS | EQUILIBRATION
JUDGEMENT = {"judge_model"} | REPORT
VALIDATION = {"validate_model"} | JUDGEMENT | QUENCH
EVALUATION = {"evaluate_model"} | VALIDATION
TRAINING = {"finetune_model"} | EVALUATION
DATASET = {"prepare_dataset"} | TRAINING
LABELS = {"label_frame"} | DATASET
SAMPLES = {"sample_frames"} | LABELS
NOTHING: set[str] = set()
DYNAMICS = {*MD_RULES, "validate_model"}
# Of the campaign with the shipped potential, open lengths and thinned frames.
THINNED = {"thin_trajectory"}
LENGTH = {"decide_length"} | ANALYSIS | THINNED
OPEN = PRODUCTION | LENGTH

# Key, another value, rules that run again, and the campaign (the trained one if not given).
MATRIX: list[tuple] = [
    ("campaign", "y", SAMPLES),
    ("seed", 1, SAMPLES),
    ("compositions", "COPY", NOTHING),
    ("formula_units", 4, QUENCH),
    ("replicas", 2, QUENCH),
    ("temperatures_K", [800, 900], EQUILIBRATION),
    ("dataset.sources", ["resources/dft/gpaw-pbe.extxyz.xz"], DATASET),
    ("dataset.compositions", "all", DATASET),
    ("dataset.max_force_eV_A", 20.0, DATASET),
    ("dataset.max_energy_deviation_eV_atom", 0.5, DATASET),
    ("dataset.label_slope", [0.2, 4.0], DATASET),
    ("dataset.dispersion", "none", DATASET),
    ("dataset.functional", "PBE", DATASET),
    ("dataset.sample.frames_per_composition", 2, SAMPLES),
    ("dataset.sample.large_frames", 0, SAMPLES),
    ("dataset.sample.formula_units", 8, SAMPLES),
    ("dataset.sample.relative_densities", [0.6], SAMPLES),
    ("dataset.sample.packings_per_density", 1, SAMPLES),
    ("dataset.sample.temperatures_K", [1500.0], SAMPLES),
    ("dataset.sample.steps_per_temperature", 40, SAMPLES),
    ("dataset.sample.frame_interval", 10, SAMPLES),
    ("dataset.label.engine", "vasp", LABELS),
    ("dataset.label.gpaw.python", "/opt/python", NOTHING),
    ("dataset.label.gpaw.cutoff_eV", 400.0, LABELS),
    ("dataset.label.gpaw.smearing_eV", 0.1, LABELS),
    ("dataset.label.gpaw.kpoints", [2, 2, 2], LABELS),
    ("dataset.label.gpaw.valence_electrons", {"Na": 7}, LABELS),
    # Settings of engines that do not label.
    ("dataset.label.vasp.command", "mpirun vasp_std", NOTHING),
    ("dataset.label.vasp.input_set", "MPScanStaticSet", NOTHING),
    ("dataset.label.vasp.incar", {"ENCUT": 600}, NOTHING),
    ("dataset.label.ase.calculator", "ase.calculators.emt:EMT", NOTHING),
    ("dataset.label.ase.arguments", {"asap_cutoff": True}, NOTHING),
    ("dataset.split.held_out", ["KInI"], DATASET),
    ("dataset.split.validation_fraction", 0.3, DATASET),
    ("finetune.model", "pretrained", {"use_model", "evaluate_model"} | QUENCH | OPEN, "shipped"),
    ("finetune.start", "r2scan", SAMPLES),
    ("finetune.angle_cutoff_A", 3.5, TRAINING),
    ("finetune.epochs", 3, TRAINING),
    ("finetune.patience", 3, TRAINING),
    ("finetune.batch_size", 2, TRAINING),
    ("finetune.replay", 0.5, TRAINING),
    ("finetune.optimizer", "muon", TRAINING),
    ("finetune.learning_rate", 1e-4, TRAINING),
    ("finetune.warmup_epochs", 2.0, TRAINING),
    ("finetune.gradient_clip", 1.0, TRAINING),
    ("finetune.ema_decay", 0.9, TRAINING),
    ("finetune.freeze", ["atom_embedding"], TRAINING),
    ("finetune.loss.criterion", "MSE", TRAINING),
    ("finetune.loss.energy", 2.0, TRAINING),
    ("finetune.loss.force", 2.0, TRAINING),
    ("finetune.loss.stress", 2.0, TRAINING),
    ("finetune.iterate.rounds", 1, SAMPLES),
    ("finetune.iterate.frames_per_composition", 2, SAMPLES, "rounds"),
    ("finetune.validation.force_mae_ratio", 0.4, JUDGEMENT),
    ("finetune.validation.force_mae_meV_A", 50.0, JUDGEMENT),
    ("finetune.validation.force_parity_slope", [0.9, 1.1], JUDGEMENT),
    ("finetune.validation.stability_ps", 1.0, JUDGEMENT),
    ("finetune.validation.stability_temperature_K", 1200.0, JUDGEMENT),
    ("finetune.validation.least_distance_A", 0.9, JUDGEMENT),
    ("finetune.validation.energy_drift_meV_atom_ps", 2.0, JUDGEMENT),
    ("finetune.validation.override", ["force_mae"], JUDGEMENT),
    ("dynamics.timestep_fs", 1.0, EQUILIBRATION),
    ("dynamics.device", "cuda", NOTHING),
    ("dynamics.threads", 3, NOTHING),
    ("dynamics.thermostat", "nose_hoover", EQUILIBRATION),
    ("dynamics.thermostat_tau_fs", 50.0, VALIDATION),
    ("dynamics.barostat_tau_fs", 500.0, QUENCH),
    ("dynamics.compressibility_1_GPa", 0.2, QUENCH),
    ("dynamics.pressure_GPa", 1.0, QUENCH),
    ("dynamics.sample_interval_ps", 0.04, QUENCH),
    ("dynamics.checkpoint_interval_ps", 1.0, NOTHING),
    ("dynamics.checkpoint_wall_minutes", 1.0, NOTHING),
    ("quench.from_library", "LIBRARY", {"take_glass"} | CHECKS | EQUILIBRATION),
    ("quench.packing_density", 0.7, QUENCH),
    ("quench.melt_timestep_fs", 1.0, VALIDATION),
    ("quench.melt_temperature_K", 1600.0, QUENCH),
    ("quench.melt_ps", 2.0, QUENCH),
    ("quench.quench_rate_K_ps", 500.0, QUENCH),
    ("quench.constant_pressure_below_K", 900.0, QUENCH),
    ("quench.glass_temperature_K", 310.0, QUENCH),
    ("quench.anneal_ps", 2.0, QUENCH),
    ("quench.attempts", 2, NOTHING),
    ("quench.limits.least_melt_displacement_A", 3.0, CHECKS),
    ("quench.limits.least_distance_A", 1.1, CHECKS),
    ("quench.limits.temperature_tolerance", 0.2, CHECKS),
    ("quench.limits.density_drift", 0.1, CHECKS),
    ("quench.limits.density_ratio", [0.4, 1.5], CHECKS),
    ("quench.limits.energy_drift_meV_atom_ps", 2.0, CHECKS),
    ("quench.limits.long_range_order", 0.5, CHECKS),
    ("quench.limits.least_coordinated_fraction", 0.4, CHECKS),
    ("quench.limits.most_outside_training", 0.2, CHECKS),
    ("production.equilibrate_ps", 2.0, EQUILIBRATION),
    ("production.length_ps", 9.0, PRODUCTION),
    ("production.stop_when.relative_error", 0.05, LENGTH, "shipped"),
    ("production.stop_when.least_ps", 6.0, NOTHING, "shipped"),
    ("production.stop_when.quantities", ["D_mobile"], LENGTH, "shipped"),
    ("production.segment_ps", 1.5, PRODUCTION),
    ("production.frame_interval_ps", 0.1, PRODUCTION),
    ("production.position_precision_A", 0.01, PRODUCTION),
    ("production.batch", 2, {"produce_batch"} | ANALYSIS),
    ("production.keep_every", 3, THINNED, "shipped"),
    ("transport.discard_ps", 1.0, ANALYSIS),
    ("transport.reference_frame", "framework", ANALYSIS),
    ("transport.charges", {"Li": 2, "Al": 2}, SAMPLES),
    ("transport.rdf_cutoff_A", 6.0, ANALYSIS),
    ("transport.cutoffs_A", {"Al-Cl": 2.9}, ANALYSIS),
    ("transport.residence_tolerance_ps", 0.2, ANALYSIS),
    ("transport.diffusive_tolerance", 0.2, ANALYSIS),
    ("transport.least_displacement_A", 0.5, ANALYSIS),
    ("transport.jump_length_A", 1.0, ANALYSIS),
    ("report.exclude_flagged", True, SUMMARY),
]  # fmt: skip


def leaf_keys(section: type[Section] = Config, path: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the configuration with its kind; keys of a limit's section are limits."""
    for key in section.model_fields:
        inner, kind = section.inner(key), section.kind(key)
        if inner is None:
            yield f"{path}{key}", kind
        else:
            for name, inner_kind in leaf_keys(inner, f"{path}{key}."):
                yield name, inner_kind if kind == "physics" else kind


def nested(key: str, value: object) -> dict:
    """A configuration with one key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value  # type: ignore[return-value]


class Finished:
    """A finished campaign of empty files.

    Args:
        folder: where it lies.
        overlay: its settings over those of the toy.
    """

    def __init__(self, folder: Path, overlay: dict) -> None:
        rows = (ROOT / "tests/toy/compositions.tsv").read_text().splitlines(keepends=True)
        (folder / "one.tsv").write_text("".join(rows[:2]))
        self.folder = folder
        self.overlay = {**overlay, "compositions": str(folder / "one.tsv")}
        config = validate_config(merge(load_config(PAPER, TOY).model_dump(), self.overlay))
        self.config = config
        results = folder / layout.results(config.campaign)
        segments = config.production.segments - 1 if config.production.stop_when else None
        jobs = campaign_jobs(
            config,
            campaign_compositions(config),
            None if segments is None else lambda _: segments,
        )
        for job in jobs:
            for path in (results / output for output in job.outputs):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                if job.rule == "decide_length":
                    converged = job.segments == segments
                    Decision(3.0 * job.segments, converged, {}, {}).write(path)
        self.call("touch")

    def library(self) -> Path:
        """A library with a glass for it."""
        glasses = campaign_compositions(self.config).values()
        units = self.config.formula_units
        return make_library(self.folder / "library", glasses, formula_units=units)

    def rules_to_run(self, changes: dict | None = None) -> set[str]:
        """Rules that a dry run would run, but for `all`."""
        return {layout.kind(rule) for rule in self.call("dryrun", changes or {})} - {"all"}

    def call(self, executor: str, changes: dict | None = None) -> set[str]:
        """Call Snakemake in this process; returns the rules of all jobs."""
        rules: set[str] = set()
        handler = logging.Handler()
        handler.emit = lambda record: (  # type: ignore[method-assign]
            rules.add(record.rule_name) if hasattr(record, "rule_name") else None
        )
        environment = dict(os.environ)
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            logger.addHandler(handler)
            try:
                api.workflow(
                    resource_settings=ResourceSettings(cores=1),
                    config_settings=ConfigSettings(
                        configfiles=[TOY], config=merge(self.overlay, changes or {})
                    ),
                    snakefile=ROOT / "Snakefile",
                    workdir=self.folder,
                ).dag(
                    DAGSettings(
                        rerun_triggers=frozenset(map(RerunTrigger.parse_choice, TRIGGERS)),
                        forceall=executor == "touch",
                    )
                ).execute_workflow(
                    executor="local",
                    pseudo_executor=executor,
                    execution_settings=ExecutionSettings(lock=False),
                )
            finally:
                logger.removeHandler(handler)
                os.environ.clear()
                os.environ.update(environment)
        return rules


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    return {
        name: Finished(tmp_path_factory.mktemp(name), overlay)
        for name, overlay in CAMPAIGNS.items()
    }


def test_every_key_has_its_row() -> None:
    kinds = dict(leaf_keys())
    assert [row[0] for row in MATRIX] == list(dict.fromkeys(row[0] for row in MATRIX))
    assert {row[0] for row in MATRIX} == kinds.keys()
    for key, _, rules, *_ in MATRIX:
        if kinds[key] == "execution":
            assert not rules, f"{key} is of execution"
        if kinds[key] == "limit":
            assert not rules & DYNAMICS, f"{key} is a limit"


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_finished_campaign_has_nothing_to_do(finished: dict[str, Finished], name: str) -> None:
    assert finished[name].rules_to_run() == set()


@pytest.mark.parametrize("row", MATRIX, ids=[row[0] for row in MATRIX])
def test_rules_that_run_again(finished: dict[str, Finished], row: tuple) -> None:
    key, value, expected, *name = row
    campaign = finished[name[0] if name else "trained"]
    if value == "COPY":
        value = str(shutil.copy(campaign.folder / "one.tsv", campaign.folder / "copy.tsv"))
    if value == "LIBRARY":
        value = str(campaign.library())
    assert campaign.rules_to_run(nested(key, value)) == expected


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another copy of the checkout, all of whose files are newer than any result.

    Not the copy that is installed, whose package must not be used with it.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("Snakefile", "config.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("rules", "scripts", "report", "envs", "profiles", "vitrion", "resources/dft"):
        shutil.copytree(ROOT / name, folder / name, copy_function=shutil.copy)
    shutil.copytree(ROOT / "tests/toy", folder / "tests/toy")
    return folder


def dry_run(campaign: Finished, root: Path, mine: Path) -> set[str]:
    """Rules that a whole command would run, with the campaign's settings in a file of its own."""
    counts = (
        Workflow(campaign.folder, root / "tests/toy/config.yaml", mine, root=root).graph().counts
    )
    return {layout.kind(rule) for rule in counts} - {"all", "total"}


def test_nothing_runs_again_from_another_checkout_and_configfile(
    finished: dict[str, Finished], elsewhere: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(finished["trained"].overlay))
    assert dry_run(finished["trained"], elsewhere, mine) == set()


def test_a_whole_command_sees_the_same(
    finished: dict[str, Finished], elsewhere: Path, tmp_path: Path
) -> None:
    """Settings of execution, a limit and a setting of the analysis, changed at once."""
    changes = {
        "dynamics": {"threads": 1, "device": "cuda"},
        "quench": {"limits": {"density_drift": 0.2}},
        "transport": {"rdf_cutoff_A": 6.0},
    }
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(merge(finished["trained"].overlay, changes)))
    expected = CHECKS | ANALYSIS
    assert finished["trained"].rules_to_run(changes) == expected
    assert dry_run(finished["trained"], elsewhere, mine) == expected


def test_edited_config_of_the_checkout_counts_in_any_folder(
    elsewhere: Path, tmp_path: Path
) -> None:
    """And that of the working folder does not, which is said."""
    edited = elsewhere / "config.yaml"
    before = edited.read_text()
    edited.write_text(before.replace("campaign: paper", "campaign: edited"))
    (tmp_path / "config.yaml").write_text("campaign: other")
    small = tmp_path / "small.yaml"
    small.write_text("temperatures_K: [900]\nreplicas: 1\nproduction: {length_ps: 1000.0}")
    try:
        ended = Workflow(tmp_path, small, root=elsewhere).run("--dry-run", "quench_glasses")
    finally:
        edited.write_text(before)
    assert ended.returncode == 0, ended.stderr
    assert "results/edited/quench/LiAlCl/r0/glass.extxyz" in ended.stdout
    assert f"{tmp_path}/config.yaml is not read" in ended.stdout + ended.stderr


def test_only_changed_code_reruns_what_it_makes(
    finished: dict[str, Finished], elsewhere: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(finished["trained"].overlay))
    module = elsewhere / "vitrion/statistics/summary.py"
    before = module.read_text()
    module.write_text(before + "\n# changed\n")
    try:
        assert dry_run(finished["trained"], elsewhere, mine) == SUMMARY
    finally:
        module.write_text(before)
