"""Draw one figure from the campaign's tables."""

from pathlib import Path

from vitrion.logs import job_log
from vitrion.report import plot_figure

with job_log(snakemake.log[0], f"plot {snakemake.wildcards.figure}"):
    plot_figure(snakemake.wildcards.figure, Path(snakemake.output.svg).parents[2], snakemake.output)
