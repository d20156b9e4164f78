"""Errors of models on labelled frames: per composition, element and frame, and parity.

Universal potentials are too soft: their forces are too small away from equilibrium (Deng et al.,
npj Comput. Mater. 11, 9, 2025). The parity slope, the least-squares slope of predicted on true
force components, shows it: it is 1 for a perfect model. An intercept is not needed, because the
forces of a cell sum to zero. Scatter lowers the slope too. Where errors are independent of
predictions it is 1 - (RMSE / rms force)², so a slope near 1 also requires small errors.

Energies of a code and of a model are comparable up to a shift for each element, so that each model
is compared with labels on its own energy zero, fitted on frames that are not of the test split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase import Atoms

from vitrion.base.progress import Progress
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.campaign.model_card import reduced_formula, trained_compositions
from vitrion.dataset.align import fit_level
from vitrion.dataset.frame import read_labelled_frames
from vitrion.dataset.labels import stress_extent, stress_label_GPa
from vitrion.potential import CHGNetPotential, load_model, model_hash
from vitrion.tables import TABLES
from vitrion.tables.io import write_table

RESAMPLES = 1000
QUANTITIES = ("energy", "force", "stress")
_FRAME_KEY = ["model", "split", "composition", "frame_id"]


def evaluate(
    models: Mapping[str, str],
    datasets: Mapping[str, Path],
    out: Path,
    *,
    splits: Collection[str] | None = None,
    compositions: Collection[str] = (),
    device: str = "auto",
    threads: int | None = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Compare models with labels, side by side.

    Args:
        models: label of each model, and its name or file for `load_model`.
        datasets: labelled frames (extxyz, may be empty) by split.
        out: folder for model_metrics, element_metrics, frame_errors and parity (.parquet).
        splits: those that the tables have; the others only give the energy zero. None has all.
        compositions: those that the energy zero is fitted on first (`fit_alignment`).
        device: cpu, cuda or auto.
        threads: CPU threads; None leaves PyTorch's choice.
        metadata: added to the tables' metadata.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    frames = {split: read_labelled_frames(path) for split, path in datasets.items()}
    known = {label: _known(model, frames) for label, model in models.items()}
    total = len(models) * sum(map(len, frames.values()))
    parts = []
    with Progress(total, "evaluate", unit="frame") as progress:
        for label, model in models.items():
            found: dict[str, list[pd.DataFrame]] = {}
            for split, members in frames.items():
                found[split] = []
                for rows in _parity(model, members, device):
                    found[split].append(rows.assign(model=label, split=split))
                    progress.update()
            _to_own_zero(found, frames, compositions)
            for split in frames if splits is None else splits:
                parts += found[split]
    parity = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=list(TABLES["parity"]))
    )
    tables = {
        "model_metrics": model_metrics(parity, known),
        "element_metrics": element_metrics(parity),
        "frame_errors": frame_errors(parity),
        "parity": parity,
    }
    metadata = {
        **(metadata or {}),
        "models": {label: {"model": m, "hash": model_hash(m)} for label, m in models.items()},
    }
    for name, table in tables.items():
        write_table(Path(out) / f"{name}.parquet", name, table, metadata)


def _known(model: str, frames: Mapping[str, Sequence[Atoms]]) -> set[str]:
    """Names of the compositions that a model was trained on."""
    trained = trained_compositions(model)
    return {
        str(frame.info["composition"])
        for members in frames.values()
        for frame in members
        if reduced_formula(Counter(map(str, frame.symbols))) in trained
    }


def model_metrics(parity: pd.DataFrame, known: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Rows of the `model_metrics` table from those of the `parity` table.

    Standard errors are from a bootstrap over frames. In rows of several compositions it draws
    compositions and then frames of each, so that the error includes the spread between
    compositions. The ratio of force errors is to the first model of the table, on the same
    resampled frames.

    Args:
        parity: the table.
        known: names of the compositions that models were trained on, by the models' labels.
    """
    sums = _force_sums(parity)
    both = pd.concat([parity, parity.assign(composition="all")])
    rows = []
    for key, group in _groups(both, ["model", "split", "composition"]):
        error = {name: _error(group[group["quantity"] == name]) for name in QUANTITIES}
        chosen = slice(None) if key["composition"] == "all" else [key["composition"]]
        frames, start = (
            sums.loc[(model, key["split"], chosen), :]
            for model in (key["model"], parity["model"].iloc[0])
        )
        compositions = frames.index.get_level_values("composition")
        weights = _resamples(compositions)
        with np.errstate(invalid="ignore"):  # of a model that is exact
            ratio = weights @ frames["abs_error"] / (weights @ start["abs_error"])
        slope = weights @ frames["product"] / (weights @ frames["square"])
        rows.append(
            {
                **key,
                "energy_mae_meV_atom": _mae(error["energy"]) * 1000,
                "energy_rmse_meV_atom": _rmse(error["energy"]) * 1000,
                "force_mae_meV_A": _mae(error["force"]) * 1000,
                "force_rmse_meV_A": _rmse(error["force"]) * 1000,
                "force_mae_ratio": ratio[0],
                "force_mae_ratio_err": ratio[1:].std(),
                "force_parity_slope": slope[0],
                "force_parity_slope_err": slope[1:].std(),
                "stress_mae_GPa": _mae(error["stress"]),
                "stress_rmse_GPa": _rmse(error["stress"]),
                "n_frames": len(frames),
                "trained_on": not set(compositions).isdisjoint(known.get(key["model"], ())),
            }
        )
    return pd.DataFrame(rows, columns=list(TABLES["model_metrics"]))


def element_metrics(parity: pd.DataFrame) -> pd.DataFrame:
    """Rows of the `element_metrics` table from those of the `parity` table."""
    rows = []
    forces = parity[parity["quantity"] == "force"]
    for key, group in _groups(forces, ["model", "split", "element"]):
        error = _error(group)
        rows.append(
            {
                **key,
                "force_mae_meV_A": _mae(error) * 1000,
                "force_rmse_meV_A": _rmse(error) * 1000,
                "force_parity_slope": parity_slope(group),
                "n_atoms": len(group) // 3,
            }
        )
    return pd.DataFrame(rows, columns=list(TABLES["element_metrics"]))


def frame_errors(parity: pd.DataFrame) -> pd.DataFrame:
    """Rows of the `frame_errors` table, the worst force errors of a model and split first."""
    error = _error(parity)
    errors = parity.assign(signed=error, size=error.abs())
    energy, force, stress = (
        errors[errors["quantity"] == quantity].groupby(_FRAME_KEY) for quantity in QUANTITIES
    )
    table = pd.DataFrame(
        {
            "energy_error_meV_atom": energy["signed"].first() * 1000,
            "force_mae_meV_A": force["size"].mean() * 1000,
            "force_max_error_meV_A": force["size"].max() * 1000,
            "stress_mae_GPa": stress["size"].mean(),
        }
    ).reset_index()
    return table[list(TABLES["frame_errors"])].sort_values(
        ["model", "split", "force_mae_meV_A"], ascending=[True, True, False], ignore_index=True
    )


def parity_slope(rows: pd.DataFrame) -> float:
    """Least-squares slope, through the origin, of predicted on reference values."""
    reference = rows["reference"].to_numpy(float)
    return float(reference @ rows["predicted"].to_numpy(float) / (reference @ reference))


def _parity(model: str, frames: Sequence[Atoms], device: str) -> Iterator[pd.DataFrame]:
    """The rows of each frame in the `parity` table, without model and split."""
    network = load_model(model)
    potentials: dict[tuple[int, ...], CHGNetPotential] = {}
    for number, frame in enumerate(frames):
        numbers = tuple(frame.numbers.tolist())
        if numbers not in potentials:
            potentials[numbers] = CHGNetPotential(network, frame.numbers, device=device)
        found = potentials[numbers].compute(frame.positions, frame.cell.array, stress=True)
        assert found.stress_eV_A3 is not None
        energies_eV = (frame.get_potential_energy(), found.energy_eV)
        forces_eV_A = (frame.get_forces(apply_constraint=False), found.forces_eV_A)
        stresses_GPa = (stress_label_GPa(frame), found.stress_eV_A3 * EV_A3_TO_GPA)
        extent = stress_extent(frame)
        # Reference and prediction of each component, in the units of the table.
        values = {
            "energy": [np.array([energy / len(frame)]) for energy in energies_eV],
            "force": [forces.ravel() for forces in forces_eV_A],
            "stress": [stress.ravel() for stress in stresses_GPa],
        }
        if extent == "pressure":
            values["stress"] = [np.array([np.trace(stress) / 3]) for stress in stresses_GPa]
        elif extent == "none":
            del values["stress"]
        rows = pd.concat(
            [
                pd.DataFrame({"reference": reference, "predicted": predicted}).assign(
                    quantity=quantity, element=""
                )
                for quantity, (reference, predicted) in values.items()
            ],
            ignore_index=True,
        )
        rows.loc[rows["quantity"] == "force", "element"] = np.repeat(frame.symbols, 3)
        yield rows.assign(
            composition=frame.info.get("composition", ""),
            frame_id=str(frame.info.get("frame_id", number)),
        )


def _to_own_zero(
    found: Mapping[str, Sequence[pd.DataFrame]],
    frames: Mapping[str, Sequence[Atoms]],
    first: Collection[str],
) -> None:
    """Shift the energy labels of each level of theory, in place, to the model's energy zero.

    Args:
        found: rows of each frame in the `parity` table, by split.
        frames: the frames.
        first: compositions that the shift is fitted on first (`fit_alignment`).
    """
    levels: dict[str, list[tuple[bool, Atoms, pd.DataFrame]]] = defaultdict(list)
    for split, members in frames.items():
        for frame, rows in zip(members, found[split], strict=True):
            levels[str(frame.info.get("level", ""))].append((split == "test", frame, rows))
    for level in levels.values():
        is_test, atoms, tables = zip(*level, strict=True)
        names = [str(frame.info.get("composition", "")) for frame in atoms]
        symbols = [[str(symbol) for symbol in frame.symbols] for frame in atoms]
        energies = [rows.index[rows["quantity"] == "energy"] for rows in tables]
        residual_eV_atom = [
            -float(_error(rows.loc[energy]).iloc[0])
            for rows, energy in zip(tables, energies, strict=True)
        ]
        fit = fit_level(names, symbols, residual_eV_atom, is_held_out=is_test, first=first)
        for rows, energy, elements in zip(tables, energies, symbols, strict=True):
            rows.loc[energy, "reference"] -= fit.total_shift_eV(elements) / len(elements)


def _force_sums(parity: pd.DataFrame) -> pd.DataFrame:
    """Sums of each frame from which slopes and mean force errors are computed.

    Returns:
        Sums of |error|, reference × predicted and reference², indexed by `_FRAME_KEY`.
    """
    forces = parity[parity["quantity"] == "force"]
    return (
        forces.assign(
            abs_error=_error(forces).abs(),
            product=forces["reference"] * forces["predicted"],
            square=forces["reference"] ** 2,
        )
        .groupby(_FRAME_KEY)[["abs_error", "product", "square"]]
        .sum()
    )


def _resamples(compositions: Sequence[str]) -> np.ndarray:
    """Weight of each frame: 1 in the first row, then the counts of two-stage bootstrap samples.

    Returns:
        (1 + RESAMPLES, frames); NaN below the first row for a single frame, which has no spread.
    """
    rng = np.random.default_rng(0)
    names, codes = np.unique(compositions, return_inverse=True)
    weights = np.ones((1 + RESAMPLES, len(codes)))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    for number, times in enumerate(drawn.T):
        members = np.flatnonzero(codes == number)
        shares = np.full(len(members), 1 / len(members))
        weights[1:, members] = rng.multinomial(times * len(members), shares)
    if len(codes) == 1:
        weights[1:] = np.nan
    return weights


def _groups(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    for values, group in table.groupby(keys, sort=False):
        yield dict(zip(keys, values, strict=True)), group


def _error(rows: pd.DataFrame) -> pd.Series:
    return rows["predicted"] - rows["reference"]


def _mae(error: pd.Series) -> float:
    return float(error.abs().mean())


def _rmse(error: pd.Series) -> float:
    return float(np.sqrt((error**2).mean()))
