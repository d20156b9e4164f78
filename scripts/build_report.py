"""Write the report as one HTML page that needs nothing else."""

from pathlib import Path

from vitrion.logs import job_log
from vitrion.report import build_report

with job_log(snakemake.log[0], "report"):
    build_report(Path(snakemake.output.html).parents[1], snakemake.output.html, snakemake.config)
