"""The reference of keys and tables in Markdown, from the models and schemas that the code uses."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from vitrion.campaign.jobs import campaign_jobs
from vitrion.config import Config, Finetune, Section
from vitrion.config.wording import describe
from vitrion.config.yaml_text import flow, mark, plain
from vitrion.structure.compositions import COLUMNS, Composition
from vitrion.tables import TABLES, TRAJECTORY_KEY

_CONFIGURATION = """\
# Configuration
Written by `vitrion config --reference`. `vitrion config` writes the same as YAML with comments,
`vitrion config --schema` as JSON schema. Units are in the names. Sections are nested keys:
`quench.limits.least_distance_A` is `quench: {limits: {least_distance_A: 1.2}}`. A key that is not
here is refused.

A changed key makes the jobs run again whose results depend on it, and those after them. Keys marked
*execution* say how jobs run; a change makes nothing run again. Keys marked *limit* judge stored
measurements; a change makes flags again, but no dynamics.

## Campaign
"""
_TABLES = """\
# Tables
Written by `vitrion tables`. Every table is tidy Parquet, one row per observation; the unit and
meaning of each column are in its field metadata, and what the table was made from in the file
metadata (`column_units` and `read_table(...).attrs` of `vitrion.tables.io`). A column that ends in
`_err` is one standard error. The tables of one analysis are written together: all carry the same
`run` in their metadata, and that of `trajectories` lists them. Trajectories have the key

| column | meaning |
| --- | --- |
"""


def config_reference() -> str:
    """Every key with its default, allowed values and meaning, and the columns of compositions."""
    return "\n".join([_CONFIGURATION, *_chapter(Config, ""), *_columns()]) + "\n"


def _chapter(section: type[Section], path: str, note: str = "") -> Iterator[str]:
    """A section's keys as a table, then its sections."""
    schema = section.model_json_schema()["properties"]
    inner = {key: found for key in section.model_fields if (found := section.inner(key))}
    defaults = {key: field.get_default() for key, field in section.model_fields.items()}
    rows = [key for key in section.model_fields if not isinstance(defaults[key], Section)]
    if path:
        yield f"## {path}\n"
        yield " ".join((inspect.getdoc(section) or "").split()) + f"{note}\n"
    if rows:
        yield "| key | default | value | meaning |\n| --- | --- | --- | --- |"
        for key in rows:
            field = section.model_fields[key]
            default = "" if field.is_required() else f"`{flow(plain(defaults[key]))}`"
            meaning = (field.description or "") + mark(section, key)
            yield f"| `{key}` | {default} | {describe(schema[key])} | {meaning} |"
        yield ""
    for key, found in inner.items():
        yield from _chapter(found, f"{path}.{key}".strip("."), mark(section, key))


def _columns() -> Iterator[str]:
    """The columns of the compositions' table."""
    yield "## The table of compositions\n"
    yield "Tab-separated, one row per glass; the key `compositions` names it.\n"
    yield "| column | meaning |\n| --- | --- |"
    for name, meaning in COLUMNS.items():
        yield f"| `{name}` | {meaning} |"


def tables_reference() -> str:
    """Every table and column in Markdown, as in docs/tables.md."""
    key = (f"| `{name}` | {column.meaning} |" for name, column in TRAJECTORY_KEY.items())
    lines = [_TABLES + "\n".join(key), ""]
    folders = _folders()
    for name, columns in TABLES.items():
        keys = [key for key, column in columns.items() if TRAJECTORY_KEY.get(key) == column]
        lines += [f"## {name}", f"In {' and '.join(folders[name])}.\n"]
        if keys:
            lines += [f"Key: {', '.join(f'`{key}`' for key in keys)}.\n"]
        lines += ["| column | unit | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{key}` | {column.unit} | {column.meaning} |"
            for key, column in columns.items()
            if key not in keys
        ]
        lines += [""]
    return "\n".join(lines)


def _folders() -> dict[str, list[str]]:
    """Where a campaign that trains its potential writes each table."""
    glass = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.5)
    found: dict[str, list[str]] = defaultdict(list)
    everything = Config(finetune=Finetune(model="train"))
    for job in campaign_jobs(everything, {"LiAlCl": glass}):
        for path in map(PurePosixPath, job.outputs):
            folder = f"`{path.parts[0]}/`"
            if path.suffix == ".parquet" and folder not in found[path.stem]:
                found[path.stem].append(folder)
    return found
