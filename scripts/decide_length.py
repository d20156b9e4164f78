"""Whether a trajectory is long enough."""

from pathlib import Path

from vitrion.campaign.stopping import Decision
from vitrion.config import StopWhen, Transport
from vitrion.runtime.job import job_log
from vitrion.transport.analyze import transport_so_far

title = "decide {composition} T{temperature} r{replica} {segment}".format(**snakemake.wildcards)
with job_log(snakemake.log[0], title) as logger:
    out = Path(snakemake.output.decision)
    segments = [Path(segment) for segment in snakemake.input.segments]
    found = transport_so_far(
        segments,
        composition=snakemake.params.composition,
        temperature_K=int(snakemake.wildcards.temperature),
        replica=int(snakemake.wildcards.replica),
        settings=Transport(**snakemake.params.settings["transport"]),
        scratch=out.parent,
    )
    stop_when = StopWhen(**snakemake.params.stop_when)
    length_ps = len(segments) * snakemake.params.segment_ps
    decision = Decision.of(found, stop_when, length_ps=length_ps)
    logger.info("%s", decision)
    decision.write(out)
