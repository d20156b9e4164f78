"""Figures of the structure: neighbours, environments, fragments."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitrion.base.text import names
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures.panels import (
    NO_TRAJECTORY,
    Role,
    composition_panels,
    element_roles,
)
from vitrion.report.style import color, legend_above, name_panel, nothing, say_nothing
from vitrion.structure.scattering import Q_BIN_1_A, RADIATIONS
from vitrion.tables.io import site_names

MOST_NEIGHBORS = 10
# Element at the origin, element counted, label and style.
Pair = tuple[str, str, str, dict[str, Any]]


def neighbor_curves(left: Axes, around: pd.DataFrame, drawn: Sequence[Pair]) -> Axes:
    """g(r) on the left axis and the number of neighbours within r on the right one.

    Args:
        left: axes of g(r).
        around: rows of the `rdf` table.
        drawn: pairs of elements, their label and their style.

    Returns:
        The right axis.
    """
    right = left.twinx()
    known = {
        (element, neighbor): pair
        for (element, neighbor), pair in around.groupby(["species", "neighbor"], sort=False)
    }
    for element, neighbor, label, style in drawn:
        if (pair := known.get((element, neighbor))) is None:
            continue
        mean = pair.groupby("r_A")[["g", "coordination"]].mean()
        near = mean[mean["coordination"] < MOST_NEIGHBORS]
        left.plot(mean.index, mean["g"], label=label, **style)
        right.plot(near.index, near["coordination"], alpha=0.75, **{**style, "linewidth": 0.8})
    if not left.lines:
        say_nothing(left, NO_TRAJECTORY)
        left.tick_params(labelleft=False)
    left.set_ylim(bottom=0)
    right.set_ylim(0, MOST_NEIGHBORS)
    right.set_yticks(range(0, MOST_NEIGHBORS + 1, 2))
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    # The curves of g(r) above those of N(r).
    left.set_zorder(right.get_zorder() + 1)
    left.patch.set_visible(False)
    return right


def _at_highest_temperature(tables: CampaignTables, name: str) -> pd.DataFrame:
    data = tables.summary(name)
    return data[data["temperature_K"] == data["temperature_K"].max()]


def mobile_neighbors(tables: CampaignTables) -> Figure:
    """g(r) and N(r), one panel for each mobile ion."""
    data = _at_highest_temperature(tables, "rdf")
    trajectories = tables.summary("trajectories").drop_duplicates("composition")
    mobile_ions = list(dict.fromkeys(trajectories["mobile"].map(names).explode()))
    anions = list(dict.fromkeys(trajectories["ligands"].map(names).explode()))
    anions.sort(key=lambda element: element == "O")
    if data.empty:
        return nothing(NO_TRAJECTORY)
    figure, grid = plt.subplots(
        1,
        len(mobile_ions),
        figsize=(2.9 * len(mobile_ions) + 0.6, 2.7),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    flagged = trajectories[trajectories["composition"].isin(tables.flagged_compositions())]
    for panel, mobile in zip(grid.flat, mobile_ions, strict=True):
        drawn = [
            (mobile, anion, anion, {"color": color(index)}) for index, anion in enumerate(anions)
        ]
        neighbor_curves(panel, data, drawn)
        is_flagged = flagged["mobile"].map(lambda ions, ion=mobile: ion in names(ions)).any()
        name_panel(panel, mobile, flagged=bool(is_flagged))
        panel.set_xlabel("r (Å)")
    _name_sides(figure, grid)
    return figure


def _name_sides(figure: Figure, grid: np.ndarray) -> None:
    """Labels of g(r) and N(r) at the outer panels of each row, and one range of r."""
    for row in grid:
        row[0].set_ylabel("g(r)")
    right = {}
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec and axes not in set(grid.flat):
            axes.tick_params(labelright=False)
            right[spec.rowspan.start] = axes  # the last of each row
    for axes in right.values():
        axes.tick_params(labelright=True)
        axes.set_ylabel("N(r), thin lines")
    grid.flat[0].set_xlim(left=1)
    legend_above(figure)


def radial_distribution(tables: CampaignTables) -> Figure:
    """g(r) and N(r), for each composition one panel of the shortest bonds and one of the rest."""
    data = _at_highest_temperature(tables, "rdf")
    if data.empty:
        return nothing(NO_TRAJECTORY)
    key = tables.summary("trajectories").drop_duplicates("composition")
    across = min(len(key), 3)
    down = math.ceil(len(key) / across)
    figure, grid = plt.subplots(
        down,
        2 * across,
        figsize=(3.9 * across + 0.8, 1.75 * down + 0.7),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for panel in grid.flat[2 * len(key) :]:
        panel.set_visible(False)
    flagged = tables.flagged_compositions()
    for index, (_, row) in enumerate(key.iterrows()):
        composition = row["composition"]
        shortest, rest = _pairs(element_roles(row))
        chosen = data[data["composition"] == composition]
        first = 2 * (index % across)
        places = grid[index // across, first : first + 2]
        for panel, pairs in zip(places, (shortest, rest), strict=True):
            ions = {f"{a}–{b}" for a, b, _, _ in shortest}
            name = f"{composition}: {', '.join(sorted(ions)) if pairs is shortest else 'others'}"
            name_panel(panel, name, flagged=composition in flagged)
            if index + across >= len(key):
                panel.set_xlabel("r (Å)")
                panel.tick_params(labelbottom=True)
            neighbor_curves(panel, chosen, pairs)
    _name_sides(figure, grid)
    return figure


# Of the cations: pairs of roles keep their colour in every panel.
_PAIR_COLORS = {"MO": 3, "MX": 2, "MM": 1, "AX": 5, "AO": 4}


def _pairs(roles: dict[str, Role]) -> tuple[list[Pair], list[Pair]]:
    """Pairs of elements: the bonds that tower above all others, and the rest.

    The former are those of the central cations with oxygen, or with every ligand where there is no
    oxygen.
    """
    tall = "O" if "O" in {role.short[0] for role in roles.values()} else "X"
    shortest: list[Pair] = []
    rest: list[Pair] = []
    for (origin, a), (neighbor, b) in itertools.product(roles.items(), repeat=2):
        kind = a.short[0] + b.short[0]
        if kind in _PAIR_COLORS:
            style = {"color": color(_PAIR_COLORS[kind]), "linestyle": b.line}
            pair = (origin, neighbor, f"{a.short}–{b.short}", style)
            (shortest if kind == f"M{tall}" else rest).append(pair)
    return shortest, rest


def by_role(environments: pd.Series, ligands: pd.Series) -> list[str]:
    """Environments with X for the halide: X3O1 for Cl3O1, so that compositions compare."""
    return [
        re.sub(rf"{X}(?=\d)", "X", name) if X else name
        for name, X in zip(environments, ligands.map(_one_halide), strict=True)
    ]


@cache
def _one_halide(ligands: str) -> str:
    """The ligand beside oxygen; empty where there is none, or several that cannot all be X."""
    others = [name for name in names(ligands) if name != "O"]
    return others[0] if len(others) == 1 else ""


def main_environments(tables: CampaignTables, most: int) -> list[str]:
    """The most common environments of the central cations, by role, in the order X4, X3O1, X2O2."""
    table = tables.summary("coordination")
    roles = by_role(site_names(table), table["ligands"])
    common = table.groupby(np.array(roles, dtype=object))["fraction"].sum().nlargest(most)
    counts = {name: _counts(name) for name in common.index}
    usual = sum(counts[common.index[0]].values()) if len(common) else 0
    return sorted(
        common.index,
        key=lambda name: (
            abs(sum(counts[name].values()) - usual),
            counts[name].get("O", 0),
            name,
        ),
    )


def _counts(environment: str) -> dict[str, int]:
    """Ligands of an environment: X 3 and O 1 for X3O1."""
    return {e: int(n) for e, n in re.findall(r"([A-Z][a-z]?)(\d+)", environment)}


def environments(tables: CampaignTables) -> Figure:
    """Bars of the most common environments, one panel for each composition."""
    data = tables.summary("coordination")
    if data.empty:
        return nothing("no central cation with ligands in any trajectory that is shown")
    figure, panel_list = composition_panels(tables, data, x="fraction of cations", y="")
    most = 0
    for _, panel, chosen in panel_list:
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        shares = chosen.groupby(site_names(chosen))["fraction"].sum().nlargest(8) / max(runs, 1)
        most = max(most, len(shares))
        panel.barh(range(len(shares)), shares, color=color(0), height=0.7)
        for row, (name, share) in enumerate(shares.items()):
            inside = share > 0.6  # of the panel's width, where the name would leave it
            panel.text(
                share - 0.01 if inside else share + 0.01,
                row,
                str(name),
                ha="right" if inside else "left",
                va="center",
                color="white" if inside else "black",
                fontsize=7.5,
            )
        panel.set(yticks=[])
        panel.grid(axis="y", visible=False)
    figure.axes[0].set(xlim=(0, 1), ylim=(max(most, 3) - 0.5, -0.5))
    return figure


def network(tables: CampaignTables) -> Figure:
    """Bars of the fragment sizes, one panel for each composition."""
    data = tables.summary("network")
    if data.empty:
        return nothing("no network in any trajectory that is shown")
    figure, panel_list = composition_panels(tables, data, x="cations per fragment", y="fraction")
    for _, panel, chosen in panel_list:
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        shares = chosen.groupby("fragment_size")["fraction"].sum() / max(runs, 1)
        panel.bar(shares.index, shares, color=color(2), width=0.8)
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return figure


def structure_factors(tables: CampaignTables) -> Figure:
    """Total S(q) of neutrons and X-rays, one panel for each composition."""
    data = tables.summary("structure_factor")
    data = data[data["of"].isin(RADIATIONS)].rename(columns={"of": "radiation"})
    return _by_radiation(tables, data, "q_1_A", "S", "S_err", x="q (1/Å)", y="S(q)")


def total_pdfs(tables: CampaignTables) -> Figure:
    """G(r) of neutrons and X-rays, one panel for each composition."""
    data = tables.summary("total_pdf").assign(err=0.0)
    return _by_radiation(tables, data, "r_A", "G_1_A2", "err", x="r (Å)", y="G(r) (1/Å²)")


def _by_radiation(
    tables: CampaignTables, data: pd.DataFrame, at: str, value: str, err: str, *, x: str, y: str
) -> Figure:
    """Curves of both radiations at the lowest temperature, averaged over replicas."""
    if data.empty:
        return nothing(NO_TRAJECTORY)
    data = data[data["temperature_K"] == data["temperature_K"].min()]
    figure, panel_list = composition_panels(tables, data, x=x, y=y)
    for _, panel, chosen in panel_list:
        for index, radiation in enumerate(RADIATIONS):
            rows = chosen[chosen["radiation"] == radiation]
            # Replicas differ in their cells, and so in the lengths of their reciprocal vectors.
            rows = rows.assign(bin=(rows[at] / Q_BIN_1_A).round())
            mean = rows.groupby("bin").agg(
                at=(at, "mean"),
                value=(value, "mean"),
                err=(err, lambda e: np.sqrt(np.nansum(e**2)) / len(e)),
            )
            low, high = mean["value"] - mean["err"], mean["value"] + mean["err"]
            panel.plot(mean["at"], mean["value"], color=color(index), linewidth=1, label=radiation)
            panel.fill_between(mean["at"], low, high, color=color(index), alpha=0.25, linewidth=0)
    figure.axes[0].set_xlim(left=0)
    # The last label of a panel would touch the first of the next.
    figure.axes[0].xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="upper"))
    legend_above(figure)
    return figure


def bridges(tables: CampaignTables) -> Figure:
    """Stacked bars of Qn and of what ligands are bonded to, one panel for each composition."""
    qn, bonding = tables.summary("qn"), tables.summary("ligand_bonding")
    percolation = tables.summary("percolation")
    if qn.empty:
        return nothing("no network in any trajectory that is shown")
    roles = [element_roles(row)[row["ligand"]].short for _, row in bonding.iterrows()]
    bonding = bonding.assign(role=roles)
    bars = ["Qn", *sorted(set(roles), reverse=True)]
    figure, panel_list = composition_panels(tables, qn, x="", y="fraction")
    for composition, panel, own in panel_list:
        if own.empty:
            continue
        runs = len(own[["temperature_K", "replica"]].drop_duplicates())
        _stacked(panel, 0, own.groupby("n_bridges")["fraction"].sum() / runs)
        for role, rows in bonding[bonding["composition"] == composition].groupby("role"):
            _stacked(panel, bars.index(role), rows.groupby("n_centers")["fraction"].sum() / runs)
        rows = percolation[percolation["composition"] == composition]
        share = rows.loc[rows["directions"] > 0, "fraction"].sum() / runs
        panel.set_title(f"{panel.get_title()}, {share:.0%} percolate")
        panel.set_xticks(range(len(bars)), bars)
        panel.tick_params(labelbottom=True)
        panel.grid(axis="x", visible=False)
    figure.axes[0].set_ylim(0, 1)
    legend_above(figure)
    return figure


def _stacked(panel: Axes, place: int, shares: pd.Series) -> None:
    """One bar of shares by a whole number, which is written into its part."""
    below = 0.0
    for number, share in zip(shares.index.astype(int), shares, strict=True):
        panel.bar(place, share, bottom=below, color=color(number), width=0.75, label=str(number))
        if share > 0.08:
            middle = below + share / 2
            panel.text(place, middle, str(number), ha="center", va="center", color="white")
        below += share


def angles(tables: CampaignTables) -> Figure:
    """Densities of angles, one panel for each composition."""
    data = _at_highest_temperature(tables, "angles")
    if data.empty:
        return nothing("no network in any trajectory that is shown")
    figure, panel_list = composition_panels(
        tables, data, x="angle (degrees)", y="density (1/degree)"
    )
    order: list[str] = []
    for _, panel, chosen in panel_list:
        if chosen.empty:
            continue
        roles = element_roles(chosen.iloc[0])
        for atoms, rows in chosen.groupby("atoms", sort=False):
            curve = rows.groupby("angle_deg")["density"].mean()
            label = "–".join(roles[atom].short for atom in str(atoms).split("-"))
            order += [label] if label not in order else []
            index = order.index(label)
            line = "-" if index < 7 else "--"
            panel.plot(curve.index, curve, color=color(index), linestyle=line, label=label)
        panel.axvline(109.47, color="0.6", linewidth=0.8, zorder=0)
        panel.set(xlim=(40, 180), xticks=(60, 90, 120, 150, 180))
    legend_above(figure)
    return figure
