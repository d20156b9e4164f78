"""Every table over the whole campaign, and the Arrhenius fits."""

from pathlib import Path

from vitrion.config import Config
from vitrion.paper.verdict import verdict_table
from vitrion.runtime.job import job_log
from vitrion.statistics.summary import summarize, without_flagged
from vitrion.tables.io import read_table, write_table

with job_log(snakemake.log[0], "summarize"):
    out = Path(snakemake.output.arrhenius).parent
    metadata = {
        **snakemake.params.provenance,
        "config_hash": Config(**snakemake.config).hash(),
        "model_hash": read_table(snakemake.input.trajectories[0]).attrs["model_hash"],
    }
    tables = summarize(
        [Path(table).parent for table in snakemake.input.trajectories],
        out,
        exclude_flagged=snakemake.params.exclude_flagged,
        metadata=metadata,
    )
    verdict = verdict_table(without_flagged(tables))
    write_table(out / "verdict.parquet", "verdict", verdict, metadata)
