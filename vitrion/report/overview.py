"""One trajectory on one page."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrion.report.figures.structure import neighbor_curves
from vitrion.report.figures.transport import CONVERGING, METHODS, converging
from vitrion.report.numbers import duration, measured
from vitrion.report.style import (
    MARKERS,
    RC,
    bar_lengths,
    color,
    errorbars,
    legend_below,
    log_axes,
    reference_line,
    save,
    say_nothing,
    view,
)
from vitrion.tables.io import TableSet, has_role, headline, site_names

SHOWN_ENVIRONMENTS = 5
LEAST_BARS = 4


def plot_overview(folder: Path | str, *outputs: Path) -> None:
    """Draw what one analysis found: displacements, structure, environments and conductivity.

    Args:
        folder: tables of one trajectory, as `analyze_trajectory` and `vitrion analyze` write them.
        outputs: files to write (.png, .svg, .pdf).

    Raises:
        InputError: the folder holds no whole analysis.
    """
    analysis = TableSet(folder)
    tables = {name: analysis.read(name) for name in analysis.names}
    with plt.rc_context(RC):
        figure, axes = plt.subplots(2, 3, figsize=(11, 7.4), layout="constrained")
        for panel, draw in zip(axes.flat, _PANELS, strict=True):
            draw(panel, tables)
        _name(figure, tables["trajectories"].iloc[0])
        save(figure, outputs)


def _name(figure: Figure, run: pd.Series) -> None:
    figure.suptitle(
        f"{run['composition']}, {run['temperature_K']} K, {run['n_atoms']} atoms, "
        f"{duration(run['length_ps'])}, {run['density_g_cm3']:.3g} g/cm³"
        + (f"\nflagged, do not use: {run['flags']}" if run["flags"] else ""),
        fontsize=9,
        color=color(1) if run["flags"] else "black",
    )


def _displacements(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="displacements (thick: fit)", xlabel="lag (ps)", ylabel="MSD (Å²)")
    fits = headline(tables["diffusion"]).set_index("species")
    if fits.empty:
        say_nothing(panel, "no displacements to show")
        return
    for index, (species, run) in enumerate(tables["msd"].groupby("species", sort=False)):
        run, fit = run[run["lag_ps"] > 0], fits.loc[species]
        D = f"D = {measured(fit['D_cm2_s'], fit['D_err_cm2_s'])} cm²/s"
        label = f"{species}: {D if fit['diffusive'] else 'not diffusive'}"
        panel.plot(run["lag_ps"], run["msd_A2"], color=color(index), label=label)
        window = run[run["lag_ps"].between(fit["fit_start_ps"], fit["fit_stop_ps"])]
        if fit["diffusive"]:
            panel.plot(window["lag_ps"], window["msd_A2"], color=color(index), linewidth=3.5)
    log_axes(panel, x=True, y=True)
    legend_below(panel)


def _structure(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    rdf = tables["rdf"]
    around = rdf[has_role(rdf, "center")]
    around = rdf[rdf["species"] == rdf["neighbor"]] if around.empty else around
    panel.set(title="g(r), neighbours within r (thin)", xlabel="r (Å)", ylabel="g(r)")
    if around.empty:
        say_nothing(panel, "no pairs to show")
        return
    pairs = around[["species", "neighbor"]].drop_duplicates().itertuples(index=False)
    drawn = [(a, b, f"{a}–{b}", {"color": color(i)}) for i, (a, b) in enumerate(pairs)]
    neighbor_curves(panel, around, drawn).set_ylabel("N(r)")
    panel.set_xlim(left=1)
    legend_below(panel, columns=3)


def _environments(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="environments of the central cation", xlabel="fraction")
    found = tables.get("coordination", pd.DataFrame())
    if found.empty:
        say_nothing(panel, "no central cation and ligands,\nor no first shell found")
        return
    shown = found.nlargest(8, "fraction").iloc[::-1]
    panel.barh(
        site_names(shown),
        shown["fraction"],
        xerr=shown["fraction_err"].fillna(0),
        color=color(0),
    )
    # From the top, and a single bar no wider than one of several.
    panel.set_ylim(len(shown) - 0.4 - max(len(shown), LEAST_BARS), len(shown) - 0.4)
    panel.grid(axis="y", visible=False)


def _residence(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(
        title="residence at the central cation", xlabel="time (ps)", ylabel="P(t)", ylim=(0, 1.02)
    )
    curves = tables.get("residence_curve", pd.DataFrame())
    if curves.empty:
        say_nothing(panel, "no residence to show")
        return
    known = tables["residence"].dropna(subset=["tau_ps"]).nlargest(SHOWN_ENVIRONMENTS, "n_events")
    if len(known) == 2:  # one environment, which is all
        known = known[known["environment"] != "all"]
    curves = curves.assign(site=site_names(curves))
    if known.empty:
        say_nothing(panel, "too few departures")
        return
    for index, row in enumerate(known.assign(site=site_names(known)).itertuples()):
        curve = curves[curves["site"] == row.site]
        label = f"{row.site}: τ = {measured(row.tau_ps, row.tau_err_ps)} ps"
        panel.plot(curve["lag_ps"], curve["P"], color=color(index), label=label)
    legend_below(panel)


def _conductivity(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="conductivity", xlabel="mS/cm")
    if "conductivity" not in tables:
        say_nothing(panel, "the mobile species has no charge:\nno conductivity")
        return
    found = headline(tables["conductivity"]).dropna(subset=["sigma_mS_cm"]).iloc[::-1]
    if found.empty:
        say_nothing(panel, "the mobile ion is not diffusive:\nno conductivity")
        return
    low, high = view(found["sigma_mS_cm"], found["sigma_err_mS_cm"], also=[0.0])
    panel.barh(
        found["method"].map(METHODS).str.replace(" ", "\n"),
        found["sigma_mS_cm"],
        xerr=bar_lengths(found["sigma_mS_cm"], found["sigma_err_mS_cm"], (low, high)),
        height=0.45,
        color=color(2),
    )
    for place, row in enumerate(found.itertuples()):
        sigma = measured(row.sigma_mS_cm, row.sigma_err_mS_cm)
        text = f"{sigma} mS/cm, t = {measured(row.t_mobile, row.t_mobile_err)}"
        panel.text(max(low, 0.0), place + 0.3, text, va="bottom", fontsize=7.5)
    panel.set(xlim=(low, high), ylim=(-0.5, len(found) - 0.3))
    panel.grid(axis="y", visible=False)


def _convergence(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="convergence with length", xlabel="length used (ps)", ylabel="value over last")
    data = tables["convergence"].dropna(subset=["value"])
    limits = (-0.2, 2.2)
    data = data.assign(kind=data["quantity"].map(converging))
    for index, (kind, name) in enumerate(CONVERGING.items()):
        of_kind = data[data["kind"] == kind].sort_values("length_ps")
        for number, (_, parts) in enumerate(of_kind.groupby("quantity")):
            last = parts["value"].iloc[-1]
            place, values = parts["length_ps"] * (1 + 0.01 * index), parts["value"] / last
            panel.plot(place, values, color=color(index), linewidth=0.9)
            errorbars(
                panel,
                place,
                values,
                parts["err"] / abs(last),
                limits=limits,
                marker=MARKERS[index],
                color=color(index),
                label=None if number else name,
            )
    if panel.lines:
        reference_line(panel, 1.0)
        panel.set_ylim(limits)
        legend_below(panel, columns=2)
    else:
        say_nothing(panel, "no part of it gives a value")


_PANELS = (_displacements, _structure, _environments, _residence, _conductivity, _convergence)
