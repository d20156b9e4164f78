"""Every format: the right positions, cells and interval, whatever its times and its end."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from trajectory_files import EXAMPLES, Example, Run, walk

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.tables.io import read_table
from vitrion.trajectory.sources import read_files
from vitrion.trajectory.unwrapping import Source, Trajectory

DOCUMENT = Path(__file__).parents[2] / "docs/trajectories.md"
TILTED_A = np.array([[12.0, 0, 0], [2.0, 11.0, 0], [-1.0, 1.5, 13.0]])
every_format = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
# HDF5 and what only ASE reads are written and read as a whole.
CUT = {n: e for n, e in EXAMPLES.items() if not e.name.endswith((".h5", ".xsf"))}


def paths_A(source: Source) -> np.ndarray:
    """(frames, atoms, 3) displacements from the first frame."""
    with Trajectory.read(source, reference_frame="none") as trajectory:
        return trajectory.history(slice(0, trajectory.n_atoms)).transpose(2, 0, 1)


def check(source: Source, true_A: np.ndarray, example: Example) -> None:
    found = paths_A(source)
    assert found.shape == true_A.shape
    np.testing.assert_allclose(found, true_A - true_A[0], atol=3 * example.atol_A)


@every_format
def test_positions_cells_and_interval_are_right(tmp_path: Path, example: Example) -> None:
    run, true_A = walk(12, cell_A=TILTED_A)
    path, options = example.make(tmp_path, run)
    before = sorted(tmp_path.iterdir())
    source = read_files(path, **options)
    assert source.symbols == run.symbols
    assert source.frame_interval_ps == pytest.approx(0.1, rel=1e-5)
    assert source.notes == ()
    chunks = list(source.chunks)
    cells_A = np.concatenate([chunk.cells_A for chunk in chunks])
    lengths, expected = (c @ c.transpose(0, 2, 1) for c in (cells_A, run.cells_A))
    np.testing.assert_allclose(lengths, expected, atol=2e-2 if example.name == "run.pdb" else 1e-3)
    check(read_files(path, **options), true_A, example)
    assert sorted(tmp_path.iterdir()) == before  # no offsets or locks beside the user's data


@pytest.mark.parametrize("example", CUT.values(), ids=CUT)
def test_a_run_killed_in_its_last_frame_keeps_the_whole_ones(
    tmp_path: Path, example: Example
) -> None:
    run, true_A = walk(12)
    path, options = example.make(tmp_path, run)
    whole = path.read_bytes()
    example.write(path, run[:11])
    start = whole.rindex(b"<calculation>") if path.suffix == ".xml" else len(path.read_bytes())
    path.write_bytes(whole[: start + max((len(whole) - start) // 3, 8)])
    source = read_files(path, **options)
    assert any("cut" in note for note in source.notes), source.notes
    check(source, true_A[:11], example)


def test_what_every_format_does_with_its_times() -> None:
    """So that the tests of times below leave out none that has them."""
    with_times = {name for name, example in EXAMPLES.items() if example.knows_interval}
    assert with_times == TIMED | {"vasprun.xml", "vaspout.h5"}  # VASP counts from 0 in each run
    assert set(EXAMPLES) >= TIMED | STEPPED | set(SOME)


TIMED = {
    *("run.extxyz", "run-pos-1.xyz", "traj.xtc", "traj.trr", "run.gro", "run.dcd", "run.nc"),
    "run.h5",
}
STEPPED = {"run.lammpstrj"}
every_clock = pytest.mark.parametrize("name", sorted(TIMED | STEPPED))
# Times are judged in one place for all formats; these are quick to read.
SOME = ("run.lammpstrj", "run-pos-1.xyz", "run.gro")
some_clocks = pytest.mark.parametrize("name", SOME)


def pieces(folder: Path, name: str, *runs: Run) -> tuple[list[Path], dict[str, object], Example]:
    """One file for each run, of one format."""
    example, files = EXAMPLES[name], []
    options: dict[str, object] = {}
    for number, run in enumerate(runs):
        (folder / str(number)).mkdir()
        path, options = example.make(folder / str(number), run)
        files.append(path)
    if "cell_file" in options:
        del options["cell_file"]
        options["cell_A"] = (12.0, 12.0, 12.0)
    return files, options, example


@every_clock
def test_a_restart_that_overlaps_is_used_from_where_it_begins(tmp_path: Path, name: str) -> None:
    run, true_A = walk(40)
    files, options, example = pieces(tmp_path, name, run[:20], run[15:])
    source = read_files(files, **options)
    assert "5 frames" in source.notes[0]
    assert "twice" in source.notes[0]
    assert source.frame_interval_ps == pytest.approx(0.1, rel=1e-5)
    check(source, true_A, example)


@some_clocks
def test_files_with_one_frame_in_common_are_joined(tmp_path: Path, name: str) -> None:
    run, true_A = walk(30)
    files, options, example = pieces(tmp_path, name, run[:16], run[15:])
    check(read_files(files, **options), true_A, example)


@some_clocks
def test_gaps_between_files_are_refused(tmp_path: Path, name: str) -> None:
    run, _ = walk(40)
    files, options, _ = pieces(tmp_path, name, run[:20], run[23:])
    with pytest.raises(InputError, match="frames are missing between"):
        read_files(files, **options)


@some_clocks
def test_files_in_the_wrong_order_are_refused(tmp_path: Path, name: str) -> None:
    run, _ = walk(40)
    files, options, _ = pieces(tmp_path, name, run[20:], run[:20])
    with pytest.raises(InputError, match="in order of time"):
        read_files(files, **options)


@some_clocks
def test_the_same_file_twice_counts_once(tmp_path: Path, name: str) -> None:
    run, true_A = walk(30)
    files, options, example = pieces(tmp_path, name, run)
    source = read_files(files * 2, **options)
    assert any("30 frames" in note for note in source.notes)
    check(source, true_A, example)


@pytest.mark.parametrize("name", [*SOME, "run.extxyz", "traj.trr"])
def test_logarithmic_spacing_is_refused(tmp_path: Path, name: str) -> None:
    run, _ = walk(600)
    kept = np.unique(np.geomspace(1, 600, 60).astype(int)) - 1
    sparse = _Sparse(run, kept)
    path, options = EXAMPLES[name].make(tmp_path, sparse)
    with pytest.raises(InputError, match=r"not evenly spaced.*--ignore-times"):
        read_files(path, **options)


class _Sparse(Run):
    """Some frames of a run, with their own times."""

    def __init__(self, run: Run, kept: np.ndarray) -> None:
        super().__init__(run.symbols, run.positions_A[kept], run.cells_A[kept])
        object.__setattr__(self, "kept", kept)

    @property
    def numbers(self) -> np.ndarray:
        return self.kept  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*SOME[1:], "run.extxyz", "vasprun.xml", "run.h5"])
def test_an_interval_that_contradicts_the_file_is_refused(tmp_path: Path, name: str) -> None:
    run, _ = walk(8)
    path, options = EXAMPLES[name].make(tmp_path, run)
    with pytest.raises(InputError, match=r"frame-interval-ps = 2.0: the file says 0.1"):
        read_files(path, frame_interval_ps=2.0, **options)
    source = read_files(path, frame_interval_ps=2.0, ignore_times=True, **options)
    assert source.frame_interval_ps == 2.0


@pytest.mark.parametrize("name", ["XDATCAR", "run.lammpstrj", "run.pdb"])
def test_files_without_times_ask_for_the_interval(tmp_path: Path, name: str) -> None:
    run, _ = walk(6)
    path, options = EXAMPLES[name].make(tmp_path, run)
    del options["frame_interval_ps"]
    with pytest.raises(InputError, match="frame-interval-ps = None: give the time between"):
        read_files(path, **options)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - TIMED - STEPPED))
def test_files_without_a_common_clock_are_joined_by_positions(tmp_path: Path, name: str) -> None:
    """A VASP run counts from its own start; others have no times at all."""
    run, true_A = walk(40)
    apart = Run(run.symbols, run.positions_A[20:], run.cells_A[20:])
    files, options, example = pieces(tmp_path, name, run[:20], apart)
    check(read_files(files, **options), true_A, example)
    overlapping = Run(run.symbols, run.positions_A[19:], run.cells_A[19:])
    (tmp_path / "again").mkdir()
    files, options, example = pieces(tmp_path / "again", name, run[:20], overlapping)
    check(read_files(files, **options), true_A, example)
    with pytest.raises(InputError, match="in order of time"):
        read_files(files[::-1], **options)
    # A restart from an earlier frame, counted from its own start.
    earlier = Run(run.symbols, run.positions_A[15:], run.cells_A[15:])
    (tmp_path / "earlier").mkdir()
    files, options, example = pieces(tmp_path / "earlier", name, run[:20], earlier)
    source = read_files(files, **options)
    assert any("5 frames before frame 21 are there twice" in note for note in source.notes)
    check(source, true_A, example)
    # Three runs, each counted from its own start, the last from before the end of the second.
    for last in (25, 22):
        ends = (run[:10], run[10:25], Run(run.symbols, run.positions_A[last:], run.cells_A[last:]))
        (tmp_path / f"three{last}").mkdir()
        files, options, example = pieces(tmp_path / f"three{last}", name, *ends)
        check(read_files(files, **options), true_A, example)


COMMANDS = dict(re.findall(r"`(vitrion analyze (\S+) [^`]+)`", DOCUMENT.read_text()))


def test_the_table_of_formats_has_every_format() -> None:
    assert set(COMMANDS.values()) == set(EXAMPLES)


@pytest.mark.parametrize("command", COMMANDS, ids=COMMANDS.values())
def test_commands_of_the_table_give_the_right_displacements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vitrion.report.overview.plot_overview", lambda *args: None)
    run, true_A = walk(30)
    example = EXAMPLES[COMMANDS[command]]
    example.make(Path(), run)
    assert main(shlex.split(command)[1:]) == 0
    msd = read_table("out/msd.parquet").query("species == 'Li'")
    masses = run.atoms[0].get_masses()
    moved_A = true_A - np.einsum("a,fax->fx", masses / masses.sum(), true_A)[:, None]
    lag = round(msd["lag_ps"].iloc[1] / run.interval_ps)
    expected = ((moved_A[lag:, :8] - moved_A[:-lag, :8]) ** 2).sum(2).mean()
    assert msd["msd_A2"].iloc[1] == pytest.approx(expected, rel=3e-3)
