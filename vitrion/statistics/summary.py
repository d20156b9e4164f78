"""Tables over a campaign, and activation energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vitrion.base.errors import InputError
from vitrion.paper.verdict import judge
from vitrion.statistics.arrhenius import (
    NOT_ACTIVATED,
    ROOM_TEMPERATURE_K,
    Arrhenius,
    fit_arrhenius,
    glass_variances,
    pool_replicas,
)
from vitrion.statistics.differences import by_composition, differences
from vitrion.tables import COMPOSITION_KEY, TABLES, TRAJECTORY_KEY, TRANSPORT_TABLES
from vitrion.tables.io import read_table, typed, write_table
from vitrion.transport.quantities import quantities

KEY = list(TRAJECTORY_KEY)


def summarize(
    analysis_folders: Sequence[Path],
    out: Path,
    *,
    exclude_flagged: bool,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Put the tables of all trajectories together and fit Arrhenius lines.

    `trajectories` always holds every trajectory with its flags; the other tables leave out the
    flagged ones on request.

    Args:
        analysis_folders: outputs of `analyze_trajectory`.
        out: folder of the summary.
        exclude_flagged: leave out trajectories with flags.
        metadata: goes into every table's file metadata.

    Raises:
        InputError: a folder without tables, or the same trajectory twice.
    """
    if not analysis_folders:
        raise InputError("analysis folders", [], "give at least one")
    folders = [Path(folder) for folder in analysis_folders]
    trajectories = pd.concat(
        [read_table(folder / "trajectories.parquet") for folder in folders], ignore_index=True
    )
    if trajectories.duplicated(KEY).any():
        twice = trajectories[trajectories.duplicated(KEY)].iloc[0]
        raise InputError(
            "analysis folders",
            {column: twice[column] for column in KEY},
            "this trajectory is there twice; give each folder once",
        )
    flagged = trajectories["flags"].astype(str).str.len() > 0
    kept = [
        folder
        for folder, bad in zip(folders, flagged, strict=True)
        if not (bad and exclude_flagged)
    ]
    described = {
        **(metadata or {}),
        "exclude_flagged": exclude_flagged,
        "excluded": trajectories[KEY][flagged].to_dict("records") if exclude_flagged else [],
    }
    tables: dict[str, pd.DataFrame] = {}
    for name in TRANSPORT_TABLES:
        chosen = folders if name == "trajectories" else kept
        parts = [
            read_table(folder / f"{name}.parquet")
            for folder in chosen
            if (folder / f"{name}.parquet").is_file()
        ]
        parts = [part for part in parts if len(part)]
        empty = pd.DataFrame(columns=list(TABLES[name]))
        tables[name] = typed(name, pd.concat(parts, ignore_index=True) if parts else empty)
        write_table(out / f"{name}.parquet", name, tables[name], described)
    for name, frame in of_campaign(tables).items():
        write_table(out / f"{name}.parquet", name, frame, described)


def of_campaign(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables over a campaign, from those of its trajectories: `pooled`, `arrhenius`,
    `differences` and `verdict`. The last two never count a flagged trajectory.
    """
    found = quantities(tables)
    pooled, arrhenius = pooled_table(found), arrhenius_table(found)
    sound = dict(tables, pooled=pooled, arrhenius=arrhenius)
    flagged = tables["trajectories"][tables["trajectories"]["flags"] != ""]
    if len(flagged):
        sound = {name: without(table, flagged) for name, table in tables.items()}
        found = quantities(sound)
        sound |= {"pooled": pooled_table(found), "arrhenius": arrhenius_table(found)}
    values = by_composition(sound["pooled"], sound["arrhenius"])
    return {
        "pooled": pooled,
        "arrhenius": arrhenius,
        "differences": differences(values),
        "verdict": judge(sound),
    }


def without(table: pd.DataFrame, trajectories: pd.DataFrame) -> pd.DataFrame:
    """A table without the rows of some trajectories."""
    left_out = pd.MultiIndex.from_frame(trajectories[KEY])
    return table[~pd.MultiIndex.from_frame(table[KEY]).isin(left_out)]


def pooled_table(found: pd.DataFrame) -> pd.DataFrame:
    """The `pooled` table: every quantity of `quantities` at each temperature, over replicas."""
    rows = []
    for key, group in found.groupby([*COMPOSITION_KEY, "temperature_K", "quantity"], sort=True):
        pooled = pool_replicas(group["value"], group["err"], group["weight"])
        rows.append((*key, pooled.value, pooled.err, pooled.n, pooled.n_missing))
    return typed("pooled", pd.DataFrame(rows, columns=list(TABLES["pooled"])))


@dataclass(frozen=True)
class _Law:
    """What of a quantity is fitted, so that it grows with temperature as exp(−Ea / k_B T).

    Attributes:
        power: the line is fitted to value · T to this power (1 for σ).
        inverse: fit 1/value (residence times, whose rates grow with temperature).
        any_sign: a quantity that falls with temperature is no reason for distrust.
    """

    power: int = 0
    inverse: bool = False
    any_sign: bool = False


# By the beginning of the quantity's name. D · τ has the difference of the two activation energies,
# and is six times less than the square of the step that a diffusing ion makes each τ.
LAWS = {
    "D_mobile": _Law(),
    "sigma_": _Law(power=1),
    "residence:": _Law(inverse=True),
    "D_tau:": _Law(any_sign=True),
}


def arrhenius_table(found: pd.DataFrame) -> pd.DataFrame:
    """The `arrhenius` table: replicas pooled at each temperature, then a line through those."""
    rows = []
    for (*key, name), group in found.groupby([*COMPOSITION_KEY, "quantity"], sort=True):
        law = next((law for start, law in LAWS.items() if name.startswith(start)), None)
        fit = _fit(law, group) if law and group["value"].notna().any() else None
        if fit and fit.n_points:
            rows.append(
                {
                    **dict(zip(COMPOSITION_KEY, key, strict=True)),
                    "quantity": name,
                    **{c: getattr(fit, c) for c in TABLES["arrhenius"] if hasattr(fit, c)},
                    "flags": ",".join(fit.flags),
                }
            )
    return typed("arrhenius", pd.DataFrame(rows, columns=list(TABLES["arrhenius"])))


def _fit(law: _Law, group: pd.DataFrame) -> Arrhenius:
    values, errors = (
        group.pivot(index="temperature_K", columns="replica", values=column)
        for column in ("value", "err")
    )
    temperatures_K, n = values.index.to_numpy(dtype=float), values.count(axis=1).to_numpy()
    shared, own = glass_variances(values.to_numpy(), errors.to_numpy())
    with np.errstate(invalid="ignore", divide="ignore"):
        value = values.mean(axis=1).to_numpy()
        within = (errors**2).mean(axis=1).to_numpy() / value**2
        relative_err = np.sqrt((within + own) / n)
    value = 1 / value if law.inverse else value * temperatures_K**law.power
    shared_err = np.sqrt(shared / n.max())
    fit = fit_arrhenius(temperatures_K, value, value * relative_err, shared_err=float(shared_err))
    flags = [flag for flag in fit.flags if not (law.any_sign and flag == NOT_ACTIVATED)]
    partial = (n > 0) & (n < values.shape[1])
    flags += [f"replicas_missing:{T:g}K" for T in temperatures_K[partial]]
    return _as_quantity(replace(fit, flags=tuple(flags)), law)


def _as_quantity(fit: Arrhenius, law: _Law) -> Arrhenius:
    """The 300 K values in the quantity's own unit: σ rather than σT, τ rather than 1/τ."""
    scale = ROOM_TEMPERATURE_K**-law.power
    at_room = [fit.value_300K, fit.value_300K_low, fit.value_300K_high]
    at_room = [value * scale for value in at_room]
    if law.inverse:
        middle, low, high = at_room
        at_room = [1 / middle, 1 / high, 1 / low]
    return replace(
        fit,
        value_300K=at_room[0],
        value_300K_low=at_room[1],
        value_300K_high=at_room[2],
    )
