"""Figures of the mobile ion's residence: P(t), residence times and activation energies."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vitrion.paper.verdict import CLAIMS
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures.structure import by_role, main_environments
from vitrion.report.style import (
    MARKERS,
    color,
    errorbars,
    legend_above,
    log_axes,
    panels,
    say_nothing,
    straight_line,
)

SHOWN = 4


def residence(tables: CampaignTables) -> Figure:
    """P(t) by environment, one panel for each composition."""
    data = tables.summary("residence_curve")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    data = data.assign(role=by_role(data["environment"], data["ligands"]))
    environments = main_environments(tables, SHOWN)
    figure, panel_list = panels(tables.compositions(), x="time (ps)", y="P(t)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
        for index, environment in enumerate(environments):
            curve = (
                chosen[chosen["role"] == environment]
                .groupby("lag_ps")
                .agg(P=("P", "mean"), err=("P_err", lambda e: np.sqrt(np.sum(e**2)) / len(e)))
            )
            panel.plot(curve.index, curve["P"], color=color(index), label=environment)
            panel.fill_between(
                curve.index,
                curve["P"] - curve["err"].fillna(0),
                curve["P"] + curve["err"].fillna(0),
                color=color(index),
                alpha=0.2,
                linewidth=0,
            )
        panel.set_title(composition)
    figure.axes[0].set_ylim(0, 1.02)
    legend_above(figure)
    return figure


def residence_times(tables: CampaignTables) -> Figure:
    """Residence times against 1000 K / T, one panel for each composition."""
    environments = main_environments(tables, SHOWN)
    pooled, fits = (_residence_rows(tables.summary(name)) for name in ("pooled", "arrhenius"))
    figure, panel_list = panels(tables.compositions(), x="1000 K / T", y="τ (ps)")
    for composition, panel in panel_list:
        chosen = pooled[(pooled["composition"] == composition) & (pooled["value"] > 0)]
        chosen = chosen[chosen["role"].isin(environments)]
        if chosen.empty:
            say_nothing(panel, "too few departures\nin the time simulated")
        for index, environment in enumerate(environments):
            rows = chosen[chosen["role"] == environment]
            if rows.empty:
                continue
            errorbars(
                panel,
                1000 / rows["temperature_K"],
                rows["value"],
                rows["err"],
                marker=MARKERS[index],
                color=color(index),
                label=environment,
            )
            fit = fits[
                (fits["composition"] == composition)
                & (fits["role"] == environment)
                & fits["Ea_eV"].notna()
            ]
            for row in fit.itertuples():
                straight_line(
                    panel, rows["temperature_K"], -row.ln_prefactor, -row.Ea_eV, color=color(index)
                )
        panel.set_title(composition)
        log_axes(panel, y=True)
    legend_above(figure)
    return figure


def _residence_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of residence times, with the environment by role."""
    rows = table[table["quantity"].str.startswith("residence:")]
    names = rows["quantity"].str.removeprefix("residence:")
    return rows.assign(role=by_role(names, rows["ligands"]))


def activation_energies(tables: CampaignTables) -> Figure:
    """Activation energy of diffusion against that of residence, one point a composition."""
    fits = tables.summary("arrhenius")
    fits = fits[fits["Ea_eV"].notna()].set_index("composition")
    residence = fits.loc[fits["quantity"] == "residence:all", ["Ea_eV", "Ea_err_eV", "flags"]]
    both = fits[fits["quantity"] == "D_mobile"].join(
        residence.add_suffix("_residence"), how="inner"
    )
    figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    axes.set(xlabel="$E_a$ of residence (eV)", ylabel="$E_a$ of diffusion (eV)")
    if both.empty:
        say_nothing(axes, "no composition has both at\nthree temperatures")
        return figure
    for index, (mobile, rows) in enumerate(both.groupby("mobile", sort=False)):
        sound = (rows["flags"] == "") & (rows["flags_residence"] == "")
        for chosen, face in ((rows[sound], color(index)), (rows[~sound], "white")):
            if len(chosen):
                axes.errorbar(
                    chosen["Ea_eV_residence"],
                    chosen["Ea_eV"],
                    xerr=chosen["Ea_err_eV_residence"],
                    yerr=chosen["Ea_err_eV"],
                    linestyle="none",
                    marker=MARKERS[index % 7],
                    color=color(index),
                    markerfacecolor=face,
                    label=mobile,
                )
    values = pd.concat([both["Ea_eV"], both["Ea_eV_residence"]])
    ends = np.array([values.min() - 0.08, values.max() + 0.08])
    margin = next(claim.high for claim in CLAIMS if claim.name == "same_activation_energy")
    axes.plot(ends, ends, color="0.3", linewidth=0.8, zorder=0)
    axes.fill_between(ends, ends - margin, ends + margin, color="0.5", alpha=0.15, linewidth=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    legend_above(figure)
    return figure
