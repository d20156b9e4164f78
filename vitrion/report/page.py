"""The report: one HTML page with figures, tables and glasses inside, that opens offline."""

from __future__ import annotations

import base64
import importlib.resources
import json
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from vitrion import __version__
from vitrion.base.files import whole_file
from vitrion.base.text import names
from vitrion.campaign.figures import FIGURES, FORMATS, GROUPS
from vitrion.paper.family import in_family
from vitrion.paper.published import conductivities, statements
from vitrion.paper.verdict import NOT_DECIDED
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.glasses import read_glasses
from vitrion.report.numbers import duration, measured
from vitrion.tables import TABLES
from vitrion.tables.io import has_role, headline

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
KEY_NUMBERS = {
    "D": ("D", "cm²/s"),
    "sigma_300K": ("σ(300 K)", "mS/cm"),
    "Ea": ("Ea", "eV"),
    "t_mobile": ("t", ""),
    "haven_ratio": ("H_R", ""),
}
FEW = 4
# Times that are still needed are not told beyond this one.
MOST_NS = 100_000
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
    belongs = bool(in_family(trajectories).any())
    text = environment.get_template("page.html.j2").render(
        campaign=trajectories.attrs.get("campaign", results.name),
        version=__version__,
        facts=_facts(tables),
        subject=_subject(trajectories),
        banner=_banner(trajectories),
        numbers=_key_numbers(tables),
        verdict=_verdict(tables) if belongs else None,
        groups=_groups(results),
        formats=[kind for kind in FORMATS if kind != "svg"],
        glasses=_json(read_glasses(results, trajectories, tables.summary("cutoffs"))),
        sections=_sections(tables),
        provenance=_provenance(tables),
        flagged=trajectories[trajectories["flags"] != ""].to_dict("records"),
        failed_checks=_failed_checks(tables),
        reference=conductivities().to_dict("records") if belongs else [],
        statements=statements().to_dict("records") if belongs else [],
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
        (width_pt,) = re.findall(rb'<svg[^>]* width="([0-9.]+)pt"', image)
        width_px = round(float(width_pt) * 96 / 72)
        groups[kind.group].append({"name": name, "kind": kind, "image": data, "width_px": width_px})
    return groups


def _subject(trajectories: pd.DataFrame) -> str:
    """What the campaign is about: Li in LiAlCl; or its number of glasses and its mobile ions."""
    key = trajectories.drop_duplicates("composition")
    if len(key) <= FEW:
        pairs = zip(key["mobile"], key["composition"], strict=True)
        return ", ".join(f"{mobile.replace(',', ' and ')} in {name}" for mobile, name in pairs)
    ions = dict.fromkeys(key["mobile"].map(names).explode())
    return f"{', '.join(ions)} in {len(key)} compositions"


def _banner(trajectories: pd.DataFrame) -> dict[str, Any] | None:
    """What a reader must know before the first number; None where no trajectory is flagged.

    Returns:
        `text`, `details`, and `severe`: whether numbers that are shown are affected.
    """
    flagged = trajectories[trajectories["flags"] != ""]
    n, of = len(flagged), len(trajectories)
    if not n:
        return None
    checks = Counter(flag for flags in flagged["flags"] for flag in flags.split(","))
    named = [f"{check.replace('_', ' ')} ({count})" for check, count in checks.most_common(FEW)]
    more = len(checks) - len(named)
    details = f"Failed most often: {', '.join(named)}" + (f" and {more} more." if more else ".")
    come = f"{n} of {of} trajectories come" if n < of else f"all {of} trajectories come"
    come = "the only trajectory comes" if of == 1 else come
    why = f"{come[0].upper()}{come[1:]} from glasses or runs that failed their checks"
    left_out = bool(trajectories.attrs.get("exclude_flagged"))
    if not left_out:
        use = "do not use these numbers"
        if n < of:
            use = f"do not use the numbers of {_listed(flagged['composition'].unique())}"
        shown = "They are shown because report.exclude_flagged is false: points of flagged data "
        shown += "are hollow, panels of curves are marked."
        return {"text": f"{why}: {use}.", "details": f"{details} {shown}", "severe": True}
    text = f"{why} and {'are' if of > 1 else 'is'} left out"
    text += ", so that there is no number." if n == of else "."
    return {"text": text, "details": details, "severe": n == of}


def _listed(found: Sequence[str], most: int = 9) -> str:
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _key_numbers(tables: CampaignTables) -> dict[str, Any]:
    """Diffusion, conductivity at 300 K, activation energy, t and H_R of every composition.

    Returns:
        `columns` (symbol, unit, temperature), `rows` (composition, cells, whether flagged), and
        `missing`: a sentence for each reason why there is no value.
    """
    compared, names_of = tables.compared(), tables.compositions()
    flagged = tables.flagged_compositions()
    columns = []
    cells: dict[str, list[str]] = {name: [] for name in names_of}
    reasons: dict[str, dict[str, list[str]]] = {}
    for quantity, (symbol, unit) in KEY_NUMBERS.items():
        found = compared[compared["compared"] == quantity]
        at = found["at"].iloc[0] if len(found) and quantity not in ("sigma_300K", "Ea") else ""
        columns.append({"symbol": symbol, "unit": unit, "at": f"at {at}" if at else ""})
        for name in names_of:
            here = found[found["composition"] == name].itertuples()
            numbers = [
                ("" if row.ion == row.mobile else f"{row.ion} ") + measured(row.value, row.err)
                for row in here
            ]
            if numbers:
                cells[name].append(", ".join(numbers))
            else:
                cells[name].append("–")
                why = tables.why_no_value(quantity, name)
                reasons.setdefault(why, {}).setdefault(symbol, []).append(name)
    missing = [
        f"{why[0].upper()}{why[1:]}: no "
        + "; ".join(
            f"{symbol} of {'any composition' if len(of) == len(names_of) else _listed(of)}"
            for symbol, of in found.items()
        )
        + "."
        for why, found in reasons.items()
    ]
    rows = [{"name": n, "cells": cells[n], "flagged": n in flagged} for n in names_of]
    return {"columns": columns, "rows": rows, "missing": missing}


def _verdict(tables: CampaignTables) -> dict[str, Any]:
    """The claims that are decided, and the others with the reasons counted."""
    verdict, trajectories = tables.summary("verdict"), tables.summary("trajectories")
    judged = trajectories.loc[in_family(trajectories), "composition"].unique()
    rows = [_judged(row) for row in verdict.to_dict("records")]
    open_rows = [row for row in rows if row["outcome"] == NOT_DECIDED]
    reasons = Counter(_reason(row["reason"]) for row in open_rows)
    return {
        "decided": [row for row in rows if row["outcome"] != NOT_DECIDED],
        "open": open_rows,
        "compositions": _listed(list(judged)),
        "counts": verdict["outcome"].value_counts().to_dict(),
        "reasons": "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common()),
    }


def _reason(reason: str) -> str:
    """The kind of reason why a claim is not decided, without what is particular to the claim."""
    first = reason.partition(";")[0]
    return re.sub(
        r"^\d+ glass(es)? gives? a value$", "fewer than three glasses give a value", first
    )


def _facts(tables: CampaignTables) -> dict[str, str]:
    """What the campaign is, in a few numbers."""
    trajectories = tables.summary("trajectories")
    diffusion = headline(tables.summary("diffusion"))
    mobile = diffusion[has_role(diffusion, "mobile")]
    temperatures = sorted(trajectories["temperature_K"].unique())
    atoms = sorted(trajectories["n_atoms"].unique())
    flagged = int((trajectories["flags"] != "").sum())
    return {
        "compositions": str(trajectories["composition"].nunique()),
        "temperatures": ", ".join(map(str, temperatures)) + " K",
        "atoms per cell": " to ".join(map(str, dict.fromkeys((atoms[0], atoms[-1])))),
        "trajectories": f"{len(trajectories)}, {flagged} of them flagged",
        "simulated and analysed": duration(float(trajectories["length_ps"].sum())),
        "diffusive mobile ion": f"in {int(mobile['diffusive'].sum())} of {len(mobile)} "
        "trajectories",
    }


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the verdict, its numbers as text."""
    unit = f" {row['unit']}" if row["unit"] else ""
    number = "–"
    if np.isfinite(row["value"]):
        number = f"{measured(row['value'], row['err'])}{unit}"
    interval = ""
    if np.isfinite(row["interval_low"]):
        interval = f"{row['interval_low']:.3g} to {row['interval_high']:.3g}{unit}"
    low, high = row["limit_low"], row["limit_high"]
    limits = f"{low:g} to {high:g}{unit}"
    if not np.isfinite(low) or not np.isfinite(high):
        limits = f"below {high:g}{unit}" if np.isfinite(high) else f"above {low:g}{unit}"
    more = ""
    if row["more_glasses"] == np.inf:
        more = "no number of glasses of these compositions decides it"
    elif row["more_ns"] > MOST_NS:
        more = f"needs more than {duration(1000 * MOST_NS)} more"
    elif np.isfinite(row["more_ns"]):
        more = f"needs {row['more_glasses']:.0f} more ({duration(1000 * row['more_ns'])})"
    return {**row, "number": number, "interval": interval, "limits": limits, "more": more}


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
