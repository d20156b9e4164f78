"""Leave out frames of a trajectory that is analysed."""

from pathlib import Path

import pandas as pd

from vitrion.campaign.opening import provenance
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.tables.io import write_table
from vitrion.trajectory.h5md import thin_segment

config = validate_config(snakemake.config)
title = "thin {composition} T{temperature} r{replica}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title):
    segments = [Path(segment) for segment in snakemake.input.segments]
    rows = [thin_segment(segment, config.production.keep_every) for segment in segments]
    table = pd.DataFrame(rows).rename_axis("segment").reset_index()
    write_table(snakemake.output.retention, "retention", table, provenance(config))
