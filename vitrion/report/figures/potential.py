"""Figures of the potential."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.style import color, legend_above, nothing


def learning(tables: CampaignTables) -> Figure:
    """Errors against epoch, one panel for each of energy, forces and stress."""
    data = tables.potential("learning")
    if data is None:
        return nothing("the model was not trained in this campaign")
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.7), layout="constrained")
    quantities = (
        ("energy_mae_meV_atom", "energy MAE (meV/atom)"),
        ("force_mae_meV_A", "force MAE (meV/Å)"),
        ("stress_mae_GPa", "stress MAE (GPa)"),
    )
    for panel, (column, label) in zip(axes, quantities, strict=True):
        for index, (split, name) in enumerate((("train", "training"), ("val", "validation"))):
            panel.plot(data["epoch"], data[f"{split}_{column}"], color=color(index), label=name)
        panel.set(xlabel="epoch", ylabel=label)
        panel.set_ylim(bottom=0)
        panel.xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure)
    return figure


def parity(tables: CampaignTables) -> Figure:
    """Predicted against DFT forces, one panel for each split."""
    data = tables.potential("parity")
    metrics = tables.potential("model_metrics")
    if data is None or metrics is None:
        return nothing("the model was not evaluated in this campaign")
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
