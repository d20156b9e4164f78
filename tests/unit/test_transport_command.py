"""`vitrion analyze`: one good run, and bad input that ends with one message each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from trajectory_files import walk, write_dump, write_h5md

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.tables import TABLES
from vitrion.tables.io import read_table
from vitrion.trajectory.sources import read_files

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


CHARGED = {
    "clusters",
    "cluster_sensitivity",
    "conductivity",
    "conductivity_curve",
    "haven",
    "onsager",
}


def test_charges_may_be_fractions(good):
    """All charges halved: a quarter of the conductivity, and equal ratios."""
    tables = []
    for charges in ("Li=1,Al=3,Cl=-1", "Li=0.5,Al=1.5,Cl=-0.5"):
        assert main(["analyze", good, *options(charges=charges)]) == 0
        tables.append(
            [read_table(f"out/{name}.parquet") for name in ("conductivity_curve", "haven")]
        )
    (full, full_ratio), (half, half_ratio) = tables
    np.testing.assert_allclose(4 * half["sigma_mS_cm"], full["sigma_mS_cm"], rtol=1e-12)
    np.testing.assert_array_equal(half_ratio["haven_ratio"], full_ratio["haven_ratio"])


def test_charges_of_absent_elements_are_named(good, capsys):
    """One list may serve several compositions, and may hold a slip of the pen."""
    assert main(["analyze", good, *options(charges="Li=1,Al=3,Cl=-1,Ga=3,Br=-1")]) == 0
    assert "note: charges of Ga, Br, which the trajectory lacks" in capsys.readouterr().err


def test_a_charged_cell_is_analysed_where_it_is_meant(good, caplog):
    charges = {"charges": "Li=1,Al=2,Cl=-1"}
    assert main(["analyze", good, *options(**charges)]) == 2
    assert main(["analyze", good, *options(**charges), "--allow-net-charge"]) == 0
    assert "the cell has a net charge of -1 e: conductivities depend on" in caplog.text


@pytest.mark.parametrize(
    ("symbols", "changes"),
    [
        ("HPd7", {"charges": "H=0,Pd=0", "mobile": "H", "center": None, "ligands": None}),
        ("Al8", {"charges": "Al=0", "mobile": "Al", "center": None, "ligands": None}),
        ("LiLiAlClClClClCl", {"charges": "Li=0,Al=5,Cl=-1"}),
    ],
)
def test_without_a_charge_there_is_diffusion_alone(tmp_path, monkeypatch, symbols, changes):
    """Tables of an earlier analysis with charges go away, and D does not depend on charges."""
    monkeypatch.chdir(tmp_path)
    write("run.extxyz", frames(200, symbols))
    with_charge = {**changes, "charges": "Al=1,H=7,Pd=-1,Li=1,Cl=-1"}
    main(["analyze", "run.extxyz", *options(**with_charge), "--allow-net-charge"])
    before = read_table("out/diffusion.parquet")
    assert main(["analyze", "run.extxyz", *options(**changes)]) == 0
    written = {path.stem for path in (tmp_path / "out").glob("*.parquet")}
    assert {"diffusion", "msd", "trajectories", "convergence", "rdf"} <= written
    assert not CHARGED & written
    after = read_table("out/diffusion.parquet")
    np.testing.assert_array_equal(after["D_cm2_s"], before["D_cm2_s"])
    quantities = set(read_table("out/convergence.parquet")["quantity"])
    assert quantities
    assert all(name.startswith(("D_", "environment", "residence")) for name in quantities)
    assert Path("out/overview.png").is_file()


def test_options_of_the_diffusive_criterion(good):
    """A displacement that no ion reaches leaves no D, whatever the slope."""
    write("long.extxyz", frames(400))
    found = []
    for changes in ({"diffusive_tolerance": "0.5"}, {"least_displacement_A": "500"}):
        assert main(["analyze", "long.extxyz", *options(center=None, ligands=None, **changes)]) == 0
        used = read_table("out/diffusion.parquet")
        settings = read_table("out/trajectories.parquet").attrs["transport"]
        assert all(settings[key] == float(value) for key, value in changes.items())
        found.append(bool(used["diffusive"].any()))
    assert found == [True, False]


# Options, and the key, the value and the remedy of the message.
BAD_OPTIONS = {
    "temperature below zero": ({"temperature_K": "-5"}, "temperature-K = -5.0", "above 0"),
    "no frame interval": ({"frame_interval_ps": "0"}, "frame-interval-ps = 0.0", "above 0"),
    "discards everything": ({"discard_ps": "100"}, "discard_ps = 100.0", "use less"),
    "charges malformed": ({"charges": "Li:1"}, "charges = 'Li:1'", "for example Li=1,Al=3"),
    "charge no number": ({"charges": "Li=x,Al=3,Cl=-1"}, "Li=x", "NAME=number"),
    "charges missing": ({"charges": "Li=1,Al=3"}, "charges = {", "add the charge of Cl"),
    "charges not neutral": (
        {"charges": "Li=1,Al=2,Cl=-1"},
        "charges = {",
        "net charge of -1 e; correct",
    ),
    "charges twice": ({"charges": "Li=1,Li=1,Al=3,Cl=-1"}, "charges = 'Li=1,Li", "Li twice"),
    "mobile absent": ({"mobile": "Na"}, "mobile = 'Na'", "it has ['Al', 'Cl', 'Li']"),
    "center absent": ({"center": "Ga"}, "center = 'Ga'", "it has ['Al', 'Cl', 'Li']"),
    "center alone": ({"ligands": None}, "ligands = ''", "--center and --ligands together"),
    "ligand is mobile": ({"ligands": "Li,Cl"}, "ligands = ['Li', 'Cl']", "different elements"),
    "bridge is no ligand": ({"bridges": "O"}, "bridges = ['O']", "among the ligands"),
    "cutoff malformed": ({"cutoffs_A": "Al-Cl"}, "cutoffs-A = 'Al-Cl'", "for example Al-Cl=2.9"),
    "cutoff of no pair": (
        {"cutoffs_A": "AlCl=2.9"},
        "--cutoffs-A = {'AlCl': 2.9}",
        "as two elements",
    ),
    "cutoff of no atoms": ({"cutoffs_A": "Al-O=2.1"}, "--cutoffs-A = 'Al-O=2.1'", "Al-Cl, Al-Li"),
    "cutoff of no shell": (
        {"cutoffs_A": "Cl-Cl=4"},
        "--cutoffs-A = 'Cl-Cl=4'",
        "no shell needs it",
    ),
    "cutoff of no element": (
        {"cutoffs_A": "Al-Xx=4"},
        "--cutoffs-A = {'Al-Xx'",
        "Xx is no element",
    ),
    "cutoff twice": ({"cutoffs_A": "Al-Cl=3,Cl-Al=4"}, "--cutoffs-A", "not both"),
    "cutoff below zero": ({"cutoffs_A": "Al-Cl=-3"}, "--cutoffs-A.Al-Cl = -3.0", "from 0.5 to 30"),
    "cutoff without a center": (
        {"cutoffs_A": "Al-Cl=3", "center": None, "ligands": None},
        "Al-Cl=3",
        "give --center",
    ),
    "ligand twice": ({"ligands": "Cl,Cl"}, "ligands = ['Cl', 'Cl']", "each element once"),
    "g(r) to no number": ({"rdf_cutoff_A": "nan"}, "--rdf-cutoff-A = nan", "from 3 to 30"),
    "g(r) too far": ({"rdf_cutoff_A": "500"}, "--rdf-cutoff-A = 500.0", "from 3 to 30"),
    "tolerance of nothing": ({"diffusive_tolerance": "0"}, "--diffusive-tolerance = 0.0", "> 0"),
    "negative displacement": ({"least_displacement_A": "-1"}, "--least-displacement-A", "≥ 0"),
    "out is a file": ({"out": "run.extxyz"}, "argument --out", "run.extxyz is a file; name a"),
    "out in a file": ({"out": "run.extxyz/a"}, "argument --out", "is a file, so run.extxyz/a"),
}


def message(error: str) -> str:
    """The last line, which is all that follows progress."""
    assert "Traceback" not in error
    (found,) = (line for line in error.splitlines() if line.startswith("vitrion analyze: "))
    assert error.strip().endswith(found)
    return found


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_end_with_one_message(good, capsys, name):
    changes, key_and_value, remedy = BAD_OPTIONS[name]
    try:
        code = main(["analyze", good, *options(**changes)])
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    found = message(capsys.readouterr().err)
    assert key_and_value in found
    assert remedy in found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"temperature_K": None}, "--temperature-K"),
        ({"temperature_K": "warm"}, "invalid float value: 'warm'"),
        ({"reference_frame": "wall"}, "choose from"),
    ],
)
def test_options_that_no_parser_takes_end_the_same_way(good, capsys, changes, expected):
    with pytest.raises(SystemExit) as stop:
        main(["analyze", good, *options(**changes)])
    assert stop.value.code == 2
    assert expected in message(capsys.readouterr().err)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("count", [2, 100])
def test_an_ion_that_never_leaves_gives_no_numerical_warning(tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    places_A = [[0.0, 0, 0], [2.0, 0, 0], *([2.0, 0, 0] + 1.6 * np.eye(3)), [2.0, -1.6, 0]]
    atoms = [
        Atoms("LiAlCl4", places_A + rng.normal(0, 0.03, (6, 3)), cell=[9.0] * 3, pbc=True)
        for _ in range(count)
    ]
    write("bound.extxyz", atoms)
    assert main(["analyze", "bound.extxyz", *options()]) == 0


def test_one_file_needs_no_list(good):
    assert read_files(good, frame_interval_ps=0.1).name == good
    with pytest.raises(InputError, match="at least one file"):
        read_files([], frame_interval_ps=0.1)


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


def missing():
    return ["nowhere.extxyz"], "no such file"


def unknown():
    Path("notes.txt").write_text("nothing to see\n" * 5)
    return ["notes.txt"], "unknown format; use extxyz"


def garbled():
    write("XDATCAR", frames(), format="vasp-xdatcar")
    Path("XDATCAR").write_text(Path("XDATCAR").read_text().replace("0.5", "0.x", 1))
    return ["XDATCAR"], "cannot be read as XDATCAR (near line"


def nothing_in_it():
    Path("run.extxyz").touch()
    return ["run.extxyz"], "holds no frame"


def one_frame():
    write("one.extxyz", frames(1))
    return ["one.extxyz"], "fewer than two frames"


def numbered_types():
    run, _ = walk(3)
    write_dump(Path("run.dump"), run, columns="id type x y z")
    return ["run.dump"], "dump_modify ... element Li"


def no_topology():
    Path("run.xtc").write_bytes(b"0")
    return ["run.xtc"], "--topology"


def damaged_hdf5():
    Path("run.h5").write_bytes(b"\x89HDF")
    return ["run.h5"], "cannot be read as HDF5"


def another_interval():
    run, _ = walk(8)
    write_h5md(Path("run.h5"), run.symbols, run.positions_A, run.cells_A, interval_ps=0.2)
    return ["run.h5"], "the file says 0.2"


@pytest.mark.parametrize(
    "make",
    [
        *(no_cell, changing_atoms, not_numbers, jumps, missing, unknown, nothing_in_it),
        *(garbled, one_frame, numbered_types, no_topology, damaged_hdf5),
        another_interval,
    ],
)
def test_bad_files_end_with_one_message(tmp_path, monkeypatch, capsys, make):
    monkeypatch.chdir(tmp_path)
    files, expected = make()
    assert main(["analyze", *files, *options()]) == 2
    assert expected in message(capsys.readouterr().err)


def test_the_temperature_need_not_be_whole(good, tmp_path):
    """σ goes as 1/T, although the key of the tables holds whole kelvins."""
    sigma = {}
    for temperature_K in ("600", "600.4"):
        assert main(["analyze", good, *options(temperature_K=temperature_K)]) == 0
        assert read_table("out/trajectories.parquet")["temperature_K"][0] == 600
        sigma[temperature_K] = read_table("out/conductivity.parquet")["sigma_mS_cm"][0]
    assert sigma["600.4"] / sigma["600"] == pytest.approx(600 / 600.4, rel=1e-9)


def test_a_cell_can_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (files, _) = no_cell()
    assert main(["analyze", *files, *options(cell_volume_A3=str(CELL_A**3))]) == 0
    assert read_table("out/trajectories.parquet")["volume_A3"][0] == pytest.approx(CELL_A**3)
