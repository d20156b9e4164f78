"""Sample frames of one composition that are worth labelling."""

from ase.io import write

from vitrion.config import Sample
from vitrion.dataset import sample_frames
from vitrion.logs import job_log

with job_log(snakemake.log[0], f"sample {snakemake.wildcards.composition}"):
    frames = sample_frames(
        snakemake.params.composition,
        Sample(**snakemake.params.settings),
        model=snakemake.params.model,
        seed=snakemake.params.seed,
    )
    write(snakemake.output.frames, frames, format="extxyz")
