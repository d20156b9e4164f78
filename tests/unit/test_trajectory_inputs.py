"""What users' files are like beside the plain ones: columns, labels, cells, units, joined files."""

from __future__ import annotations

import errno
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from trajectory_files import (
    EXAMPLES,
    Run,
    walk,
    write_cp2k,
    write_dump,
    write_extxyz,
    write_gro,
    write_h5md,
    write_vasprun,
    write_xdatcar,
)

from vitrion.base.errors import InputError
from vitrion.trajectory import recording
from vitrion.trajectory.readers import Cut, Frame, Request, hdf5
from vitrion.trajectory.readers.labels import element
from vitrion.trajectory.sources import read_files
from vitrion.trajectory.unwrapping import Source, Trajectory

CUBE_A = (12.0, 12.0, 12.0)


def paths_A(source: Source) -> np.ndarray:
    with Trajectory.read(source, reference_frame="none") as trajectory:
        return trajectory.history(slice(0, trajectory.n_atoms)).transpose(2, 0, 1)


def check(source: Source, true_A: np.ndarray, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(paths_A(source), true_A - true_A[0], atol=atol)


@pytest.mark.parametrize(
    ("label", "symbol"),
    [
        ("Li", "Li"), ("LI", "Li"), ("li", "Li"), ("Li+", "Li"), ("Li1", "Li"), ("Al3+", "Al"),
        ("Al+3", "Al"), ("O--", "O"), ("Cl1-", "Cl"), ("Li_sv", "Li"), ("Li/3bcbb1e2", "Li"),
        ("Li_sv/3bcbb1e2", "Li"), ("D", "H"), ("CL12", "Cl"), ("X", None), ("1", None), ("", None),
        ("OW", None), ("Li Cl", None), ("Lix", None), ("Cl4x", None),
    ],
)  # fmt: skip
def test_elements_of_labels(label: str, symbol: str | None) -> None:
    assert element(label) == symbol


# Columns of a LAMMPS dump, what has to be given, and whether the path is exact.
COLUMNS = {
    "id element xs ys zs": ({}, True),
    "id type mass x y z": ({}, True),
    "id type q x y z": ({"elements": {"1": "Li", "2": "Cl"}}, True),
    "element x y z": ({}, True),
    "id type x y z element": ({}, True),
}


@pytest.mark.parametrize("columns", COLUMNS)
def test_columns_of_a_lammps_dump(tmp_path: Path, columns: str) -> None:
    run, true_A = walk(10, cell_A=np.array([[12.0, 0, 0], [-3.0, 11.0, 0], [2.0, -1.5, 13.0]]))
    write_dump(tmp_path / "run.dump", run, columns=columns)
    options, _ = COLUMNS[columns]
    source = read_files(tmp_path / "run.dump", frame_interval_ps=0.1, **options)
    assert source.symbols == run.symbols
    assert source.charges == ({"Li": 1.0, "Cl": -1.0} if " q " in columns else None)
    check(source, true_A, 1e-5)


def lammps_text(run: Run, true_A: np.ndarray, columns: str) -> str:
    """Frames with image flags or unwrapped positions beside the folded ones."""
    images = np.round((true_A - run.positions_A) @ np.linalg.inv(run.cells_A)).astype(int)
    parts = []
    for step, x, true, image in zip(run.steps, run.positions_A, true_A, images, strict=True):
        parts.append(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(x)}\n")
        edges = "".join(f"0 {length}\n" for length in np.diag(run.cells_A[0]))
        parts.append(f"ITEM: BOX BOUNDS pp pp pp\n{edges}ITEM: ATOMS {columns}\n")
        for n, symbol in enumerate(run.symbols):
            value = {"id": str(n + 1), "element": symbol}
            for axis, name in enumerate("xyz"):
                value |= {name: f"{x[n, axis]:.7f}", f"{name}u": f"{true[n, axis]:.7f}"}
                value |= {f"i{name}": str(image[n, axis])}
            parts.append(" ".join(value[name] for name in columns.split()) + "\n")
    return "".join(parts)


@pytest.mark.parametrize("columns", ["id element x y z ix iy iz", "id element xu yu zu"])
def test_image_flags_give_the_exact_path_over_any_interval(tmp_path: Path, columns: str) -> None:
    """Frames so far apart that atoms move more than half the cell in between."""
    run, true_A = walk(40, D=60.0)
    assert np.abs(np.diff(true_A, axis=0)).max() > 8
    (tmp_path / "run.lammpstrj").write_text(lammps_text(run, true_A, columns))
    source = read_files(tmp_path / "run.lammpstrj", frame_interval_ps=0.1)
    assert not source.wrapped
    check(source, true_A, 1e-3)


def test_unwrapped_positions_that_are_folded_are_found(tmp_path: Path) -> None:
    run, true_A = walk(300)
    write_extxyz(tmp_path / "folded.extxyz", run)
    with pytest.raises(InputError, match=r"unwrapped = .*positions are folded; leave it out"):
        read_files(tmp_path / "folded.extxyz", unwrapped=True)
    write_extxyz(tmp_path / "true.extxyz", Run(run.symbols, true_A, run.cells_A))
    check(read_files(tmp_path / "true.extxyz", unwrapped=True), true_A, 1e-4)
    # True steps of any length are no folding.
    far, far_A = walk(40, D=200.0)
    write_extxyz(tmp_path / "far.extxyz", Run(far.symbols, far_A, far.cells_A))
    check(read_files(tmp_path / "far.extxyz", unwrapped=True), far_A, 1e-3)
    # Flags that a restart has set back: unwrapped again, with a note.
    text = lammps_text(
        run, np.concatenate([true_A[:150], run.positions_A[150:]]), "id element xu yu zu"
    )
    (tmp_path / "reset.lammpstrj").write_text(text)
    source = read_files(tmp_path / "reset.lammpstrj", frame_interval_ps=0.1)
    assert "unwrapped again" in source.notes[0]
    check(source, true_A, 1e-4)


def test_types_take_elements_from_a_data_file(tmp_path: Path) -> None:
    run, true_A = walk(8)
    write_dump(tmp_path / "run.dump", run, columns="id type x y z")
    data = tmp_path / "system.data"
    masses = "\nMasses\n\n1 6.94 # cation\n2 35.45\n"
    atoms = "".join(f"{n + 1} 1 {1 + (n > 7)} {1 - 2 * (n > 7)} 0 0 0\n" for n in range(16))
    data.write_text(
        "LAMMPS data file\n\n16 atoms\n2 atom types\n\n0 12 xlo xhi\n0 12 ylo yhi\n0 12 zlo zhi\n"
        f"{masses}\nAtoms # full\n\n{atoms}"
    )
    source = read_files(tmp_path / "run.dump", frame_interval_ps=0.1, topology=data)
    assert source.symbols == run.symbols
    check(source, true_A)


def test_elements_that_lammps_was_not_told_are_refused(tmp_path: Path) -> None:
    """Without `dump_modify element` LAMMPS writes C for all types."""
    run, _ = walk(4)
    write_dump(tmp_path / "run.dump", run, columns="id type element x y z")
    text = (tmp_path / "run.dump").read_text()
    (tmp_path / "run.dump").write_text(text.replace(" Li ", " C ").replace(" Cl ", " C "))
    with pytest.raises(InputError, match="dump_modify"):
        read_files(tmp_path / "run.dump", frame_interval_ps=0.1)


def test_a_killed_run_that_goes_on_in_the_same_dump(tmp_path: Path) -> None:
    run, true_A = walk(40)
    dump = tmp_path / "run.lammpstrj"
    write_dump(dump, run[:20])
    dump.write_text(dump.read_text()[:-330])  # within a line of frame 20
    write_dump(dump, run[15:], mode="a")
    source = read_files(dump, frame_interval_ps=0.1)
    assert any("is cut and left out" in note for note in source.notes)
    check(source, true_A)


def test_lammps_times_and_units(tmp_path: Path) -> None:
    run, true_A = walk(6)
    dump = tmp_path / "run.lammpstrj"
    write_dump(dump, run)
    parts = dump.read_text().split("ITEM: TIMESTEP\n")[1:]
    frames = [f"ITEM: TIME\n{100.0 * n}\nITEM: TIMESTEP\n{part}" for n, part in enumerate(parts)]
    dump.write_text("ITEM: UNITS\nreal\n" + "".join(frames))
    source = read_files(dump)
    assert source.frame_interval_ps == pytest.approx(0.1)
    check(source, true_A)
    dump.write_text("ITEM: UNITS\nlj\n" + "".join(frames))
    with pytest.raises(InputError, match="units 'lj' have no length"):
        read_files(dump)


# How two XDATCARs of one run may have become one file.
JOINTS: dict[str, Callable[[str, str], str]] = {
    "as they are": lambda a, b: a + b,
    "a blank line": lambda a, b: f"{a}\n{b}",
    "blank lines": lambda a, b: f"{a}\n \n\n{b}",
    "frames alone": lambda a, b: a + b[b.index("Direct") :],
    "a blank line and frames alone": lambda a, b: f"{a}\n{b[b.index('Direct') :]}",
    "Windows": lambda a, b: (a + b).replace("\n", "\r\n"),
    "a title that is blank": lambda a, b: a + b.replace("LiCl\n", "\n", 1),
    "a first that is cut": lambda a, b: a + "\n",
}


@pytest.mark.parametrize("joint", JOINTS)
def test_joined_xdatcars_lose_no_frame(tmp_path: Path, joint: str) -> None:
    run, true_A = walk(30)
    write_xdatcar(tmp_path / "1", run[:10])
    write_xdatcar(tmp_path / "2", run[10:])
    pieces = ((tmp_path / name).read_text() for name in "12")
    (tmp_path / "XDATCAR").write_text(JOINTS[joint](*pieces), newline="")
    source = read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1)
    check(source, true_A[:10] if joint == "a first that is cut" else true_A)


@pytest.mark.parametrize("species", ["Li/3bcbb1e2 Cl/6b7ad71d", "Li_sv Cl", "LI CL"])
def test_species_of_an_xdatcar(tmp_path: Path, species: str) -> None:
    run, _ = walk(3)
    write_xdatcar(tmp_path / "XDATCAR", run, species=species)
    assert read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1).symbols == run.symbols


def test_numbers_of_an_xdatcar_that_touch(tmp_path: Path) -> None:
    run, true_A = walk(4)
    cell = run.cells_A
    centred = Run(run.symbols, run.positions_A - 6.0, cell)  # fractional coordinates below 0
    write_xdatcar(tmp_path / "XDATCAR", centred)
    text = (tmp_path / "XDATCAR").read_text().replace(" -0.", "-0.")
    (tmp_path / "XDATCAR").write_text(text)
    check(read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1), true_A)


def test_an_xdatcar_without_species_asks_for_them(tmp_path: Path) -> None:
    run, true_A = walk(4)
    write_xdatcar(tmp_path / "XDATCAR", run)
    (tmp_path / "XDATCAR").write_text((tmp_path / "XDATCAR").read_text().replace("Li Cl\n", "", 1))
    with pytest.raises(InputError, match=r"--elements 1=Li,2=Cl"):
        read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1)
    source = read_files(
        tmp_path / "XDATCAR", frame_interval_ps=0.1, elements={"1": "Li", "2": "Cl"}
    )
    check(source, true_A)


def test_frames_of_a_learned_force_field_in_vasprun(tmp_path: Path) -> None:
    run, true_A = walk(12)
    write_vasprun(tmp_path / "vasprun.xml", run, learned=lambda n: n % 4 > 0)
    check(read_files(tmp_path / "vasprun.xml"), true_A)
    text = (tmp_path / "vasprun.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text.replace('"IBRION"> 0', '"IBRION"> 2'))
    with pytest.raises(InputError, match="IBRION = 2 is a relaxation"):
        read_files(tmp_path / "vasprun.xml")


def test_compressed_files(tmp_path: Path) -> None:
    run, true_A = walk(8)
    write_dump(tmp_path / "run.lammpstrj", run)
    content = gzip.compress((tmp_path / "run.lammpstrj").read_bytes())
    for name, end in (("run.lammpstrj.gz", None), ("cut.lammpstrj.gz", -200)):
        (tmp_path / name).write_bytes(content[:end])
        source = read_files(tmp_path / name, frame_interval_ps=0.1)
        assert bool(source.notes) == (end is not None)
        check(source, true_A[: source.n_frames])


def test_what_a_crash_of_the_machine_leaves(tmp_path: Path) -> None:
    """Blocks that were never written are zero bytes."""
    run, true_A = walk(8)
    write_dump(tmp_path / "run.lammpstrj", run)
    content = (tmp_path / "run.lammpstrj").read_bytes()
    (tmp_path / "run.lammpstrj").write_bytes(content[:-100] + b"\0" * 4096)
    source = read_files(tmp_path / "run.lammpstrj", frame_interval_ps=0.1)
    assert "frame 8 is cut" in source.notes[0]
    check(source, true_A[:7])


# Keys of an extended XYZ, the factor of the time in ps, and the interval that is needed or found.
EXTXYZ_TIMES = [
    ("time_ps", 1.0, None, 0.1), ("time_fs", 1000.0, None, 0.1), ("Time", 1.0, None, 0.1),
    ("time", 2000.0, None, 0.1 * 2), ("time", 20.0, 2.0, 2.0), ("time", 20.0, 0.002, 0.002),
]  # fmt: skip


@pytest.mark.parametrize(("key", "factor", "given", "expected"), EXTXYZ_TIMES)
def test_times_of_an_extended_xyz(
    tmp_path: Path, key: str, factor: float, given: float | None, expected: float
) -> None:
    run, _ = walk(6)
    write_extxyz(tmp_path / "run.extxyz", run, key, factor)
    source = read_files(tmp_path / "run.extxyz", frame_interval_ps=given)
    assert source.frame_interval_ps == pytest.approx(expected)


def test_a_time_that_may_be_fs_or_ps_is_asked_for(tmp_path: Path) -> None:
    run, _ = walk(6)
    write_extxyz(tmp_path / "run.extxyz", run, "time", 10.0)
    with pytest.raises(InputError, match=r"have no unit; give 0.001 or 1, for fs or ps"):
        read_files(tmp_path / "run.extxyz")
    with pytest.raises(InputError, match=r"say 0.001 or 1 \(fs or ps\)"):
        read_files(tmp_path / "run.extxyz", frame_interval_ps=0.5)


def test_a_restart_within_one_file_without_times(tmp_path: Path) -> None:
    run, true_A = walk(60)
    frames = [*run[:40].atoms, *run[30:].atoms]
    write(tmp_path / "run.extxyz", frames)
    source = read_files(tmp_path / "run.extxyz", frame_interval_ps=0.1)
    assert source.notes
    assert "10 frames" in source.notes[0]
    check(source, true_A)


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 40), (30, 40), (30, 40), (30, 60)],
        [(0, 40), (20, 40), (20, 40), (35, 60)],
        [(0, 40), (30, 31), (30, 31), (30, 31), (30, 60)],
        [(0, 40), *[(39, 40)] * 3, (40, 60)],
    ],
    ids=["restarts of ten frames", "of twenty", "of one frame", "one frame again and again"],
)
def test_frames_that_are_there_more_than_twice(
    tmp_path: Path, parts: list[tuple[int, int]]
) -> None:
    """A job that fails soon after each restart writes the same frames every time."""
    run, true_A = walk(60)
    pieces = [run[begin:end].atoms for begin, end in parts]
    write(tmp_path / "run.extxyz", [frame for piece in pieces for frame in piece])
    check(read_files(tmp_path / "run.extxyz", frame_interval_ps=0.1), true_A)
    files = [tmp_path / f"{number}.extxyz" for number in range(len(pieces))]
    for file, piece in zip(files, pieces, strict=True):
        write(file, piece)
    check(read_files(files, frame_interval_ps=0.1), true_A)


def test_duplicates_are_found_to_rounding(tmp_path: Path) -> None:
    run, true_A = walk(60)
    write_gro(tmp_path / "1.gro", run[:31], digits=3)
    write_gro(tmp_path / "2.gro", run[30:], digits=3)
    for name in ("1.gro", "2.gro"):  # without times
        lines = (tmp_path / name).read_text().splitlines(keepends=True)
        text = "".join("no time\n" if "t=" in line else line for line in lines)
        (tmp_path / name).write_text(text)
    source = read_files([tmp_path / "1.gro", tmp_path / "2.gro"], frame_interval_ps=0.1)
    assert "1 frame before frame 32 is there twice" in source.notes[0]
    check(source, true_A, 0.02)


def test_two_runs_are_not_one(tmp_path: Path) -> None:
    one, _ = walk(30, seed=0)
    other, _ = walk(30, seed=5)
    for write_run, name in ((write_dump, "{}.dump"), (write_cp2k, "{}-pos-1.xyz")):
        files = [tmp_path / name.format(n) for n in (1, 2)]
        write_run(files[0], one)
        write_run(files[1], other)
        cell = CUBE_A if name.endswith(".xyz") else None
        with pytest.raises(InputError, match="independent runs one by one"):
            read_files(files, cell_A=cell, frame_interval_ps=0.1)


def test_cells_of_cp2k_that_change(tmp_path: Path) -> None:
    run, _ = walk(10)
    scale = 1 + 0.01 * np.sin(np.arange(10))[:, None, None]
    breathing = Run(run.symbols, run.positions_A * scale, run.cells_A * scale)
    write_cp2k(tmp_path / "a-pos-1.xyz", breathing)
    source = read_files(tmp_path / "a-pos-1.xyz", cell_file=tmp_path / "a-1.cell")
    cells_A = np.concatenate([chunk.cells_A for chunk in source.chunks])
    np.testing.assert_allclose(cells_A, breathing.cells_A, atol=1e-8)
    with pytest.raises(InputError, match=r"give --cell a,b,c .*--cell-file a-1.cell"):
        read_files(tmp_path / "a-pos-1.xyz")
    text = (tmp_path / "a-1.cell").read_text().splitlines(keepends=True)
    (tmp_path / "a-1.cell").write_text("".join(text[:-1]) + text[-1][:15])  # a killed run
    source = read_files(tmp_path / "a-pos-1.xyz", cell_file=tmp_path / "a-1.cell")
    assert source.n_frames == 9
    assert source.notes == ("the last frame has no cell in a-1.cell; it is left out",)
    (tmp_path / "a-1.cell").write_text("".join(text[:-2]))
    with pytest.raises(InputError, match=r"a-1\.cell'?: has no cell for step 800"):
        read_files(tmp_path / "a-pos-1.xyz", cell_file=tmp_path / "a-1.cell")
    (tmp_path / "a-1.cell").write_text("".join(text[:5] + text[6:]))
    with pytest.raises(InputError, match="has no cell for step 400"):
        read_files(tmp_path / "a-pos-1.xyz", cell_file=tmp_path / "a-1.cell")


def test_cells_that_are_given(tmp_path: Path) -> None:
    run, true_A = walk(6, cell_A=np.array([[12.0, 0, 0], [6.0, 6 * 3**0.5, 0], [0, 0, 15.0]]))
    write_cp2k(tmp_path / "a-pos-1.xyz", run)
    xyz = tmp_path / "a-pos-1.xyz"
    check(read_files(xyz, cell_A=(12, 12, 15, 90, 90, 60)), true_A)
    for cell in ((12, 12), (12, -1, 12), (12, 12, 12, 10, 90, 170)):
        with pytest.raises(InputError, match="cell = "):
            read_files(xyz, cell_A=cell)
    with pytest.raises(InputError, match="give either this or --cell"):
        read_files(xyz, cell_A=CUBE_A, cell_volume_A3=1728.0)
    write_extxyz(tmp_path / "run.extxyz", run)
    for options in ({"cell_volume_A3": 1728.0}, {"cell_A": CUBE_A}):
        with pytest.raises(InputError, match="has cells of its own; leave --cell"):
            read_files(tmp_path / "run.extxyz", **options)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda cells: cells.__setitem__(slice(5, None), cells[5:] * 10), "cell jumps from"),
        (lambda cells: cells.__setitem__(5, cells[5] * [[10], [0.1], [1]]), "cell jumps from"),
        (lambda cells: cells.__setitem__(slice(None), cells / 10), "density of"),
        (lambda cells: cells.__setitem__(5, np.nan), "frame 6 has a cell that is not numbers"),
        (lambda cells: cells.__setitem__((5, 2), cells[5, 1]), "frame 6 has a cell without volume"),
    ],
)
def test_cells_that_cannot_be(
    tmp_path: Path, change: Callable[[np.ndarray], None], expected: str
) -> None:
    run, _ = walk(10)
    cells_A = run.cells_A.copy()
    change(cells_A)
    write(tmp_path / "run.extxyz", Run(run.symbols, run.positions_A, cells_A).atoms)
    with pytest.raises(InputError, match=expected):
        read_files(tmp_path / "run.extxyz", frame_interval_ps=0.1)


def h5_frames(path: Path, **options: object) -> tuple[np.ndarray, np.ndarray, list]:
    """Positions, cells and frames as the reader gives them."""
    frames = list(hdf5.frames(path, Request([path], **options)))  # type: ignore[arg-type]
    cells_A = np.array([np.full((3, 3), np.nan) if f.cell_A is None else f.cell_A for f in frames])
    return np.array([f.positions_A for f in frames]), cells_A, frames


@pytest.mark.parametrize(
    ("units", "factors", "interval_ps"),
    [
        (("Angstrom", "ps"), (1, 1), 0.1), (("nm", "fs"), (10, 1e-3), 1e-4),
        (("pm", "ns"), (0.01, 1e3), 100.0), (("m", "s"), (1e10, 1e12), 1e11),
    ],
)  # fmt: skip
def test_units_of_h5md(
    tmp_path: Path, units: tuple[str, str], factors: tuple[float, float], interval_ps: float
) -> None:
    run, _ = walk(9)
    path = tmp_path / "run.h5"
    write_h5md(
        path, run.symbols, run.positions_A / factors[0], run.cells_A / factors[0], units=units
    )
    positions_A, cells_A, frames = h5_frames(path)
    np.testing.assert_allclose(positions_A, run.positions_A, rtol=1e-9)
    np.testing.assert_allclose(cells_A, run.cells_A, rtol=1e-9)
    assert frames[1].time_ps == pytest.approx(interval_ps)
    with h5py.File(path, "a") as file:
        file["particles/all/position/time"].attrs["unit"] = "fortnight"
    with pytest.raises(Exception, match="unit of time 'fortnight' is unknown; known are ps"):
        h5_frames(path)


# What `box/edges` may be, for cells of 12 Å.
EDGES: dict[str, Callable[[h5py.Group, int], None]] = {
    "static edges": lambda box, n: box.create_dataset("edges", data=[12.0] * 3),
    "static vectors": lambda box, n: box.create_dataset("edges", data=np.eye(3) * 12),
    "edges of each frame": lambda box, n: box.create_dataset("edges/value", data=[[12.0] * 3] * n),
    "vectors of each frame": lambda box, n: box.create_dataset(
        "edges/value", data=[np.eye(3) * 12] * n
    ),
}


@pytest.mark.parametrize("n_frames", [3, 9])
@pytest.mark.parametrize("kind", EDGES)
def test_boxes_of_h5md(tmp_path: Path, kind: str, n_frames: int) -> None:
    run, _ = walk(n_frames)
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/salt")
        group["position/value"], group["position/step"] = run.positions_A, run.steps
        group["species"] = Atoms(run.symbols).numbers
        EDGES[kind](group.create_group("box"), n_frames)
    positions_A, cells_A, _ = h5_frames(path)
    np.testing.assert_allclose(cells_A, run.cells_A)
    np.testing.assert_allclose(positions_A, run.positions_A)


def test_boxes_of_h5md_with_steps_of_their_own(tmp_path: Path) -> None:
    run, _ = walk(9)
    path = tmp_path / "run.h5"
    write_h5md(path, run.symbols, run.positions_A, run.cells_A)
    with h5py.File(path, "a") as file:
        edges = file["particles/all/box/edges"]
        del edges["value"]
        edges["value"], edges["step"] = [[10.0 + n] * 3 for n in range(17)], np.arange(17) / 2
    _, cells_A, _ = h5_frames(path)
    np.testing.assert_allclose(cells_A[:, 0, 0], 10 + 2 * np.arange(9))


def test_species_of_h5md(tmp_path: Path) -> None:
    run, _ = walk(8)
    path = tmp_path / "run.h5"
    write_h5md(path, run.symbols, run.positions_A, run.cells_A)
    is_cl = np.array([symbol == "Cl" for symbol in run.symbols])
    kind = h5py.enum_dtype({"Li": 0, "Cl": 1}, basetype="i")
    changing = np.repeat(Atoms(run.symbols).numbers[None], 8, axis=0)
    for species, elements in (
        (np.array(run.symbols, dtype="S2"), {}),
        (is_cl.astype(kind), {}),
        (changing, {}),
        (1 + is_cl.astype(int), {"1": "Li", "2": "Cl"}),
    ):
        with h5py.File(path, "a") as file:
            group = file["particles/all"]
            del group["species"]
            group["species/value" if species.ndim > 1 else "species"] = species
        _, _, frames = h5_frames(path, elements=elements)
        labels = [elements.get(str(label), str(label)) for label in frames[0].labels]
        assert tuple(labels) == run.symbols
    _, _, frames = h5_frames(path)
    assert set(frames[0].labels) == {"1", "2"}  # types, not hydrogen and helium


def test_groups_and_images_of_h5md(tmp_path: Path) -> None:
    run, true_A = walk(8, D=60.0)
    path = tmp_path / "run.h5"
    write_h5md(path, run.symbols, run.positions_A, run.cells_A, group="salt")
    images = np.round((true_A - run.positions_A) / 12.0).astype(int)
    with h5py.File(path, "a") as file:
        file["particles/salt/image/value"] = images
        file["particles/walls/position/value"] = np.zeros((8, 2, 3))
    with pytest.raises(InputError, match="--group salt"):
        h5_frames(path)
    positions_A, _, frames = h5_frames(path, group="salt")
    np.testing.assert_allclose(positions_A, true_A, atol=1e-9)
    assert frames[0].is_unwrapped


def test_names_that_programs_take_for_more(tmp_path: Path) -> None:
    run, true_A = walk(6)
    for name in ("run@600K.extxyz", "run@0.extxyz", "run 1.extxyz"):
        write_extxyz(tmp_path / "plain.extxyz", run)
        (tmp_path / "plain.extxyz").rename(tmp_path / name)
        check(read_files(tmp_path / name), true_A)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder; name the files in it"):
        read_files(tmp_path / "folder")
    (tmp_path / "locked.extxyz").touch()
    with pytest.raises(InputError, match="is empty"):
        read_files(tmp_path / "locked.extxyz")


def test_options_that_do_not_apply_are_refused_or_noted(tmp_path: Path) -> None:
    run, _ = walk(6)
    write_extxyz(tmp_path / "run.extxyz", run)
    write_gro(tmp_path / "conf.gro", run[:1])
    source = read_files(tmp_path / "run.extxyz", topology=tmp_path / "conf.gro")
    assert source.notes == ("conf.gro is not needed: the files name their atoms",)
    with pytest.raises(InputError, match=r"elements = '3': no atom of .* its atoms are Cl, Li"):
        read_files(tmp_path / "run.extxyz", elements={"3": "Li"})
    with pytest.raises(InputError, match="group = 'all': is for H5MD files"):
        read_files(tmp_path / "run.extxyz", group="all")


def test_a_last_frame_between_the_others_is_left_out(tmp_path: Path) -> None:
    """GROMACS writes the last step into a TRR, and LAMMPS the step at which a run ends."""
    run, true_A = walk(30)
    write_dump(tmp_path / "run.dump", run)
    text = (tmp_path / "run.dump").read_text()
    (tmp_path / "run.dump").write_text(text.replace("TIMESTEP\n2900\n", "TIMESTEP\n2837\n"))
    source = read_files(tmp_path / "run.dump", frame_interval_ps=0.1)
    assert source.notes == ("1 frame between the others (the first at step 2837) is left out",)
    check(source, true_A[:29])


def test_an_interval_that_makes_impossible_steps_is_refused(tmp_path: Path) -> None:
    run, _ = walk(6)
    write_dump(tmp_path / "run.dump", run)
    with pytest.raises(InputError, match="100 steps apart, so that a step had 100 fs"):
        read_files(tmp_path / "run.dump", frame_interval_ps=10.0)


def test_a_block_that_was_never_written_is_found(tmp_path: Path) -> None:
    run, _ = walk(20)
    for atoms, expected in (([3], "atom 4 is"), ([3, 5], "several atoms are")):
        positions_A = run.positions_A.copy()
        positions_A[8, atoms] = 0.0
        write_extxyz(tmp_path / "run.extxyz", Run(run.symbols, positions_A, run.cells_A))
        with pytest.raises(InputError, match=f"{expected} exactly at the origin in frame 9"):
            read_files(tmp_path / "run.extxyz")
    positions_A = run.positions_A.copy()
    positions_A[8, 3] += 5.5  # and back
    write_extxyz(tmp_path / "run.extxyz", Run(run.symbols, positions_A, run.cells_A))
    with pytest.raises(InputError, match=r"atom 4 moves .* Å and back in frame 9"):
        read_files(tmp_path / "run.extxyz")
    starting = run.positions_A.copy()
    starting[0, 3] = 0.0  # as a crystal may begin
    starting[1:, 3] = run.positions_A[1:, 3] - run.positions_A[1, 3]
    starting[1:, 3] += 0.2
    write_extxyz(tmp_path / "run.extxyz", Run(run.symbols, starting, run.cells_A))
    assert read_files(tmp_path / "run.extxyz").n_frames == 20


def test_times_that_single_precision_does_not_part(tmp_path: Path) -> None:
    """A TRR after a microsecond: steps part its frames."""
    run, true_A = walk(20)
    late = Run(run.symbols, run.positions_A, run.cells_A, first=10_000_000, steps_per_frame=50)
    path, options = EXAMPLES["traj.trr"].make(tmp_path, late)
    source = read_files(path, **options)
    assert source.frame_interval_ps == pytest.approx(0.1, rel=0.05)
    assert read_files(path, frame_interval_ps=0.1, **options).frame_interval_ps == 0.1
    check(source, true_A)


def test_an_h5md_that_is_cut_keeps_its_whole_frames(tmp_path: Path) -> None:
    """Written frame by frame, as by a run, and copied in part."""
    run, _ = walk(30)
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        group["species"] = np.array(run.symbols, dtype="S2")
        group["box/edges"] = [12.0] * 3
        value = group.create_dataset(
            "position/value", (0, 16, 3), "f8", maxshape=(None, 16, 3), chunks=(1, 16, 3)
        )
        time = group.create_dataset("position/time", (0,), "f8", maxshape=(None,), chunks=(1,))
        for n in range(30):
            for dataset, row in ((value, run.positions_A[n]), (time, run.times_ps[n])):
                dataset.resize(n + 1, axis=0)
                dataset[n] = row
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    frames = []
    with pytest.raises(Cut):
        for frame in hdf5.frames(path, Request([path])):
            frames.append(frame)
    assert 5 < len(frames) < 25
    found = np.array([frame.positions_A for frame in frames])
    np.testing.assert_allclose(found, run.positions_A[: len(frames)], atol=1e-6)
    assert [frame.bare_time for frame in frames] == pytest.approx(run.times_ps[: len(frames)])


# What programs call themselves in the title of a DCD, and the time that the same number then is.
@pytest.mark.parametrize(
    ("program", "interval_ps"),
    [(b"Written by LAMMPS", None), (b"CP2K 2024.1", 0.1 / 0.04888821 * 1e-3), (b"NAMD", 0.1)],
)
def test_times_of_a_dcd_depend_on_its_program(
    tmp_path: Path, program: bytes, interval_ps: float | None
) -> None:
    run, true_A = walk(8)
    path, options = EXAMPLES["run.dcd"].make(tmp_path, run)
    content = bytearray(path.read_bytes())
    at = content.index(b"walk")
    content[at : at + len(program)] = program
    path.write_bytes(content)
    if interval_ps is None:
        with pytest.raises(InputError, match="its steps are known"):
            read_files(path, **options)
        options["frame_interval_ps"] = interval_ps = 0.1
    source = read_files(path, **options)
    assert source.frame_interval_ps == pytest.approx(interval_ps, rel=1e-4)
    check(source, true_A)


@pytest.mark.parametrize("angles", ["degrees", "cosines"])
def test_cells_of_a_dcd(tmp_path: Path, angles: str) -> None:
    run, true_A = walk(8, cell_A=np.array([[12.0, 0, 0], [3.0, 11.0, 0], [-2.0, 1.0, 13.0]]))
    path, options = EXAMPLES["run.dcd"].make(tmp_path, run)
    if angles == "cosines":
        content = bytearray(path.read_bytes())
        mark = np.int32(48).tobytes()
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            if content[at + 52 : at + 56] == mark:
                cell = np.frombuffer(bytes(content[at + 4 : at + 52]), "f8").copy()
                cell[[1, 3, 4]] = np.cos(np.radians(cell[[1, 3, 4]]))
                content[at + 4 : at + 52] = cell.tobytes()
        path.write_bytes(content)
    check(read_files(path, **options), true_A)


def test_an_xdatcar_of_a_cell_that_changes(tmp_path: Path) -> None:
    """With ISIF = 3 the head is there before each frame."""
    run, _ = walk(12)
    scale = 1 + 0.01 * np.sin(np.arange(12))[:, None, None]
    breathing = Run(run.symbols, run.positions_A * scale, run.cells_A * scale)
    for n in range(12):
        write_xdatcar(tmp_path / f"{n}", breathing[n : n + 1], first=n + 1)
    text = "".join((tmp_path / f"{n}").read_text() for n in range(12))
    (tmp_path / "XDATCAR").write_text(text)
    source = read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1)
    cells_A = np.concatenate([chunk.cells_A for chunk in source.chunks])
    np.testing.assert_allclose(cells_A, breathing.cells_A, atol=1e-8)
    folded = read_files(tmp_path / "XDATCAR", frame_interval_ps=0.1)
    found = np.concatenate([chunk.positions_A for chunk in folded.chunks])
    np.testing.assert_allclose(found, breathing.positions_A, atol=1e-5)


def test_one_frame_in_each_file(tmp_path: Path) -> None:
    run, true_A = walk(12)
    files = [tmp_path / f"{n}.extxyz" for n in range(12)]
    for n, path in enumerate(files):
        write(path, run.atoms[n])
    check(read_files(files, frame_interval_ps=0.1), true_A)


def test_a_full_disk_is_named() -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    run, _ = walk(2)
    recorder = recording._Recorder(Request([Path("run.xyz")]), Full())
    frame = Frame(run.positions_A[0], labels=np.array(run.symbols))
    with pytest.raises(InputError, match="no space is left for the frames"):
        recorder.add(frame, 0, 0)


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    """Some file systems refuse what the permissions allow, as /proc does."""
    run, _ = walk(2)
    write_extxyz(tmp_path / "run.extxyz", run)
    with pytest.raises(InputError, match=r"out = .*: no file can be written there"):
        read_files(tmp_path / "run.extxyz", scratch=tmp_path / "gone")


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    run, _ = walk(8)
    write_dump(tmp_path / "run.lammpstrj", run)
    content = bytearray(gzip.compress((tmp_path / "run.lammpstrj").read_bytes()))
    for at in (12, len(content) // 2):
        damaged = bytearray(content)
        damaged[at : at + 8] = b"\xff" * 8
        (tmp_path / "bad.lammpstrj.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"bad\.lammpstrj\.gz"):
            read_files(tmp_path / "bad.lammpstrj.gz", frame_interval_ps=0.1)


@pytest.mark.parametrize("name", ["traj.trr", "run.nc"])
def test_a_missing_frame_late_in_a_run_of_single_precision(tmp_path: Path, name: str) -> None:
    run, true_A = walk(40)
    late = Run(run.symbols, run.positions_A, run.cells_A, first=2_000_000)
    path, options = EXAMPLES[name].make(tmp_path, late)
    source = read_files(path, **options)
    assert source.frame_interval_ps == pytest.approx(0.1, rel=0.01)
    check(source, true_A)
    (tmp_path / "2").mkdir()
    other, options = EXAMPLES[name].make(tmp_path / "2", late[25:])
    EXAMPLES[name].write(path, late[:20])
    with pytest.raises(InputError, match="frames are missing between"):
        read_files([path, other], **options)


def test_atoms_that_rest_are_no_repetition(tmp_path: Path) -> None:
    """A lattice model: most frames equal the one before, and states come back."""
    rng = np.random.default_rng(2)
    hops = np.zeros((200, 4, 3))
    hops[np.arange(0, 200, 3), rng.integers(0, 4, 67), 0] = rng.choice([-2.0, 2.0], 67)
    true_A = np.cumsum(hops, axis=0) + np.array([[[2.0, 3.0 * n, 0.0] for n in range(4)]])
    cells_A = np.repeat(np.eye(3)[None] * 12.0, 200, axis=0)
    run = Run(("Li",) * 4, true_A % 12.0, cells_A)
    write(tmp_path / "run.extxyz", run.atoms)
    source = read_files(tmp_path / "run.extxyz", frame_interval_ps=0.1)
    assert source.notes == ()
    check(source, true_A)


@pytest.mark.parametrize(
    ("comment", "interval_ps"),
    [
        ("step: {n} time = {t} ps", 0.2), ("Time: {t} (fs)", 2e-4), ("time={t}", 0.2),
        ("frame t= {t} step= {n}", 0.2), ("Atoms. Timestep: {n}", None), ("generated by me", None),
        (
            "# CELL(abcABC): 12 12 12 90 90 90 Step: {n} Bead: 0 positions{{angstrom}} "
            "cell{{angstrom}}",
            None,
        ),
        ("i = {n}, time = {t}, E = -1.0", 2e-4),
    ],
)  # fmt: skip
def test_comments_of_a_plain_xyz(tmp_path: Path, comment: str, interval_ps: float | None) -> None:
    run, true_A = walk(8)
    parts = []
    for n, x in enumerate(run.positions_A):
        parts.append(f"16\n{comment.format(n=10 * n, t=round(0.2 * n, 6))}\n")
        rows = zip(run.symbols, x, strict=True)
        parts.extend(f"{symbol} {a:.7f} {b:.7f} {c:.7f}\n" for symbol, (a, b, c) in rows)
    (tmp_path / "run.xyz").write_text("".join(parts))
    cell = None if "CELL" in comment else CUBE_A
    if interval_ps is None:
        with pytest.raises(InputError, match="give the time between the frames"):
            read_files(tmp_path / "run.xyz", cell_A=cell)
    source = read_files(
        tmp_path / "run.xyz", cell_A=cell, frame_interval_ps=None if interval_ps else 0.1
    )
    assert source.frame_interval_ps == pytest.approx(interval_ps or 0.1)
    check(source, true_A)
