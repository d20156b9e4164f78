"""What others published on this family of glasses: `resources/reference` of the checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

REFERENCE = Path(__file__).parents[2] / "resources/reference"
CONDUCTIVITY_COLUMNS = (
    "name",
    "composition",
    "formula",
    "conductivity_mS_cm",
    "state",
    "note",
    "source",
    "doi",
    "read_in",
)
STATEMENT_COLUMNS = ("claim", "statement", "source", "doi", "read_in")


@cache
def conductivities() -> pd.DataFrame:
    """Measured room-temperature conductivities; no rows outside of a checkout."""
    return _read("conductivities.tsv", CONDUCTIVITY_COLUMNS)


@cache
def statements() -> pd.DataFrame:
    """What papers say, by the claim of the verdict that it belongs to."""
    return _read("statements.tsv", STATEMENT_COLUMNS)


def _read(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    path = REFERENCE / name
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    return pd.read_csv(path, sep="\t", keep_default_na=False)[list(columns)]
