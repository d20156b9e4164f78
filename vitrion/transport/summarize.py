"""Tables over a campaign, and activation energies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from vitrion.errors import InputError
from vitrion.tables import (
    COMPOSITION_KEY,
    TABLES,
    TRAJECTORY_KEY,
    TRANSPORT_TABLES,
    read_table,
    write_table,
)
from vitrion.transport.arrhenius import (
    ROOM_TEMPERATURE_K,
    Arrhenius,
    fit_arrhenius,
    pool_replicas,
)

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
        tables[name] = (
            pd.concat(parts, ignore_index=True)
            if parts
            else pd.DataFrame(columns=list(TABLES[name]))
        )
        write_table(out / f"{name}.parquet", name, tables[name], described)
    write_table(out / "arrhenius.parquet", "arrhenius", arrhenius_table(tables), described)


@dataclass(frozen=True)
class _Quantity:
    """Values over a campaign that should follow Arrhenius.

    Attributes:
        name: as in the table.
        frame: trajectory key, `value`, `err`.
        power: the line is fitted to value · T to this power (1 for σ).
        inverse: fit 1/value (residence times, whose rates grow with temperature).
    """

    name: str
    frame: pd.DataFrame
    power: int = 0
    inverse: bool = False


def _quantities(tables: Mapping[str, pd.DataFrame]) -> Iterator[_Quantity]:
    def values(frame: pd.DataFrame, value: str, err: str) -> pd.DataFrame:
        return frame[KEY].assign(value=frame[value], err=frame[err])

    diffusion = tables["diffusion"]
    mobile = diffusion[diffusion["species"] == diffusion["alkali"]]
    yield _Quantity("D_alkali", values(mobile, "D_cm2_s", "D_err_cm2_s"))
    for method, group in tables["conductivity"].groupby("method"):
        found = values(group, "sigma_mS_cm", "sigma_err_mS_cm")
        yield _Quantity(f"sigma_{method}", found, power=1)
    for environment, group in tables["residence"].groupby("environment"):
        found = values(group, "tau_ps", "tau_err_ps")
        yield _Quantity(f"residence:{environment}", found, inverse=True)


def arrhenius_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The `arrhenius` table: replicas pooled at each temperature, then a line through those."""
    rows = []
    composition_key = list(COMPOSITION_KEY)
    for quantity in _quantities(tables):
        for key, group in quantity.frame.groupby(composition_key, sort=True):
            fit = _fit(quantity, group)
            if fit.n_points:
                rows.append(
                    {
                        **dict(zip(composition_key, key, strict=True)),
                        "quantity": quantity.name,
                        **{c: getattr(fit, c) for c in TABLES["arrhenius"] if hasattr(fit, c)},
                        "flags": ",".join(fit.flags),
                    }
                )
    return pd.DataFrame(rows, columns=list(TABLES["arrhenius"]))


def _fit(quantity: _Quantity, group: pd.DataFrame) -> Arrhenius:
    temperatures_K, values, errors = [], [], []
    for temperature_K, replicas in group.groupby("temperature_K"):
        pooled = pool_replicas(replicas["value"], replicas["err"])
        scale = float(temperature_K) ** quantity.power
        value, err = pooled.value * scale, pooled.err * scale
        if quantity.inverse:
            value, err = 1 / value, err / value**2
        temperatures_K.append(float(temperature_K))
        values.append(value)
        errors.append(err)
    fit = fit_arrhenius(temperatures_K, values, errors)
    return _as_quantity(fit, quantity)


def _as_quantity(fit: Arrhenius, quantity: _Quantity) -> Arrhenius:
    """The 300 K values in the quantity's own unit: σ rather than σT, τ rather than 1/τ."""
    scale = ROOM_TEMPERATURE_K**-quantity.power
    at_room = [fit.value_300K, fit.value_300K_low, fit.value_300K_high]
    at_room = [value * scale for value in at_room]
    if quantity.inverse:
        middle, low, high = at_room
        at_room = [1 / middle, 1 / high, 1 / low]
    return replace(
        fit,
        value_300K=at_room[0],
        value_300K_low=at_room[1],
        value_300K_high=at_room[2],
    )
