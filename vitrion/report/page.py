"""The report: one HTML page with figures, tables and glasses inside, that opens offline."""

from __future__ import annotations

import base64
import importlib.resources
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from vitrion import __version__
from vitrion.base.files import whole_file
from vitrion.campaign.figures import FIGURES, FORMATS, GROUPS
from vitrion.paper.published import conductivities, statements
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.glasses import read_glasses
from vitrion.report.style import concise
from vitrion.tables import TABLES
from vitrion.tables.io import headline

# What the report shows as tables, in this order; every table of the summary can be downloaded.
SHOWN = {
    "arrhenius": "Activation energies",
    "pooled": "Quantities over replicas",
    "differences": "Differences between compositions",
    "diffusion": "Diffusion",
    "conductivity": "Conductivity",
    "haven": "Haven ratio",
    "residence": "Residence times",
    "coordination": "Environments",
    "network": "Fragments",
    "trajectories": "Trajectories",
}
PACKAGES = ("numpy", "scipy", "pandas", "ase", "torch", "chgnet", "snakemake", "matplotlib")


def build_report(
    results: CampaignTables | Path | str, output: Path | str, config: Mapping[str, Any] | None
) -> None:
    """Write the report of a campaign.

    Args:
        results: the campaign's folder, or its tables; its figures are in ``report/figures``.
        output: HTML file to write.
        config: the configuration, shown in the report; None where it is not known.
    """
    tables = results if isinstance(results, CampaignTables) else CampaignTables(results)
    results, output = tables.results, Path(output)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vitrion.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    trajectories = tables.summary("trajectories")
    verdict = tables.summary("verdict")
    text = environment.get_template("page.html.j2").render(
        campaign=trajectories.attrs.get("campaign", results.name),
        version=__version__,
        facts=_facts(tables),
        verdict=[_judged(row) for row in verdict.to_dict("records")],
        counts=verdict["outcome"].value_counts().to_dict(),
        groups=_groups(results),
        formats=[kind for kind in FORMATS if kind != "svg"],
        glasses=_json(read_glasses(results, trajectories, tables.summary("cutoffs"))),
        sections=_sections(tables),
        provenance=_provenance(tables),
        flagged=trajectories[trajectories["flags"] != ""].to_dict("records"),
        failed_checks=_failed_checks(tables),
        reference=conductivities().to_dict("records"),
        statements=statements().to_dict("records"),
        config=_config(config),
        downloads=sorted(path.name for path in (results / "summary").glob("*.parquet")),
        viewer=(importlib.resources.files("vitrion.report") / "assets/3Dmol-min.js").read_text(
            encoding="utf-8"
        ),
    )
    with whole_file(output) as partial:
        partial.write_text(text, encoding="utf-8")


def _config(config: Mapping[str, Any] | None) -> str:
    if config is None:
        return "not known: the report was made from the tables alone"
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def _groups(results: Path) -> dict[str, list[dict[str, Any]]]:
    """The figures, by group."""
    groups: dict[str, list[dict[str, Any]]] = {group: [] for group in GROUPS}
    for name, kind in FIGURES.items():
        image = (results / f"report/figures/{name}.svg").read_bytes()
        data = "data:image/svg+xml;base64," + base64.b64encode(image).decode()
        groups[kind.group].append({"name": name, "kind": kind, "image": data})
    return groups


def _facts(tables: CampaignTables) -> dict[str, str]:
    """What the campaign is, in a few numbers."""
    trajectories = tables.summary("trajectories")
    diffusion = headline(tables.summary("diffusion"))
    mobile = diffusion[diffusion["species"] == diffusion["mobile"]]
    temperatures = sorted(trajectories["temperature_K"].unique())
    atoms = sorted(trajectories["n_atoms"].unique())
    flagged = int((trajectories["flags"] != "").sum())
    return {
        "compositions": str(trajectories["composition"].nunique()),
        "temperatures": ", ".join(map(str, temperatures)) + " K",
        "atoms per cell": " to ".join(map(str, dict.fromkeys((atoms[0], atoms[-1])))),
        "trajectories": f"{len(trajectories)}, {flagged} of them flagged",
        "simulated and analysed": f"{trajectories['length_ps'].sum() / 1000:.4g} ns",
        "diffusive mobile ion": f"in {int(mobile['diffusive'].sum())} of {len(mobile)} "
        "trajectories",
    }


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the verdict, its numbers as text."""
    unit = f" {row['unit']}" if row["unit"] else ""
    number = "–"
    if np.isfinite(row["value"]):
        number = f"{concise(row['value'], row['err'])}{unit}"
    interval = ""
    if np.isfinite(row["interval_low"]):
        interval = f"{row['interval_low']:.3g} to {row['interval_high']:.3g}{unit}"
    low, high = row["limit_low"], row["limit_high"]
    limits = f"{low:g} to {high:g}{unit}"
    if not np.isfinite(low) or not np.isfinite(high):
        limits = f"below {high:g}{unit}" if np.isfinite(high) else f"above {low:g}{unit}"
    return {**row, "number": number, "interval": interval, "limits": limits}


def _sections(tables: CampaignTables) -> list[dict[str, Any]]:
    """The tables of the report, each with its title and data."""
    shown = [(name, title, tables.summary(name)) for name, title in SHOWN.items()]
    metrics = tables.potential("model_metrics")
    if metrics is not None:
        shown.append(("model_metrics", "Errors of the potential", metrics))
    checks = tables.glasses("glass_checks")
    checks = checks[["composition", "replica", *checks.columns[:-2]]]
    shown.append(("glass_checks", "Checks of the glasses", checks))
    return [_section(name, title, frame) for name, title, frame in shown]


def _section(name: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    if "composition" in frame and len(frame.columns) > 8:
        # The composition's name stands for its roles.
        frame = frame.drop(columns=["mobile", "center", "ligands"], errors="ignore")
    known = TABLES[name]
    columns = [
        {
            "name": column,
            "unit": known[column].unit if column in known else "",
            "meaning": known[column].meaning if column in known else "",
        }
        for column in frame.columns
    ]
    rows = [[_plain(value) for value in row] for row in frame.itertuples(index=False)]
    return {
        "name": name,
        "title": title,
        "n_rows": len(rows),
        "data": _json({"columns": columns, "rows": rows}),
    }


def _plain(value: object) -> object:
    """A value for JSON: six digits, null for NaN."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return str(value)


def _json(data: object) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def _provenance(tables: CampaignTables) -> dict[str, str]:
    """Where the numbers come from: hashes, versions, seeds."""
    attrs = tables.summary("trajectories").attrs
    found = {
        name.replace("_", " "): _brief(value)
        for name, value in attrs.items()
        if name not in ("table", "excluded")
    }
    card = tables.card()
    found |= {
        f"potential: {name.replace('_', ' ')}": _brief(value)
        for name, value in card.items()
        if isinstance(value, str | int | float) or "hash" in name
    }
    excluded = attrs.get("excluded", [])
    found["trajectories left out"] = f"{len(excluded)}" if excluded else "none"
    found["report written with"] = (
        f"vitrion {__version__}, Python {platform.python_version()}, "
        + (", ".join(f"{package} {version(package)}" for package in PACKAGES))
    )
    return found


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _failed_checks(tables: CampaignTables) -> list[dict[str, Any]]:
    checks = tables.glasses("glass_checks")
    return checks[~checks["passed"].astype(bool)].to_dict("records")
