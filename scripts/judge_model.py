"""Judge the measurements of the potential by the limits."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import validate_model

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "judge model"):
    validate_model(
        Path(snakemake.input.metrics),
        Path(snakemake.input.stability),
        settings=config.finetune.validation,
        out=Path(snakemake.output.validation),
    )
