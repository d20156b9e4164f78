"""Check, align and split the labelled frames."""

from pathlib import Path

from vitrion.config import Dataset
from vitrion.dataset import prepare_dataset
from vitrion.runtime.job import job_log

with job_log(snakemake.log[0], "dataset"):
    prepare_dataset(
        [*snakemake.params.sources, *snakemake.input.labelled],
        Path(snakemake.output.table).parent,
        settings=Dataset(**snakemake.params.settings["dataset"]),
        model=snakemake.params.model,
        seed=snakemake.params.seed,
        compositions=snakemake.params.compositions,
    )
