"""Tidy Parquet tables: `catalogue` names their columns and units, `io` writes and reads them."""

from __future__ import annotations

from vitrion.tables.catalogue import (
    COMPOSITION_KEY,
    SUMMARY_TABLES,
    TABLES,
    TRAJECTORY_KEY,
    TRANSPORT_TABLES,
    Column,
)

__all__ = [
    "COMPOSITION_KEY",
    "SUMMARY_TABLES",
    "TABLES",
    "TRAJECTORY_KEY",
    "TRANSPORT_TABLES",
    "Column",
]
