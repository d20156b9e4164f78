"""Time and memory of the summary of a full campaign: 27 compositions x 4 temperatures x 3 replicas.

The tables of one analysed trajectory are written under the 324 names of the paper's campaign, and
summarized as the campaign does:

    python benchmarks/summarize.py results/toy/transport/LiAlCl/T0800/r0
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from vitrion.campaign.opening import campaign_compositions
from vitrion.config import load_config
from vitrion.statistics.summary import summarize
from vitrion.tables import TRANSPORT_TABLES
from vitrion.tables.io import read_table, write_table

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print rows, seconds and peak memory."""
    tables = {name: read_table(Path(sys.argv[1], f"{name}.parquet")) for name in TRANSPORT_TABLES}
    config = load_config(ROOT / "config.yaml")
    compositions = campaign_compositions(config)
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for name, composition in compositions.items():
            for temperature_K in config.temperatures_K:
                for replica in range(config.replicas):
                    folders.append(Path(scratch, name, f"T{temperature_K:04d}", f"r{replica}"))
                    key = {
                        **composition.key,
                        "temperature_K": temperature_K,
                        "replica": replica,
                    }
                    for table, rows in tables.items():
                        path = folders[-1] / f"{table}.parquet"
                        write_table(path, table, rows.assign(**key), rows.attrs)
        before_MB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start_s, cpu_s = time.perf_counter(), time.process_time()
        summarize(folders, Path(scratch, "summary"), exclude_flagged=False)
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    print(f"{len(folders)} trajectories, {sum(map(len, tables.values()))} rows each")
    print(f"{wall_s:.1f} s ({cpu_s:.1f} s of CPU)")
    peak_MB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak_MB:.0f} MB at most, {before_MB:.0f} before")


if __name__ == "__main__":
    main()
