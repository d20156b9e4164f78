"""Trajectories that step together are those that run alone, whatever happens to one of them."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import ase.io
import dynamics_worker
import numpy as np
import pytest
from potentials import LennardJones, argon

from vitrion.base.errors import InputError, PotentialError
from vitrion.config import Dynamics
from vitrion.dynamics import equilibrate, produce_segment, produce_segments
from vitrion.dynamics.engine import Engine
from vitrion.dynamics.run import BlowUp, Interrupted
from vitrion.structure.packing import random_packing
from vitrion.trajectory.h5md import read_checkpoint, read_samples
from vitrion.trajectory.metadata import TrajectoryKey

TEMPERATURES_K = dynamics_worker.TEMPERATURES_K


def assert_same_segment(path: Path, other: Path) -> None:
    """The same content but for wall times."""
    (state, metadata), (other_state, other_metadata) = map(read_checkpoint, (path, other))
    assert state.fingerprint() == other_state.fingerprint()
    one, two = read_samples(path).to_arrays(), read_samples(other).to_arrays()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    times = {"wall_s": 0.0, "steps_per_s": 0.0}
    assert replace(metadata, **times).to_json() == replace(other_metadata, **times).to_json()


@pytest.fixture
def starts(tmp_path: Path, monkeypatch) -> list[Path]:
    """Argon at three temperatures, with a cheap potential."""
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(cutoff_A=5.5))
    monkeypatch.setattr(
        Engine,
        "batch_potential",
        lambda self, numbers: dynamics_worker.Batch([self.potential(n) for n in numbers]),
    )
    ase.io.write(tmp_path / "glass.extxyz", argon().to_atoms())
    dynamics_worker.equilibrate_all(tmp_path)
    return [tmp_path / f"T{t}/equilibrated.h5" for t in TEMPERATURES_K]


def outputs(starts: list[Path], name: str) -> list[Path]:
    return [start.with_name(name) for start in starts]


def produce(starts: list[Path], outs: list[Path], **changes: object) -> None:
    settings = {**dynamics_worker.PRODUCTION, **changes}
    produce_segments(starts, outs, temperatures_K=TEMPERATURES_K, **settings)


def produce_alone(starts: list[Path], outs: list[Path]) -> None:
    for start, out, temperature_K in zip(starts, outs, TEMPERATURES_K, strict=True):
        produce_segment(start, out, temperature_K=temperature_K, **dynamics_worker.PRODUCTION)


def test_together_as_alone_in_every_bit(starts: list[Path]) -> None:
    together, alone = outputs(starts, "together.h5"), outputs(starts, "alone.h5")
    produce(starts, together)
    produce_alone(starts, alone)
    for pair in zip(together, alone, strict=True):
        assert_same_segment(*pair)
    for start in starts:
        names = {"equilibrated.h5", "thermo.parquet"}
        names |= {f"{name}{end}.h5" for name in ("together", "alone") for end in ("", ".frames")}
        assert {path.name for path in start.parent.iterdir()} == names


def test_together_as_alone_with_chgnet(tmp_path: Path) -> None:
    """On the CPU each system of a batch is evaluated by itself, so here too the bits are equal."""
    settings = {"model": "0.3.0", "dynamics": Dynamics(timestep_fs=1, threads=1, device="cpu")}
    store = {"segment_ps": 0.01, "frame_interval_ps": 0.002, "position_precision_A": 0.001}
    starts, temperatures_K = [], (700, 900)
    for seed, temperature_K in enumerate(temperatures_K):
        folder = tmp_path / str(seed)
        folder.mkdir()
        packing = random_packing({"Li": 4, "Al": 4, "Cl": 10, "O": 3}, 560.0, seed=seed)
        ase.io.write(folder / "glass.extxyz", packing)
        equilibrate(
            folder / "glass.extxyz",
            folder / "equilibrated.h5",
            key=TrajectoryKey("LiAlCl", temperature_K, seed),
            equilibrate_ps=0.005,
            seed=seed,
            **settings,
        )
        starts.append(folder / "equilibrated.h5")
    together = outputs(starts, "together.h5")
    produce_segments(starts, together, temperatures_K=temperatures_K, **store, **settings)
    for start, out, temperature_K in zip(starts, together, temperatures_K, strict=True):
        alone = start.with_name("alone.h5")
        produce_segment(start, alone, temperature_K=temperature_K, **store, **settings)
        assert_same_segment(out, alone)


class Fails(LennardJones):
    """Gives up after some evaluations."""

    def __init__(self, after: int, error: Exception) -> None:
        super().__init__(cutoff_A=5.5)
        self.left, self.error = after, error

    def compute(self, positions_A, cell_A, *, stress=False):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().compute(positions_A, cell_A, stress=stress)


def failing(monkeypatch, after: int, error: Exception) -> None:
    """The second trajectory's potential fails."""

    def batch(self, numbers):
        potentials = [self.potential(n) for n in numbers]
        potentials[1] = Fails(after, error)
        return dynamics_worker.Batch(potentials)

    monkeypatch.setattr(Engine, "batch_potential", batch)


def test_a_blow_up_is_named_and_the_others_lose_nothing(starts: list[Path], monkeypatch) -> None:
    outs, alone = outputs(starts, "segment.h5"), outputs(starts, "alone.h5")
    with monkeypatch.context() as patch:
        failing(patch, 40, PotentialError("gone"))
        with pytest.raises(BlowUp, match="gone"):
            produce(starts, outs)
    assert outs[1].with_name("segment.last_good.extxyz").exists()
    for out in outs:
        out.unlink(missing_ok=True)  # as Snakemake does

    def evaluations(self, numbers):
        potentials = [self.potential(n) for n in numbers]
        potentials[0] = potentials[2] = Fails(0, RuntimeError("they were at their end"))
        return dynamics_worker.Batch(potentials)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "batch_potential", evaluations)
        produce(starts, outs)
    produce_alone(starts, alone)
    for pair in zip(outs, alone, strict=True):
        assert_same_segment(*pair)


def test_an_error_of_the_machine_stops_all_and_a_new_call_continues(
    starts: list[Path], monkeypatch
) -> None:
    outs, alone = outputs(starts, "segment.h5"), outputs(starts, "alone.h5")
    with monkeypatch.context() as patch:
        failing(patch, 60, RuntimeError("out of memory"))
        with pytest.raises(RuntimeError, match="out of memory"):
            produce(starts, outs)
    assert not any(out.exists() for out in outs)
    produce(starts, outs)
    produce_alone(starts, alone)
    for pair in zip(outs, alone, strict=True):
        assert_same_segment(*pair)


def test_a_signal_saves_all_of_them(starts: list[Path], monkeypatch) -> None:
    outs, alone = outputs(starts, "segment.h5"), outputs(starts, "alone.h5")

    class Signals(Fails):
        def compute(self, positions_A, cell_A, *, stress=False):
            if self.left == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().compute(positions_A, cell_A, stress=stress)

    def batch(self, numbers):
        potentials = [self.potential(n) for n in numbers]
        potentials[2] = Signals(30, RuntimeError("went on after the signal"))
        return dynamics_worker.Batch(potentials)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "batch_potential", batch)
        with pytest.raises(Interrupted):
            produce(starts, outs)
    assert not any(out.exists() for out in outs)
    produce(starts, outs)
    produce_alone(starts, alone)
    for pair in zip(outs, alone, strict=True):
        assert_same_segment(*pair)


def test_a_start_that_does_not_fit_is_refused_and_leaves_nothing_locked(starts: list[Path]) -> None:
    outs = outputs(starts, "segment.h5")
    with pytest.raises(InputError, match="no multiple"):
        produce([*starts[:2], odd_length(starts[2])], outs)
    produce(starts, outs)


def odd_length(start: Path) -> Path:
    """A segment of another length than the batch's."""
    out = start.with_name("odd.h5")
    settings = {**dynamics_worker.PRODUCTION, "segment_ps": 0.05}
    produce_segment(start, out, temperature_K=TEMPERATURES_K[2], **settings)
    return out


def test_killed_at_random_and_restarted(tmp_path: Path, monkeypatch) -> None:
    """kill -9 again and again; then each segment is what it is without a batch or a kill."""
    moments = random.Random(2)
    with dynamics_worker.Worker() as worker:
        codes = [
            worker.run(tmp_path, "batch", kill_after_s=moments.uniform(0.2, 1.5)) for _ in range(4)
        ]
        assert -signal.SIGKILL in codes
        assert worker.run(tmp_path, "batch") == 0
    starts = [tmp_path / f"T{t}/equilibrated.h5" for t in TEMPERATURES_K]
    monkeypatch.setattr(Engine, "model_hash", "lennard-jones")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(0.02, 2.4, 4.0))
    for number in range(2):
        alone = outputs(starts, f"alone-{number}.h5")
        produce_alone(starts, alone)
        for pair in zip(outputs(starts, f"segment-{number:04d}.h5"), alone, strict=True):
            assert_same_segment(*pair)
        starts = alone
