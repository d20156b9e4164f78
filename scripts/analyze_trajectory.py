"""The transport analysis of one trajectory."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions, provenance
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.trajectory.history import run_history
from vitrion.transport.analyze import analyze_trajectory

config = validate_config(snakemake.config)
title = "analyze {composition} T{temperature} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    segments = [Path(segment) for segment in snakemake.input.segments]
    history = run_history(segments)
    analyze_trajectory(
        segments,
        Path(snakemake.output.trajectories).parent,
        composition=campaign_compositions(config)[snakemake.wildcards.composition],
        temperature_K=int(snakemake.wildcards.temperature),
        replica=int(snakemake.wildcards.replica),
        settings=config.transport,
        mean_temperature_K=history.mean_temperature_K,
        wall_hours=history.wall_hours,
        steps_per_s=history.steps_per_s,
        metadata={
            **provenance(config),
            "model_hash": history.model_hash,
            "measurements": history.measurements,
        },
    )
