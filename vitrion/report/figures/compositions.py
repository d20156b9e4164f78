"""Figures over all compositions: what differs between them, and what is known from experiment."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from vitrion.base.text import names as names_in
from vitrion.paper.family import in_family
from vitrion.paper.published import conductivities
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.numbers import concise
from vitrion.report.style import (
    MARKERS,
    color,
    errorbars,
    legend_above,
    log_axes,
    nothing,
    reference_line,
    say_nothing,
    view,
)
from vitrion.statistics.differences import COMPARED, FACTORS, outliers
from vitrion.tables import COMPOSITION_KEY

LABELS = {
    "D": "D (cm²/s)",
    "sigma_300K": "σ at 300 K (mS/cm)",
    "Ea": "$E_a$ (eV)",
    "t_mobile": "$t_A$",
    "haven_ratio": "$H_R$",
}
# What these would be if the mobile ions carried all the current, without correlations.
ONE = ("t_mobile", "haven_ratio")
# Values span at least so many of their errors of a colour scale, so that noise has one colour.
LEAST_ERRORS = 6
# A map needs this share of its cells.
LEAST_SHARE = 0.5


def _compared(tables: CampaignTables) -> dict[str, pd.DataFrame]:
    """Values by quantity, with `outlier`, `flagged` and `power`: the power of ten of their unit."""
    found = {}
    compared = tables.compared()
    for name in COMPARED:
        values = compared[compared["compared"] == name].reset_index(drop=True)
        values["outlier"] = outliers(values["x"], values["x_err"], values["freedom"])
        values["flagged"] = tables.flagged(values)
        values["power"] = 0
        if name == "D" and len(values):
            values["power"] = int(np.floor(np.log10(values["value"].median())))
            values[["value", "err"]] = values[["value", "err"]].div(10.0 ** values["power"], axis=0)
        found[name] = values
    return found


def _label(name: str, values: pd.DataFrame, between: str) -> str:
    label = LABELS[name]
    if values.empty:
        return label
    if power := values["power"].iloc[0]:
        label = label.replace("(cm", f"($10^{{{power}}}$ cm")
    return label if name in ("sigma_300K", "Ea") else f"{label}{between}{values['at'].iloc[0]}"


def _without_value(tables: CampaignTables, values: dict[str, pd.DataFrame]) -> str:
    """One line for each quantity that no composition has."""
    return "\n".join(
        f"No {LABELS[name].partition(' (')[0]}: {tables.why_no_value(name)}."
        for name, found in values.items()
        if found.empty
    )


def _is_grid(key: pd.DataFrame) -> bool:
    """Whether compositions differ in their elements alone, and fill a grid of these."""
    cells = np.prod([key[factor].nunique() for factor in FACTORS])
    return not key.duplicated(list(FACTORS)).any() and len(key) >= max(LEAST_SHARE * cells, 4)


def maps(tables: CampaignTables) -> Figure:
    """One map of coloured values for each quantity, with its tests below.

    Compositions that do not fill a grid of elements (a series such as LiAlCl4 and LiAlCl2.5O0.75,
    or a few single ones) are drawn along an axis instead.
    """
    if len(tables.compositions()) == 1:
        return nothing("one composition, which there is nothing to compare with")
    # What single ions of several have is compared in no test, and has no cell of its own.
    values = {n: v[v["ion"] == v["mobile"]] for n, v in _compared(tables).items()}
    shown = [name for name, found in values.items() if len(found)]
    if not shown:
        return nothing(_without_value(tables, values))
    key = tables.summary("trajectories")[list(COMPOSITION_KEY)].drop_duplicates()
    levels = {factor: list(dict.fromkeys(key[factor])) for factor in FACTORS}
    grid = _is_grid(key)
    if grid:
        width = 0.45 * len(levels["ligands"]) * len(levels["mobile"]) + 0.7
        height = 0.27 * len(levels["center"]) + 0.95
    else:
        width, height = min(0.42 * len(key), 9) + 1.2, 1.75
    width = max(width, 4.2)
    missing = _without_value(tables, values)
    figure = plt.figure(
        figsize=(width, height * len(shown) + 0.17 * missing.count("\n") + 0.3),
        layout="constrained",
    )
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    tests = tables.summary("differences")
    for part, name in zip(parts, shown, strict=True):
        part.suptitle(_label(name, values[name], " at "), fontsize=9)
        chosen = tests[tests["compared"] == name].set_index("factor")
        if grid:
            _maps(part, values[name], levels)
            said = [_test(chosen.loc[factor], factor, name) for factor in FACTORS]
            part.supxlabel("depends on " + "; ".join(said), fontsize=7)
        else:
            _along_an_axis(part, values[name], list(key["composition"]), name)
            part.supxlabel(_test(chosen.loc["any"], "any", name), fontsize=7)
    if missing:
        figure.supxlabel(missing, fontsize=7.5, color="0.4")
    return figure


def _scale(values: pd.DataFrame) -> Normalize:
    """A colour scale of `x` that is wide against the errors."""
    middle = 0.5 * (values["x"].min() + values["x"].max())
    span = max(np.ptp(values["x"]), LEAST_ERRORS * values["x_err"].median(), 0.05)
    return Normalize(middle - span / 2, middle + span / 2)


def _maps(part: SubFigure, values: pd.DataFrame, levels: dict[str, list[str]]) -> None:
    """One matrix of central cations and ligands for each mobile ion."""
    scale, shades = _scale(values), plt.get_cmap("cividis")
    centers, ligands = levels["center"], levels["ligands"]
    grid = part.subplots(1, len(levels["mobile"]), squeeze=False, sharey=True)
    for axes, mobile in zip(grid.flat, levels["mobile"], strict=True):
        for cell in values[values["mobile"] == mobile].itertuples():
            x, y = ligands.index(cell.ligands), centers.index(cell.center)
            shade = shades(scale(cell.x))
            axes.add_patch(
                Rectangle(
                    (x - 0.5, y - 0.5),
                    1,
                    1,
                    linewidth=0,
                    facecolor=shade,
                    hatch="////" if cell.flagged else None,
                    edgecolor="white",
                )
            )
            if cell.outlier:
                axes.add_patch(
                    Rectangle(
                        (x - 0.45, y - 0.45),
                        0.9,
                        0.9,
                        fill=False,
                        edgecolor=color(1),
                        linewidth=1.8,
                    )
                )
            dark = np.dot(shade[:3], (0.3, 0.6, 0.1)) < 0.5
            axes.text(
                x,
                y,
                concise(cell.value, cell.err),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "black",
            )
        axes.set(xlim=(-0.5, len(ligands) - 0.5), ylim=(len(centers) - 0.5, -0.5))
        axes.set_xticks(range(len(ligands)), [name.removesuffix(",O") for name in ligands])
        axes.set_yticks(range(len(centers)), centers)
        axes.tick_params(length=0, labelsize=8)
        axes.grid(visible=False)
        if len(levels["mobile"]) > 1:
            axes.set_title(mobile, fontsize=8)


def _along_an_axis(part: SubFigure, values: pd.DataFrame, names: list[str], compared: str) -> None:
    """Points with errors, compositions along the horizontal axis."""
    axes = part.subplots()
    log = COMPARED[compared].logarithm
    also = [1.0] if compared in ONE else []
    limits = view(values["value"], values["err"], also=also, log=log)
    log_axes(axes, y=log)
    axes.set(ylim=limits, xlim=(-0.6, len(names) - 0.4))
    places = values["composition"].map(names.index)
    errorbars(
        axes,
        places,
        values["value"],
        values["err"],
        limits=limits,
        hollow=values["flagged"],
        color=color(0),
        marker="o",
    )
    for place, value in zip(places, values.itertuples(), strict=True):
        if value.outlier:
            _ring(axes, place, value.value)
    for place in sorted(set(range(len(names))) - set(places)):
        axes.text(place, 0.5, "–", transform=axes.get_xaxis_transform(), ha="center", color="0.4")
    if compared in ONE:
        reference_line(axes, 1.0)
    steep = max(map(len, names)) * len(names) > 45
    axes.set_xticks(range(len(names)), names, rotation=90 if steep else 0, fontsize=7.5)


def _ring(axes: Axes, x: float, y: float) -> None:
    """A ring around an outlier."""
    axes.plot(x, y, "o", markersize=9, markerfacecolor="none", color="0.2")


def _test(test: pd.Series, factor: str, compared: str) -> str:
    """A test of the table of differences, in words."""
    name = {"mobile": "A", "center": "M", "ligands": "X", "any": "all alike"}[factor]
    if test["reason"]:
        return f"{name}: no test" + (f" ({test['reason']})" if factor == "any" else "")
    p = "p < 0.001" if test["p_holm"] < 0.001 else f"p = {test['p_holm']:.2g}"
    size = f"Δ {test['spread']:.2g}"
    if COMPARED[compared].logarithm:
        size = f"×{np.exp(test['spread']):.2g}"
    answer = "yes" if bool(test["significant"]) != (factor == "any") else "no"
    return f"{name}: {answer}, {p}, {size}"


def compositions(tables: CampaignTables) -> Figure:
    """Values with errors, one line for each composition, beside measured conductivities."""
    names = tables.compositions()
    key = tables.summary("trajectories").drop_duplicates("composition")
    found = _compared(tables)
    mobile_ions = list(dict.fromkeys([*key["mobile"], *key["mobile"].map(names_in).explode()]))
    known = conductivities()
    if not in_family(key).any():
        known = known.iloc[:0]
    elsewhere = known[~known["composition"].isin(names)]
    rows = {name: row for row, name in enumerate([*names, *elsewhere["name"]])}
    shown = [name for name in COMPARED if len(found[name]) or (name == "sigma_300K" and len(known))]
    if not shown:
        return nothing(_without_value(tables, found))
    figure, grid = plt.subplots(
        1,
        len(shown),
        figsize=(1.9 * len(shown) + 1.0, 0.21 * max(len(rows), 4) + 1.3),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, name in zip(grid.flat, shown, strict=True):
        values, log = found[name], COMPARED[name].logarithm
        axes.set_xlabel(_label(name, values, "\n"))
        measured = known["conductivity_mS_cm"] if name == "sigma_300K" else pd.Series(dtype=float)
        also = [*measured, *([1.0] if name in ONE else [])]
        limits = view(values["value"], values["err"], also=also, log=log)
        log_axes(axes, x=log)
        axes.set_xlim(limits)
        if len(measured):
            lines = [
                rows[r.composition if r.composition in names else r.name]
                for r in known.itertuples(index=False)
            ]
            axes.plot(measured, lines, "D", color="0.3", markersize=5, label="measured")
        if name in ONE:
            reference_line(axes, 1.0, horizontal=False)
        if values.empty:
            say_nothing(axes, "no value")
            continue
        weights = 1 / values["x_err"] ** 2
        mean = (weights * values["x"]).sum() / weights.sum()
        mean = np.exp(mean) / 10.0 ** values["power"].iloc[0] if log else mean
        axes.axvline(mean, color="0.6", linewidth=0.8, zorder=0)
        for index, mobile in enumerate(mobile_ions):
            chosen = values[values["ion"] == mobile]
            lines = chosen["composition"].map(rows)
            errorbars(
                axes,
                lines,
                chosen["value"],
                chosen["err"],
                limits=limits,
                hollow=chosen["flagged"],
                horizontal=True,
                color=color(index),
                marker=MARKERS[index % len(MARKERS)],
                label=mobile,
            )
        for value in values[values["outlier"]].itertuples():
            _ring(axes, value.value, rows[value.composition])
    grid[0, 0].set_yticks(list(rows.values()), list(rows), fontsize=7.5)
    grid[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    missing = _without_value(tables, {name: found[name] for name in COMPARED if name not in shown})
    if missing:
        figure.supxlabel(missing, fontsize=7.5, color="0.4")
    legend_above(figure)
    return figure
