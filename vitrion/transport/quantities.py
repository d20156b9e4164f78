"""The single numbers that are known of trajectories, in one long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from vitrion.tables import TRAJECTORY_KEY
from vitrion.units import A2_PS_TO_CM2_S

KEY = list(TRAJECTORY_KEY)


def quantities(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every number of the tables that has an error, one row per trajectory and quantity.

    Args:
        tables: by name, of one trajectory or of many; those that are missing are left out.

    Returns:
        Trajectory key, `quantity` (`D_alkali`, `D_<element>`, `sigma_<method>`,
        `t_alkali_<method>`, `haven_ratio`, `environment:<name>`, `residence:<name>` in ps and
        `D_tau:<name>`, D of the alkali times its residence time in Å²), `value`, `err`, and
        `weight`: what a ratio was divided by, one for what is no ratio.
    """
    found = [part for part in _parts(tables) if len(part)]
    columns = [*KEY, "quantity", "value", "err", "weight"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _parts(tables: Mapping[str, pd.DataFrame]) -> Iterator[pd.DataFrame]:
    def part(table: pd.DataFrame, name: object, value: str, err: str, weight: object = 1.0):
        return table[KEY].assign(quantity=name, value=table[value], err=table[err], weight=weight)

    diffusion = tables["diffusion"]
    species = diffusion["species"].where(diffusion["species"] != diffusion["alkali"], "alkali")
    yield part(diffusion, "D_" + species, "D_cm2_s", "D_err_cm2_s")
    sigma = tables["conductivity"]
    yield part(sigma, "sigma_" + sigma["method"], "sigma_mS_cm", "sigma_err_mS_cm")
    name, weight = "t_alkali_" + sigma["method"], sigma["sigma_mS_cm"]
    yield part(sigma, name, "t_alkali", "t_alkali_err", weight)
    onsager = tables["onsager"]
    own = (onsager["species_i"] == onsager["alkali"]) & (onsager["species_j"] == onsager["alkali"])
    haven = tables["haven"].merge(onsager.loc[own, [*KEY, "L"]], on=KEY)
    yield part(haven, "haven_ratio", "haven_ratio", "haven_ratio_err", haven["L"])
    if "coordination" in tables:
        environments = tables["coordination"]
        name = "environment:" + environments["environment"].astype(str)
        yield part(environments, name, "fraction", "fraction_err")
    if "residence" in tables:
        stay = tables["residence"]
        environment = stay["environment"].astype(str)
        yield part(stay, "residence:" + environment, "tau_ps", "tau_err_ps")
        alkali = diffusion.loc[species == "alkali", [*KEY, "D_cm2_s", "D_err_cm2_s"]]
        both = stay.merge(alkali, on=KEY)
        D_A2_ps, D_err_A2_ps = (both[c] / A2_PS_TO_CM2_S for c in ("D_cm2_s", "D_err_cm2_s"))
        both["D_tau_A2"] = D_A2_ps * both["tau_ps"]
        relative = (D_err_A2_ps / D_A2_ps) ** 2 + (both["tau_err_ps"] / both["tau_ps"]) ** 2
        both["D_tau_err_A2"] = both["D_tau_A2"] * relative**0.5
        name = "D_tau:" + both["environment"].astype(str)
        yield part(both, name, "D_tau_A2", "D_tau_err_A2")
