"""Draw one figure from the campaign's tables."""

from pathlib import Path

from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures import plot_figure
from vitrion.runtime.job import job_log

with job_log(snakemake.log[0], f"plot {snakemake.wildcards.figure}"):
    tables = CampaignTables(
        Path(snakemake.output.svg).parents[2], Path(snakemake.input.potential[0]).parent
    )
    plot_figure(snakemake.wildcards.figure, tables, snakemake.output)
