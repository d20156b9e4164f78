"""Check, align and split the labelled frames."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions, locate
from vitrion.config import validate_config
from vitrion.dataset import prepare_dataset
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "dataset"):
    prepare_dataset(
        [*map(locate, config.dataset.sources), *snakemake.input.labelled],
        Path(snakemake.output.table).parent,
        settings=config.dataset,
        model=config.finetune.start,
        seed=snakemake.params.seed,
        compositions=campaign_compositions(config),
    )
