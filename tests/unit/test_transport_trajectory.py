"""Reading, unwrapping, drift and the scratch file."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from trajectory_files import write_h5md

from vitrion.base.errors import InputError
from vitrion.trajectory import unwrapping as module
from vitrion.trajectory.h5md import read_segments
from vitrion.trajectory.metadata import SegmentMetadata, TrajectoryKey
from vitrion.trajectory.unwrapping import Frames, Source, Trajectory

TRICLINIC = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 2.5, 10.0]])
SYMBOLS = ["O", "Li", "Li", "O", "Li"]


METADATA = SegmentMetadata(
    composition="LiAlCl",
    temperature_K=600.0,
    replica=1,
    timestep_fs=2.0,
    model_hash="x",
    seed=1,
)


def walk(frames: int, seed: int = 0, step_A: float = 0.3) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, step_A, (frames, len(SYMBOLS), 3))
    steps[0] *= 10
    return np.cumsum(steps, axis=0)


def fold(positions_A: np.ndarray, cells_A: np.ndarray) -> np.ndarray:
    fractional = positions_A @ np.linalg.inv(cells_A)
    return (fractional - np.floor(fractional)) @ cells_A


def sorted_by_element(positions_A: np.ndarray) -> np.ndarray:
    return positions_A[:, [0, 3, 1, 2, 4]]


def whole(trajectory: Trajectory) -> np.ndarray:
    """(frames, atoms, 3) displacements."""
    return trajectory.history(slice(0, trajectory.n_atoms)).transpose(2, 0, 1)


def write_segment(path: Path, positions_A: np.ndarray, first_step: int) -> Path:
    write_h5md(path, SYMBOLS, positions_A, TRICLINIC, first_step=first_step)
    with h5py.File(path, "a") as file:  # ours, so never folded
        file.create_group("vitrion").attrs["metadata"] = METADATA.to_json()
    return path


@pytest.mark.parametrize("block_values", [100, 3_000_000])
def test_folded_triclinic_input_is_unwrapped(monkeypatch, block_values):
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    true_A = walk(50)
    source = Source.of_arrays(SYMBOLS, fold(true_A, TRICLINIC), TRICLINIC, 0.1, wrapped=True)
    with Trajectory.read(source, reference_frame="none") as t:
        expected = sorted_by_element(true_A - true_A[0])
        assert np.allclose(whole(t), expected, atol=1e-5)
        frames = [3, 17, 49]
        for frame, positions_A, cell_A in t.snapshots(frames):
            assert np.allclose(positions_A - t.start_A, expected[frame], atol=1e-5)
            assert np.allclose(cell_A, TRICLINIC)
        pieces = [block for _, (block,) in t.stretches(t.slices["Li"], frames=8)]
        assert np.allclose(np.concatenate(pieces, axis=2), t.history(t.slices["Li"]))


def test_a_breathing_cell_does_not_move_atoms_that_rest():
    """Atoms fixed in space, cell fluctuating: unwrapping must not turn that into motion."""
    rng = np.random.default_rng(1)
    at_A = rng.uniform(0, 8, (len(SYMBOLS), 3))
    cells_A = np.array([TRICLINIC * (1 + 0.01 * np.sin(k)) for k in range(60)])
    positions_A = np.array([fold(at_A, cell) for cell in cells_A])
    source = Source.of_arrays(SYMBOLS, positions_A, TRICLINIC, 0.1, wrapped=True)
    source = Source(SYMBOLS, 0.1, True, (Frames(positions_A, cells_A),), "breathing")
    with Trajectory.read(source, reference_frame="none") as t:
        moved = np.abs(whole(t)).max()
        assert moved < 0.2
        assert t.cells_A.shape == (60, 3, 3)


def breathing_cells(frames: int, amplitude: float = 0.02) -> np.ndarray:
    return TRICLINIC * (1 + amplitude * np.sin(np.arange(frames) / 7))[:, None, None]


@pytest.mark.parametrize("block_values", [100, 3_000_000])
@pytest.mark.parametrize("still_for", [0, 100])
def test_distances_are_right_in_a_changing_cell(monkeypatch, block_values, still_for):
    """Atoms that cross the boundary again and again, folded or not, keep their distances."""
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    cells_A = np.concatenate([breathing_cells(1).repeat(still_for, 0), breathing_cells(200)])
    lattice_A = np.einsum("fax,fxy->fay", walk(len(cells_A)) @ np.linalg.inv(TRICLINIC), cells_A)
    folded_A = np.array([fold(p, c) for p, c in zip(lattice_A, cells_A, strict=True)])
    expected = sorted_by_element(lattice_A)
    pieces = [slice(first, first + 32) for first in range(0, len(cells_A), 32)]
    displacements_A = []
    for positions_A, wrapped in ((lattice_A, False), (folded_A, True)):
        chunks = [Frames(positions_A[piece], cells_A[piece]) for piece in pieces]
        source = Source(SYMBOLS, 0.1, wrapped, chunks, "breathing")
        with Trajectory.read(source) as t:
            frames = [0, 90, len(cells_A) - 1]
            for frame, placed_A, cell_A in t.snapshots(frames):
                assert np.allclose(cell_A, cells_A[frame])
                images = (placed_A - expected[frame]) @ np.linalg.inv(cell_A)
                images -= images[0]  # the drift is the same for all
                assert np.allclose(images, np.round(images), atol=1e-5)
            displacements_A.append(whole(t))
    # Folded or not, an atom has come as far; what differs is the cell its start is counted in.
    assert np.abs(displacements_A[0] - displacements_A[1]).max() < 1e-4


def test_an_atom_far_from_the_origin_is_not_carried_by_the_cell():
    """At rest in its cell, ten cells away: its own cell's breath moves it, not those between."""
    cells_A = breathing_cells(50)
    lattice_A = np.array([np.full((2, 3), 10.3) @ cell for cell in cells_A])
    source = Source(("Li", "Li"), 0.1, False, (Frames(lattice_A, cells_A),), "far away")
    with Trajectory.read(source, reference_frame="none") as t:
        own_A = np.array([np.full(3, 0.3) @ (cell - TRICLINIC) for cell in cells_A])
        assert np.allclose(whole(t)[:, 0], own_A, atol=1e-4)


def test_a_shorter_trajectory_is_one_that_ended_earlier(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_VALUES", 100)
    true_A, cells_A = walk(60), breathing_cells(60)

    def source(frames):
        return Source(SYMBOLS, 0.1, False, (Frames(true_A[:frames], cells_A[:frames]),), "part")

    with Trajectory.read(source(60)) as t, Trajectory.read(source(37)) as ended:
        part = t.first(37)
        assert (whole(part) == whole(ended)).all()
        assert part.length_ps == ended.length_ps
        assert part.volume_A3 == ended.volume_A3
        atoms = part.slices["Li"]
        for (_, (ours,)), (_, (theirs,)) in zip(
            part.stretches(atoms), ended.stretches(atoms), strict=True
        ):
            assert (ours == theirs).all()
        assert (part.displacements_A([3, 36]) == ended.displacements_A([3, 36])).all()


def test_too_long_an_interval_is_an_error():
    positions_A = fold(walk(20, step_A=4.0), TRICLINIC)
    source = Source.of_arrays(SYMBOLS, positions_A, TRICLINIC, 0.1, wrapped=True)
    with pytest.raises(InputError, match="too long to unwrap"):
        Trajectory.read(source)


def test_drift_is_removed_and_discard_counts_from_the_start():
    drift_A = np.linspace(0, 5, 40)[:, None, None] * np.array([1.0, -2.0, 0.5])
    true_A = walk(40) + drift_A
    with Trajectory.read(Source.of_arrays(SYMBOLS, true_A, TRICLINIC, 0.1), discard_ps=1.0) as t:
        assert t.n_frames == 30
        center = np.einsum("a,fax->fx", t.masses_u / t.masses_u.sum(), whole(t))
        assert np.abs(center).max() < 1e-5
    with Trajectory.read(
        Source.of_arrays(SYMBOLS, true_A, TRICLINIC, 0.1),
        reference_frame="framework",
        mobile=["Li"],
    ) as t:
        assert np.abs(whole(t)[:, t.slices["O"]].mean(axis=1)).max() < 1e-5


def test_segments_join_and_their_errors_are_named(tmp_path):
    true_A = walk(60)
    first = write_segment(tmp_path / "a.h5", true_A[:30], 1)
    second = write_segment(tmp_path / "b.h5", true_A[30:], 31)
    source = read_segments([first, second])
    assert source.frame_interval_ps == pytest.approx(0.1)
    with Trajectory.read(source, reference_frame="none") as t:
        assert np.allclose(whole(t), sorted_by_element(true_A - true_A[0]), atol=1e-5)
    late = write_segment(tmp_path / "late.h5", true_A[30:], 35)
    with pytest.raises(InputError, match="gap after"):
        read_segments([first, late])
    early = write_segment(tmp_path / "early.h5", true_A[30:], 30)
    with pytest.raises(InputError, match="repeats or goes back"):
        read_segments([first, early])
    with pytest.raises(InputError, match="repeats or goes back"):
        read_segments([second, first])
    here = TrajectoryKey("LiAlCl", 600, 1)
    assert read_segments([first, second], expected=here).n_frames == 60
    for elsewhere in (
        replace(here, composition="LiAlBr"),
        replace(here, temperature_K=700),
        replace(here, replica=0),
    ):
        with pytest.raises(InputError, match="expected") as refused:
            read_segments([first, second], expected=elsewhere)
        assert str(first) in str(refused.value)
        assert f"holds {here}" in str(refused.value)
        assert f"where {elsewhere} was" in str(refused.value)
    (tmp_path / "bad.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_segments([tmp_path / "bad.h5"])


def test_memory_does_not_grow_with_the_number_of_frames(monkeypatch):
    """What stays in memory are cells, 72 bytes per frame, not positions."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 40_000)

    def peak_bytes(n_chunks: int) -> int:
        chunks = (
            Frames(np.zeros((64, 200, 3)), np.broadcast_to(np.eye(3) * 20, (64, 3, 3)))
            for _ in range(n_chunks)
        )
        tracemalloc.start()
        source = Source(("O",) * 200, 0.1, False, chunks, "long")
        with Trajectory.read(source, reference_frame="none"):
            _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_bytes(200) - peak_bytes(20) < 180 * 64 * 72 * 3
