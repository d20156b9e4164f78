"""Fine-tune CHGNet on the data set."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import finetune

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "finetune", gpus=snakemake.resources.get("gpu", 0)):
    finetune(
        Path(snakemake.input.train),
        Path(snakemake.input.val),
        Path(snakemake.output.model).parent,
        settings=config.finetune,
        seed=snakemake.params.seed,
        device=config.dynamics.device,
        threads=snakemake.threads,
        metadata={"split": config.dataset.split.model_dump(mode="json")},
    )
