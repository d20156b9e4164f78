"""Take one glass from a library."""

from pathlib import Path

from vitrion.base.files import read_json
from vitrion.campaign.library import take_glass
from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
title = "take {composition} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    take_glass(
        config.quench.from_library,
        campaign_compositions(config)[snakemake.wildcards.composition],
        int(snakemake.wildcards.replica),
        Path(snakemake.output.glass).parent,
        formula_units=config.formula_units,
        model_hash=read_json(Path(snakemake.input.card), "model card")["model_hash"],
    )
