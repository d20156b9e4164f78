"""Produce one segment of each of several trajectories that step together."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.dynamics import produce_segments
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
title = f"{snakemake.rule} {snakemake.wildcards.composition} {snakemake.wildcards.segment}"
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    produce_segments(
        [Path(path) for path in snakemake.input.previous],
        [Path(path) for path in snakemake.output.segments],
        temperatures_K=snakemake.params.temperatures_K,
        segment_ps=config.production.segment_ps,
        frame_interval_ps=config.production.frame_interval_ps,
        position_precision_A=config.production.position_precision_A,
        dynamics=config.dynamics,
        model=snakemake.input.model,
    )
