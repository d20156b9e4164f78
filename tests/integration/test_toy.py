"""A whole campaign, run for real: every stage, its tables, its report, and what reruns when."""

from __future__ import annotations

import html
import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from checkout import run
from workflow import Workflow

from vitrion.campaign.figures import FIGURES
from vitrion.tables import SUMMARY_TABLES, TABLES
from vitrion.tables.io import read_table

RESULTS = Path("results/toy")
CONFIGS = ("config.yaml", "tests/toy/config.yaml")
DYNAMICS = {"quench_glass", "equilibrate_glass", "produce_segment", "finetune_model"}


@pytest.fixture(scope="module")
def campaign(checkout: Path) -> Workflow:
    """A finished campaign."""
    return Workflow(checkout, *(checkout / file for file in CONFIGS), root=checkout)


def test_every_table_is_there_with_units_and_provenance(campaign: Workflow) -> None:
    for name in SUMMARY_TABLES:
        path = campaign.folder / RESULTS / f"summary/{name}.parquet"
        schema = pq.read_schema(path)
        assert schema.names == list(TABLES[name])
        for key, column in TABLES[name].items():
            assert schema.field(key).metadata[b"unit"].decode() == column.unit
        assert json.loads(schema.metadata[b"vitrion"])["campaign"] == "toy"


def test_tables_hold_the_campaign(campaign: Workflow) -> None:
    summary = campaign.folder / RESULTS / "summary"
    trajectories = pd.read_parquet(summary / "trajectories.parquet")
    assert len(trajectories) == 3 * 3
    assert set(trajectories["temperature_K"]) == {800, 1000, 1200}
    assert (trajectories["n_atoms"] == 21).all()
    assert trajectories["length_ps"].between(0.7, 0.8).all()
    assert trajectories["mean_temperature_K"].between(400, 1800).all()
    coordination = pd.read_parquet(summary / "coordination.parquet")
    shares = coordination.groupby(["composition", "temperature_K", "replica"])["fraction"].sum()
    assert shares.to_numpy() == pytest.approx(1.0)
    rdf = pd.read_parquet(summary / "rdf.parquet")
    assert (rdf["g"] >= 0).all()
    metrics = pd.read_parquet(campaign.folder / RESULTS / "finetune/model_metrics.parquet")
    assert set(metrics["model"]) == {"pretrained", "fine-tuned"}


def test_report_is_there_and_self_contained(campaign: Workflow) -> None:
    page = (campaign.folder / RESULTS / "report/index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == len(FIGURES)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_the_smallest_campaign_decides_nothing(campaign: Workflow) -> None:
    verdict = pd.read_parquet(campaign.folder / RESULTS / "summary/verdict.parquet")
    assert set(verdict["outcome"]) == {"not decided"}
    assert (verdict["reason"] != "").all()


def test_snakemake_report(campaign: Workflow) -> None:
    """A zip whose page knows every figure's title, group and caption."""
    ended = campaign.run("--report", "report.zip")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with zipfile.ZipFile(campaign.folder / "report.zip") as archive:
        names = archive.namelist()
        text = archive.read("report/report.html").decode()
    for kind in FIGURES.values():
        for shown in (kind.title, kind.group, kind.caption[:30]):
            assert json.dumps(html.escape(shown, quote=False))[1:-1] in text
    assert sum(name.endswith(".svg") for name in names) >= len(FIGURES)


def test_second_run_does_nothing(campaign: Workflow) -> None:
    assert campaign.graph().counts == {}


def test_analysis_option_reruns_the_analysis_alone(campaign: Workflow) -> None:
    overlay = campaign.folder / "radius.yaml"
    overlay.write_text("transport: {rdf_cutoff_A: 8.0}")
    changed = Workflow(campaign.folder, *campaign.configs, overlay, root=campaign.root).graph()
    assert "analyze_trajectory" in changed.counts
    assert not changed.counts.keys() & DYNAMICS


def test_longer_production_only_adds_segments(campaign: Workflow) -> None:
    overlay = campaign.folder / "longer.yaml"
    overlay.write_text("production: {length_ps: 1.2}")
    longer = Workflow(campaign.folder, *campaign.configs, overlay, root=campaign.root)
    counts = longer.graph().counts
    assert counts["produce_segment"] == 3 * 3
    assert "equilibrate_glass" not in counts


def test_touched_plot_code_never_reruns_dynamics(campaign: Workflow) -> None:
    modules = ("scripts/plot_figure.py", "vitrion/report/figures/transport.py")
    for path in (campaign.root / module for module in modules):
        path.touch()
    assert campaign.graph().counts == {}
    forced = campaign.graph("--forcerun", "plot_figure").counts.keys()
    assert {"plot_figure"} < forced <= {"plot_figure", "build_report", "all", "total"}


@pytest.mark.parametrize(
    ("command", "made", "campaign_file"),
    [
        (
            "vitrion quench LiAlCl --model results/toy/finetune/model.safetensors",
            "glass.extxyz",
            "quench/LiAlCl/r0/glass.extxyz",
        ),
        ("vitrion finetune", "model.safetensors", "finetune/model.safetensors"),
    ],
    ids=["quench", "finetune"],
)
def test_command_makes_what_the_campaign_makes(
    campaign: Workflow, tmp_path: Path, command: str, made: str, campaign_file: str
) -> None:
    """Bit for bit: the same settings, compositions and seeds."""
    ended = run(f"{command} --configfile {CONFIGS[1]} --out {tmp_path}", campaign.folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    expected = (campaign.folder / RESULTS / campaign_file).read_bytes()
    assert (tmp_path / made).read_bytes() == expected


def test_a_campaign_starts_from_the_glasses_of_another(campaign: Workflow, tmp_path: Path) -> None:
    library, taken = campaign.folder / RESULTS / "quench", tmp_path / "results/y/quench"
    overlay = tmp_path / "library.yaml"
    overlay.write_text(
        f"{{campaign: y, finetune: {{model: shipped}}, quench: {{from_library: {library}}}}}"
    )
    second = Workflow(tmp_path, *campaign.configs, overlay, root=campaign.root)
    ended = second.run(f"{taken.relative_to(tmp_path)}/LiAlCl/r0/glass_checks.parquet")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # The model that made them is the toy's.
    assert "LiAlCl r0, NaGaBr r0, KInI r0. Equilibration" in ended.stderr
    for name in ("glass.extxyz", "thermo.parquet", "glass_measurements.parquet"):
        assert (taken / "LiAlCl/r0" / name).read_bytes() == (
            library / "LiAlCl/r0" / name
        ).read_bytes()
    checks, before = (
        read_table(folder / "LiAlCl/r0/glass_checks.parquet") for folder in (taken, library)
    )
    pd.testing.assert_frame_equal(checks, before)
    assert not checks["passed"].all()  # flags stay


def test_another_family_needs_two_files(checkout: Path) -> None:
    """Li-Y-Cl-O: own table, own overlay, and every stage takes roles and charges from the row."""
    results = checkout / "results/yttrium"
    tables = {path.stem: read_table(path) for path in (results / "summary").glob("*.parquet")}
    keys = tables["trajectories"][["composition", "mobile", "center", "ligands"]].drop_duplicates()
    assert keys.to_numpy().tolist() == [["LiYClO", "Li", "Y", "Cl,O"]]
    assert set(tables["diffusion"]["species"]) == {"Li", "Y", "Cl", "O"}
    assert set(tables["rdf"]["species"]) == {"Li", "Y", "Cl", "O"}
    assert tables["coordination"]["environment"].str.fullmatch(r"(Cl\d+)?(O\d+)?|bare").all()
    analysis = read_table(results / "transport/LiYClO/T1200/r0/trajectories.parquet").attrs
    assert analysis["roles"]["ligands"] == ["Cl", "O"]
    assert analysis["transport"]["charges"]["Y"] == 3
    checks = read_table(results / "quench/LiYClO/r0/glass_checks.parquet").set_index("check")
    assert {"melt displacement of Y", "central atoms with 5 to 7 ligands"} <= set(checks.index)
    assert "LiYClO" in (results / "report/index.html").read_text()
