"""All numbers of trajectories that have an error, in one long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from vitrion.base.units import A2_PS_TO_CM2_S
from vitrion.tables import TRAJECTORY_KEY
from vitrion.tables.io import headline

KEY = list(TRAJECTORY_KEY)


def quantities(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every number of the tables that has an error, one row per trajectory and quantity.

    Args:
        tables: by name, of one trajectory or of many. `coordination` and `residence` may be absent.
            Quantities are in the network's frame of reference.

    Returns:
        Trajectory key, `quantity` (`D_mobile`, `D_<element>`, `sigma_<method>`,
        `t_mobile_<method>`, `haven_ratio`, `environment:<name>`, `residence:<name>` in ps and
        `D_tau:<name>`, D of the mobile ion times its residence time in Å²), `value`, `err`, and
        `weight`: the denominator of a ratio, one for other quantities.
    """
    found = [part for part in _parts(tables) if len(part)]
    columns = [*KEY, "quantity", "value", "err", "weight"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _parts(tables: Mapping[str, pd.DataFrame]) -> Iterator[pd.DataFrame]:
    def part(
        table: pd.DataFrame, name: str, of: str, value: str, err: str, *, weight: object = 1.0
    ) -> pd.DataFrame:
        names = name + table[of].astype(str)
        return table[KEY].assign(quantity=names, value=table[value], err=table[err], weight=weight)

    diffusion = headline(tables["diffusion"])
    of_mobile = diffusion["species"] == diffusion["mobile"]
    named = diffusion.assign(species=diffusion["species"].mask(of_mobile, "mobile"))
    yield part(named, "D_", "species", "D_cm2_s", "D_err_cm2_s")
    sigma = headline(tables["conductivity"])
    yield part(sigma, "sigma_", "method", "sigma_mS_cm", "sigma_err_mS_cm")
    yield part(
        sigma, "t_mobile_", "method", "t_mobile", "t_mobile_err", weight=sigma["sigma_mS_cm"]
    )
    onsager = headline(tables["onsager"])
    own = (onsager["species_i"] == onsager["mobile"]) & (onsager["species_j"] == onsager["mobile"])
    haven = (
        headline(tables["haven"]).merge(onsager.loc[own, [*KEY, "L"]], on=KEY).assign(name="ratio")
    )
    yield part(haven, "haven_", "name", "haven_ratio", "haven_ratio_err", weight=haven["L"])
    if "coordination" in tables:
        yield part(
            tables["coordination"], "environment:", "environment", "fraction", "fraction_err"
        )
    if "residence" in tables:
        residence = tables["residence"]
        yield part(residence, "residence:", "environment", "tau_ps", "tau_err_ps")
        both = residence.merge(diffusion.loc[of_mobile, [*KEY, "D_cm2_s", "D_err_cm2_s"]], on=KEY)
        both["D_tau_A2"] = both["D_cm2_s"] / A2_PS_TO_CM2_S * both["tau_ps"]
        both["D_tau_err_A2"] = both["D_tau_A2"] * np.hypot(
            both["D_err_cm2_s"] / both["D_cm2_s"], both["tau_err_ps"] / both["tau_ps"]
        )
        yield part(both, "D_tau:", "environment", "D_tau_A2", "D_tau_err_A2")
