"""All numbers of trajectories that have an error, in one long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from vitrion.base.units import A2_PS_TO_CM2_S
from vitrion.tables import TRAJECTORY_KEY
from vitrion.tables.io import has_role, headline, several, site_names

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
        `weight`: the denominator of a ratio, one for other quantities. Several mobile ions or
        central cations are named: `D_mobile:Li`, `haven_ratio:Li`, `t_mobile_einstein:Li` beside
        that of all, `environment:Al:Cl4`, `residence:Li:Al:Cl4` (`site_names`).
    """
    found = [part for part in _parts(tables) if len(part)]
    columns = [*KEY, "quantity", "value", "err", "weight"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def without_ion(quantity: pd.Series) -> pd.Series:
    """Names of quantities without the ion that they are of: D_mobile for D_mobile:Li."""
    return quantity.map(lambda name: name.partition(":")[0])


def ion_of(quantity: pd.Series) -> pd.Series:
    """The ion in names of quantities: Li for D_mobile:Li, nothing for D_mobile."""
    return quantity.map(lambda name: name.partition(":")[2])


def _parts(tables: Mapping[str, pd.DataFrame]) -> Iterator[pd.DataFrame]:
    def part(
        table: pd.DataFrame, name: str, of: str, value: str, err: str, *, weight: object = 1.0
    ) -> pd.DataFrame:
        names = name + table[of].astype(str)
        return table[KEY].assign(quantity=names, value=table[value], err=table[err], weight=weight)

    def of_ion(table: pd.DataFrame, name: str) -> pd.Series:
        alone = pd.Series(name, index=table.index, dtype=object)
        return alone.mask(several(table, "mobile"), f"{name}:" + table["species"].astype(str))

    diffusion = headline(tables["diffusion"])
    of_mobile = has_role(diffusion, "mobile")
    names = diffusion["species"].mask(of_mobile, of_ion(diffusion, "mobile"))
    named = diffusion.assign(species=names)
    yield part(named, "D_", "species", "D_cm2_s", "D_err_cm2_s")
    sigma = headline(tables["conductivity"])
    yield part(sigma, "sigma_", "method", "sigma_mS_cm", "sigma_err_mS_cm")
    yield part(
        sigma, "t_mobile_", "method", "t_mobile", "t_mobile_err", weight=sigma["sigma_mS_cm"]
    )
    shares = headline(tables["transference"])
    shares = shares[several(shares, "mobile") & has_role(shares, "mobile")]
    shares = shares.merge(sigma[[*KEY, "method", "sigma_mS_cm"]], on=[*KEY, "method"])
    shares = shares.assign(method=of_ion(shares, "").radd(shares["method"]))
    yield part(shares, "t_mobile_", "method", "t", "t_err", weight=shares["sigma_mS_cm"])
    onsager = headline(tables["onsager"])
    own = onsager.loc[onsager["species_i"] == onsager["species_j"], [*KEY, "species_i", "L"]]
    own = own.rename(columns={"species_i": "species"})
    haven = headline(tables["haven"]).merge(own, on=[*KEY, "species"])
    haven = haven.assign(name=of_ion(haven, "ratio"))
    yield part(haven, "haven_", "name", "haven_ratio", "haven_ratio_err", weight=haven["L"])
    if "coordination" in tables:
        found = tables["coordination"].assign(name=site_names)
        yield part(found, "environment:", "name", "fraction", "fraction_err")
    if "residence" in tables:
        residence = tables["residence"].assign(name=site_names)
        yield part(residence, "residence:", "name", "tau_ps", "tau_err_ps")
        D = diffusion.loc[of_mobile, [*KEY, "species", "D_cm2_s", "D_err_cm2_s"]]
        both = residence.merge(D, on=[*KEY, "species"])
        both["D_tau_A2"] = both["D_cm2_s"] / A2_PS_TO_CM2_S * both["tau_ps"]
        both["D_tau_err_A2"] = both["D_tau_A2"] * np.hypot(
            both["D_err_cm2_s"] / both["D_cm2_s"], both["tau_err_ps"] / both["tau_ps"]
        )
        yield part(both, "D_tau:", "name", "D_tau_A2", "D_tau_err_A2")
