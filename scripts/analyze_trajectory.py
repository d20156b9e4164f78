"""The transport analysis of one trajectory."""

from pathlib import Path

from vitrion.config import Config, Transport
from vitrion.dynamics import failed_checks
from vitrion.logs import job_log
from vitrion.transport import analyze_trajectory

title = "analyze {composition} T{temperature} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    analyze_trajectory(
        [Path(segment) for segment in snakemake.input.segments],
        Path(snakemake.output.trajectories).parent,
        composition=snakemake.params.composition,
        temperature_K=int(snakemake.wildcards.temperature),
        replica=int(snakemake.wildcards.replica),
        settings=Transport(**snakemake.params.settings["transport"]),
        flags=failed_checks(snakemake.input.checks),
        metadata={
            **snakemake.params.provenance,
            "config_hash": Config(**snakemake.config).hash(),
        },
    )
