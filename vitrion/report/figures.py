"""The figures of a campaign. Each is a function from the tables to a Matplotlib figure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrion.report.campaign import CampaignTables
from vitrion.report.style import (
    MARKERS,
    RC,
    color,
    legend_above,
    log_axes,
    panels,
    save,
    say_nothing,
    temperature_colors,
)
from vitrion.units import BOLTZMANN_eV_K


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report: its title, what it shows, and how it is drawn."""

    title: str
    caption: str
    draw: Callable[[CampaignTables], Figure]


FIGURES: dict[str, FigureKind] = {}


def _figure(title: str) -> Callable[[Callable], Callable]:
    """Register a drawing function under its name; its docstring is the caption."""

    def register(draw: Callable[[CampaignTables], Figure]) -> Callable[[CampaignTables], Figure]:
        FIGURES[draw.__name__] = FigureKind(title, inspect.cleandoc(draw.__doc__ or ""), draw)
        return draw

    return register


def plot_figure(
    name: str, results: CampaignTables | Path | str, outputs: Iterable[Path | str]
) -> None:
    """Draw a figure and write it to each output, in the format of its suffix.

    Args:
        name: key of `FIGURES`.
        results: the campaign's folder, or its tables.
        outputs: files to write (.svg, .png, .pdf).
    """
    tables = results if isinstance(results, CampaignTables) else CampaignTables(results)
    with plt.rc_context(RC):
        save(FIGURES[name].draw(tables), outputs)


def _errorbars(axes: Axes, x: pd.Series, y: pd.Series, error: pd.Series, **style: object) -> None:
    axes.errorbar(x, y, yerr=error.fillna(0.0), linestyle="none", **style)


@_figure("Learning curves")
def learning(tables: CampaignTables) -> Figure:
    """Mean absolute errors of the potential on training and validation frames, by epoch. Epoch 0 is
    the start model.
    """
    data = tables.potential("learning")
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.7), layout="constrained")
    quantities = (
        ("energy_mae_meV_atom", "energy MAE (meV/atom)"),
        ("force_mae_meV_A", "force MAE (meV/Å)"),
        ("stress_mae_GPa", "stress MAE (GPa)"),
    )
    for panel, (column, label) in zip(axes, quantities, strict=True):
        if data is None:
            say_nothing(panel, "model was not trained here")
            continue
        for index, (split, name) in enumerate((("train", "training"), ("val", "validation"))):
            panel.plot(data["epoch"], data[f"{split}_{column}"], color=color(index), label=name)
        panel.set(xlabel="epoch", ylabel=label)
        panel.set_ylim(bottom=0)
        panel.xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure)
    return figure


@_figure("Parity of the potential")
def parity(tables: CampaignTables) -> Figure:
    """Predicted against DFT forces, before and after fine-tuning, on each split. The slope of the
    forces is 1 for a potential that is neither too soft nor too stiff.
    """
    data = tables.potential("parity")
    metrics = tables.potential("model_metrics")
    forces = data[data["quantity"] == "force"]
    splits = [split for split in ("train", "val", "test") if (forces["split"] == split).any()]
    figure, axes = plt.subplots(
        1, len(splits), figsize=(2.8 * len(splits) + 0.4, 3.1), squeeze=False, layout="constrained"
    )
    for panel, split in zip(axes.flat, splits, strict=True):
        for index, (model, rows) in enumerate(forces.groupby("model", sort=False)):
            chosen = rows[rows["split"] == split]
            overall = metrics[
                (metrics["model"] == model)
                & (metrics["split"] == split)
                & (metrics["composition"] == "all")
            ].iloc[0]
            panel.plot(
                chosen["reference"],
                chosen["predicted"],
                "." if index else "x",
                color=color(1 - index),
                alpha=0.6,
                markersize=3,
                label=model,
            )
            panel.text(
                0.04,
                0.95 - 0.08 * index,
                f"{overall['force_mae_meV_A']:.0f} meV/Å, "
                f"slope {overall['force_parity_slope']:.2f}",
                transform=panel.transAxes,
                color=color(1 - index),
                fontsize=7.5,
            )
        low, high = chosen["reference"].min(), chosen["reference"].max()
        panel.plot([low, high], [low, high], color="0.3", linewidth=0.8, zorder=0)
        panel.set(title=split, xlabel="DFT force (eV/Å)", aspect="equal")
    axes.flat[0].set_ylabel("predicted force (eV/Å)")
    legend_above(figure)
    return figure


def _history(tables: CampaignTables, quantity: str, label: str, target: str = "") -> Figure:
    data = tables.glasses("thermo")
    figure, panel_list = panels(tables.compositions(), x="time (ps)", y=label)
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
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
        panel.set_title(composition)
    legend_above(figure)
    return figure


@_figure("Melt and quench: temperature")
def quench_temperature(tables: CampaignTables) -> Figure:
    """Temperature of every glass from packing to anneal."""
    return _history(tables, "temperature_K", "temperature (K)", target="target_temperature_K")


@_figure("Melt and quench: density")
def quench_density(tables: CampaignTables) -> Figure:
    """Density of every glass from packing to anneal."""
    return _history(tables, "density_g_cm3", "density (g/cm³)")


@_figure("Melt and quench: energy")
def quench_energy(tables: CampaignTables) -> Figure:
    """Potential energy of every glass from packing to anneal."""
    return _history(tables, "potential_energy_eV_atom", "energy (eV/atom)")


@_figure("Radial distribution functions")
def radial_distribution(tables: CampaignTables) -> Figure:
    """g(r) around the metal (oxygen, halogen) and the alkali, at the highest temperature. Replicas
    are averaged.
    """
    data = tables.summary("rdf")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    figure, panel_list = panels(tables.compositions(), x="r (Å)", y="g(r)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
            continue
        roles = chosen.iloc[0][["alkali", "metal", "halogen"]]
        pairs = (
            (roles["metal"], "O", "M–O"),
            (roles["metal"], roles["halogen"], "M–X"),
            (roles["alkali"], "O", "A–O"),
            (roles["alkali"], roles["halogen"], "A–X"),
            (roles["metal"], roles["metal"], "M–M"),
        )
        for index, (center, neighbor, name) in enumerate(pairs):
            curve = (
                chosen[(chosen["center"] == center) & (chosen["neighbor"] == neighbor)]
                .groupby("r_A")["g"]
                .mean()
            )
            panel.plot(curve.index, curve, color=color(index), label=name)
        panel.set_title(composition)
    if not data.empty:
        figure.axes[0].set_xlim(1, data["r_A"].max())
    legend_above(figure)
    return figure


@_figure("Mean squared displacements")
def mean_squared_displacement(tables: CampaignTables) -> Figure:
    """MSD of the alkali by temperature (full lines, one standard error shaded) and of the metal at
    the highest temperature (dotted). The dashed guide has the slope of diffusion.
    """
    data = tables.summary("msd")
    temperatures = temperature_colors(data["temperature_K"].unique())
    figure, panel_list = panels(tables.compositions(), x="lag (ps)", y="MSD (Å²)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        for (temperature, replica), run in chosen.groupby(["temperature_K", "replica"]):
            alkali = run[(run["species"] == run["alkali"]) & (run["lag_ps"] > 0)]
            shade = temperatures[temperature]
            label = f"{temperature} K" if replica == chosen["replica"].min() else None
            panel.plot(alkali["lag_ps"], alkali["msd_A2"], color=shade, label=label)
            panel.fill_between(
                alkali["lag_ps"],
                (alkali["msd_A2"] - alkali["msd_err_A2"]).clip(lower=1e-3),
                alkali["msd_A2"] + alkali["msd_err_A2"],
                color=shade,
                alpha=0.2,
                linewidth=0,
            )
            if temperature == max(temperatures):
                metal = run[(run["species"] == run["metal"]) & (run["lag_ps"] > 0)]
                panel.plot(metal["lag_ps"], metal["msd_A2"], color=shade, linestyle=":")
                guide = alkali["lag_ps"].to_numpy()
                if len(guide):
                    anchor = alkali["msd_A2"].iloc[len(guide) // 2] / guide[len(guide) // 2]
                    panel.plot(
                        guide, 2 * anchor * guide, color="0.5", linestyle="--", linewidth=0.8
                    )
        panel.set_title(composition)
        log_axes(panel, x=True, y=True)
    legend_above(figure)
    return figure


@_figure("Diffusion against temperature")
def diffusion(tables: CampaignTables) -> Figure:
    """Tracer diffusion of the alkali, with its Arrhenius line where at least three temperatures are
    diffusive. Trajectories without a diffusive window are not shown: they have no D.
    """
    data = tables.summary("diffusion")
    alkali = data[data["species"] == data["alkali"]]
    fits = tables.summary("arrhenius")
    fits = fits[fits["quantity"] == "D_alkali"].set_index("composition")
    figure, panel_list = panels(tables.compositions(), x="1000 K / T", y="D (cm²/s)")
    for composition, panel in panel_list:
        chosen = alkali[(alkali["composition"] == composition) & alkali["D_cm2_s"].notna()]
        if chosen.empty:
            say_nothing(panel, "no temperature is diffusive\nin the time simulated")
        for index, (replica, rows) in enumerate(chosen.groupby("replica")):
            _errorbars(
                panel,
                1000 / rows["temperature_K"],
                rows["D_cm2_s"],
                rows["D_err_cm2_s"],
                marker=MARKERS[index % len(MARKERS)],
                color=color(index),
                label=f"replica {replica}",
            )
        if composition in fits.index and np.isfinite(fits.loc[composition, "Ea_eV"]):
            fit = fits.loc[composition]
            beta_T = np.linspace(
                1000 / data["temperature_K"].max(), 1000 / data["temperature_K"].min(), 20
            )
            panel.plot(
                beta_T,
                np.exp(fit["ln_prefactor"] - fit["Ea_eV"] * beta_T / 1000 / BOLTZMANN_eV_K),
                color="0.3",
                linewidth=1,
            )
            panel.text(
                0.96,
                0.92,
                f"$E_a$ = {fit['Ea_eV']:.2f} ± {fit['Ea_err_eV']:.2f} eV",
                transform=panel.transAxes,
                ha="right",
                fontsize=7.5,
            )
        panel.set_title(composition)
        log_axes(panel, y=True)
    legend_above(figure)
    return figure


METHODS = {
    "nernst_einstein": "Nernst-Einstein",
    "cluster_nernst_einstein": "cluster Nernst-Einstein",
    "einstein": "Einstein",
}


def _by_method(tables: CampaignTables, quantity: str, error: str, label: str) -> Figure:
    data = tables.summary("conductivity")
    figure, panel_list = panels(tables.compositions(), x="temperature (K)", y=label)
    for composition, panel in panel_list:
        chosen = data[(data["composition"] == composition) & data[quantity].notna()]
        if chosen.empty:
            say_nothing(panel, "nothing to show")
        for index, (method, name) in enumerate(METHODS.items()):
            rows = chosen[chosen["method"] == method]
            _errorbars(
                panel,
                rows["temperature_K"] + 8 * (index - 1),
                rows[quantity],
                rows[error],
                marker=MARKERS[index],
                color=color(index),
                label=name,
            )
        panel.set_title(composition)
    legend_above(figure)
    return figure


@_figure("Conductivity by three methods")
def conductivity(tables: CampaignTables) -> Figure:
    """Ionic conductivity from tracer diffusion (Nernst-Einstein), from the diffusion of clusters,
    and from all correlations (Einstein), with one standard error.
    """
    figure = _by_method(tables, "sigma_mS_cm", "sigma_err_mS_cm", "conductivity (mS/cm)")
    figure.axes[0].set_yscale("symlog", linthresh=1.0)
    return figure


@_figure("Transference number of the alkali")
def transference(tables: CampaignTables) -> Figure:
    """Share of the conductivity that the alkali carries, by the three methods."""
    return _by_method(tables, "t_alkali", "t_alkali_err", "alkali transference number")


@_figure("Haven ratio of the alkali")
def haven_ratio(tables: CampaignTables) -> Figure:
    """Self part over the whole of the alkali's Onsager coefficient; 1 without correlations between
    different ions.
    """
    data = tables.summary("haven")
    figure, panel_list = panels(tables.compositions(), x="temperature (K)", y="Haven ratio")
    for composition, panel in panel_list:
        chosen = data[(data["composition"] == composition) & data["haven_ratio"].notna()]
        if chosen.empty:
            say_nothing(panel, "nothing to show")
        for index, (replica, rows) in enumerate(chosen.groupby("replica")):
            _errorbars(
                panel,
                rows["temperature_K"],
                rows["haven_ratio"],
                rows["haven_ratio_err"],
                marker=MARKERS[index % len(MARKERS)],
                color=color(index),
                label=f"replica {replica}",
            )
        panel.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
        panel.set_title(composition)
    legend_above(figure)
    return figure


def _main_environments(coordination: pd.DataFrame, composition: str, most: int) -> list[str]:
    """The commonest environments of a composition's metals, the commonest first."""
    chosen = coordination[coordination["composition"] == composition]
    return list(chosen.groupby("environment")["fraction"].sum().nlargest(most).index)


@_figure("Environments of the metal")
def environments(tables: CampaignTables) -> Figure:
    """Share of the metals by the ligands in their first shell, averaged over temperatures and
    replicas.
    """
    data = tables.summary("coordination")
    figure, panel_list = panels(tables.compositions(), x="fraction of metals", y="")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        names = _main_environments(data, composition, most=8)
        shares = chosen.groupby("environment")["fraction"].sum().reindex(names) / max(runs, 1)
        panel.barh(range(len(names)), shares, color=color(0), height=0.7)
        for row, name in enumerate(names):
            panel.text(shares[name] + 0.01, row, name, va="center", fontsize=7.5)
        panel.set(title=composition, yticks=[], ylim=(7.5, -0.5))
        panel.grid(axis="y", visible=False)
    figure.axes[0].set_xlim(0, 1)
    return figure


@_figure("Residence of the alkali by environment")
def residence(tables: CampaignTables) -> Figure:
    """Probability that an alkali has not left the first shell of a metal, by the metal's
    commonest environments at the start, at the highest temperature.
    """
    data = tables.summary("residence_curve")
    data = data[data["temperature_K"] == data["temperature_K"].max()]
    coordination = tables.summary("coordination")
    figure, panel_list = panels(tables.compositions(), x="time (ps)", y="P(t)")
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        if chosen.empty:
            say_nothing(panel, "no trajectory to show")
        for index, environment in enumerate(_main_environments(coordination, composition, most=4)):
            curve = (
                chosen[chosen["environment"] == environment]
                .groupby("lag_ps")[["P", "P_err"]]
                .mean()
            )
            panel.plot(curve.index, curve["P"], color=color(index), label=environment)
            panel.fill_between(
                curve.index,
                curve["P"] - curve["P_err"].fillna(0),
                curve["P"] + curve["P_err"].fillna(0),
                color=color(index),
                alpha=0.2,
                linewidth=0,
            )
        if not chosen.empty:
            panel.legend(loc="best")
        panel.set_title(composition)
    figure.axes[0].set_ylim(0, 1.02)
    return figure


@_figure("Fragments of the network")
def network(tables: CampaignTables) -> Figure:
    """Share of the metals in fragments of corner-sharing polyhedra, by the number of metals in the
    fragment, averaged over temperatures and replicas.
    """
    data = tables.summary("network")
    figure, panel_list = panels(
        tables.compositions(), x="metals in the fragment", y="fraction of metals"
    )
    for composition, panel in panel_list:
        chosen = data[data["composition"] == composition]
        runs = len(chosen[["temperature_K", "replica"]].drop_duplicates())
        shares = chosen.groupby("fragment_size")["fraction"].sum() / max(runs, 1)
        panel.bar(shares.index, shares, color=color(2), width=0.8)
        panel.set_title(composition)
    return figure
