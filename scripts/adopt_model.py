"""Take a model as it is."""

from vitrion.config import Finetune
from vitrion.logs import job_log
from vitrion.training import adopt

with job_log(snakemake.log[0], "adopt model"):
    adopt(Finetune(**snakemake.params.settings["finetune"]), snakemake.output.model)
