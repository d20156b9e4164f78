"""Tables carry their schema and are written whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrion.base.errors import InputError
from vitrion.campaign.reference import tables_reference
from vitrion.tables import SUMMARY_TABLES, TABLES
from vitrion.tables.io import column_units, read_table, write_table

ROOT = Path(__file__).parents[2]
LIALCL = {
    "composition": "LiAlCl", "mobile": "Li", "center": "Al", "ligands": "Cl",
    "temperature_K": 600, "replica": 0,
}  # fmt: skip


def test_round_trip_with_units_and_metadata(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [{**LIALCL, "frame": "network", "haven_ratio": 0.9, "haven_ratio_err": 0.1}]
    )
    path = tmp_path / "deep" / "haven.parquet"
    write_table(path, "haven", frame, {"campaign": "toy", "seed": 3})
    read = read_table(path)
    pd.testing.assert_frame_equal(read, frame.astype(read.dtypes))
    assert read.attrs["campaign"] == "toy"
    assert read.attrs["table"] == "haven"
    assert column_units(path)["temperature_K"] == "K"
    assert [p.name for p in path.parent.iterdir()] == ["haven.parquet"]


def test_empty_table_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "haven.parquet"
    write_table(path, "haven", pd.DataFrame(columns=list(TABLES["haven"])))
    assert read_table(path)["temperature_K"].dtype == "int64"


def test_columns_are_a_contract(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing.*haven_ratio_err.*unexpected.*'x'"):
        write_table(tmp_path / "t", "haven", pd.DataFrame([{**LIALCL, "haven_ratio": 1, "x": 2}]))


def test_columns_name_their_unit() -> None:
    """A column whose unit is in its name has that unit in its metadata."""
    suffixes = {
        "_K": "K", "_ps": "ps", "_A": "Å", "_A2": "Å²", "_A3": "Å³", "_eV": "eV", "_GPa": "GPa",
        "_cm2_s": "cm²/s", "_mS_cm": "mS/cm", "_g_cm3": "g/cm³", "_meV_A": "meV/Å",
        "_meV_atom": "meV/atom", "_eV_atom": "eV/atom", "_eV_A": "eV/Å",
        "_meV_atom_ps": "meV/atom/ps", "_1_ps": "1/ps",
    }  # fmt: skip
    for name, columns in TABLES.items():
        for key, column in columns.items():
            matching = [suffix for suffix in suffixes if key.endswith(suffix)]
            if matching:
                assert column.unit == suffixes[max(matching, key=len)], (name, key)
            assert column.meaning, (name, key)


def test_contract_of_the_summary() -> None:
    promised = {
        "trajectories", "msd", "diffusion", "conductivity", "onsager", "haven", "clusters", "rdf",
        "coordination", "network", "residence", "residence_curve", "arrhenius",
    }  # fmt: skip
    assert promised <= set(SUMMARY_TABLES)
    assert {"dataset", "model_metrics"} <= set(TABLES)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "haven.parquet"
    rng = np.random.default_rng(0)
    row = {**LIALCL, "frame": "network"}
    rows = [{**row, "replica": r, "haven_ratio": rng.random()} for r in range(300)]
    write_table(path, "haven", pd.DataFrame(rows).assign(haven_ratio_err=0.1), {"seed": 3})
    return path


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_named_or_does_no_harm(table: Path, data: st.DataObject) -> None:
    """A cut file and one with a changed bit end in one message, or the same values are read."""
    content = bytearray(table.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), "cut"):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    damaged = table.with_name("damaged.parquet")
    damaged.write_bytes(content)
    try:
        found = read_table(damaged)
    except InputError as error:
        message = str(error)
    else:
        message, kept = "", ["haven_ratio", "replica"]
        kept = [name for name in kept if name in found]  # names are not under a checksum
        pd.testing.assert_frame_equal(found[kept], read_table(table)[kept])
    assert not message or (str(damaged) in message and "remove it to make" in message)


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_table(path)
    with pytest.raises(InputError, match=r"absent.parquet'?: no such file"):
        read_table(tmp_path / "absent.parquet")


def test_reference_is_what_the_schema_says() -> None:
    assert (ROOT / "docs/tables.md").read_text() == tables_reference(), (
        "write it again: vitrion tables > docs/tables.md"
    )


def test_reference_has_every_column() -> None:
    chapters = dict(chapter.split("\n", 1) for chapter in tables_reference().split("## ")[1:])
    assert set(chapters) == set(TABLES)
    for name, columns in TABLES.items():
        assert all(f"`{key}`" in chapters[name] for key in columns)
    assert "| `sigma_mS_cm` | mS/cm | ionic conductivity |" in chapters["conductivity"]
    assert "In `transport/` and `summary/`." in chapters["msd"]
