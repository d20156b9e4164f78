"""The list of jobs that plans and status use, against the graph that Snakemake builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from glass_library import make_library
from workflow import PAPER, ROOT, TOY

from vitrion.campaign.jobs import campaign_jobs
from vitrion.campaign.opening import open_campaign


@pytest.mark.parametrize(
    ("configs", "overlay"),
    [
        ((PAPER,), ""),
        ((PAPER, TOY), ""),
        ((PAPER, TOY), "dataset: {label: {engine: gpaw}, sample: {frames_per_composition: 2}}"),
        ((PAPER, TOY), "finetune: {model: pretrained}"),
        ((PAPER, TOY), "replicas: 3\nproduction: {batch: 4}"),
        (
            (PAPER, TOY),
            "dataset: {label: {engine: gpaw}, sample: {frames_per_composition: 2}, "
            "split: {held_out: [KInI]}}\n"
            "finetune: {iterate: {rounds: 2, frames_per_composition: 3}}",
        ),
        ((PAPER, TOY), "production: {keep_every: 2}"),
        ((PAPER, TOY), "quench: {from_library: LIBRARY}"),
        # Before any decision the graph holds the least length.
        ((PAPER, TOY), "production: {stop_when: {least_ps: 3.0}}"),
    ],
    ids=[
        "paper",
        "toy",
        "labelled",
        "pretrained",
        "batch",
        "rounds",
        "thinned",
        "library",
        "stop_when",
    ],
)
def test_jobs_are_those_of_the_graph(
    workflow,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configs: tuple[Path, ...],
    overlay: str,
) -> None:
    mine = tmp_path / "mine.yaml"
    if "LIBRARY" in overlay:
        config, compositions = open_campaign(configs)
        library = make_library(
            tmp_path / "library", compositions.values(), formula_units=config.formula_units
        )
        overlay = overlay.replace("LIBRARY", str(library))
    mine.write_text(overlay)
    known = {(PAPER,): "paper_graph", (PAPER, TOY): "toy_graph"}
    graph = workflow(*configs, mine).graph() if overlay else request.getfixturevalue(known[configs])
    monkeypatch.chdir(ROOT)
    config, compositions = open_campaign([*configs, mine])
    results = f"results/{config.campaign}/"
    listed = [
        (job.rule, frozenset(results + output for output in job.outputs), results + job.log)
        for job in campaign_jobs(config, compositions, lambda _: config.production.least_segments)
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == graph.jobs
