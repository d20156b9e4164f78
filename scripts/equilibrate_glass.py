"""Bring one glass to a production temperature and its density."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.dynamics import equilibrate
from vitrion.runtime.job import job_log
from vitrion.trajectory.metadata import TrajectoryKey

config = validate_config(snakemake.config)
title = "equilibrate {composition} T{temperature} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    equilibrate(
        Path(snakemake.input.glass),
        Path(snakemake.output.state),
        key=TrajectoryKey(
            composition=snakemake.wildcards.composition,
            temperature_K=int(snakemake.wildcards.temperature),
            replica=int(snakemake.wildcards.replica),
        ),
        equilibrate_ps=config.production.equilibrate_ps,
        dynamics=config.dynamics,
        model=snakemake.input.model,
        seed=snakemake.params.seed,
    )
