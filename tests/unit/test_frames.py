"""Segments: what is written is read back, MDAnalysis reads it too, and it is small."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import pytest
from potentials import argon
from real_motion import lialcl_motion

from vitrion.base.errors import InputError
from vitrion.trajectory.checks import Measurement
from vitrion.trajectory.h5md import (
    read_checkpoint,
    read_metadata,
    read_samples,
    read_segments,
    write_checkpoint,
    write_segment,
)
from vitrion.trajectory.metadata import SegmentMetadata
from vitrion.trajectory.samples import Samples

METADATA = SegmentMetadata(
    composition="LiAlCl",
    temperature_K=600.0,
    replica=2,
    timestep_fs=2.0,
    model_hash="x",
    seed=3,
    frame_interval_ps=0.1,
    position_precision_A=0.001,
    measurements=(Measurement("temperature over its target", 1.01, "", 0.02),),
)


def samples_of(positions_A, cell_A, first=1):
    """Samples of given frames, with plain numbers in the other columns."""
    count = len(positions_A)
    numbers = np.arange(count, dtype=np.float64)
    return Samples(
        step=50 * np.arange(first, first + count),
        stage=np.array(["produce"] * count),
        target_K=numbers + 600,
        temperature_K=numbers + 590,
        energy_eV=-numbers,
        conserved_eV=-2 * numbers,
        pressure_GPa=numbers / 10,
        cell_A=np.broadcast_to(cell_A, (count, 3, 3)) * (1 + numbers[:, None, None] / 1e4),
        positions_A=positions_A.astype(np.float32),
    )


def wander(n_frames, n_atoms, seed=0):
    """Atoms that vibrate (0.25 Å), every fifth diffusing, in a cell of 30 Å."""
    random = np.random.default_rng(seed)
    home = random.random((n_atoms, 3)) * 30
    steps = random.normal(size=(n_frames, n_atoms, 3)) * 0.07
    steps[:, np.arange(n_atoms) % 5 > 0] = 0
    return home + steps.cumsum(axis=0) + random.normal(size=(n_frames, n_atoms, 3)) * 0.25


def write(path, parts, state, precision_A=0.001):
    n_frames = sum(map(len, parts))
    metadata = replace(METADATA, position_precision_A=precision_A, n_frames=n_frames)
    write_segment(path, parts, state, metadata)


@pytest.mark.parametrize("lengths", [(1,), (7, 1, 4), (300, 250, 33)])
def test_parts_of_any_length_are_read_back(tmp_path, lengths):
    state = argon()
    positions = wander(sum(lengths), 32)
    whole = samples_of(positions, state.cell_A)
    ends = np.cumsum((0, *lengths))
    parts = [whole.where(slice(*pair)) for pair in pairwise(ends)]
    write(tmp_path / "s.h5", parts, state)
    found = read_samples(tmp_path / "s.h5")
    assert np.abs(found.positions_A - positions).max() < 0.0005 + 1e-5
    for name in ("step", "stage", "target_K", "temperature_K", "pressure_GPa", "cell_A"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    np.testing.assert_allclose(found.conserved_eV, whole.conserved_eV, rtol=1e-14)
    loaded, metadata = read_checkpoint(tmp_path / "s.h5")
    assert loaded.fingerprint() == state.fingerprint()
    assert metadata.to_json() == replace(METADATA, n_frames=sum(lengths)).to_json()


@pytest.mark.parametrize("precision_A", [0.01, 0.001, 0.0001, 0.0005])
def test_precision_is_kept_far_from_the_origin(tmp_path, precision_A):
    positions = wander(100, 32) + np.array([900.0, -900.0, 0.0])
    state = argon()
    write(tmp_path / "s.h5", [samples_of(positions, state.cell_A)], state, precision_A)
    error = np.abs(read_samples(tmp_path / "s.h5").positions_A - positions).max()
    assert error < precision_A / 2 + 1e-4  # float32 itself is 3e-5 Å at 900 Å


def test_size_of_frames(tmp_path):
    """At most 5 bytes for an atom and frame at 0.001 Å, all that is in the file included."""
    state = argon(repeat=5)
    there = lialcl_motion(600, len(state.numbers))
    positions = np.concatenate([there, there[::-1]])  # and back, as real as there
    write(tmp_path / "s.h5", [samples_of(positions, state.cell_A)], state)
    assert (tmp_path / "s.h5").stat().st_size / positions[:, :, 0].size < 5


def test_mdanalysis_reads_a_segment(tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    state = argon()
    positions = wander(60, 32)
    write(tmp_path / "s.h5", [samples_of(positions, state.cell_A)], state)
    universe = mda.Universe.empty(32, trajectory=False)
    universe.load_new(str(tmp_path / "s.h5"), format="H5MD")
    assert universe.trajectory.n_frames == 60
    for frame in universe.trajectory[::7]:
        np.testing.assert_allclose(frame.positions, positions[frame.frame], atol=0.0006)
        assert frame.time == pytest.approx(0.1 * (frame.frame + 1))
        edge = state.cell_A[0, 0] * (1 + frame.frame / 1e4)
        np.testing.assert_allclose(frame.dimensions, [edge] * 3 + [90] * 3, rtol=1e-6)


def test_layout_is_h5md(tmp_path):
    state = argon()
    write(tmp_path / "s.h5", [samples_of(wander(5, 32), state.cell_A)], state)
    with h5py.File(tmp_path / "s.h5") as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert {"author", "creator"} <= set(file["h5md"])
        group = file["particles/all"]
        assert list(group["box"].attrs["boundary"]) == [b"periodic"] * 3
        assert group["position/value"].attrs["unit"] == "Angstrom"
        assert group["position/time"].attrs["unit"] == "ps"
        for element in (group["box/edges"], *file["observables"].values()):
            assert element["step"] == group["position/step"]  # hard links, stored once
            assert len(element["value"]) == 5


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "s.h5"
    write_checkpoint(path, argon(), METADATA)
    content = path.read_bytes()
    value = argon().positions_A.tobytes()
    place = content.index(value)
    path.write_bytes(content[: place + 8] + b"\1" + content[place + 9 :])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(path)
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "none.h5")


def test_damaged_frames_are_noticed(tmp_path):
    state = argon()
    path = tmp_path / "s.h5"
    write(path, [samples_of(wander(50, 32), state.cell_A)], state)
    with h5py.File(path) as file:
        chunk = file["particles/all/position/value"].id.get_chunk_info(5)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_samples(path)


def read_all(path):
    """Read a segment in every way there is."""
    read_checkpoint(path)
    read_metadata(path)
    read_samples(path)
    for _ in read_segments([path]).chunks:
        pass


@pytest.fixture
def small(tmp_path):
    """A small segment."""
    path = tmp_path / "s.h5"
    write(path, [samples_of(wander(6, 4), np.eye(3) * 9)], argon(repeat=1))
    read_all(path)
    return path


@pytest.mark.parametrize("read", [read_checkpoint, read_metadata, read_samples, read_all])
def test_a_cut_segment_is_an_error_that_names_it(small, read):
    content = small.read_bytes()
    cuts = np.random.default_rng(0).integers(0, len(content), 50)
    for cut in (0, 1, 8, *cuts, len(content) - 1):
        small.write_bytes(content[:cut])
        with pytest.raises(InputError) as error:
            read(small)
        assert str(small) in str(error.value)


def test_damage_is_an_error_or_does_no_harm(small):
    """Bytes changed anywhere never end in a traceback."""
    content, random = small.read_bytes(), np.random.default_rng(1)
    errors = 0
    for place in random.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place : place + 8] = random.bytes(8)
        small.write_bytes(damaged)
        try:
            read_all(small)
        except InputError:
            errors += 1
    assert errors > 100


def test_files_of_another_version_are_named(small):
    with h5py.File(small, "a") as file:
        file["vitrion"].attrs["metadata"] = '{"code_version": "0.0.1", "flags": []}'
    with pytest.raises(InputError, match=r"version 0\.0\.1"):
        read_metadata(small)


def test_nothing_is_left_of_a_failed_write(tmp_path):
    state = argon()

    def parts():
        yield samples_of(wander(3, 32), state.cell_A)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_segment(tmp_path / "s.h5", parts(), state, replace(METADATA, n_frames=6))
    assert not (tmp_path / "s.h5").exists()
