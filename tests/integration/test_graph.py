"""The graph of the paper's and the toy campaign, built but not run."""

import subprocess
import sys
from pathlib import Path

import pytest
from workflow import PAPER, ROOT, TOY, Graph


def test_paper_campaign_dry_run(paper_graph: Graph) -> None:
    counts = paper_graph.counts
    assert counts["quench_glass"] == 27 * 3
    assert counts["equilibrate_glass"] == counts["analyze_trajectory"] == 27 * 4 * 3
    assert counts["produce_segment"] == 27 * 4 * 3 * 10


def test_toy_campaign_dry_run(toy_graph: Graph) -> None:
    assert toy_graph.counts["quench_glass"] == 3
    assert toy_graph.counts["produce_segment"] == 3 * 3 * 2


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        (
            "lialcl",
            "all",
            {"take_glass": 3, "equilibrate_glass": 12, "produce_segment": 48, "build_report": 1},
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
    graph = workflow(PAPER, ROOT / f"benchmarks/{name}.yaml").graph(target)
    assert expected.items() <= graph.counts.items()


def test_plain_snakemake_finds_config_and_profile() -> None:
    """As a user types it: in the checkout, without options. A target keeps the graph small."""
    target = "results/paper/quench/LiAlCl/r0/glass.extxyz"
    options = ("--dry-run", "--forcerun", "quench_glass")
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", *options, "--", target],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert Graph(ended.stdout).counts["quench_glass"] == 1
    assert "campaign paper, from nothing: " in ended.stdout


def test_labelling_is_part_of_the_graph(workflow) -> None:
    graph = workflow(PAPER, TOY).graph(
        "--config", "dataset={label: {engine: gpaw}, sample: {frames_per_composition: 1}}"
    )
    assert graph.counts["label_frame"] == 3


@pytest.mark.parametrize("model", ["pretrained", "0.3.0"])
def test_a_model_taken_as_it_is_needs_no_training(workflow, model: str) -> None:
    counts = workflow(PAPER, TOY).graph("--config", f"finetune={{model: '{model}'}}").counts
    assert counts["use_model"] == 1
    assert "finetune_model" not in counts


@pytest.mark.parametrize("option", ["--dag", "--rulegraph"])
def test_graph_is_drawn(workflow, option: str) -> None:
    ended = workflow(PAPER, TOY).run(option)
    assert ended.returncode == 0, ended.stderr
    assert "digraph" in ended.stdout
    assert "produce_segment" in ended.stdout


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("productoin: {length_ps: 3}", "unknown key; did you mean production?"),
        ("production: {length_ps: 5.0}", "make it a whole multiple of production.segment_ps"),
        ("compositions: nowhere.tsv", "compositions = 'nowhere.tsv': no such file"),
        ("seed: 1\nseed: 2", "has the key seed twice, in lines 1 and 2; remove one"),
    ],
)
def test_bad_configuration_ends_before_the_graph(
    workflow, tmp_path: Path, overlay: str, message: str
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(overlay)
    ended = workflow(PAPER, TOY, mine).run("--dry-run")
    assert ended.returncode == 2
    *before, last = ended.stderr.strip().splitlines()
    assert last.startswith("configuration: ")
    assert message in last
    # Snakemake itself names its profile and configuration files.
    assert all("profile" in line or "onfig file" in line for line in before), before
    assert "Job stats" not in ended.stdout
