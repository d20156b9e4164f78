"""Figures over all compositions: what differs between them, and what is known from experiment."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from vitrion.paper.published import conductivities
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.style import MARKERS, color, concise, say_nothing
from vitrion.statistics.differences import COMPARED, FACTORS, outliers

LABELS = {
    "D": "D (cm²/s)",
    "sigma_300K": "σ at 300 K (mS/cm)",
    "Ea": "$E_a$ (eV)",
    "t_mobile": "$t_A$",
    "haven_ratio": "$H_R$",
}


def _compared(tables: CampaignTables, name: str) -> tuple[pd.DataFrame, int]:
    """Values of a quantity with `outlier`, and the power of ten of their unit in the figure."""
    values = tables.compared()
    values = values[values["compared"] == name].copy()
    values["outlier"] = outliers(values["x"], values["x_err"])
    power = 0
    if name == "D" and len(values):
        power = int(np.floor(np.log10(values["value"].median())))
    values[["value", "err"]] = values[["value", "err"]] / 10.0**power
    return values, power


def _label(name: str, power: int, values: pd.DataFrame) -> str:
    at = values["at"].iloc[0] if len(values) and name not in ("sigma_300K", "Ea") else ""
    label = LABELS[name].replace("(cm", f"($10^{{{power}}}$ cm") if power else LABELS[name]
    return f"{label}\n{at}" if at else label


def maps(tables: CampaignTables) -> Figure:
    """Matrices of coloured values, one row for each quantity, with the tests at the right."""
    trajectories = tables.summary("trajectories")
    levels = {factor: list(dict.fromkeys(trajectories[factor])) for factor in FACTORS}
    columns = len(levels["mobile"])
    cells = len(levels["center"]), len(levels["ligands"])
    size = (
        columns * (0.62 * cells[1] + 0.35) + 3.0,
        len(COMPARED) * (0.36 * cells[0] + 0.45) + 0.3,
    )
    figure, grid = plt.subplots(
        len(COMPARED),
        columns + 1,
        figsize=size,
        squeeze=False,
        layout="constrained",
        width_ratios=[1.0] * columns + [0.95],
    )
    tests = tables.summary("differences")
    for row, (name, of) in enumerate(COMPARED.items()):
        values, power = _compared(tables, name)
        norm = _norm(values["value"], of.logarithm)
        for axes, mobile in zip(grid[row], levels["mobile"], strict=False):
            _map(axes, values[values["mobile"] == mobile], levels, norm)
            if row == 0:
                axes.set_title(mobile)
        grid[row, 0].set_ylabel(_label(name, power, values), fontsize=8)
        _tests(grid[row, -1], tests[tests["compared"] == name], of.logarithm)
    return figure


def _norm(values: pd.Series, logarithm: bool) -> Normalize:
    low, high = (values.min(), values.max()) if len(values) else (1.0, 2.0)
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    return LogNorm(low, high) if logarithm else Normalize(min(low, high), max(low, high))


def _map(axes: Axes, values: pd.DataFrame, levels: dict[str, list[str]], norm: Normalize) -> None:
    centers, ligands = levels["center"], levels["ligands"]
    shades = plt.get_cmap("cividis")
    for cell in values.itertuples():
        x, y = ligands.index(cell.ligands), centers.index(cell.center)
        shade = shades(norm(cell.value))
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, linewidth=0))
        if cell.outlier:
            axes.add_patch(
                Rectangle(
                    (x - 0.45, y - 0.45), 0.9, 0.9, fill=False, edgecolor=color(1), linewidth=1.8
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
    axes.set_xticks(range(len(ligands)), ligands)
    axes.set_yticks(range(len(centers)), centers)
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _tests(axes: Axes, tests: pd.DataFrame, logarithm: bool) -> None:
    axes.axis("off")
    for row, factor in enumerate(FACTORS):
        test = tests[tests["factor"] == factor].iloc[0]
        name = {"mobile": "A", "center": "M", "ligands": "X"}[factor]
        if test["reason"]:
            text = f"{name}: no test"
        else:
            p = "p < 0.001" if test["p_holm"] < 0.001 else f"p = {test['p_holm']:.2g}"
            size = f"×{np.exp(test['spread']):.2g}" if logarithm else f"Δ {test['spread']:.2g}"
            found = "significant" if test["significant"] else "not significant"
            text = f"{name}: {found}, {p}, {size}"
        weight = "bold" if test["significant"] else "normal"
        axes.text(
            0,
            0.8 - 0.3 * row,
            text,
            transform=axes.transAxes,
            fontsize=7.5,
            va="center",
            fontweight=weight,
        )


def compositions(tables: CampaignTables) -> Figure:
    """Values with errors, one line for each composition, beside measured conductivities."""
    names = tables.compositions()
    trajectories = tables.summary("trajectories").drop_duplicates("composition")
    mobile_of = trajectories.set_index("composition")["mobile"]
    mobile_ions = list(dict.fromkeys(mobile_of))
    known = conductivities()
    elsewhere = known[~known["composition"].isin(names)]
    rows = {name: row for row, name in enumerate([*names, *elsewhere["name"]])}
    figure, grid = plt.subplots(
        1, len(COMPARED), figsize=(10.5, 0.21 * len(rows) + 1.3), sharey=True, layout="constrained"
    )
    for axes, (name, of) in zip(grid, COMPARED.items(), strict=True):
        values, power = _compared(tables, name)
        axes.set_xlabel(_label(name, power, values))
        if name == "sigma_300K":
            lines = [
                rows[r.composition if r.composition in names else r.name]
                for r in known.itertuples(index=False)
            ]
            axes.plot(known["conductivity_mS_cm"], lines, "D", color="0.3", markersize=5)
        if of.logarithm:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        if values.empty:
            say_nothing(axes, "no value")
            continue
        weights = 1 / values["x_err"] ** 2
        mean = (weights * values["x"]).sum() / weights.sum()
        mean = np.exp(mean) / 10.0**power if of.logarithm else mean
        axes.axvline(mean, color="0.6", linewidth=0.8, zorder=0)
        for value in values.itertuples():
            index = mobile_ions.index(value.mobile)
            axes.errorbar(
                value.value,
                rows[value.composition],
                xerr=value.err,
                color=color(index),
                marker=MARKERS[index % len(MARKERS)],
                markerfacecolor=color(index) if value.outlier else "white",
            )
    grid[0].set_yticks(list(rows.values()), list(rows), fontsize=7.5)
    grid[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure
