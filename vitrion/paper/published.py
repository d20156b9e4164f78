"""What others published on this family of glasses (`vitrion/data`, with sources and DOIs)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parents[1] / "data"
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
    """Measured room-temperature conductivities."""
    return _read("conductivities.tsv", CONDUCTIVITY_COLUMNS)


@cache
def statements() -> pd.DataFrame:
    """What papers say, by the claim of the verdict that it belongs to."""
    return _read("statements.tsv", STATEMENT_COLUMNS)


def _read(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.read_csv(DATA / name, sep="\t", keep_default_na=False)[list(columns)]
