"""Write the report as one HTML page that needs nothing else."""

from pathlib import Path

from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.page import build_report
from vitrion.runtime.job import job_log

with job_log(snakemake.log[0], "report"):
    tables = CampaignTables(
        Path(snakemake.output.html).parents[1], Path(snakemake.input.potential[0]).parent
    )
    build_report(tables, snakemake.output.html, snakemake.config)
