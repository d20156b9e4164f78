"""Write the report as one HTML page that needs nothing else."""

from vitrion.logs import job_log
from vitrion.report import build_report

with job_log(snakemake.log[0], "report"):
    build_report(snakemake.params.results, snakemake.output.html, snakemake.config)
