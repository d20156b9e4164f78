"""Melt and quench one glass."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.dynamics import quench_glass
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
title = "quench {composition} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    quench_glass(
        campaign_compositions(config)[snakemake.wildcards.composition],
        Path(snakemake.output.glass).parent,
        formula_units=config.formula_units,
        settings=config.quench,
        dynamics=config.dynamics,
        model=snakemake.input.model,
        seed=snakemake.params.seed,
    )
