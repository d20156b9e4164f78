"""The tables of a finished campaign, by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from vitrion.tables import read_table


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
        self._read = cache(read_table)

    def summary(self, name: str) -> pd.DataFrame:
        """A table over the whole campaign."""
        return self._read(self.results / "summary" / f"{name}.parquet")

    def potential(self, name: str) -> pd.DataFrame | None:
        """A table of fine-tuning; None where the campaign did not write it."""
        path = self.potential_folder / f"{name}.parquet"
        return self._read(path) if path.exists() else None

    def glasses(self, name: str) -> pd.DataFrame:
        """A table of every glass, one below the other, with columns composition and replica."""
        paths = sorted((self.results / "quench").glob(f"*/r*/{name}.parquet"))
        return pd.concat(
            [
                self._read(path).assign(
                    composition=path.parent.parent.name, replica=int(path.parent.name[1:])
                )
                for path in paths
            ],
            ignore_index=True,
        )

    def compositions(self) -> list[str]:
        """The compositions in the order of the campaign."""
        return list(self.summary("trajectories")["composition"].unique())
