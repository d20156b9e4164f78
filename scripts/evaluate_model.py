"""Errors of the baseline, the start model and the campaign's model on every split."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.training import baseline, compared_models, evaluate

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "evaluate", gpus=snakemake.resources.get("gpu", 0)):
    # A start model that nothing was trained from is none.
    start = config.finetune.start
    if config.finetune.model != "train":
        start = baseline(start)
    evaluate(
        compared_models(start, **{"fine-tuned": snakemake.input.model}),
        {split: Path(snakemake.input[split]) for split in ("train", "val", "test")},
        Path(snakemake.output.metrics).parent,
        compositions=campaign_compositions(config),
        device=config.dynamics.device,
        threads=snakemake.threads,
    )
