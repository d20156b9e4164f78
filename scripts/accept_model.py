"""Stop the campaign where the potential is not fit for dynamics."""

from pathlib import Path

from vitrion.config import Accept, Dynamics
from vitrion.logs import job_log
from vitrion.training import accept

with job_log(snakemake.log[0], "accept", gpus=snakemake.resources.get("gpu", 0)):
    accept(
        snakemake.input.model,
        Path(snakemake.input.metrics),
        Path(snakemake.output.acceptance).parent,
        compositions=snakemake.params.compositions,
        settings=Accept(**snakemake.params.settings),
        dynamics=Dynamics(**snakemake.params.dynamics["dynamics"]),
        seed=snakemake.params.seed,
    )
