"""Figures of transport: displacements, diffusion, conductivity and correlations."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from vitrion.paper.family import halide
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.style import (
    MARKERS,
    PlainNumbers,
    color,
    errorbars,
    legend_above,
    log_axes,
    panels,
    say_nothing,
    straight_line,
    temperature_colors,
)
from vitrion.tables.io import headline

METHODS = {
    "nernst_einstein": "Nernst-Einstein",
    "cluster_nernst_einstein": "cluster Nernst-Einstein",
    "einstein": "Einstein",
}


def mean_squared_displacement(tables: CampaignTables) -> Figure:
    """MSD against lag, one panel for each composition."""
    data = tables.summary("msd")
    data = data[(data["species"] == data["mobile"]) & (data["lag_ps"] > 0)]
    temperatures = temperature_colors(data["temperature_K"].unique())
    figure, panel_list = panels(tables.compositions(), x="lag (ps)", y="MSD (Å²)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        for (temperature, replica), run in chosen.groupby(["temperature_K", "replica"]):
            shade = temperatures[temperature]
            label = f"{temperature} K" if replica == chosen["replica"].min() else None
            panel.plot(run["lag_ps"], run["msd_A2"], color=shade, label=label)
            panel.fill_between(
                run["lag_ps"],
                (run["msd_A2"] - run["msd_err_A2"]).clip(lower=1e-3),
                run["msd_A2"] + run["msd_err_A2"],
                color=shade,
                alpha=0.2,
                linewidth=0,
            )
        if len(chosen):
            _guide(panel, chosen[chosen["temperature_K"] == chosen["temperature_K"].max()])
        else:
            say_nothing(panel, "no trajectory to show")
        panel.set_title(composition)
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


def _guide(panel: Axes, run) -> None:
    lag_ps = np.sort(run["lag_ps"].unique())
    middle = lag_ps[len(lag_ps) // 2]
    slope = run.loc[run["lag_ps"] == middle, "msd_A2"].mean() / middle
    panel.plot(lag_ps, 2 * slope * lag_ps, color="0.5", linestyle="--", linewidth=0.8)


def displacement_by_species(tables: CampaignTables) -> Figure:
    """MSD against lag by role, one panel for each composition."""
    data = tables.summary("msd")
    data = data[(data["temperature_K"] == data["temperature_K"].max()) & (data["lag_ps"] > 0)]
    figure, panel_list = panels(tables.compositions(), x="lag (ps)", y="MSD (Å²)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
            continue
        roles = chosen.iloc[0]
        named = {"mobile": roles["mobile"], "center": roles["center"]}
        named |= {"halide": halide(roles["ligands"]), "oxygen": "O"}
        for index, (role, element) in enumerate(named.items()):
            mean = chosen[chosen["species"] == element].groupby("lag_ps")["msd_A2"].mean()
            panel.plot(mean.index, mean, color=color(index), label=role)
        _guide(panel, chosen[chosen["species"] == roles["mobile"]])
        panel.set_title(composition)
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


def diffusion(tables: CampaignTables) -> Figure:
    """D against 1000 K / T, one panel for each composition."""
    data = headline(tables.summary("diffusion"))
    mobile = data[data["species"] == data["mobile"]]
    fits = tables.summary("arrhenius")
    fits = fits[(fits["quantity"] == "D_mobile") & fits["Ea_eV"].notna()]
    figure, panel_list = panels(tables.compositions(), x="1000 K / T", y="D (cm²/s)")
    for composition, panel in panel_list:
        chosen = mobile[(mobile["composition"] == composition) & mobile["D_cm2_s"].notna()]
        if chosen.empty:
            say_nothing(panel, "no temperature is diffusive\nin the time simulated")
        for index, (replica, rows) in enumerate(chosen.groupby("replica")):
            errorbars(
                panel,
                1000 / rows["temperature_K"],
                rows["D_cm2_s"],
                rows["D_err_cm2_s"],
                marker=MARKERS[index % len(MARKERS)],
                color=color(index),
                label=f"replica {replica}",
            )
        for fit in fits[fits["composition"] == composition].itertuples():
            straight_line(panel, data["temperature_K"], fit.ln_prefactor, fit.Ea_eV, color="0.3")
            panel.text(
                0.96,
                0.92,
                f"$E_a$ = {fit.Ea_eV:.2f} ± {fit.Ea_err_eV:.2f} eV",
                transform=panel.transAxes,
                ha="right",
                fontsize=7.5,
            )
        panel.set_title(composition)
        log_axes(panel, y=True)
    legend_above(figure)
    return figure


def _by_method(tables: CampaignTables, quantity: str, label: str) -> Figure:
    data = tables.summary("pooled").dropna(subset=["value"])
    figure, panel_list = panels(tables.compositions(), x="temperature (K)", y=label)
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        shown = 0
        for index, (method, name) in enumerate(METHODS.items()):
            rows = chosen[chosen["quantity"] == f"{quantity}_{method}"]
            shown += len(rows)
            errorbars(
                panel,
                rows["temperature_K"] + 8 * (index - 1),
                rows["value"],
                rows["err"],
                marker=MARKERS[index],
                color=color(index),
                label=name,
            )
        if not shown:
            say_nothing(panel, "nothing to show")
        panel.set_title(composition)
    legend_above(figure)
    return figure


def conductivity(tables: CampaignTables) -> Figure:
    """Conductivity against temperature, one panel for each composition."""
    figure = _by_method(tables, "sigma", "conductivity (mS/cm)")
    figure.axes[0].set_yscale("symlog", linthresh=1.0)
    figure.axes[0].yaxis.set_major_locator(
        SymmetricalLogLocator(base=10, linthresh=1.0, subs=(1.0, 2.0, 5.0))
    )
    figure.axes[0].yaxis.set_major_formatter(PlainNumbers())
    return figure


def transference(tables: CampaignTables) -> Figure:
    """Transference number against temperature, one panel for each composition."""
    figure = _by_method(tables, "t_mobile", "transference number")
    low, high = figure.axes[0].get_ylim()
    figure.axes[0].set_ylim(max(low, -1), min(high, 3))
    return figure


def haven_ratio(tables: CampaignTables) -> Figure:
    """Haven ratio against temperature, one panel for each composition."""
    data = tables.summary("pooled")
    data = data[(data["quantity"] == "haven_ratio") & data["value"].notna()]
    figure, panel_list = panels(tables.compositions(), x="temperature (K)", y="Haven ratio")
    for composition, panel in panel_list:
        rows = data[data["composition"] == composition]
        if rows.empty:
            say_nothing(panel, "nothing to show")
        errorbars(
            panel, rows["temperature_K"], rows["value"], rows["err"], marker="o", color=color(0)
        )
        panel.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
        panel.set_title(composition)
    low, high = figure.axes[0].get_ylim()
    figure.axes[0].set_ylim(max(low, -1), min(high, 4))
    return figure


def correlations(tables: CampaignTables) -> Figure:
    """Correlated over self displacements against lag, one panel for each composition."""
    data = tables.summary("correlation")
    data = data[(data["temperature_K"] == data["temperature_K"].max()) & (data["lag_ps"] > 0)]
    figure, panel_list = panels(tables.compositions(), x="lag (ps)", y="correlated / self")
    largest = [0.1]
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        panel.axhline(0, color="0.3", linewidth=0.8)
        panel.set_title(composition)
        log_axes(panel, x=True)
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
            continue
        roles = chosen.iloc[0]
        pair = chosen["species_i"] + "–" + chosen["species_j"]
        mean = (
            chosen.assign(pair=pair)
            .groupby(["pair", "lag_ps"])[["self_A2", "distinct_A2", "total_A2"]]
            .mean()
        )
        mobile = roles["mobile"]
        own = mean.loc[f"{mobile}–{mobile}"]
        others = {"center": roles["center"], "halide": halide(roles["ligands"]), "oxygen": "O"}
        curves = {"mobile–mobile, distinct": own["distinct_A2"]}
        for role, element in others.items():
            for name in (f"{mobile}–{element}", f"{element}–{mobile}"):
                if name in mean.index.get_level_values("pair"):
                    curves[f"mobile–{role}"] = mean.loc[name, "total_A2"]
        for index, (label, curve) in enumerate(curves.items()):
            ratio = curve / own["self_A2"]
            panel.plot(ratio.index, ratio, color=color(index), label=label)
            # The longest lags are noise; the axis follows the bulk of the data.
            largest.append(float(np.nanquantile(np.abs(ratio), 0.9)))
    figure.axes[0].set_ylim(-1.2 * max(largest), 1.2 * max(largest))
    legend_above(figure)
    return figure


CONVERGING = {
    "D_mobile": "D of the mobile ion",
    "sigma_einstein": "σ by Einstein",
    "t_mobile_einstein": "t by Einstein",
    "haven_ratio": "Haven ratio",
    "residence:all": "residence time",
}


def convergence(tables: CampaignTables) -> Figure:
    """Relative values against the length used, one panel for each composition."""
    data = tables.summary("convergence")
    data = data[data["temperature_K"] == data["temperature_K"].max()].dropna(subset=["value"])
    figure, panel_list = panels(tables.compositions(), x="length used (ps)", y="value over last")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        shown = 0
        for index, (quantity, name) in enumerate(CONVERGING.items()):
            parts = chosen[chosen["quantity"] == quantity].groupby("length_ps")
            mean = parts["value"].mean()
            if mean.empty or not mean.iloc[-1]:
                continue
            err = parts["err"].agg(lambda e: np.sqrt(np.sum(e**2)) / len(e))
            last = mean.iloc[-1]
            shown += 1
            panel.errorbar(
                mean.index * (1 + 0.02 * (index - 2)),
                mean / last,
                yerr=(err / abs(last)).fillna(0),
                marker=MARKERS[index],
                color=color(index),
                label=name,
                linewidth=0.9,
            )
        panel.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
        log_axes(panel, x=True)
        panel.set_title(composition)
        if not shown:
            say_nothing(panel, "nothing that could converge")
    figure.axes[0].set_ylim(-0.2, 2.2)
    legend_above(figure)
    return figure
