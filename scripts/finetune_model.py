"""Fine-tune CHGNet on the data set."""

from pathlib import Path

from vitrion.config import Finetune
from vitrion.runtime.job import job_log
from vitrion.training import finetune

with job_log(snakemake.log[0], "finetune", gpus=snakemake.resources.get("gpu", 0)):
    finetune(
        Path(snakemake.input.train),
        Path(snakemake.input.val),
        Path(snakemake.output.model).parent,
        settings=Finetune(**snakemake.params.settings),
        seed=snakemake.params.seed,
        device=snakemake.params.device,
        threads=snakemake.threads,
        metadata={"split": snakemake.params.split},
    )
