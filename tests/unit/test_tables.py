"""Tables carry their schema and are written whole or not at all."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrion.base.errors import InputError
from vitrion.campaign.reference import tables_reference
from vitrion.tables import SUMMARY_TABLES, TABLES
from vitrion.tables.io import TableSet, column_units, read_table, write_table, write_tables

ROOT = Path(__file__).parents[2]
LIALCL = {
    "composition": "LiAlCl", "mobile": "Li", "center": "Al", "ligands": "Cl",
    "temperature_K": 600, "replica": 0,
}  # fmt: skip


def test_round_trip_with_units_and_metadata(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [
            {
                **LIALCL,
                "frame": "network",
                "species": "Li",
                "haven_ratio": 0.9,
                "haven_ratio_err": 0.1,
            }
        ]
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
        "_1_A": "1/Å", "_1_A2": "1/Å²",
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
    row = {**LIALCL, "frame": "network", "species": "Li"}
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


def analysis(temperature_K: int, *names: str) -> dict[str, pd.DataFrame]:
    """Tables of one analysis, one row each."""
    key = {**LIALCL, "temperature_K": temperature_K}
    return {
        name: pd.DataFrame(
            [
                {
                    c: key.get(c, "" if column.dtype == "str" else 1)
                    for c, column in TABLES[name].items()
                }
            ]
        )
        for name in ("trajectories", *names)
    }


def temperatures(folder: Path) -> dict[str, int]:
    """Of the tables of the analysis in a folder."""
    found = TableSet(folder)
    return {name: int(found.read(name)["temperature_K"][0]) for name in found.names}


def test_tables_of_an_earlier_analysis_go_away(tmp_path: Path) -> None:
    write_tables(tmp_path, analysis(600, "haven", "residence"), {"by": "one"})
    (tmp_path / "mine.parquet").write_bytes(b"not ours")
    write_tables(tmp_path, analysis(900, "haven", "diffusion"), {"by": "two"})
    assert temperatures(tmp_path) == dict.fromkeys(("trajectories", "diffusion", "haven"), 900)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "diffusion.parquet", "haven.parquet", "mine.parquet", "trajectories.parquet"
    ]  # fmt: skip


def test_one_analysis_has_one_run_and_equal_ones_the_same(tmp_path: Path) -> None:
    runs = []
    for folder, temperature_K, by in (("a", 600, 1), ("b", 600, 1), ("c", 700, 1), ("d", 600, 2)):
        write_tables(tmp_path / folder, analysis(temperature_K, "haven"), {"by": by})
        both = {read_table(path).attrs["run"] for path in (tmp_path / folder).iterdir()}
        assert len(both) == 1
        runs += both
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3


def test_an_analysis_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file is the one at which the writer dies, or at which the disk is full."""
    real = os.replace
    for deaths in range(4):
        folder = tmp_path / str(deaths)
        write_tables(folder, analysis(600, "haven", "residence"))
        renamed = []

        def replace(source: Path, target: Path, deaths=deaths, renamed=renamed) -> None:
            if len(renamed) == deaths:
                raise SystemExit
            renamed.append(target)
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            try:
                write_tables(folder, analysis(900, "haven", "residence"))
            except SystemExit:
                assert not list(folder.glob(".*partial"))
        if deaths == 3:
            assert set(temperatures(folder).values()) == {900}
        else:
            with pytest.raises(InputError, match="no whole analysis; analyse again"):
                TableSet(folder)
    full = tmp_path / "full"
    write_tables(full, analysis(600, "haven"))
    monkeypatch.setattr("vitrion.tables.io._write", lambda *_: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(OSError, match="28"):
        write_tables(full, analysis(900, "haven"))
    monkeypatch.undo()
    assert set(temperatures(full).values()) == {600}


def test_tables_of_two_analyses_are_not_mixed(tmp_path: Path) -> None:
    write_tables(tmp_path / "a", analysis(600, "haven"))
    write_tables(tmp_path / "b", analysis(900, "haven"))
    shutil.copy(tmp_path / "a/haven.parquet", tmp_path / "b/haven.parquet")
    with pytest.raises(InputError, match="is not of the same analysis"):
        temperatures(tmp_path / "b")
    (tmp_path / "b/haven.parquet").unlink()
    with pytest.raises(InputError, match="no such file"):
        temperatures(tmp_path / "b")


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
