"""`vitrion analyze`: one good run, and bad input that ends with one message each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from vitrion.cli import main
from vitrion.tables import TABLES, read_table

CELL_A = 12.0


def frames(count: int = 30, symbols: str = "LiLiAlClClClClCl") -> list[Atoms]:
    rng = np.random.default_rng(0)
    n_atoms = len(Atoms(symbols))
    steps_A = rng.normal(0, 0.2, (count, n_atoms, 3))
    steps_A[0] = rng.uniform(0, CELL_A, (n_atoms, 3))
    out = []
    for positions_A in np.cumsum(steps_A, axis=0):
        frame = Atoms(symbols, positions=positions_A, cell=[CELL_A] * 3, pbc=True)
        frame.wrap()
        out.append(frame)
    return out


def options(**changes: str | None) -> list[str]:
    values = {
        "temperature-K": "600",
        "frame-interval-ps": "0.1",
        "charges": "Li=1,Al=3,Cl=-1",
        "mobile": "Li",
        "center": "Al",
        "ligands": "Cl",
        "out": "out",
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
    return [text for k, v in values.items() if v is not None for text in (f"--{k}={v}",)]


@pytest.fixture
def good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("run.extxyz", frames())
    return "run.extxyz"


def test_a_run_writes_every_table_that_applies(good, tmp_path):
    assert main(["analyze", good, *options()]) == 0
    written = {path.stem for path in (tmp_path / "out").glob("*.parquet")}
    transport = {name for name, columns in TABLES.items() if "replica" in columns}
    assert written == transport
    row = read_table("out/trajectories.parquet")
    assert row["composition"][0] == "AlCl5Li2"
    assert row["n_atoms"][0] == 8
    assert row.attrs["reference_frame"] == "center_of_mass"


def test_tables_that_need_a_center_are_left_out_without(good, tmp_path):
    assert main(["analyze", good, *options(center=None, ligands=None)]) == 0
    written = {path.stem for path in (tmp_path / "out").glob("*.parquet")}
    assert {"msd", "conductivity", "haven", "onsager", "rdf"} <= written
    assert not {"network", "residence", "coordination", "clusters"} & written


BAD_OPTIONS = {
    "temperature-K": ({"temperature_K": "-5"}, "above 0"),
    "frame-interval-ps": ({"frame_interval_ps": "0"}, "above 0"),
    "discard-ps": ({"discard_ps": "100"}, "leaves fewer than two"),
    "charges malformed": ({"charges": "Li:1"}, "Li=1,Al=3"),
    "charges not whole": ({"charges": "Li=0.9,Al=3,Cl=-1"}, "whole number"),
    "charges missing": ({"charges": "Li=1,Al=3"}, "add the charge of Cl"),
    "charges not neutral": ({"charges": "Li=1,Al=2,Cl=-1"}, "net charge of -1"),
    "charges twice": ({"charges": "Li=1,Li=1,Al=3,Cl=-1"}, "twice"),
    "mobile absent": ({"mobile": "Na"}, "not in the trajectory"),
    "center absent": ({"center": "Ga"}, "not in the trajectory"),
    "center alone": ({"ligands": None}, "together"),
    "ligand is mobile": ({"ligands": "Li,Cl"}, "different elements"),
    "bridges": ({"bridges": "O"}, "among the ligands"),
    "cutoffs": ({"cutoffs_A": "Al-Cl"}, "Al-Cl=2.9"),
    "rdf-cutoff": ({"rdf_cutoff_A": "nan"}, "above 0"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_end_with_one_message(good, capsys, name):
    changes, expected = BAD_OPTIONS[name]
    assert main(["analyze", good, *options(**changes)]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("vitrion analyze: ")
    assert expected in message


def no_cell():
    atoms = frames()
    for frame in atoms:
        frame.cell, frame.pbc = None, False
    write("bad.extxyz", atoms)
    return ["bad.extxyz"], "--cell-volume-A3"


def changing_atoms():
    write("bad.extxyz", [*frames(3), *frames(3, "LiAlLiClClClClCl")])
    return ["bad.extxyz"], "atoms change"


def not_numbers():
    atoms = frames()
    atoms[7].positions[2, 1] = np.nan
    write("bad.extxyz", atoms)
    return ["bad.extxyz"], "not numbers"


def jumps():
    rng = np.random.default_rng(1)
    atoms = frames()
    for frame in atoms:
        frame.positions = rng.uniform(0, CELL_A, frame.positions.shape)
    write("bad.extxyz", atoms)
    return ["bad.extxyz"], "too long to unwrap"


def overlapping_files():
    atoms = frames()
    write("a.extxyz", atoms[:16])
    write("b.extxyz", atoms[15:])
    return ["a.extxyz", "b.extxyz"], "remove the repeated frame"


def missing():
    return ["nowhere.extxyz"], "no such file"


def unknown():
    Path("notes.txt").write_text("nothing to see\n" * 5)
    return ["notes.txt"], "unknown format"


def cut_short():
    write("XDATCAR", frames(), format="vasp-xdatcar")
    Path("XDATCAR").write_text(Path("XDATCAR").read_text()[:-90])
    return ["XDATCAR"], "cannot be read"


def one_frame():
    write("one.extxyz", frames(1))
    return ["one.extxyz"], "fewer than two"


def no_topology():
    Path("run.xtc").write_bytes(b"0")
    return ["run.xtc"], "--topology"


def damaged_hdf5():
    Path("run.h5").write_bytes(b"\x89HDF")
    return ["run.h5"], "cannot be read as HDF5"


@pytest.mark.parametrize(
    "make",
    [
        *(no_cell, changing_atoms, not_numbers, jumps, overlapping_files, missing, unknown),
        *(cut_short, one_frame, no_topology, damaged_hdf5),
    ],
)
def test_bad_files_end_with_one_message(tmp_path, monkeypatch, capsys, make):
    monkeypatch.chdir(tmp_path)
    files, expected = make()
    assert main(["analyze", *files, *options()]) == 2
    message = capsys.readouterr().err.strip()
    assert expected in message
    assert "Traceback" not in message


def test_a_cell_can_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (files, _) = no_cell()
    assert main(["analyze", *files, *options(cell_volume_A3=str(CELL_A**3))]) == 0
    assert read_table("out/trajectories.parquet")["volume_A3"][0] == pytest.approx(CELL_A**3)
