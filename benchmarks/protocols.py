"""Glasses of several protocols: length of the melt, cooling rate, volume or pressure kept.

    python benchmarks/protocols.py plan --steps-per-s 11
    python benchmarks/protocols.py run --cores 2 [LiAlCl/base ...]
    python benchmarks/protocols.py table

Each protocol is a campaign of its own over `protocols.yaml`, run through the workflow up to the
analysis. `run` runs those that are named, without names all, and continues where it was stopped.
`--steps-per-s` is of 84 atoms on one thread (`vitrion bench md --atoms 84 --threads 1`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from vitrion.campaign import layout
from vitrion.campaign.opening import open_campaign
from vitrion.campaign.plan import make_plan
from vitrion.structure.compositions import SHIPPED_TABLE
from vitrion.tables.io import TableSet, read_table
from vitrion.trajectory.checks import COORDINATION, DENSITY

ROOT = Path(__file__).parents[1]
OVERLAYS = Path("local/protocols")
# The melt at the density of the mixture of crystals, then cooling at zero pressure.
PRESSURE = {"packing_density": 1.0, "constant_pressure_below_K": 900.0}
# What differs from the quench of protocols.yaml.
PROTOCOLS: dict[str, dict[str, float]] = {
    "base": {},
    "pressure": PRESSURE,
    "pressure-rate-15": {**PRESSURE, "quench_rate_K_ps": 15.0},
    "pressure-melt-60": {**PRESSURE, "melt_ps": 60.0},
    "pressure-rate-150": {**PRESSURE, "quench_rate_K_ps": 150.0},
}
# Indium: are five and six neighbours due to the protocol?
COMPOSITIONS = {
    "LiAlCl": tuple(PROTOCOLS),
    "LiInCl": ("base", "pressure", "pressure-rate-15"),
    "NaInCl": ("base", "pressure", "pressure-rate-15"),
}


def campaigns() -> Iterator[tuple[str, str, list[Path]]]:
    """Composition, protocol and configuration files of each campaign, which are written."""
    OVERLAYS.mkdir(parents=True, exist_ok=True)
    header, *rows = SHIPPED_TABLE.read_text().splitlines()
    for composition, protocols in COMPOSITIONS.items():
        table = OVERLAYS / f"{composition}.tsv"
        (row,) = (row for row in rows if row.split("\t")[0] == composition)
        table.write_text(f"{header}\n{row}\n")
        for protocol in protocols:
            overlay = OVERLAYS / f"{composition}-{protocol}.yaml"
            settings = {
                "campaign": f"protocol-{composition}-{protocol}",
                "compositions": str(table),
                "quench": PROTOCOLS[protocol],
            }
            overlay.write_text(yaml.safe_dump(settings, sort_keys=False))
            yield composition, protocol, [ROOT / "benchmarks/protocols.yaml", overlay]


def plan(steps_per_s: float) -> None:
    """Print the core-hours of each campaign and of all."""
    total = 0.0
    for composition, protocol, files in campaigns():
        made = make_plan(*open_campaign(files), steps_per_s=steps_per_s, on_gpu=False)
        total += made.core_hours
        print(f"{composition:8} {protocol:10} {made.core_hours:6.1f} core-hours")
    print(f"{'all':19} {total:6.1f} core-hours")


def run(cores: int, chosen: list[str]) -> None:
    """Run the campaigns one after another; the seeds of one run side by side."""
    known = {f"{composition}/{protocol}" for composition, protocol, _ in campaigns()}
    if unknown := set(chosen) - known:
        sys.exit(f"{', '.join(sorted(unknown))}: give any of {', '.join(sorted(known))}")
    for composition, protocol, files in campaigns():
        if chosen and f"{composition}/{protocol}" not in chosen:
            continue
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--workflow-profile", str(ROOT / "profiles/default"), "--cores", str(cores)]
        command += ["--until", "analyze_trajectory", "check_glass", "--configfile"]
        subprocess.run([*command, *map(str, files)], check=True)


def table() -> None:
    """Print a row for each glass that is there."""
    print(
        "| composition | protocol | seed | density, g/cm³ | four ligands, % | energy, meV/atom "
        "| mean bridges (n of Qⁿ) | mean fragment | failed checks |"
    )
    print("| --- | --- | --: | --: | --: | --: | --: | --: | --- |")
    for composition, protocol, files in campaigns():
        config, _ = open_campaign(files)
        results = layout.results(config.campaign)
        for replica in range(config.replicas):
            key = {"composition": composition, "replica": replica, "temperature": 300}
            glass = results / layout.fill(layout.GLASS, **key)
            analysis = results / layout.fill(layout.TRANSPORT, **key)
            if not (analysis / "trajectories.parquet").exists():
                continue
            measured = read_table(glass / "glass_measurements.parquet").set_index("quantity")
            checks = read_table(glass / "glass_checks.parquet")
            thermo = read_table(glass / "thermo.parquet").query("stage == 'anneal'")
            energy_eV = thermo["potential_energy_eV_atom"].iloc[len(thermo) // 2 :].mean()
            four = measured["value"].get(COORDINATION.format(4), 0.0)
            tables = TableSet(analysis)
            qn, network = tables.read("qn"), tables.read("network")
            print(
                f"| {composition} | {protocol} | {measured.attrs.get('seed', '')} "
                f"| {measured['value'][DENSITY]:.3f} | {100 * four:.0f} | {1000 * energy_eV:.1f} "
                f"| {(qn['n_bridges'] * qn['fraction']).sum():.2f} "
                f"| {network.attrs['mean_fragment_size']:.2f} "
                f"| {', '.join(checks['check'][~checks['passed']]) or 'none'} |"
            )


def main() -> None:
    """Read the arguments and do what they ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("plan").add_argument("--steps-per-s", type=float, required=True)
    running = actions.add_parser("run")
    running.add_argument("--cores", type=int, required=True)
    running.add_argument("chosen", nargs="*", metavar="COMPOSITION/PROTOCOL")
    actions.add_parser("table")
    args = parser.parse_args()
    if args.action == "plan":
        plan(args.steps_per_s)
    elif args.action == "run":
        run(args.cores, args.chosen)
    else:
        table()


if __name__ == "__main__":
    main()
