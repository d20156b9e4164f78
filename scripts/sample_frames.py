"""Sample frames of one composition, to be labelled."""

from ase.io import write

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.dataset import sample_frames
from vitrion.dataset.frame import read_labelled_frames
from vitrion.runtime.job import job_log

config = validate_config(snakemake.config)
with job_log(snakemake.log[0], "sample {generation}{composition}".format(**snakemake.wildcards)):
    known = [
        frame for path in snakemake.input.get("known", []) for frame in read_labelled_frames(path)
    ]
    frames = sample_frames(
        campaign_compositions(config)[snakemake.wildcards.composition],
        config.sampling(snakemake.wildcards.generation),
        model=snakemake.input.get("model", config.finetune.start),
        seed=snakemake.params.seed,
        known=[f for f in known if f.info["composition"] == snakemake.wildcards.composition],
    )
    write(snakemake.output.frames, frames, format="extxyz")
