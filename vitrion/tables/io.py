"""Tables as Parquet files: units are in the columns' metadata, provenance in the file's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.base.text import names
from vitrion.tables.catalogue import TABLES, TRANSPORT_TABLES

# The table that stands for an analysis: it names the others.
LEADER = "trajectories"


def typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table in their order, each with its type, also where there is no row."""
    columns = TABLES[name]
    return frame[list(columns)].astype({key: column.dtype for key, column in columns.items()})


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the network's frame of reference, of tables that have a column `frame`.

    Where all atoms are mobile there is no network, and the rows of the first frame are taken.
    """
    if "frame" not in table or table.empty:
        return table
    frames = table["frame"].unique()
    frame = "network" if "network" in frames else frames[0]
    return table[table["frame"] == frame].reset_index(drop=True)


def has_role(table: pd.DataFrame, role: str, column: str = "species") -> pd.Series:
    """Which rows of a transport table are of an element with a role, (rows,) bool.

    Args:
        table: with the column of the role, which may name several elements.
        role: mobile, center or ligands.
        column: names the element of each row.
    """
    pairs = zip(table[column], table[role], strict=True)
    return pd.Series([s in names(elements) for s, elements in pairs], table.index, dtype=bool)


def several(table: pd.DataFrame, role: str) -> pd.Series:
    """Which rows are of a composition with several elements of a role, (rows,) bool."""
    return table[role].str.contains(",", regex=False).astype(bool)


def site_names(table: pd.DataFrame) -> pd.Series:
    """Environments by name: Cl3O1, or Al:Cl3O1 and Li:Al:Cl3O1 where there are several.

    Args:
        table: with the columns `environment`, `center_element` and, of residence, `species`.
    """
    found = table["environment"]
    for column, role in (("center_element", "center"), ("species", "mobile")):
        if column in table:
            found = found.mask(several(table, role), table[column] + ":" + found)
    return found


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
    table = _described(name, frame, metadata or {})
    with whole_file(path) as partial:
        _write(partial, table)


def write_tables(
    folder: Path | str,
    tables: Mapping[str, pd.DataFrame],
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Write the tables of one analysis as a set that is there whole or not at all.

    Every table carries the set's `run`, and `trajectories`, which gets its name last, the list of
    them. Tables of an earlier analysis in the folder go away. A reader (`TableSet`) takes no file
    that is not of the set, so a kill at any moment leaves the earlier set, the new one, or none.

    Args:
        folder: where to write; it is made.
        tables: the rows by name, with `trajectories`; `attrs` go into the file metadata.
        metadata: what all of them were made from.

    Raises:
        ValueError: a column is missing or not in the contract.
    """
    folder = Path(folder)
    run = _run_id(tables, metadata or {})
    others = sorted(tables.keys() - {LEADER})
    with ExitStack() as files:  # which ends with the file that was opened first
        for name in (LEADER, *others):
            frame = tables[name]
            described = {**(metadata or {}), **frame.attrs, "run": run}
            if name == LEADER:
                described["tables"] = [LEADER, *others]
            table = _described(name, frame, described)
            _write(files.enter_context(whole_file(folder / f"{name}.parquet")), table)
        for name in (LEADER, *(set(TRANSPORT_TABLES) - tables.keys())):
            (folder / f"{name}.parquet").unlink(missing_ok=True)


class TableSet:
    """The tables of one analysis, as `write_tables` wrote them.

    Args:
        folder: where they lie.

    Attributes:
        folder: where they lie.
        trajectories: the table of that name, one row.
        names: of all its tables.

    Raises:
        InputError: the folder holds no whole set.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        path = self.folder / f"{LEADER}.parquet"
        if self.folder.is_dir() and not path.is_file():
            raise InputError(
                "folder", str(folder), f"has no {path.name}, so no whole analysis; analyse again"
            )
        self.trajectories = read_table(path)
        # Sets of earlier versions have neither list nor run.
        there = [n for n in TRANSPORT_TABLES if (self.folder / f"{n}.parquet").is_file()]
        self.names: tuple[str, ...] = tuple(self.trajectories.attrs.get("tables", there))

    def read(self, name: str) -> pd.DataFrame:
        """One of its tables.

        Raises:
            InputError: the file is missing, damaged, or of another analysis.
        """
        path = self.folder / f"{name}.parquet"
        frame = read_table(path)
        if frame.attrs.get("run") != self.trajectories.attrs.get("run"):
            raise InputError(
                "table",
                str(path),
                f"is not of the same analysis as {LEADER}.parquet beside it; analyse again",
            )
        return frame


def _run_id(tables: Mapping[str, pd.DataFrame], metadata: Mapping[str, object]) -> str:
    """First 16 hexadecimal characters of a SHA-256: the same analysis has the same."""
    digest = hashlib.sha256(json.dumps(metadata, default=str, sort_keys=True).encode())
    for name, frame in sorted(tables.items()):
        digest.update(f"{name} {list(frame.columns)} {frame.attrs}".encode())
        digest.update(frame.to_csv(index=False).encode())
    return digest.hexdigest()[:16]


def _described(name: str, frame: pd.DataFrame, metadata: Mapping[str, object]) -> pa.Table:
    """A table with the types, units and meanings of the catalogue, and its metadata."""
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
                {"table": name, "code_version": __version__, **metadata}, default=str
            ).encode(),
        },
    )
    return table.cast(schema)


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


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
