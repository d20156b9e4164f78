"""Take a model as it is."""

from vitrion.config import Finetune
from vitrion.runtime.job import job_log
from vitrion.training import use_model

with job_log(snakemake.log[0], "use model"):
    use_model(Finetune(**snakemake.params.settings["finetune"]), snakemake.output.model)
