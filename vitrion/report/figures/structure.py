"""Figures of the structure: neighbours, environments, fragments."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vitrion.paper.family import halide
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.style import color, legend_above, panels, say_nothing


def mobile_neighbors(tables: CampaignTables) -> Figure:
    """g(r) and coordination numbers, one column for each mobile ion."""
    data = tables.summary("rdf")
    data = data[data["species"] == data["mobile"]]
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    mobile_ions = list(dict.fromkeys(tables.summary("trajectories")["mobile"]))
    figure, grid = plt.subplots(
        2,
        len(mobile_ions),
        figsize=(2.8 * len(mobile_ions) + 0.6, 4.4),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    anions = [*dict.fromkeys(tables.summary("trajectories")["ligands"].map(halide)), "O"]
    for column, mobile in enumerate(mobile_ions):
        around = data[data["mobile"] == mobile]
        grid[0, column].set_title(mobile)
        grid[1, column].set_xlabel("r (Å)")
        if around.empty:
            say_nothing(grid[0, column], "no trajectory to show")
        for index, anion in enumerate(anions):
            mean = around[around["neighbor"] == anion].groupby("r_A")[["g", "coordination"]].mean()
            if len(mean):
                near = mean[mean["coordination"] < 10]
                style = {"color": color(index), "label": anion}
                grid[0, column].plot(mean.index, mean["g"], **style)
                grid[1, column].plot(near.index, near["coordination"], **style)
    grid[0, 0].set_ylabel("g(r)")
    grid[1, 0].set_ylabel("N(r)")
    grid[0, 0].set_xlim(1, data["r_A"].max() if len(data) else 2)
    legend_above(figure)
    return figure


def radial_distribution(tables: CampaignTables) -> Figure:
    """g(r) by pair of roles, one panel for each composition."""
    data = tables.summary("rdf")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    figure, panel_list = panels(tables.compositions(), x="r (Å)", y="g(r)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
            continue
        roles = chosen.iloc[0]
        X = halide(roles["ligands"])
        pairs = (
            (roles["center"], "O", "M–O"),
            (roles["center"], X, "M–X"),
            (roles["mobile"], "O", "A–O"),
            (roles["mobile"], X, "A–X"),
            (roles["center"], roles["center"], "M–M"),
        )
        for index, (center, neighbor, name) in enumerate(pairs):
            curve = (
                chosen[(chosen["species"] == center) & (chosen["neighbor"] == neighbor)]
                .groupby("r_A")["g"]
                .mean()
            )
            panel.plot(curve.index, curve, color=color(index), label=name)
        panel.set_title(composition)
    if not data.empty:
        figure.axes[0].set_xlim(1, data["r_A"].max())
    legend_above(figure)
    return figure


def by_role(names: pd.Series, ligands: pd.Series) -> list[str]:
    """Environments with X for the halide: X3O1 for Cl3O1, so that compositions compare."""
    return [
        re.sub(rf"{X}(?=\d)", "X", name) if X else name
        for name, X in zip(names, ligands.map(halide), strict=True)
    ]


def main_environments(tables: CampaignTables, most: int) -> list[str]:
    """The most common environments of the central cations, by role, the most common first."""
    table = tables.summary("coordination")
    roles = by_role(table["environment"], table["ligands"])
    return list(table.groupby(np.array(roles, dtype=object))["fraction"].sum().nlargest(most).index)


def environments(tables: CampaignTables) -> Figure:
    """Bars of the most common environments, one panel for each composition."""
    data = tables.summary("coordination")
    figure, panel_list = panels(tables.compositions(), x="fraction of cations", y="")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        names = list(chosen.groupby("environment")["fraction"].sum().nlargest(8).index)
        shares = chosen.groupby("environment")["fraction"].sum().reindex(names) / max(runs, 1)
        panel.barh(range(len(names)), shares, color=color(0), height=0.7)
        for row, name in enumerate(names):
            panel.text(shares[name] + 0.01, row, name, va="center", fontsize=7.5)
        panel.set(title=composition, yticks=[], ylim=(7.5, -0.5))
        panel.grid(axis="y", visible=False)
    figure.axes[0].set_xlim(0, 1)
    return figure


def network(tables: CampaignTables) -> Figure:
    """Bars of the fragment sizes, one panel for each composition."""
    data = tables.summary("network")
    figure, panel_list = panels(tables.compositions(), x="cations per fragment", y="fraction")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        shares = chosen.groupby("fragment_size")["fraction"].sum() / max(runs, 1)
        panel.bar(shares.index, shares, color=color(2), width=0.8)
        panel.set_title(composition)
    return figure
