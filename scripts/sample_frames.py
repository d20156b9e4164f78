"""Sample frames of one composition that are worth labelling."""

from ase.io import write

from vitrion.config import Sample
from vitrion.dataset import sample_frames
from vitrion.dataset.frame import read_labelled_frames
from vitrion.runtime.job import job_log

with job_log(snakemake.log[0], "sample {generation}{composition}".format(**snakemake.wildcards)):
    known = [
        frame for path in snakemake.input.get("known", []) for frame in read_labelled_frames(path)
    ]
    frames = sample_frames(
        snakemake.params.composition,
        Sample(**snakemake.params.settings),
        model=snakemake.input.get("model", snakemake.params.start),
        seed=snakemake.params.seed,
        known=[f for f in known if f.info["composition"] == snakemake.wildcards.composition],
    )
    write(snakemake.output.frames, frames, format="extxyz")
