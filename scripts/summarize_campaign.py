"""Every table over the whole campaign, and the Arrhenius fits."""

from pathlib import Path

import pandas as pd

from vitrion.campaign import layout
from vitrion.campaign.opening import campaign_compositions, provenance
from vitrion.config import validate_config
from vitrion.paper.verdict import verdict_table
from vitrion.runtime.job import job_log
from vitrion.statistics.glass_transition import glass_transition_table
from vitrion.statistics.summary import summarize, without_flagged
from vitrion.tables.io import read_table, write_table
from vitrion.trajectory.history import trajectory_flags

MEASUREMENTS = layout.RULES["quench_glass"].outputs["measurements"]
config = validate_config(snakemake.config)


def flags(trajectory: pd.DataFrame) -> tuple[str, ...]:
    """Checks that a trajectory or its glass failed."""
    name, replica = str(trajectory["composition"][0]), int(trajectory["replica"][0])
    glass = layout.fill(MEASUREMENTS, composition=name, replica=replica)
    return trajectory_flags(
        read_table(layout.results(config.campaign) / glass),
        trajectory.attrs["measurements"],
        compositions[name],
        config.quench.limits,
    )


with job_log(snakemake.log[0], "summarize"):
    compositions = campaign_compositions(config)
    trajectories = [read_table(path) for path in snakemake.input.trajectories]
    out = Path(snakemake.output.arrhenius).parent
    metadata = {**provenance(config), "model_hash": trajectories[0].attrs["model_hash"]}
    tables = summarize(
        [Path(path).parent for path in snakemake.input.trajectories],
        out,
        flags=[flags(trajectory) for trajectory in trajectories],
        exclude_flagged=config.report.exclude_flagged,
        metadata=metadata,
    )
    glasses = (Path(path) for path in snakemake.input.thermo)
    transition = glass_transition_table(
        ({**compositions[g.parent.parent.name].key, "glass": int(g.parent.name[1:])}, read_table(g))
        for g in glasses
    )
    write_table(out / "glass_transition.parquet", "glass_transition", transition, metadata)
    verdict = verdict_table(without_flagged(tables))
    write_table(out / "verdict.parquet", "verdict", verdict, metadata)
