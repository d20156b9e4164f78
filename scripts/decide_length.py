"""Whether a trajectory is long enough."""

from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.campaign.stopping import Decision
from vitrion.config import validate_config
from vitrion.runtime.job import job_log
from vitrion.transport.analyze import transport_so_far

config = validate_config(snakemake.config)
title = "decide {composition} T{temperature} r{replica} {segment}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title) as logger:
    out = Path(snakemake.output.decision)
    segments = [Path(segment) for segment in snakemake.input.segments]
    found = transport_so_far(
        segments,
        composition=campaign_compositions(config)[snakemake.wildcards.composition],
        temperature_K=int(snakemake.wildcards.temperature),
        replica=int(snakemake.wildcards.replica),
        settings=config.transport,
        scratch=out.parent,
    )
    length_ps = len(segments) * config.production.segment_ps
    decision = Decision.of(found, config.production.stop_when, length_ps=length_ps)
    logger.info("%s", decision)
    decision.write(out)
