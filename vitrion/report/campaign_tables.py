"""The tables of a finished campaign, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitrion.base.files import read_json
from vitrion.statistics.differences import COMPARED, by_composition
from vitrion.tables import TABLES
from vitrion.tables.io import read_table
from vitrion.transport.quantities import without_ion


class CampaignTables:
    """Reads a campaign's tables when they are asked for.

    Args:
        results: the campaign's folder, for example ``results/toy``.
        potential_folder: tables of the potential that dynamics ran with, where that is not the
            first training's.
    """

    def __init__(self, results: Path | str, potential_folder: Path | None = None) -> None:
        self.results = Path(results)
        self.potential_folder = potential_folder or self.results / "finetune"
        self._tables: dict[Path, pd.DataFrame] = {}

    def _read(self, path: Path) -> pd.DataFrame:
        if path not in self._tables:
            self._tables[path] = read_table(path)
        return self._tables[path]

    def summary(self, name: str) -> pd.DataFrame:
        """A table over the whole campaign."""
        return self._read(self.results / "summary" / f"{name}.parquet")

    def potential(self, name: str) -> pd.DataFrame | None:
        """A table of fine-tuning; None where the campaign did not write it."""
        path = self.potential_folder / f"{name}.parquet"
        return self._read(path) if path.exists() else None

    def card(self) -> dict[str, Any]:
        """The model card of the potential; empty where there is none."""
        path = self.potential_folder / "model.json"
        return read_json(path, "model card") if path.is_file() else {}

    def glasses(self, name: str) -> pd.DataFrame:
        """A table of every glass, one below the other, with columns composition and replica."""
        paths = sorted((self.results / "quench").glob(f"*/r*/{name}.parquet"))
        parts = [
            self._read(path).assign(
                composition=path.parent.parent.name, replica=int(path.parent.name[1:])
            )
            for path in paths
        ]
        empty = pd.DataFrame(columns=[*TABLES[name], "composition", "replica"])
        return pd.concat(parts, ignore_index=True) if parts else empty

    def flagged(self, rows: pd.DataFrame) -> np.ndarray:
        """Which rows of a table of the summary come from flagged trajectories.

        Args:
            rows: of any table; a row over several trajectories (`pooled`, `arrhenius`) is flagged
                where one of them is.

        Returns:
            (n,) bool; all False where the summary leaves flagged trajectories out.
        """
        trajectories = self.summary("trajectories")
        if trajectories.attrs.get("exclude_flagged"):
            return np.zeros(len(rows), dtype=bool)
        key = [name for name in ("composition", "temperature_K", "replica") if name in rows]
        flagged = trajectories.loc[trajectories["flags"] != "", key]
        return pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(flagged))

    def flagged_compositions(self) -> list[str]:
        """The compositions with a flagged trajectory whose data is shown."""
        trajectories = self.summary("trajectories")
        return list(trajectories.loc[self.flagged(trajectories), "composition"].unique())

    def compared(self) -> pd.DataFrame:
        """What is compared between compositions, as `by_composition` gives it, of each ion."""
        return by_composition(self.summary("pooled"), self.summary("arrhenius"), each_ion=True)

    def why_no_value(self, compared: str, composition: str | None = None) -> str:
        """Why a quantity that compositions are compared by has no value.

        Args:
            compared: key of `COMPARED`.
            composition: of this composition; of all where it is None.
        """
        of, rows = COMPARED[compared], self.summary("trajectories")
        fits = self.summary("arrhenius")
        fits = fits[without_ion(fits["quantity"]) == of.name]
        if composition is not None:
            rows, fits = (t[t["composition"] == composition] for t in (rows, fits))
        if rows.attrs.get("exclude_flagged") and (rows["flags"] != "").all():
            return "every trajectory is flagged and left out"
        if of.source == "pooled":
            return "the mobile ion is not diffusive"
        if fits["Ea_eV"].notna().any() and (fits["flags"] != "").any():
            return "its fits are flagged (table arrhenius)"
        return "fewer than three temperatures have a value"

    def compositions(self) -> list[str]:
        """The compositions in the order of the campaign."""
        return list(self.summary("trajectories")["composition"].unique())
