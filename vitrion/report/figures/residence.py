"""Figures of the mobile ion's residence: P(t), residence times and activation energies."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vitrion.paper.verdict import CLAIMS
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.figures.panels import composition_panels
from vitrion.report.figures.structure import by_role, main_environments
from vitrion.report.style import (
    MARKERS,
    bar_lengths,
    color,
    errorbars,
    legend_above,
    log_axes,
    nothing,
    straight_line,
    view,
)
from vitrion.tables.io import site_names

SHOWN = 4
CLUSTERS_SHOWN = 6
# Names that fit beside a panel of the usual height.
ROWS_PER_PANEL = 6


def stays_shown(tables: CampaignTables) -> list[str]:
    """Names of the stays at the most common environments: X3O1, or Li:Al:X3O1 of several."""
    table = tables.summary("residence")
    present = sorted(set(by_role(site_names(table), table["ligands"])))
    return [
        name
        for main in main_environments(tables, SHOWN)
        for name in present
        if name == main or name.endswith(f":{main}")
    ]


def residence(tables: CampaignTables) -> Figure:
    """P(t) by environment, one panel for each composition."""
    data = tables.summary("residence_curve")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    data = data.assign(role=by_role(site_names(data), data["ligands"]))
    environments = stays_shown(tables)
    if data.empty:
        return nothing("no residence in any trajectory that is shown")
    figure, panel_list = composition_panels(tables, data, x="time (ps)", y="P(t)")
    for _, panel, chosen in panel_list:
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
    figure.axes[0].set_ylim(0, 1.02)
    legend_above(figure)
    return figure


def residence_times(tables: CampaignTables) -> Figure:
    """Residence times against 1000 K / T, one panel for each composition."""
    environments = stays_shown(tables)
    pooled, fits = (_residence_rows(tables.summary(name)) for name in ("pooled", "arrhenius"))
    pooled = pooled[pooled["role"].isin(environments) & (pooled["value"] > 0)]
    pooled = pooled.assign(flagged=tables.flagged(pooled))
    if pooled.empty:
        return nothing("too few departures in the time simulated")
    figure, panel_list = composition_panels(
        tables,
        pooled,
        x="1000 K / T",
        y="τ (ps)",
        empty="too few departures\nin the time simulated",
    )
    limits = view(pooled["value"], pooled["err"], log=True)
    figure.axes[0].set_ylim(limits)
    for composition, panel, chosen in panel_list:
        log_axes(panel, y=True)
        for index, environment in enumerate(environments):
            rows = chosen[chosen["role"] == environment]
            if rows.empty:
                continue
            errorbars(
                panel,
                1000 / rows["temperature_K"],
                rows["value"],
                rows["err"],
                limits=limits,
                hollow=rows["flagged"],
                marker=MARKERS[index % len(MARKERS)],
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
    legend_above(figure)
    return figure


def _residence_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of residence times, with the environment by role."""
    rows = table[table["quantity"].str.startswith("residence:")]
    names = rows["quantity"].str.removeprefix("residence:")
    return rows.assign(role=by_role(names, rows["ligands"]))


def lifetimes(tables: CampaignTables) -> Figure:
    """Times of stays and of environments, one panel for each composition."""
    # Rows of environments and, where there are several mobile ions, rows of stays at them.
    environments = list(dict.fromkeys([*main_environments(tables, SHOWN), *stays_shown(tables)]))
    series = (
        ("residence", "tau_ps", "tau_err_ps", "o", "residence time"),
        ("residence", "dwell_ps", "dwell_err_ps", "x", "time per departure"),
        ("environment_lifetimes", "tau_ps", "tau_err_ps", "D", "lifetime of the environment"),
    )
    if tables.summary("residence").empty or not environments:
        return nothing("no residence in any trajectory that is shown")
    parts = {
        (composition, label): _over_replicas(
            tables.summary(name), composition, value, err, environments
        ).rename(columns={value: "value", err: "err"})
        for composition in tables.compositions()
        for name, value, err, _, label in series
    }
    every = pd.concat(parts, names=["composition", "label"]).reset_index()
    if every.empty:
        return nothing("too few departures in the time simulated")
    limits = view(every["value"], every["err"], log=True)
    figure, panel_list = composition_panels(
        tables, every, x="time (ps)", y="", empty="too few departures\nin the time simulated"
    )
    figure.axes[0].set(xlim=limits, ylim=(len(environments) - 0.5, -0.5))
    figure.set_figheight(figure.get_figheight() * max(1, len(environments) / ROWS_PER_PANEL))
    for composition, panel, _ in panel_list:
        log_axes(panel, x=True)
        panel.set_yticks(range(len(environments)), environments)
        panel.grid(axis="y", visible=False)
        for index, (_, _, _, marker, label) in enumerate(series):
            rows = parts[composition, label]
            place = rows["place"] + 0.22 * (index - 1)
            errorbars(
                panel,
                place,
                rows["value"],
                rows["err"],
                limits=limits,
                hollow=composition in tables.flagged_compositions(),
                horizontal=True,
                marker=marker,
                color=color(index),
                label=label,
            )
            if label == "residence time":
                before = (rows["value"] * (1 - rows["tail_share"])).clip(*limits)
                until = rows["value"].clip(*limits)
                panel.hlines(place, before, until, color=color(index), alpha=0.35, lw=3)
    legend_above(figure)
    return figure


def _over_replicas(
    table: pd.DataFrame, composition: str, value: str, err: str, environments: list[str]
) -> pd.DataFrame:
    """Means at the highest temperature by environment, with their place in `environments`."""
    table = table[table["temperature_K"] == table["temperature_K"].max()]
    table = table[(table["composition"] == composition) & table[value].notna()]
    table = table.assign(role=by_role(site_names(table), table["ligands"]))
    table = table[table["role"].isin(environments)]
    found = table.groupby("role").agg(
        **{
            value: (value, "mean"),
            err: (err, lambda e: np.sqrt(np.sum(e**2)) / len(e)),
            "tail_share": ("tail_share", "mean"),
        }
    )
    return found.assign(place=[environments.index(role) for role in found.index])


def cluster_lifetimes(tables: CampaignTables) -> Figure:
    """Lifetimes by formula, one panel for each composition."""
    data = tables.summary("cluster_lifetimes").dropna(subset=["tau_ps"])
    if data.empty:
        return nothing("no cluster changes often enough in the time simulated")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    low, high = view(data["tau_ps"], data["tau_err_ps"], log=True)
    limits = low / 1.5, high * 1.5  # names are wider than points
    figure, panel_list = composition_panels(
        tables, data, x="lifetime (ps)", y="", empty="too few changes\nin the time simulated"
    )
    figure.axes[0].set_xlim(limits)
    for composition, panel, chosen in panel_list:
        if chosen.empty:
            continue
        rows = chosen.groupby("cluster", sort=False).agg(
            tau_ps=("tau_ps", "mean"),
            err=("tau_err_ps", lambda e: np.sqrt(np.sum(e**2)) / len(e)),
            n_events=("n_events", "sum"),
        )
        rows = rows.sort_values("n_events", ascending=False).head(CLUSTERS_SHOWN)
        place = range(len(rows))
        errorbars(
            panel,
            pd.Series(place),
            rows["tau_ps"],
            rows["err"],
            limits=limits,
            hollow=composition in tables.flagged_compositions(),
            horizontal=True,
            marker="o",
            color=color(0),
        )
        for y, (name, row) in zip(place, rows.iterrows(), strict=True):
            panel.annotate(
                str(name),
                (row["tau_ps"], y),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        panel.set(yticks=[], ylim=(CLUSTERS_SHOWN - 0.5, -0.8))
        log_axes(panel, x=True)
    legend_above(figure)
    return figure


def residence_sensitivity(tables: CampaignTables) -> Figure:
    """Residence time by the change of the cutoff, one line for each composition."""
    data = tables.summary("residence_sensitivity").dropna(subset=["tau_ps"])
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    if data.empty:
        return nothing("too few departures in the time simulated")
    figure, axes = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    axes.set(xlabel="change of the cutoff (Å)", ylabel="τ / τ by the first minimum")
    flagged = tables.flagged_compositions()
    data = data.assign(site=site_names(data.assign(environment="")).str.removesuffix(":"))
    groups = data.groupby(["composition", "site"], sort=False)
    for index, ((composition, site), rows) in enumerate(groups):
        mean = rows.groupby("cutoff_shift_A")["tau_ps"].mean()
        if 0.0 in mean.index:
            axes.plot(
                mean.index,
                mean / mean.loc[0.0],
                color=color(index),
                marker=MARKERS[index // 7 % len(MARKERS)],
                markerfacecolor="white" if composition in flagged else color(index),
                label=f"{composition}, {site}" if site else composition,
            )
    axes.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
    log_axes(axes, y=True)
    legend_above(figure)
    return figure


def activation_energies(tables: CampaignTables) -> Figure:
    """Activation energy of diffusion against that of residence, one point a composition."""
    fits = tables.summary("arrhenius")
    fits = fits[fits["Ea_eV"].notna()].set_index("composition")
    # One mobile ion at one element's cations: of several, which belong together is not one point.
    residence = fits.loc[fits["quantity"] == "residence:all", ["Ea_eV", "Ea_err_eV", "flags"]]
    both = fits[fits["quantity"] == "D_mobile"].join(
        residence.add_suffix("_residence"), how="inner"
    )
    if both.empty:
        return nothing("no composition has both at three temperatures")
    figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    axes.set(xlabel="$E_a$ of residence (eV)", ylabel="$E_a$ of diffusion (eV)")
    values = [*both["Ea_eV"], *both["Ea_eV_residence"]]
    low, high = view(values, [*both["Ea_err_eV"], *both["Ea_err_eV_residence"]])
    low, high = low - 0.03, high + 0.03
    ends = np.array([low, high])
    flagged = both.index.isin(tables.flagged_compositions())
    hollow = flagged | (both["flags"] != "") | (both["flags_residence"] != "")
    for index, (mobile, rows) in enumerate(both.assign(hollow=hollow).groupby("mobile")):
        for is_hollow, chosen in rows.groupby("hollow"):
            axes.errorbar(
                chosen["Ea_eV_residence"],
                chosen["Ea_eV"],
                xerr=bar_lengths(
                    chosen["Ea_eV_residence"], chosen["Ea_err_eV_residence"], (low, high)
                ),
                yerr=bar_lengths(chosen["Ea_eV"], chosen["Ea_err_eV"], (low, high)),
                linestyle="none",
                marker=MARKERS[index % len(MARKERS)],
                color=color(index),
                markerfacecolor="white" if is_hollow else color(index),
                label=mobile,
            )
    margin = next(claim.high for claim in CLAIMS if claim.name == "same_activation_energy")
    axes.plot(ends, ends, color="0.3", linewidth=0.8, zorder=0)
    axes.fill_between(ends, ends - margin, ends + margin, color="0.5", alpha=0.15, linewidth=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    legend_above(figure)
    return figure
