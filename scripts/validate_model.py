"""Test the stability of the potential; stop the campaign where it is not fit for dynamics."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import measure_stability, validate_model

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "validate", gpus=snakemake.resources.get("gpu", 0)):
    settings, stability = config.finetune.validation, Path(snakemake.output.stability)
    measure_stability(
        snakemake.input.model,
        stability,
        compositions=campaign_compositions(config),
        settings=settings,
        dynamics=config.dynamics.with_timestep_fs(config.quench.melt_timestep_fs),
        seed=snakemake.params.seed,
    )
    validate_model(Path(snakemake.input.metrics), stability, settings=settings)
