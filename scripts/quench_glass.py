"""Melt and quench one glass."""

from pathlib import Path

from vitrion.config import Dynamics, Quench
from vitrion.dynamics import quench_glass
from vitrion.runtime.job import job_log

title = "quench {composition} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title, gpus=snakemake.resources.get("gpu", 0)):
    quench_glass(
        snakemake.params.composition,
        Path(snakemake.output.glass).parent,
        formula_units=snakemake.params.formula_units,
        settings=Quench(**snakemake.params.settings["quench"]),
        dynamics=Dynamics(**snakemake.params.settings["dynamics"]),
        model=snakemake.input.model,
        seed=snakemake.params.seed,
    )
