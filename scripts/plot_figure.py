"""Draw one figure from the campaign's tables."""

from pathlib import Path

from vitrion.logs import job_log
from vitrion.report import CampaignTables, plot_figure

with job_log(snakemake.log[0], f"plot {snakemake.wildcards.figure}"):
    tables = CampaignTables(
        Path(snakemake.output.svg).parents[2], Path(snakemake.input.potential[0]).parent
    )
    plot_figure(snakemake.wildcards.figure, tables, snakemake.output)
