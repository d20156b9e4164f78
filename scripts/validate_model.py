"""Stop the campaign where the potential is not fit for dynamics."""

from pathlib import Path

from vitrion.config import Dynamics, Validation
from vitrion.runtime.job import job_log
from vitrion.training import validate_model

with job_log(snakemake.log[0], "validation", gpus=snakemake.resources.get("gpu", 0)):
    validate_model(
        snakemake.input.model,
        Path(snakemake.input.metrics),
        Path(snakemake.output.validation).parent,
        compositions=snakemake.params.compositions,
        settings=Validation(**snakemake.params.settings),
        dynamics=Dynamics(**snakemake.params.dynamics["dynamics"]),
        seed=snakemake.params.seed,
    )
