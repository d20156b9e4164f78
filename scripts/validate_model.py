"""Stop the campaign where the potential is not fit for dynamics."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import validate_model

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "validation", gpus=snakemake.resources.get("gpu", 0)):
    validate_model(
        snakemake.input.model,
        Path(snakemake.input.metrics),
        Path(snakemake.output.validation).parent,
        compositions=campaign_compositions(config),
        settings=config.finetune.validation,
        dynamics=config.dynamics,
        seed=snakemake.params.seed,
    )
