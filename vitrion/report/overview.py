"""One trajectory on one page."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrion.report.figures.transport import METHODS
from vitrion.report.style import RC, color, log_axes, save, say_nothing
from vitrion.tables.io import headline, read_table

SHOWN_ENVIRONMENTS = 5
LEAST_BARS = 4


def plot_overview(folder: Path | str, *outputs: Path) -> None:
    """Draw what one analysis found: displacements, structure, environments and conductivity.

    Args:
        folder: tables of one trajectory, as `analyze_trajectory` and `vitrion analyze` write them.
        outputs: files to write (.png, .svg, .pdf).
    """
    tables = {path.stem: read_table(path) for path in Path(folder).glob("*.parquet")}
    with plt.rc_context(RC):
        figure, axes = plt.subplots(2, 3, figsize=(11, 6.2), layout="constrained")
        for panel, draw in zip(axes.flat, _PANELS, strict=True):
            draw(panel, tables)
        _name(figure, tables["trajectories"].iloc[0])
        save(figure, outputs)


def _name(figure: Figure, run: pd.Series) -> None:
    figure.suptitle(
        f"{run['composition']}, {run['temperature_K']} K, {run['n_atoms']} atoms, "
        f"{run['length_ps']:.4g} ps, {run['density_g_cm3']:.3g} g/cm³"
        + (f"\nflags: {run['flags']}" if run["flags"] else ""),
        fontsize=9,
    )


def _displacements(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="displacements (thick: fit)", xlabel="lag (ps)", ylabel="MSD (Å²)")
    fits = headline(tables["diffusion"]).set_index("species")
    if fits.empty:
        say_nothing(panel, "no displacements to show")
        return
    for index, (species, run) in enumerate(tables["msd"].groupby("species", sort=False)):
        run, fit = run[run["lag_ps"] > 0], fits.loc[species]
        D = f"D = {fit['D_cm2_s']:.2g} ± {fit['D_err_cm2_s']:.1g} cm²/s"
        label = f"{species}: {D if fit['diffusive'] else 'not diffusive'}"
        panel.plot(run["lag_ps"], run["msd_A2"], color=color(index), label=label)
        window = run[run["lag_ps"].between(fit["fit_start_ps"], fit["fit_stop_ps"])]
        if fit["diffusive"]:
            panel.plot(window["lag_ps"], window["msd_A2"], color=color(index), linewidth=3.5)
    log_axes(panel, x=True, y=True)
    panel.legend()


def _structure(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    center = tables["trajectories"]["center"].iloc[0]
    rdf = tables["rdf"]
    around = rdf[rdf["species"] == center] if center else rdf[rdf["species"] == rdf["neighbor"]]
    panel.set(title="g(r) (dotted: neighbours within r)", xlabel="r (Å)", ylabel="g(r), N(r)")
    if around.empty:
        say_nothing(panel, "no pairs to show")
        return
    for index, (pair, curve) in enumerate(around.groupby(["species", "neighbor"], sort=False)):
        panel.plot(curve["r_A"], curve["g"], color=color(index), label="–".join(pair))
        near = curve[curve["coordination"] < 8]
        panel.plot(near["r_A"], near["coordination"], color=color(index), linestyle=":")
    panel.set_xlim(left=1)
    panel.legend()


def _environments(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="environments of the centre", xlabel="fraction")
    found = tables.get("coordination", pd.DataFrame())
    if found.empty:
        say_nothing(panel, "no centre and ligands, or no first shell found")
        return
    shown = found.nlargest(8, "fraction").iloc[::-1]
    panel.barh(
        shown["environment"],
        shown["fraction"],
        xerr=shown["fraction_err"].fillna(0),
        color=color(0),
    )
    # From the top, and a single bar no wider than one of several.
    panel.set_ylim(len(shown) - 0.4 - max(len(shown), LEAST_BARS), len(shown) - 0.4)
    panel.grid(axis="y", visible=False)


def _residence(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="residence at the centre", xlabel="time (ps)", ylabel="P(t)", ylim=(0, 1.02))
    curves = tables.get("residence_curve", pd.DataFrame())
    if curves.empty:
        say_nothing(panel, "no residence to show")
        return
    known = tables["residence"].dropna(subset=["tau_ps"]).nlargest(SHOWN_ENVIRONMENTS, "n_events")
    if len(known) == 2:  # one environment, which is all
        known = known[known["environment"] != "all"]
    if known.empty:
        say_nothing(panel, "too few departures")
        return
    for index, row in enumerate(known.itertuples()):
        curve = curves[curves["environment"] == row.environment]
        label = f"{row.environment}: τ = {row.tau_ps:.2g} ± {row.tau_err_ps:.1g} ps"
        panel.plot(curve["lag_ps"], curve["P"], color=color(index), label=label)
    panel.legend()


def _conductivity(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="conductivity", xlabel="mS/cm")
    found = headline(tables["conductivity"]).dropna(subset=["sigma_mS_cm"]).iloc[::-1]
    if found.empty:
        say_nothing(panel, "the mobile ion is not diffusive:\nno conductivity")
        return
    panel.barh(
        found["method"].map(METHODS).str.replace(" ", "\n"),
        found["sigma_mS_cm"],
        xerr=found["sigma_err_mS_cm"],
        color=color(2),
    )
    for place, row in enumerate(found.itertuples()):
        text = f"  t = {row.t_mobile:.2f} ± {row.t_mobile_err:.1g}"
        panel.text(0, place, text, va="center", color="white", fontsize=8)
    panel.grid(axis="y", visible=False)


def _convergence(panel: Axes, tables: dict[str, pd.DataFrame]) -> None:
    panel.set(title="convergence with length", xlabel="length used (ps)", ylabel="value / last")
    data = tables["convergence"].dropna(subset=["value"])
    wanted = ("D_mobile", "sigma_nernst_einstein", "sigma_einstein", "haven_ratio")
    for index, quantity in enumerate(wanted):
        parts = data[data["quantity"] == quantity].sort_values("length_ps")
        if not parts.empty:
            last = parts["value"].iloc[-1]
            panel.errorbar(
                parts["length_ps"] * (1 + 0.01 * index),
                parts["value"] / last,
                yerr=(parts["err"] / abs(last)).fillna(0),
                marker="o",
                color=color(index),
                label=quantity.replace("_", " "),
            )
    if panel.lines:
        panel.axhline(1, color="0.3", linestyle="--", linewidth=0.8)
        panel.legend()
    else:
        say_nothing(panel, "nothing that could converge")


_PANELS = (_displacements, _structure, _environments, _residence, _conductivity, _convergence)
