"""The report: one HTML page with figures and tables inside, that opens offline in any browser."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from vitrion import __version__
from vitrion.files import whole_file
from vitrion.report.campaign import CampaignTables
from vitrion.report.figures import FIGURES
from vitrion.tables import column_units


def build_report(
    results: CampaignTables | Path | str, output: Path | str, config: Mapping[str, Any]
) -> None:
    """Write the report of a campaign.

    Args:
        results: the campaign's folder, or its tables; its figures are in ``report/figures``.
        output: HTML file to write.
        config: the configuration, shown at the end of the report.
    """
    tables = results if isinstance(results, CampaignTables) else CampaignTables(results)
    results, output = tables.results, Path(output)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vitrion.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("page.html.j2").render(
        campaign=config["campaign"],
        version=__version__,
        figures=[
            {"name": name, "kind": kind, "image": _inline(results / f"report/figures/{name}.svg")}
            for name, kind in FIGURES.items()
        ],
        sections=_sections(tables),
        facts=_facts(tables),
        config=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        provenance=tables.summary("trajectories").attrs,
        downloads=sorted(path.name for path in (results / "summary").glob("*.parquet")),
    )
    with whole_file(output) as partial:
        partial.write_text(text, encoding="utf-8")


def _inline(path: Path) -> str:
    """A picture as a data URL."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _facts(tables: CampaignTables) -> dict[str, str]:
    """What the campaign is, in a few numbers."""
    trajectories = tables.summary("trajectories")
    diffusion = tables.summary("diffusion")
    alkali = diffusion[diffusion["species"] == diffusion["alkali"]]
    temperatures = sorted(trajectories["temperature_K"].unique())
    atoms = sorted(trajectories["n_atoms"].unique())
    flagged = int((trajectories["flags"] != "").sum())
    return {
        "compositions": str(trajectories["composition"].nunique()),
        "temperatures": ", ".join(map(str, temperatures)) + " K",
        "atoms in a cell": " to ".join(map(str, dict.fromkeys((atoms[0], atoms[-1])))),
        "trajectories": f"{len(trajectories)}, {flagged} of them flagged",
        "simulated and analysed": f"{trajectories['length_ps'].sum():.4g} ps",
        "diffusive alkali": f"in {int(alkali['diffusive'].sum())} of {len(alkali)} trajectories",
    }


def _sections(tables: CampaignTables) -> list[dict[str, Any]]:
    """The tables of the report, each with its title and rows ready to show."""
    summary = tables.results / "summary"
    shown = [
        ("Activation energies", summary / "arrhenius.parquet", tables.summary("arrhenius")),
        ("Diffusion", summary / "diffusion.parquet", tables.summary("diffusion")),
        ("Conductivity", summary / "conductivity.parquet", tables.summary("conductivity")),
        ("Haven ratio", summary / "haven.parquet", tables.summary("haven")),
        ("Residence times", summary / "residence.parquet", tables.summary("residence")),
        ("Trajectories", summary / "trajectories.parquet", tables.summary("trajectories")),
    ]
    metrics = tables.potential("model_metrics")
    if metrics is not None:
        path = tables.potential_folder / "model_metrics.parquet"
        shown.append(("Errors of the potential", path, metrics))
    sections = [_section(title, frame, column_units(path)) for title, path, frame in shown]
    checks = tables.glasses("glass_checks")
    checks = checks[["composition", "replica", *checks.columns[:-2]]]
    sections.append(_section("Checks of the glasses", checks, {}))
    return sections


def _section(title: str, frame: pd.DataFrame, units: Mapping[str, str]) -> dict[str, Any]:
    # Alkali, metal and halogen are in the composition's name.
    frame = frame.drop(columns=["alkali", "metal", "halogen"], errors="ignore")
    return {
        "title": title,
        "columns": list(frame.columns),
        "units": [units.get(column, "") for column in frame.columns],
        "rows": [[_cell(value) for value in row] for row in frame.itertuples(index=False)],
    }


def _cell(value: object) -> str:
    """A value as text, numbers to four digits."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)
