"""Judge the measurements of one glass by the limits."""

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.tables.io import read_table, write_table
from vitrion.trajectory.checks import check_glass

config = validate_config(snakemake.config)
title = "check {composition} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    composition = campaign_compositions(config)[snakemake.wildcards.composition]
    measurements = read_table(snakemake.input.measurements)
    checks = check_glass(measurements, composition, config.quench.limits)
    write_table(snakemake.output.checks, "glass_checks", checks, measurements.attrs)
