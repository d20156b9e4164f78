"""Figures of the glasses: how they were made, and their checks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from vitrion.base.text import names
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures.panels import composition_panels
from vitrion.report.style import BAD, GOOD, color, legend_above, nothing
from vitrion.statistics.glass_transition import QUENCH, QUENCH_NPT, cooling_rows
from vitrion.statistics.glass_transition import glass_transition as glass_transition_fit


def glass_checks(tables: CampaignTables) -> Figure:
    """A matrix of compositions and checks."""
    data = _by_role(tables.glasses("glass_checks"), tables)
    names, checks = tables.compositions(), list(dict.fromkeys(data["check"]))
    if data.empty:
        return nothing("no glass was checked")
    size = (0.62 * len(checks) + 1.6, 0.24 * len(names) + 1.7)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    passed = data.pivot_table(index="composition", columns="check", values="passed", aggfunc="sum")
    made = data.pivot_table(index="composition", columns="check", values="passed", aggfunc="count")
    passed, made = (table.reindex(names)[checks].fillna(0) for table in (passed, made))
    shades = ListedColormap([GOOD, BAD]).with_extremes(bad="white")
    axes.imshow(
        np.ma.masked_array((passed < made).to_numpy(dtype=float), made.to_numpy() == 0),
        cmap=shades,
        vmin=0,
        vmax=1,
        aspect="auto",
    )
    for (row, column), total in np.ndenumerate(made.to_numpy(dtype=int)):
        text = f"{int(passed.iat[row, column])}/{total}" if total else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    axes.set_xticks(
        range(len(checks)), [check.replace("_", " ") for check in checks], rotation=40, ha="right"
    )
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    return figure


def _by_role(checks: pd.DataFrame, tables: CampaignTables) -> pd.DataFrame:
    """Checks of an element under the name of its role, which all compositions share."""
    trajectories = tables.summary("trajectories").drop_duplicates("composition")
    for composition, *roles in trajectories[["composition", "mobile", "center"]].to_numpy():
        own = checks["composition"] == composition
        for elements, role in zip(roles, ("mobile ion", "central cation"), strict=True):
            several = "|".join(names(elements))
            checks.loc[own, "check"] = checks.loc[own, "check"].str.replace(
                rf" of ({several})$", f" of the {role}", regex=True
            )
    return checks


def _history(tables: CampaignTables, quantity: str, label: str, target: str = "") -> Figure:
    data = tables.glasses("thermo")
    if data.empty:
        return nothing("no glass was made here")
    figure, panel_list = composition_panels(
        tables, data, x="time (ps)", y=label, empty="no glass was made here"
    )
    for _, panel, chosen in panel_list:
        for replica, run in chosen.groupby("replica"):
            panel.plot(
                run["time_ps"],
                run[quantity],
                color=color(replica),
                linewidth=0.9,
                label=f"glass {replica}",
            )
        if target:
            first = chosen[chosen["replica"] == chosen["replica"].min()]
            panel.plot(
                first["time_ps"],
                first[target],
                color="0.3",
                linestyle="--",
                linewidth=0.8,
                label="asked for",
            )
    legend_above(figure)
    return figure


def quench_temperature(tables: CampaignTables) -> Figure:
    """Temperature against time, one panel for each composition."""
    return _history(tables, "temperature_K", "temperature (K)", target="target_temperature_K")


def quench_density(tables: CampaignTables) -> Figure:
    """Density against time, one panel for each composition."""
    return _history(tables, "density_g_cm3", "density (g/cm³)")


def quench_energy(tables: CampaignTables) -> Figure:
    """Potential energy against time, one panel for each composition."""
    return _history(tables, "potential_energy_eV_atom", "energy (eV/atom)")


def glass_transition(tables: CampaignTables) -> Figure:
    """Potential energy along the quench with two lines that meet, one panel per composition."""
    data, found = tables.glasses("thermo"), tables.summary("glass_transition")
    data = data[data["stage"].isin([QUENCH, QUENCH_NPT])]
    found = found[found["quantity"] == "energy"]
    if data.empty:
        return nothing("no glass was cooled")
    if found.empty:
        return nothing("no quench was long enough for two lines")
    figure, panel_list = composition_panels(
        tables, data, x="T (K)", y="energy (eV/atom)", empty=None
    )
    for composition, panel, chosen in panel_list:
        for replica, run in chosen.groupby("replica"):
            run = cooling_rows(run)
            fit = glass_transition_fit(
                run["target_temperature_K"].to_numpy(), run["potential_energy_eV_atom"].to_numpy()
            )
            panel.plot(
                fit.centers_K,
                fit.means,
                linestyle="none",
                marker=".",
                markersize=3,
                color=color(replica),
                label=f"glass {replica}",
            )
            if np.isfinite(fit.Tg_K):
                ends = np.array([fit.centers_K[0], fit.Tg_K, fit.centers_K[-1]])
                lines = np.minimum(ends - fit.Tg_K, 0) * fit.slope_below
                lines += np.maximum(ends - fit.Tg_K, 0) * fit.slope_above
                residual = np.interp(fit.centers_K, ends, lines)
                panel.plot(ends, lines + np.mean(fit.means - residual), color=color(replica))
        known = found.loc[found["composition"] == composition, "Tg_K"].dropna()
        text = f"$T_g$ {known.mean():.0f} K" if len(known) else "one line is as good"
        panel.text(0.04, 0.9, text, transform=panel.transAxes, fontsize=8)
    legend_above(figure)
    return figure
