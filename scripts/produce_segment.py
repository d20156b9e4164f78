"""Produce one segment of a trajectory."""

from pathlib import Path

from vitrion.config import Dynamics
from vitrion.dynamics import produce_segment
from vitrion.runtime.job import job_log

title = "produce {composition} T{temperature} r{replica} {segment}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    produce_segment(
        Path(snakemake.input.previous),
        Path(snakemake.output.segment),
        temperature_K=int(snakemake.wildcards.temperature),
        segment_ps=snakemake.params.segment_ps,
        frame_interval_ps=snakemake.params.frame_interval_ps,
        position_precision_A=snakemake.params.position_precision_A,
        dynamics=Dynamics(**snakemake.params.settings["dynamics"]),
        model=snakemake.input.model,
    )
