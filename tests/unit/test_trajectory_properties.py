"""Property-based tests: what is stored is read back, whatever it is; wrapping is undone exactly."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.trajectory.checks import Measurement
from vitrion.trajectory.h5md import (
    read_checkpoint,
    read_samples,
    read_segments,
    write_checkpoint,
    write_segment,
)
from vitrion.trajectory.metadata import SegmentMetadata
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State
from vitrion.trajectory.unwrapping import Frames, Source, Trajectory

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def triclinic_cell(random: np.random.Generator) -> np.ndarray:
    """A cell of 6 to 14 Å with angles between about 60° and 120°."""
    edges_A = random.uniform(6, 14, 3)
    skewed = np.eye(3) + np.tril(random.uniform(-0.5, 0.5, (3, 3)), -1)
    return skewed * edges_A[:, None]


def state_of(random: np.random.Generator, n_atoms: int, links: int = 0) -> State:
    return State(
        numbers=random.integers(1, 90, n_atoms),
        masses_u=random.uniform(1, 200, n_atoms),
        positions_A=random.normal(scale=1e3, size=(n_atoms, 3)),
        velocities_A_ps=random.normal(size=(n_atoms, 3)),
        cell_A=triclinic_cell(random),
        step=int(random.integers(0, 2**50)),
        seed=int(random.integers(0, 2**62)),
        heat_eV=float(random.normal()),
        chain=random.normal(size=(2, links)),
    )


def samples_of(random: np.random.Generator, n_frames: int, n_atoms: int) -> Samples:
    """Samples 50 steps apart; numbers of any size, positions as of a long walk."""
    positions_A = random.uniform(-50, 50, (n_atoms, 3))
    return Samples(
        step=50 * np.arange(1, n_frames + 1),
        stage=random.choice(["melt", "quench", "anneal"], n_frames),
        cell_A=np.array([triclinic_cell(random) for _ in range(n_frames)]).reshape(-1, 3, 3),
        positions_A=(positions_A + random.normal(size=(n_frames, n_atoms, 3))).astype(np.float32),
        **{
            name: random.normal(scale=10.0 ** random.integers(-5, 6), size=n_frames)
            for name in ("target_K", "temperature_K", "energy_eV", "conserved_eV", "pressure_GPa")
        },
    )


METADATA = SegmentMetadata(
    composition="LiAlCl",
    temperature_K=600.0,
    replica=1,
    timestep_fs=2.0,
    model_hash="x",
    seed=4,
    frame_interval_ps=0.1,
    position_precision_A=0.001,
    mean_temperature_K=600.5,
    measurements=(Measurement("least distance of two atoms", 1.5, "Å"),),
)


@few
@given(
    seed=seeds,
    n_atoms=st.integers(1, 6),
    n_frames=st.integers(2, 40),
    step=st.floats(0.0, 0.32),
    pieces=st.integers(1, 5),
)
def test_a_wrapped_walk_is_recovered(
    seed: int, n_atoms: int, n_frames: int, step: float, pieces: int
) -> None:
    """Steps below a third of the cell, in any cell, read in any number of pieces."""
    random = np.random.default_rng(seed)
    cell_A = triclinic_cell(random)
    steps = random.uniform(-step, step, (n_frames, n_atoms, 3))
    fractional = random.uniform(-2, 2, (1, n_atoms, 3)) + np.cumsum(steps, axis=0)
    true_A, wrapped_A = fractional @ cell_A, (fractional - np.floor(fractional)) @ cell_A
    cells_A = np.broadcast_to(cell_A, (n_frames, 3, 3))
    parts = np.array_split(np.arange(n_frames), min(pieces, n_frames))
    chunks = [Frames(wrapped_A[part], cells_A[part]) for part in parts]
    source = Source(("Li",) * n_atoms, 0.1, True, chunks, "walk")
    with Trajectory.read(source, reference_frame="none") as trajectory:
        found = trajectory.history(slice(0, n_atoms)).transpose(2, 0, 1)
        # The scratch file is in single precision.
        assert np.allclose(found, true_A - true_A[0], rtol=1e-6, atol=1e-5)
        for frame, positions_A, _ in trajectory.snapshots(np.arange(n_frames)):
            images = (positions_A - true_A[frame]) @ np.linalg.inv(cell_A)
            assert np.allclose(images, np.round(images), atol=1e-5)


@few
@given(seed=seeds, n_atoms=st.integers(1, 9), links=st.integers(0, 4))
def test_a_state_is_read_back_bit_for_bit(seed: int, n_atoms: int, links: int) -> None:
    state = state_of(np.random.default_rng(seed), n_atoms, links)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.h5"
        write_checkpoint(path, state, METADATA)
        found, metadata = read_checkpoint(path)
    assert found.fingerprint() == state.fingerprint()
    assert (type(found.step), type(found.heat_eV)) == (int, float)
    assert metadata == METADATA


@few
@given(seed=seeds, lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_a_checkpoint_log_is_read_back_bit_for_bit(seed: int, lengths: list[int]) -> None:
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        log = CheckpointLog(Path(folder) / "out.h5", {"seed": seed})
        step, written = 0, []
        for length in lengths:
            state = replace(state_of(random, 3), step=step + 10)
            written.append(Record(step, state, samples_of(random, length, 3), random.random()))
            log.append(written[-1])
            step += 10
        log.close()
        log = CheckpointLog(Path(folder) / "out.h5", {"seed": seed})
        assert log.state is not None
        assert log.state.fingerprint() == written[-1].state.fingerprint()
        assert log.wall_s() == sum(record.wall_s for record in written)
        found = log.samples(3).to_arrays()
        log.close()
    expected = Samples.join(record.samples for record in written).to_arrays()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@few
@given(
    seed=seeds,
    n_frames=st.integers(1, 60),
    n_atoms=st.integers(1, 5),
    precision_A=st.sampled_from([0.1, 0.01, 0.001, 0.0001]),
    pieces=st.integers(1, 4),
)
def test_samples_are_read_back(
    seed: int, n_frames: int, n_atoms: int, precision_A: float, pieces: int
) -> None:
    """Positions to the stored precision and that of float32, everything else as it was."""
    random = np.random.default_rng(seed)
    samples = samples_of(random, n_frames, n_atoms)
    parts = [samples.where(part) for part in np.array_split(np.arange(n_frames), pieces)]
    metadata = replace(METADATA, position_precision_A=precision_A, n_frames=n_frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment.h5"
        write_segment(path, parts, state_of(random, n_atoms), metadata)
        found = read_samples(path)
        if n_frames > 1:
            source = read_segments([path], expected=METADATA.key)
            assert source.frame_interval_ps == pytest.approx(0.1)
            frames = np.concatenate([chunk.positions_A for chunk in source.chunks])
            np.testing.assert_array_equal(frames, found.positions_A)
    error_A = np.abs(found.positions_A - samples.positions_A).max()
    assert error_A <= precision_A / 2 + 2e-5
    for name in ("step", "stage", "target_K", "temperature_K", "pressure_GPa", "cell_A"):
        np.testing.assert_array_equal(getattr(found, name), getattr(samples, name), err_msg=name)
    for name in ("energy_eV", "conserved_eV"):  # stored per atom
        np.testing.assert_allclose(getattr(found, name), getattr(samples, name), rtol=1e-14)


numbers = st.floats(allow_nan=False, width=64)


@few
@given(
    temperature_K=st.floats(1, 5000),
    replica=st.none() | st.integers(0, 99),
    composition=st.text(max_size=10),
    glass=st.dictionaries(st.text(max_size=5), st.none() | numbers | st.text(max_size=5)),
    measured=st.lists(st.builds(Measurement, st.text(max_size=5), numbers, st.text(max_size=3))),
    keep_every=st.integers(0, 100),
)
def test_metadata_is_read_back(
    temperature_K, replica, composition, glass, measured, keep_every
) -> None:
    metadata = replace(
        METADATA,
        temperature_K=temperature_K,
        replica=replica,
        composition=composition,
        glass=glass,
        measurements=tuple(measured),
        keep_every=keep_every,
        mean_temperature_K=temperature_K,
    )
    assert SegmentMetadata.from_json(metadata.to_json()) == metadata
