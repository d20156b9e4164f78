"""Tables as Parquet files: units are in the columns' metadata, provenance in the file's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.tables.catalogue import TABLES


def typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table in their order, each with its type, also where there is no row."""
    columns = TABLES[name]
    return frame[list(columns)].astype({key: column.dtype for key, column in columns.items()})


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the network's frame of reference, of tables that have a column `frame`."""
    if "frame" not in table:
        return table
    return table[table["frame"] == "network"].reset_index(drop=True)


def write_table(
    path: Path | str, name: str, frame: pd.DataFrame, metadata: Mapping[str, object] | None = None
) -> None:
    """Write a table with its schema; the file appears whole or not at all.

    Args:
        path: Parquet file to write; its folder is made.
        name: key of `TABLES`.
        frame: the rows; exactly the columns of the table, in any order.
        metadata: what the table was made from; stored as JSON in the file metadata.

    Raises:
        ValueError: a column is missing or not in the contract.
    """
    columns = TABLES[name]
    if set(frame.columns) != set(columns):
        raise ValueError(
            f"table {name}: missing {sorted(set(columns) - set(frame.columns))}, "
            f"unexpected {sorted(set(frame.columns) - set(columns))}"
        )
    frame = typed(name, frame)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    schema = pa.schema(
        [
            table.schema.field(key).with_metadata({"unit": c.unit, "meaning": c.meaning})
            for key, c in columns.items()
        ],
        metadata={
            **(table.schema.metadata or {}),
            b"vitrion": json.dumps(
                {"table": name, "code_version": __version__, **(metadata or {})}, default=str
            ).encode(),
        },
    )
    with whole_file(path) as partial:
        pq.write_table(table.cast(schema), partial, compression="zstd", write_page_checksum=True)


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a table; its file metadata is in `attrs`.

    Raises:
        InputError: the file is missing, damaged or not a Parquet file.
    """
    with _damage_named(path):
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        frame = table.to_pandas()
        frame.attrs = json.loads((table.schema.metadata or {}).get(b"vitrion", b"{}"))
    return frame


def column_units(path: Path | str) -> dict[str, str]:
    """Unit of every column of a written table, from its field metadata.

    Raises:
        InputError: as `read_table`.
    """
    with _damage_named(path):
        schema = pq.read_schema(path)
        return {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}


@contextmanager
def _damage_named(path: Path | str) -> Iterator[None]:
    # Damage to a file's metadata also shows as text or JSON that cannot be decoded.
    try:
        yield
    except FileNotFoundError:
        raise InputError("table", str(path), "no such file") from None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "table",
            str(path),
            f"cannot be read as Parquet ({error}); if Vitrion wrote it, remove it to make it again",
        ) from error
