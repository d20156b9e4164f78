"""The transport analysis of one trajectory."""

from pathlib import Path

from vitrion.config import Config, GlassLimits, Transport
from vitrion.runtime.job import job_log
from vitrion.trajectory.history import run_history
from vitrion.transport.analyze import analyze_trajectory

title = "analyze {composition} T{temperature} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    segments = [Path(segment) for segment in snakemake.input.segments]
    history = run_history(
        segments,
        Path(snakemake.input.measurements),
        snakemake.params.composition,
        GlassLimits(**snakemake.params.limits),
    )
    analyze_trajectory(
        segments,
        Path(snakemake.output.trajectories).parent,
        composition=snakemake.params.composition,
        temperature_K=int(snakemake.wildcards.temperature),
        replica=int(snakemake.wildcards.replica),
        settings=Transport(**snakemake.params.settings["transport"]),
        flags=history.flags,
        mean_temperature_K=history.mean_temperature_K,
        wall_hours=history.wall_hours,
        steps_per_s=history.steps_per_s,
        metadata={
            **snakemake.params.provenance,
            "config_hash": Config(**snakemake.config).hash(),
            "model_hash": history.model_hash,
        },
    )
