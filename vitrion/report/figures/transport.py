"""Figures of transport: displacements, diffusion, conductivity and correlations."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrion.base.text import names
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures.panels import (
    NO_TRAJECTORY,
    NOT_DIFFUSIVE,
    by_ion,
    composition_panels,
    element_roles,
)
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
    straight_line,
    temperature_colors,
    view,
)
from vitrion.tables.io import has_role, headline
from vitrion.transport.quantities import ion_of, without_ion

RUN = ["temperature_K", "replica"]
METHODS = {
    "nernst_einstein": "Nernst-Einstein",
    "cluster_nernst_einstein": "cluster Nernst-Einstein",
    "einstein": "Einstein",
}


def mean_squared_displacement(tables: CampaignTables) -> Figure:
    """MSD against lag, one panel for each composition."""
    data = tables.summary("msd")
    data = data[has_role(data, "mobile") & (data["lag_ps"] > 0)]
    if data.empty:
        return nothing(NO_TRAJECTORY)
    temperatures = temperature_colors(data["temperature_K"].unique())
    figure, panel_list = composition_panels(tables, data, x="lag (ps)", y="MSD (Å²)")
    for _, panel, chosen in panel_list:
        for role, ending, of_ion in by_ion(chosen):
            for (temperature, replica), run in of_ion.groupby(RUN):
                shade, first = temperatures[temperature], replica == chosen["replica"].min()
                label = f"{temperature} K{ending}" if first else None
                panel.plot(run["lag_ps"], run["msd_A2"], role.line, color=shade, label=label)
                panel.fill_between(
                    run["lag_ps"],
                    (run["msd_A2"] - run["msd_err_A2"]).clip(lower=run["msd_A2"] / 4),
                    run["msd_A2"] + run["msd_err_A2"],
                    color=shade,
                    alpha=0.2,
                    linewidth=0,
                )
        if len(chosen):
            _guide(panel, chosen[chosen["temperature_K"] == chosen["temperature_K"].max()])
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
    if data.empty:
        return nothing(NO_TRAJECTORY)
    figure, panel_list = composition_panels(tables, data, x="lag (ps)", y="MSD (Å²)")
    for _, panel, chosen in panel_list:
        if chosen.empty:
            continue
        for element, role in element_roles(chosen.iloc[0]).items():
            mean = chosen[chosen["species"] == element].groupby("lag_ps")["msd_A2"].mean()
            panel.plot(mean.index, mean, color=role.color, linestyle=role.line, label=role.name)
        _guide(panel, chosen[has_role(chosen, "mobile")])
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


def diffusion_against_lag(tables: CampaignTables) -> Figure:
    """Local slope of the MSD against lag, one panel for each composition."""
    data = headline(tables.summary("diffusion_curve"))
    data = data[has_role(data, "mobile") & (data["D_cm2_s"] > 0)]
    if data.empty:
        return nothing(NO_TRAJECTORY)
    fits = headline(tables.summary("diffusion"))
    fits = fits[has_role(fits, "mobile")].set_index([*RUN, "composition", "species"])
    temperatures = temperature_colors(data["temperature_K"].unique())
    figure, panel_list = composition_panels(tables, data, x="lag (ps)", y="D(lag) (cm²/s)")
    for composition, panel, chosen in panel_list:
        for role, ending, of_ion in by_ion(chosen):
            for (temperature, replica, ion), curve in of_ion.groupby([*RUN, "species"]):
                shade, first = temperatures[temperature], replica == chosen["replica"].min()
                label = f"{temperature} K{ending}" if first else None
                lag_ps, D_cm2_s = curve["lag_ps"], curve["D_cm2_s"]
                panel.plot(lag_ps, D_cm2_s, role.line, color=shade, label=label, linewidth=0.9)
                low, high = _ends(curve, "D_cm2_s", "D_err_cm2_s")
                panel.fill_between(lag_ps, low, high, color=shade, alpha=0.2, linewidth=0)
                fit = fits.loc[(temperature, replica, composition, ion)]
                if np.isfinite(fit["D_cm2_s"]):
                    window = [fit["fit_start_ps"], fit["fit_stop_ps"]]
                    panel.plot(window, [fit["D_cm2_s"]] * 2, color=shade, linewidth=2.4)
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


def conductivity_against_lag(tables: CampaignTables) -> Figure:
    """Conductivities by local slopes against lag, one panel for each composition."""
    data = headline(tables.summary("conductivity_curve"))
    if data.empty:
        return nothing(NO_TRAJECTORY)
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    data = data[data["sigma_mS_cm"] > 0]
    windows = headline(tables.summary("diffusion"))
    windows = windows[has_role(windows, "mobile")]
    figure, panel_list = composition_panels(tables, data, x="lag (ps)", y="σ(lag) (mS/cm)")
    for composition, panel, chosen in panel_list:
        for index, method in enumerate(METHODS):
            for replica, curve in chosen[chosen["method"] == method].groupby("replica"):
                label = METHODS[method] if replica == chosen["replica"].min() else None
                shade = color(index)
                panel.plot(curve["lag_ps"], curve["sigma_mS_cm"], color=shade, label=label)
                low, high = _ends(curve, "sigma_mS_cm", "sigma_err_mS_cm")
                panel.fill_between(curve["lag_ps"], low, high, color=shade, alpha=0.2, linewidth=0)
        here = windows[windows["composition"] == composition]
        here = here[here["temperature_K"].isin(chosen["temperature_K"])]
        if len(here):
            start, stop = here["fit_start_ps"].min(), here["fit_stop_ps"].max()
            panel.axvspan(start, stop, color="0.92", zorder=0)
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


def _ends(curve: pd.DataFrame, value: str, err: str) -> tuple[pd.Series, pd.Series]:
    """One standard error about a curve on a logarithmic axis."""
    return (curve[value] - curve[err]).clip(lower=0.2 * curve[value]), curve[value] + curve[err]


def diffusion(tables: CampaignTables) -> Figure:
    """D against 1000 K / T, one panel for each composition."""
    data = headline(tables.summary("diffusion"))
    mobile = data[has_role(data, "mobile") & data["D_cm2_s"].notna()]
    mobile = mobile.assign(flagged=tables.flagged(mobile))
    if mobile.empty:
        return nothing(NOT_DIFFUSIVE if len(data) else NO_TRAJECTORY)
    fits = tables.summary("arrhenius")
    fits = fits[(without_ion(fits["quantity"]) == "D_mobile") & fits["Ea_eV"].notna()]
    figure, panel_list = composition_panels(
        tables, mobile, x="1000 K / T", y="D (cm²/s)", empty=NOT_DIFFUSIVE
    )
    limits = view(mobile["D_cm2_s"], mobile["D_err_cm2_s"], log=True)
    figure.axes[0].set_ylim(limits)
    for composition, panel, chosen in panel_list:
        log_axes(panel, y=True)
        for index, (_, ending, of_ion) in enumerate(by_ion(chosen)):
            for replica, rows in of_ion.groupby("replica"):
                errorbars(
                    panel,
                    1000 / rows["temperature_K"],
                    rows["D_cm2_s"],
                    rows["D_err_cm2_s"],
                    limits=limits,
                    hollow=rows["flagged"],
                    marker=MARKERS[(replica + index) % len(MARKERS)],
                    color=color(replica + 3 * index),
                    label=f"replica {replica}{ending}",
                )
        for index, fit in enumerate(fits[fits["composition"] == composition].itertuples()):
            straight_line(panel, data["temperature_K"], fit.ln_prefactor, fit.Ea_eV, color="0.3")
            ion = fit.quantity.partition(":")[2]
            panel.text(
                0.96,
                0.92 - 0.09 * index,
                f"$E_a$ = {concise(fit.Ea_eV, fit.Ea_err_eV)} eV{ion and f' ({ion})'}",
                transform=panel.transAxes,
                ha="right",
                fontsize=7.5,
            )
    legend_above(figure)
    return figure


def _by_method(
    tables: CampaignTables,
    quantity: str,
    label: str,
    *,
    log: bool = False,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    data = tables.summary("pooled").dropna(subset=["value"])
    data = data[data["quantity"].isin([f"{quantity}_{method}" for method in METHODS])]
    data = data.assign(flagged=tables.flagged(data))
    if data.empty:
        return nothing(_why_no_conductivity(tables))
    figure, panel_list = composition_panels(
        tables, data, x="temperature (K)", y=label, empty=NOT_DIFFUSIVE
    )
    limits = view(data["value"], data["err"], log=log, within=within)
    figure.axes[0].set_ylim(limits)
    for _, panel, chosen in panel_list:
        log_axes(panel, y=log)
        for index, (method, name) in enumerate(METHODS.items()):
            rows = chosen[chosen["quantity"] == f"{quantity}_{method}"]
            errorbars(
                panel,
                rows["temperature_K"] + 8 * (index - 1),
                rows["value"],
                rows["err"],
                limits=limits,
                hollow=rows["flagged"],
                marker=MARKERS[index],
                color=color(index),
                label=name,
            )
    return figure


def _why_no_conductivity(tables: CampaignTables) -> str:
    return NOT_DIFFUSIVE if len(tables.summary("conductivity")) else NO_TRAJECTORY


def conductivity(tables: CampaignTables) -> Figure:
    """Conductivity against temperature, one panel for each composition."""
    figure = _by_method(tables, "sigma", "conductivity (mS/cm)", log=True)
    legend_above(figure)
    return figure


def transference(tables: CampaignTables) -> Figure:
    """Transference number against temperature, one panel for each composition."""
    figure = _by_method(tables, "t_mobile", "transference number", within=(-1, 3))
    _compare_with_one(figure)
    legend_above(figure)
    return figure


def _compare_with_one(figure: Figure) -> None:
    for panel in figure.axes:
        if panel.axison and panel.get_visible():
            reference_line(panel, 1.0)


def haven_ratio(tables: CampaignTables) -> Figure:
    """Haven ratio against temperature, one panel for each composition."""
    data = tables.summary("pooled")
    data = data[(without_ion(data["quantity"]) == "haven_ratio") & data["value"].notna()]
    data = data.assign(flagged=tables.flagged(data))
    if data.empty:
        return nothing(_why_no_conductivity(tables))
    figure, panel_list = composition_panels(
        tables, data, x="temperature (K)", y="Haven ratio", empty=NOT_DIFFUSIVE
    )
    limits = view(data["value"], data["err"], also=[1.0], within=(-1, 4))
    figure.axes[0].set_ylim(limits)
    for _, panel, chosen in panel_list:
        for index, (_, ending, rows) in enumerate(by_ion(chosen)):
            errorbars(
                panel,
                rows["temperature_K"] + 8 * index,
                rows["value"],
                rows["err"],
                limits=limits,
                hollow=rows["flagged"],
                marker=MARKERS[index],
                color=color(index),
                label=ending.removeprefix(", ") or None,
            )
    _compare_with_one(figure)
    legend_above(figure)
    return figure


def correlations(tables: CampaignTables) -> Figure:
    """Correlated over self displacements against lag, one panel for each composition."""
    data = tables.summary("correlation")
    data = data[(data["temperature_K"] == data["temperature_K"].max()) & (data["lag_ps"] > 0)]
    if data.empty:
        return nothing(NO_TRAJECTORY)
    figure, panel_list = composition_panels(tables, data, x="lag (ps)", y="correlated / self")
    largest = [0.1]
    for _, panel, chosen in panel_list:
        panel.axhline(0, color="0.3", linewidth=0.8)
        log_axes(panel, x=True)
        if chosen.empty:
            continue
        pair = chosen["species_i"] + "–" + chosen["species_j"]
        mean = (
            chosen.assign(pair=pair)
            .groupby(["pair", "lag_ps"])[["self_A2", "distinct_A2", "total_A2"]]
            .mean()
        )
        roles = element_roles(chosen.iloc[0])
        ions = names(chosen["mobile"].iloc[0])
        for mobile, (element, role) in product(ions, roles.items()):
            own = mean.loc[f"{mobile}–{mobile}"]
            who = "mobile" if len(ions) == 1 else mobile
            for name in dict.fromkeys((f"{mobile}–{element}", f"{element}–{mobile}")):
                if name not in mean.index.get_level_values("pair"):
                    continue
                same = element == mobile
                curve = mean.loc[name, "distinct_A2" if same else "total_A2"]
                ratio = curve / own["self_A2"]
                label = f"{who}–{who}, distinct" if same else f"{who}–{role.name}"
                panel.plot(ratio.index, ratio, color=role.color, linestyle=role.line, label=label)
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


def converging(quantity: str) -> str:
    """The key of `CONVERGING` that a quantity belongs to, of whatever ion; empty for others."""
    kind, *of = quantity.split(":")
    kind = f"residence:{of[-1]}" if kind == "residence" else kind
    return kind if kind in CONVERGING else ""


def convergence(tables: CampaignTables) -> Figure:
    """Relative values against the length used, one panel for each composition."""
    data = tables.summary("convergence")
    data = data[data["temperature_K"] == data["temperature_K"].max()].dropna(subset=["value"])
    data = data.assign(kind=data["quantity"].map(converging))
    data = data[data["kind"] != ""]
    if data.empty:
        return nothing("no part of a trajectory gives a value")
    figure, panel_list = composition_panels(
        tables, data, x="length used (ps)", y="value over last", empty=None
    )
    limits = (-0.2, 2.2)
    figure.axes[0].set_ylim(limits)
    for composition, panel, chosen in panel_list:
        log_axes(panel, x=True)
        reference_line(panel, 1.0)
        hollow = composition in tables.flagged_compositions()
        shown = 0
        for index, (kind, name) in enumerate(CONVERGING.items()):
            for number, (_, rows) in enumerate(chosen[chosen["kind"] == kind].groupby("quantity")):
                parts = rows.groupby("length_ps")
                mean = parts["value"].mean()
                last = mean.iloc[-1]
                if not last:
                    continue
                err = parts["err"].agg(lambda e: np.sqrt(np.sum(e**2)) / len(e))
                shown += 1
                place = mean.index * (1 + 0.02 * (index - 2))
                panel.plot(place, mean / last, color=color(index), linewidth=0.9)
                errorbars(
                    panel,
                    place,
                    mean / last,
                    err / abs(last),
                    limits=limits,
                    hollow=hollow,
                    marker=MARKERS[index],
                    color=color(index),
                    label=None if number else name,
                )
        if not shown:
            say_nothing(panel, "no part of it gives a value")
    legend_above(figure)
    return figure


def jumps(tables: CampaignTables) -> Figure:
    """Lengths of jumps, and the share of back jumps by temperature, a colour per composition."""
    lengths, table = tables.summary("jump_lengths"), tables.summary("jumps")
    table = table[table["n_jumps"] > 0]
    if table.empty:
        return nothing("no jumps of the mobile ion in any trajectory that is shown")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.4), layout="constrained")
    left.set(xlabel="length of a jump (Å)", ylabel="density (1/Å)")
    right.set(xlabel="temperature (K)", ylabel="share of back jumps", ylim=(0, 1))
    lengths = lengths[lengths["temperature_K"] == lengths["temperature_K"].max()]
    for index, composition in enumerate(tables.compositions()):
        hollow = composition in tables.flagged_compositions()
        style: dict[str, Any] = {
            "color": color(index),
            "marker": MARKERS[index // 7 % len(MARKERS)],
            "markerfacecolor": "white" if hollow else color(index),
        }
        for role, ending, curve in by_ion(lengths[lengths["composition"] == composition]):
            mean = curve.groupby("length_A")["density"].mean()
            label = composition + ending
            left.plot(mean.index, mean, role.line, label=label, markevery=8, **style)
        for role, ending, of_ion in by_ion(table[table["composition"] == composition]):
            rows = of_ion.groupby("temperature_K")
            share, err = rows["back_fraction"].mean(), rows["back_fraction_err"]
            combined = err.apply(lambda e: np.sqrt(np.sum(e**2)) / len(e)).fillna(0)
            style |= {"linestyle": role.line, "label": composition + ending}
            right.errorbar(share.index, share, yerr=combined, **style)
    right.axhline(1 / 6, color="0.3", linestyle="--", linewidth=0.8)
    legend_above(figure)
    return figure


def distinct_van_hove(tables: CampaignTables) -> Figure:
    """G_d(r, t)/ρ at the shortest, a middle and the longest lag, one panel for each composition."""
    data = tables.summary("van_hove_distinct")
    if data.empty:
        return nothing(NO_TRAJECTORY)
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    figure, panel_list = composition_panels(tables, data, x="r (Å)", y="G$_d$(r, t) / ρ")
    for _, panel, chosen in panel_list:
        if chosen.empty:
            continue
        lags = np.sort(chosen["lag_ps"].unique())
        shown = lags[[0, len(lags) // 2, -1]]
        shades = temperature_colors([0, 1, 2])
        for role, ending, of_ion in by_ion(chosen):
            for shade, lag in zip(shades.values(), shown, strict=True):
                mean = of_ion[of_ion["lag_ps"] == lag].groupby("r_A")["g"].mean()
                label = f"{lag:.3g} ps{ending}"
                panel.plot(mean.index, mean, role.line, color=shade, linewidth=1.1, label=label)
        panel.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
    figure.axes[0].set_xlim(left=0)
    legend_above(figure)
    return figure


def finite_size(tables: CampaignTables) -> Figure:
    """D of the smallest cells and of an infinite one over D of the largest, by composition."""
    data = tables.summary("finite_size")
    data = data[(without_ion(data["quantity"]) == "D_mobile") & (data["value_largest"] > 0)]
    if data.empty:
        return nothing("every composition has glasses of one size")
    data = data.assign(place=np.arange(len(data), dtype=float))
    figure, axes = plt.subplots(figsize=(4.8, 0.3 * len(data) + 1.4), layout="constrained")
    axes.set(xlabel="D of the mobile ion over that of the largest cells", ylabel="")
    infinite = data["value_infinite"] / data["value_largest"]
    axes.errorbar(
        infinite,
        data["place"],
        xerr=data["value_infinite_err"] / data["value_largest"],
        linestyle="none",
        marker="o",
        color=color(0),
        label="infinite cell (line in 1/L)",
    )
    smallest = data["value_smallest"] / data["value_largest"]
    axes.plot(
        smallest,
        data["place"],
        linestyle="none",
        marker="s",
        color=color(1),
        label="smallest cells",
    )
    labels = data["composition"] + ", " + data["temperature_K"].astype(str) + " K"
    labels += ion_of(data["quantity"]).map(lambda ion: ion and f", {ion}")
    axes.set_yticks(data["place"], labels + data["p"].map(", p = {:.2g}".format))
    axes.set_ylim(len(data) - 0.5, -0.5)
    axes.axvline(1, color="0.3", linestyle="--", linewidth=0.8)
    legend_above(figure)
    return figure
