"""Every table over the whole campaign, and the Arrhenius fits."""

from pathlib import Path

from vitrion.config import Config
from vitrion.runtime.job import job_log
from vitrion.statistics.summary import summarize
from vitrion.tables.io import read_table

with job_log(snakemake.log[0], "summarize"):
    summarize(
        [Path(table).parent for table in snakemake.input.trajectories],
        Path(snakemake.output.arrhenius).parent,
        exclude_flagged=snakemake.params.exclude_flagged,
        metadata={
            **snakemake.params.provenance,
            "config_hash": Config(**snakemake.config).hash(),
            "model_hash": read_table(snakemake.input.trajectories[0]).attrs["model_hash"],
        },
    )
