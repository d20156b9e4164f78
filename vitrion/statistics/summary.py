"""Tables over a whole campaign: means over replicas, activation energies, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vitrion.base.errors import InputError
from vitrion.statistics.arrhenius import (
    NOT_ACTIVATED,
    ROOM_TEMPERATURE_K,
    Arrhenius,
    fit_arrhenius,
    pool_replicas,
)
from vitrion.statistics.differences import by_composition, differences
from vitrion.statistics.finite_size import finite_size_table
from vitrion.statistics.glasses import glass_means, ratio_parts
from vitrion.tables import COMPOSITION_KEY, TABLES, TRAJECTORY_KEY, TRANSPORT_TABLES
from vitrion.tables.io import TableSet, typed, write_table
from vitrion.transport.quantities import quantities

KEY = list(TRAJECTORY_KEY)


def summarize(
    analysis_folders: Sequence[Path],
    out: Path,
    *,
    exclude_flagged: bool,
    flags: Sequence[Sequence[str]] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> dict[str, pd.DataFrame]:
    """Write the tables of all trajectories together, and those over the campaign.

    `trajectories` always holds every trajectory with its flags. The other tables leave out the
    flagged ones on request.

    Args:
        analysis_folders: outputs of `analyze_trajectory`.
        out: folder of the summary.
        exclude_flagged: leave out trajectories with flags.
        flags: failed checks of each trajectory; those in the tables when left out.
        metadata: goes into every table's file metadata.

    Returns:
        All tables by name.

    Raises:
        InputError: a folder without a whole analysis, or the same trajectory twice.
    """
    if not analysis_folders:
        raise InputError("analysis folders", [], "give at least one")
    analyses = [TableSet(folder) for folder in analysis_folders]
    trajectories = pd.concat([one.trajectories for one in analyses], ignore_index=True)
    if trajectories.duplicated(KEY).any():
        twice = trajectories[trajectories.duplicated(KEY)].iloc[0]
        raise InputError(
            "analysis folders",
            {column: twice[column] for column in KEY},
            "this trajectory is there twice; give each folder once",
        )
    if flags is not None:
        trajectories["flags"] = [",".join(names) for names in flags]
    flagged = trajectories["flags"].astype(str).str.len() > 0
    kept = [
        one for one, bad in zip(analyses, flagged, strict=True) if not (bad and exclude_flagged)
    ]
    described = {
        **(metadata or {}),
        "exclude_flagged": exclude_flagged,
        "excluded": trajectories[KEY][flagged].to_dict("records") if exclude_flagged else [],
    }
    tables: dict[str, pd.DataFrame] = {}
    for name in TRANSPORT_TABLES:
        parts = [trajectories]
        if name != "trajectories":
            found = (one.read(name) for one in kept if name in one.names)
            parts = [part for part in found if len(part)]
        empty = pd.DataFrame(columns=list(TABLES[name]))
        tables[name] = typed(name, pd.concat(parts, ignore_index=True) if parts else empty)
        write_table(out / f"{name}.parquet", name, tables[name], described)
    over_campaign = campaign_tables(tables)
    for name, frame in over_campaign.items():
        write_table(out / f"{name}.parquet", name, frame, described)
    return tables | over_campaign


def campaign_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables over a campaign: `pooled`, `arrhenius`, `differences` and `finite_size`.

    Args:
        tables: of its trajectories, by name. Flagged ones do not count in `differences`.
    """
    found = quantities(tables)
    pooled, arrhenius = pooled_table(found), arrhenius_table(found)
    sound = without_flagged({**tables, "pooled": pooled, "arrhenius": arrhenius})
    values = by_composition(sound["pooled"], sound["arrhenius"])
    return {
        "pooled": pooled,
        "arrhenius": arrhenius,
        "differences": differences(values),
        "finite_size": finite_size_table(tables["trajectories"], found, tables["diffusion"]),
    }


def without_flagged(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of a campaign without its flagged trajectories.

    Args:
        tables: of its trajectories, with `pooled` and `arrhenius`, which are made again.
    """
    trajectories = tables["trajectories"]
    flagged = pd.MultiIndex.from_frame(trajectories.loc[trajectories["flags"] != "", KEY])
    if flagged.empty:
        return dict(tables)
    sound = {
        name: table[~pd.MultiIndex.from_frame(table[KEY]).isin(flagged)]
        for name, table in tables.items()
        if name in TRANSPORT_TABLES
    }
    found = quantities(sound)
    return sound | {"pooled": pooled_table(found), "arrhenius": arrhenius_table(found)}


def pooled_table(found: pd.DataFrame) -> pd.DataFrame:
    """The `pooled` table: every quantity of `quantities` at each temperature, over replicas."""
    parts = []
    for (name, temperature_K), group in found.groupby(["quantity", "temperature_K"], sort=True):
        groups = list(group.groupby(list(COMPOSITION_KEY), sort=True))
        pooled = [pool_replicas(of["value"], of["err"], of["weight"]) for _, of in groups]
        comparable, freedom = _comparable_errors(str(name), [of for _, of in groups])
        parts += [
            (*key, temperature_K, name, one.value, one.err, one.n, one.n_missing, error, freedom)
            for (key, _), one, error in zip(groups, pooled, comparable, strict=True)
        ]
    frame = pd.DataFrame(parts, columns=list(TABLES["pooled"]))
    order = [*COMPOSITION_KEY, "temperature_K", "quantity"]
    return typed("pooled", frame.sort_values(order, ignore_index=True))


def _comparable_errors(name: str, groups: Sequence[pd.DataFrame]) -> tuple[np.ndarray, int]:
    """Standard errors of means with one variance between glasses, and its degrees of freedom.

    Where a quantity has a law of temperature, glasses are taken to differ by a factor, so that
    their relative variance is the same in all compositions.
    """
    relative = any(name.startswith(start) for start in LAWS)
    which, x, err, scale = [], [], [], np.full(len(groups), np.nan)
    for c, of in enumerate(groups):
        known = of[np.isfinite(of["value"]) & np.isfinite(of["err"]) & np.isfinite(of["weight"])]
        values, errors = ratio_parts(known["value"], known["err"], known["weight"])
        keep = np.isfinite(values)
        if keep.any():
            scale[c] = abs(values[keep].mean()) if relative else 1.0
            which += [c] * int(keep.sum())
            x += list(values[keep] / scale[c])
            err += list(errors[keep] / scale[c])
    found = np.full(len(groups), np.nan)
    if not which:
        return found, 0
    means = glass_means(np.searchsorted(np.unique(which), which), x, err)
    found[np.unique(which)] = means.err
    return found * scale, means.freedom


@dataclass(frozen=True)
class _Law:
    """How a quantity is fitted, so that it grows with temperature as exp(−Ea / k_B T).

    Attributes:
        power: the line is fitted to value · T^power (1 for σ).
        inverse: fit 1/value (residence times, whose rates grow with temperature).
        any_sign: the quantity may fall with temperature.
    """

    power: int = 0
    inverse: bool = False
    any_sign: bool = False


# By the beginning of the quantity's name. The activation energy of D · τ is the difference of those
# of D and 1/τ; 6 D · τ is the squared length of the step that an ion makes per residence time.
LAWS = {
    "D_mobile": _Law(),
    "sigma_": _Law(power=1),
    "residence:": _Law(inverse=True),
    "D_tau:": _Law(any_sign=True),
}


def arrhenius_table(found: pd.DataFrame) -> pd.DataFrame:
    """The `arrhenius` table: a line of each glass, averaged over the glasses (`fit_arrhenius`)."""
    rows = []
    for name, quantity in found.groupby("quantity", sort=True):
        law = next((law for start, law in LAWS.items() if str(name).startswith(start)), None)
        if law is None:
            continue
        groups = [
            (key, _law_values(law, group))
            for key, group in quantity.groupby(list(COMPOSITION_KEY), sort=True)
            if (group["value"] > 0).any()
        ]
        fits = fit_arrhenius([values for _, values in groups])
        for (key, _), fit in zip(groups, fits, strict=True):
            fit = _as_quantity(fit, law)
            flags = [flag for flag in fit.flags if not (law.any_sign and flag == NOT_ACTIVATED)]
            rows.append(
                {
                    **dict(zip(COMPOSITION_KEY, key, strict=True)),
                    "quantity": name,
                    **{c: getattr(fit, c) for c in TABLES["arrhenius"] if hasattr(fit, c)},
                    "flags": ",".join(flags),
                }
            )
    frame = pd.DataFrame(rows, columns=list(TABLES["arrhenius"]))
    order = [*COMPOSITION_KEY, "quantity"]
    return typed("arrhenius", frame.sort_values(order, ignore_index=True))


def _law_values(law: _Law, group: pd.DataFrame) -> pd.DataFrame:
    """Values that grow with temperature as exp(−Ea / k_B T), with errors of the same share."""
    value = group["value"]
    with np.errstate(invalid="ignore", divide="ignore"):
        grows = 1 / value if law.inverse else value * group["temperature_K"] ** law.power
        return group.assign(value=grows, err=grows * group["err"] / value)


def _as_quantity(fit: Arrhenius, law: _Law) -> Arrhenius:
    """Values at 300 K in the quantity's unit: σ from σT, τ from 1/τ."""
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
