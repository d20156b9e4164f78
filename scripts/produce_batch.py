"""Produce one segment of each of several trajectories that step together."""

from pathlib import Path

from vitrion.config import Dynamics
from vitrion.dynamics import produce_segments
from vitrion.runtime.job import job_log

title = f"{snakemake.rule} {snakemake.wildcards.composition} {snakemake.wildcards.segment}"
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    produce_segments(
        [Path(path) for path in snakemake.input.previous],
        [Path(path) for path in snakemake.output.segments],
        temperatures_K=snakemake.params.temperatures_K,
        segment_ps=snakemake.params.segment_ps,
        frame_interval_ps=snakemake.params.frame_interval_ps,
        position_precision_A=snakemake.params.position_precision_A,
        dynamics=Dynamics(**snakemake.params.settings["dynamics"]),
        model=snakemake.input.model,
    )
