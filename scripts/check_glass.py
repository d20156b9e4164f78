"""Lay the limits over what was measured of one glass."""

from vitrion.config import GlassLimits
from vitrion.runtime.job import job_log
from vitrion.tables.io import read_table, write_table
from vitrion.trajectory.checks import check_glass

title = "check {composition} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    measurements = read_table(snakemake.input.measurements)
    limits = GlassLimits(**snakemake.params.limits)
    checks = check_glass(measurements, snakemake.params.composition, limits)
    write_table(snakemake.output.checks, "glass_checks", checks, measurements.attrs)
