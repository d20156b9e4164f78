"""Produce one segment of a trajectory."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.dynamics import produce_segment
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
title = "produce {composition} T{temperature} r{replica} {segment}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    produce_segment(
        Path(snakemake.input.previous),
        Path(snakemake.output.segment),
        temperature_K=int(snakemake.wildcards.temperature),
        segment_ps=config.production.segment_ps,
        frame_interval_ps=config.production.frame_interval_ps,
        position_precision_A=config.production.position_precision_A,
        dynamics=config.dynamics,
        model=snakemake.input.model,
    )
