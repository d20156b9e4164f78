"""Use a model unchanged."""

from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import use_model

with job_log(snakemake.log[0], "use model"):
    use_model(validate_config(snakemake.config).finetune, snakemake.output.model)
