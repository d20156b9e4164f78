"""Label one sampled frame with DFT."""

from pathlib import Path

from vitrion.config import validate_config
from vitrion.dataset import label_frame
from vitrion.runtime.job import job_log

name = "{generation}{composition} {frame}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], f"label {name}"):
    label_frame(
        Path(snakemake.input.frames),
        Path(snakemake.output.frame),
        index=int(snakemake.wildcards.frame),
        settings=validate_config(snakemake.config).dataset.label,
    )
