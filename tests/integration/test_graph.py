"""The graph of the paper's and the toy campaign, built but not run."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow import PAPER, ROOT, TOY


def job_counts(output: str) -> dict[str, int]:
    """Jobs by rule, from the table that a dry run prints."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


def test_paper_campaign_dry_run(workflow) -> None:
    start = time.monotonic()
    ended = workflow(PAPER).run("--dry-run")
    assert ended.returncode == 0, ended.stderr
    counts = job_counts(ended.stdout)
    assert counts["quench_glass"] == 27 * 3
    assert counts["equilibrate_glass"] == counts["analyze_trajectory"] == 27 * 4 * 3
    assert counts["produce_segment"] == 27 * 4 * 3 * 10
    # Thirty seconds are promised; a loaded CI machine gets three times as long.
    assert time.monotonic() - start < 90


def test_toy_campaign_dry_run(workflow) -> None:
    ended = workflow(PAPER, TOY).run("--dry-run")
    assert ended.returncode == 0, ended.stderr
    counts = job_counts(ended.stdout)
    assert counts["quench_glass"] == 3
    assert counts["produce_segment"] == 3 * 3 * 2


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        (
            "lialcl",
            "all",
            {"quench_glass": 1, "equilibrate_glass": 3, "produce_segment": 12, "build_report": 1},
        ),
        (
            "glasses",
            "quench_glasses",
            {
                "use_model": 1,
                "quench_glass": 27,
                "check_glass": 27,
                "quench_glasses": 1,
                "total": 56,
            },
        ),
    ],
)
def test_benchmark_campaigns_dry_run(workflow, name: str, target: str, expected: dict) -> None:
    ended = workflow(PAPER, ROOT / f"benchmarks/{name}.yaml").run("--dry-run", target)
    assert ended.returncode == 0, ended.stderr
    assert expected.items() <= job_counts(ended.stdout).items()


def test_plain_snakemake_finds_config_and_profile() -> None:
    """As a user types it: in the checkout, with nothing but the command."""
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_labelling_is_part_of_the_graph(workflow) -> None:
    ended = workflow(PAPER, TOY).run(
        "--dry-run",
        "--config",
        "dataset={label: {engine: gpaw}, sample: {frames_per_composition: 1}}",
    )
    assert ended.returncode == 0, ended.stderr
    assert job_counts(ended.stdout)["label_frame"] == 3


@pytest.mark.parametrize("model", ["pretrained", "0.3.0"])
def test_a_model_taken_as_it_is_needs_no_training(workflow, model: str) -> None:
    ended = workflow(PAPER, TOY).run("--dry-run", "--config", f"finetune={{model: '{model}'}}")
    assert ended.returncode == 0, ended.stderr
    counts = job_counts(ended.stdout)
    assert counts["use_model"] == 1
    assert "finetune_model" not in counts


@pytest.mark.parametrize("configs", [(PAPER,), (PAPER, TOY)], ids=["paper", "toy"])
@pytest.mark.parametrize("option", ["--dag", "--rulegraph"])
def test_graph_is_drawn(workflow, configs: tuple[Path, ...], option: str) -> None:
    ended = workflow(*configs).run(option)
    assert ended.returncode == 0, ended.stderr
    assert "digraph" in ended.stdout
    assert "produce_segment" in ended.stdout


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("productoin: {length_ps: 3}", "unknown key; did you mean production?"),
        ("temperatures_K: [-5]", "temperatures_K.0 = -5"),
        ("dynamics: {timestep_ps: 0.002}", "did you mean timestep_fs?"),
        ("production: {length_ps: 5.0}", "make it a whole multiple of production.segment_ps"),
        ("compositions: nowhere.tsv", "compositions = 'nowhere.tsv': no such file"),
        ("formula_units: 7", "formula_units = 7"),
    ],
)
def test_bad_configuration_ends_before_the_graph(
    workflow, tmp_path: Path, overlay: str, message: str
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(overlay)
    ended = workflow(PAPER, TOY, mine).run("--dry-run")
    assert ended.returncode != 0
    output = ended.stdout + ended.stderr
    assert message in output
    assert "Traceback" not in output
    assert "Job stats" not in output
