"""The run loop, its checkpoint log and the protocols: interruptions do not change a trajectory."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
from dataclasses import replace

import ase.io
import dynamics_worker
import numpy as np
import pytest
from potentials import LennardJones, argon

from vitrion.base.errors import InputError, PotentialError
from vitrion.dynamics import equilibrate, produce_segment, quench_glass, simulate
from vitrion.dynamics.checkpoint import CheckpointLog
from vitrion.dynamics.engine import Engine
from vitrion.dynamics.integrators import NVE, BussiNVT, NoseHooverNVT, RescaleNPT
from vitrion.dynamics.run import BlowUp, Interrupted, Intervals, Stage, run
from vitrion.tables.io import read_table
from vitrion.trajectory.checks import check_glass
from vitrion.trajectory.h5md import read_checkpoint, read_metadata, read_samples
from vitrion.trajectory.metadata import TrajectoryKey
from vitrion.trajectory.samples import Samples

INTERVALS = Intervals(sample=3, checkpoint=5)


def stages():
    """Every integrator one after another, with a ramp and a change of the state between."""
    npt = RescaleNPT(0.004, 0.1, 0.001, 0.5, 50.0)
    return [
        Stage("nve", 7, NVE(0.004), 80),
        Stage("bussi", 8, BussiNVT(0.004, 0.1), 80),
        Stage("npt", 9, npt, 80, 40),
        Stage(
            "chain",
            6,
            NoseHooverNVT(0.004, 0.1),
            40,
            prepare=lambda state, log: state.scaled_to(750.0),
        ),
    ]


class Crash(BaseException):
    """What a test's potential dies of."""


class Fragile(LennardJones):
    """Does something at its nth call."""

    def __init__(self, calls, what):
        super().__init__(cutoff_A=4.0)
        self.calls, self.what = calls, what

    def compute(self, positions_A, cell_A, *, stress=False):
        self.calls -= 1
        if self.calls == 0:
            self.what()
        return super().compute(positions_A, cell_A, stress=stress)


def crash():
    raise Crash


def go(folder, potential, intervals=INTERVALS):
    """One call of the run; gives its final state and samples."""
    checkpoints = CheckpointLog(folder / "out.h5", {"test": 1})
    try:
        state = run(argon(repeat=1), stages(), potential, checkpoints, intervals)
        return state.fingerprint(), checkpoints.samples(4)
    finally:
        checkpoints.close()


def same(samples, others):
    return all(
        np.array_equal(value, other)
        for value, other in zip(
            samples.to_arrays().values(), others.to_arrays().values(), strict=True
        )
    )


@pytest.fixture
def undisturbed(tmp_path):
    return go(tmp_path / "undisturbed", LennardJones(cutoff_A=4.0))


def test_samples_are_taken_at_fixed_steps(undisturbed):
    _, samples = undisturbed
    assert samples.step.tolist() == list(range(3, 31, 3))
    assert samples.stage.tolist() == [*["nve"] * 2, *["bussi"] * 3, *["npt"] * 3, *["chain"] * 2]
    np.testing.assert_allclose(samples.target_K[5:8], 80 - 40 * np.array([3, 6, 9]) / 9)
    assert np.isfinite(samples.pressure_GPa).all()


def test_a_crash_at_any_step_changes_nothing(tmp_path, undisturbed):
    state, samples = undisturbed
    for calls in range(1, 35):
        folder = tmp_path / str(calls)
        with pytest.raises(Crash):
            go(folder, Fragile(calls, crash))
        found, resumed = go(folder, LennardJones(cutoff_A=4.0))
        assert found == state
        assert same(resumed, samples)


def test_a_crash_at_every_few_steps_changes_nothing(tmp_path, undisturbed):
    for calls in (8, 9, 12):
        for _ in range(20):
            try:
                found, samples = go(tmp_path / str(calls), Fragile(calls, crash))
                break
            except Crash:
                pass
        assert found == undisturbed[0]
        assert same(samples, undisturbed[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_the_state_of_that_step(tmp_path, undisturbed, number):
    before = signal.getsignal(number)
    for calls in range(2, 30, 5):
        folder = tmp_path / str(calls)
        with pytest.raises(Interrupted) as stopped:
            go(folder, Fragile(calls, lambda: os.kill(os.getpid(), number)))
        assert stopped.value.code == 75
        potential = Fragile(-1, crash)
        found, samples = go(folder, potential)
        assert -1 - potential.calls <= 34 - calls + 1  # no step was computed twice
        assert found == undisturbed[0]
        assert same(samples, undisturbed[1])
    assert signal.getsignal(number) is before


def test_records_by_wall_time_change_nothing(tmp_path, undisturbed):
    intervals = replace(INTERVALS, checkpoint_wall_s=0.0)
    found, samples = go(tmp_path / "wall", LennardJones(cutoff_A=4.0), intervals)
    assert found == undisturbed[0]
    assert same(samples, undisturbed[1])
    (folder,) = (tmp_path / "wall").glob(".out.h5.*")
    assert len(list(folder.glob("*.record"))) == 30


@pytest.mark.parametrize("failing", [1, 4, 6])
def test_a_full_disk_changes_nothing(tmp_path, undisturbed, monkeypatch, failing):
    writes = iter(range(1, 100))

    def fsync(descriptor):
        if next(writes) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            go(tmp_path, LennardJones(cutoff_A=4.0))
    found, samples = go(tmp_path, LennardJones(cutoff_A=4.0))
    assert found == undisturbed[0]
    assert same(samples, undisturbed[1])


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_record_costs_what_came_after_it(tmp_path, undisturbed, damage, caplog):
    with pytest.raises(Crash):
        go(tmp_path, Fragile(25, crash))
    (folder,) = tmp_path.glob(".out.h5.*")
    *_, path, _ = sorted(folder.glob("*.record"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        whole = {"flip": len(content), "truncate": len(content) // 2, "empty": 0}[damage]
        path.write_bytes(content[:whole])
    with caplog.at_level(logging.WARNING):
        found, samples = go(tmp_path, LennardJones(cutoff_A=4.0))
    assert "damaged" in caplog.text
    assert "from step 12 instead of 20" in caplog.text
    assert found == undisturbed[0]
    assert same(samples, undisturbed[1])


def test_records_of_other_inputs_are_not_used(tmp_path):
    first = CheckpointLog(tmp_path / "out.h5", {"temperature_K": 300})
    run(argon(repeat=1), stages()[:1], LennardJones(cutoff_A=4.0), first, INTERVALS)
    with pytest.raises(InputError, match="another process"):
        CheckpointLog(tmp_path / "out.h5", {"temperature_K": 300})
    first.close()
    assert CheckpointLog(tmp_path / "out.h5", {"temperature_K": 300}).state.step == 7
    assert CheckpointLog(tmp_path / "out.h5", {"temperature_K": 400}).state is None
    assert not first.folder.exists()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda r: setattr(r, "energy_eV", float("nan")), "not finite"),
        (lambda r: r.forces_eV_A.__setitem__((0, 0), np.inf), "not finite"),
        (lambda r: r.forces_eV_A.__imul__(1e4), "temperature"),
    ],
)
def test_a_blow_up_ends_with_the_last_good_state(tmp_path, corrupt, message):
    class Exploding(LennardJones):
        calls = 0

        def compute(self, positions_A, cell_A, *, stress=False):
            found = super().compute(positions_A, cell_A, stress=stress)
            self.calls += 1
            if self.calls > 10:
                corrupt(found)
            return found

    potential = Exploding(cutoff_A=4.0)
    checkpoints = CheckpointLog(tmp_path / "out.h5", {})
    stage = Stage("nvt", 50, BussiNVT(0.004, 0.1), 80)
    with pytest.raises(BlowUp, match=message) as blow_up:
        run(argon(repeat=1), [stage], potential, checkpoints, INTERVALS)
    state = blow_up.value.state
    assert np.isfinite(state.positions_A).all()
    assert state.temperature_K < 5000
    assert checkpoints.state.step == 5  # what was sound stays


def test_what_the_potential_refuses_is_a_blow_up(tmp_path, monkeypatch):
    def refuse():
        raise PotentialError("atom 3 has no neighbour within 6 Å")

    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: Fragile(20, refuse))
    out = tmp_path / "run.h5"
    with pytest.raises(BlowUp, match=r"nvt, step 19: atom 3 .* last good frame is .*extxyz"):
        simulate_argon(out, steps=50)
    assert len(ase.io.read(tmp_path / "run.last_good.extxyz")) == 32
    assert not out.exists()


def simulate_argon(
    out, steps, ensemble="nvt", start=None, *, frame_interval_ps=0.01, resume=False, **dynamics
):
    simulate(
        (start or argon()).to_atoms(),
        out,
        ensemble=ensemble,
        temperature_K=80,
        steps=steps,
        frame_interval_ps=frame_interval_ps,
        position_precision_A=0.001,
        dynamics=dynamics_worker.DYNAMICS.model_copy(update=dynamics),
        model="x",
        seed=7,
        resume=resume,
    )


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(cutoff_A=5.5))


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_finished_run_goes_on_with_more_steps(tmp_path, cheap, ensemble):
    simulate_argon(tmp_path / "whole.h5", 40, ensemble)
    simulate_argon(tmp_path / "parts.h5", 23, ensemble)
    with pytest.raises(InputError, match="--resume"):
        simulate_argon(tmp_path / "parts.h5", 40, ensemble)
    simulate_argon(tmp_path / "parts.h5", 40, ensemble, resume=True)
    assert_same_segment(tmp_path / "whole.h5", tmp_path / "parts.h5")
    with pytest.raises(InputError, match="another structure"):
        simulate_argon(
            tmp_path / "parts.h5", 50, ensemble, argon(seed=2, lattice_A=5.7), resume=True
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_interval_ps": 0.02}, "began with frame_interval_ps 0.01, not 0.02"),
        ({"timestep_fs": 1.0}, "began with timestep_fs 2.0, not 1.0"),
        ({"ensemble": "npt"}, "began with ensemble nvt, not npt"),
        ({"thermostat": "nose_hoover"}, "began with thermostat bussi, not nose_hoover"),
        ({"steps": 10}, "steps = 10: .* has 20 already"),
    ],
)
def test_a_finished_run_goes_on_with_its_own_settings_alone(tmp_path, cheap, changes, message):
    out = tmp_path / "run.h5"
    simulate_argon(out, 20, "nvt")
    before = out.read_bytes()
    with pytest.raises(InputError, match=message):
        simulate_argon(out, **{"steps": 40, **changes}, resume=True)
    assert out.read_bytes() == before


def test_restart_data_of_other_settings_are_kept(tmp_path):
    """A mistyped option beside `--resume` must not cost a run; nor does a second process."""
    out = tmp_path / "run.h5"
    log = CheckpointLog(out, {"timestep_fs": 2.0})
    with pytest.raises(InputError, match="another process is making it with other settings"):
        CheckpointLog(out, {"timestep_fs": 1.0})
    log.close()
    with pytest.raises(InputError, match=r"resume = .*was begun with other settings"):
        CheckpointLog(out, {"timestep_fs": 1.0}, keep_others=True)
    assert log.folder.is_dir()
    CheckpointLog(out, {"timestep_fs": 1.0}).close()
    assert not log.folder.exists()


def assert_same_segment(path, other):
    """The same content but for wall times."""
    (state, metadata), (other_state, other_metadata) = map(read_checkpoint, (path, other))
    assert state.fingerprint() == other_state.fingerprint()
    assert same(read_samples(path), read_samples(other))
    assert without_times(metadata) == without_times(other_metadata)


def without_times(metadata):
    """Metadata as text, in which NaN equals NaN."""
    return replace(metadata, wall_s=0.0, steps_per_s=0.0).to_json()


def assert_same_table(path, other):
    one, two = read_table(path), read_table(other)
    assert one.equals(two)
    assert {k: v for k, v in one.attrs.items() if k != "wall_s"} == {
        k: v for k, v in two.attrs.items() if k != "wall_s"
    }


def test_segments_are_pieces_of_one_trajectory(tmp_path, cheap):
    """Three segments hold the frames of one three times as long, at (k F + j + 1) intervals."""
    ase.io.write(tmp_path / "glass.extxyz", argon().to_atoms())
    key = TrajectoryKey("LiAlCl", 80, 2)
    equilibrate(
        tmp_path / "glass.extxyz",
        tmp_path / "equilibrated.h5",
        key=key,
        equilibrate_ps=0.04,
        seed=1,
        dynamics=dynamics_worker.DYNAMICS,
        model="x",
    )
    thermo = read_table(tmp_path / "thermo.parquet")
    assert thermo["stage"].tolist() == ["equilibrate_npt"] * 4 + ["equilibrate_nvt"] * 4
    npt, nvt = (thermo[thermo["stage"] == f"equilibrate_{e}"] for e in ("npt", "nvt"))
    volume = 1 / npt["density_g_cm3"].to_numpy()
    np.testing.assert_allclose(1 / nvt["density_g_cm3"], volume[2:].mean())

    def produce(previous, out, segment_ps, temperature_K=80):
        settings = {**dynamics_worker.PRODUCTION, "segment_ps": segment_ps}
        produce_segment(previous, out, temperature_K=temperature_K, **settings)

    previous = tmp_path / "equilibrated.h5"
    for number in range(3):
        out = tmp_path / f"segment-{number:04d}.h5"
        produce(previous, out, 0.04)
        previous = out
        assert read_metadata(out).key == key
    produce(tmp_path / "equilibrated.h5", tmp_path / "whole.h5", 0.12)
    parts = [read_samples(tmp_path / f"segment-{number:04d}.h5") for number in range(3)]
    assert np.concatenate([part.step for part in parts]).tolist() == list(range(5, 61, 5))
    joined, whole = Samples.join(parts), read_samples(tmp_path / "whole.h5")
    # Packed over other chunks, positions differ by the rounding of float32.
    np.testing.assert_allclose(joined.positions_A, whole.positions_A, rtol=0, atol=2e-6)
    assert same(joined.without_positions(), whole.without_positions())
    assert (
        read_checkpoint(previous)[0].fingerprint()
        == read_checkpoint(tmp_path / "whole.h5")[0].fingerprint()
    )
    with pytest.raises(InputError, match="no multiple"):
        produce(previous, tmp_path / "x.h5", 0.05)
    with pytest.raises(InputError, match="a trajectory at 80 K"):
        produce(previous, tmp_path / "x.h5", 0.04, temperature_K=90)


def test_nothing_but_the_outputs_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(0.02, 2.4, 4.0))
    dynamics_worker.quench(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "glass.extxyz",
        "glass_measurements.parquet",
        "thermo.parquet",
    ]
    measurements = read_table(tmp_path / "glass_measurements.parquet")
    assert measurements.attrs["attempts"] == 2
    limits = dynamics_worker.QUENCH.limits
    assert not check_glass(measurements, dynamics_worker.SALT, limits)["passed"].all()
    glass = ase.io.read(tmp_path / "glass.extxyz")
    assert glass.info["composition"] == "LiAlCl"
    assert len(glass) == 21


def test_below_a_temperature_the_volume_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(0.02, 2.4, 4.0))
    changes = {"constant_pressure_below_K": 900.0, "attempts": 1}
    quench_glass(
        dynamics_worker.SALT,
        tmp_path,
        formula_units=4,
        settings=dynamics_worker.QUENCH.model_copy(update=changes),
        dynamics=dynamics_worker.DYNAMICS,
        model="x",
        seed=1,
    )
    thermo = read_table(tmp_path / "thermo.parquet")
    assert list(thermo["stage"].unique()) == ["melt", "quench", "quench_npt", "anneal"]
    confined, free = (thermo[thermo["stage"] == name] for name in ("quench", "quench_npt"))
    assert confined["density_g_cm3"].nunique() == 1
    assert free["density_g_cm3"].nunique() == len(free) > 5
    assert confined["target_temperature_K"].min() > 890 > free["target_temperature_K"].max()
    # One straight line of 8000 K/ps across both.
    cooled = np.concatenate([confined["target_temperature_K"], free["target_temperature_K"]])
    np.testing.assert_allclose(np.diff(cooled), -80, atol=2)
    assert cooled[-1] == 300


def test_a_glass_that_always_blows_up_is_written_and_flagged(tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(
        Engine,
        "potential",
        lambda self, numbers: Fragile(30, lambda: (_ for _ in ()).throw(PotentialError("gone"))),
    )
    dynamics_worker.quench(tmp_path)
    measurements = read_table(tmp_path / "glass_measurements.parquet")
    assert "gone" in measurements.attrs["blow_up"]
    limits = dynamics_worker.QUENCH.limits
    checks = check_glass(measurements, dynamics_worker.SALT, limits).set_index("check")
    assert checks.loc["part of the protocol done", "value"] < 0.2
    assert not checks.loc["part of the protocol done", "passed"]
    assert (tmp_path / "glass.extxyz").exists()


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.physics)])
def test_killed_at_random_and_restarted(tmp_path, kills):
    """kill -9 again and again; what is written in the end is what an undisturbed job writes."""
    moments = random.Random(kills)
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    with dynamics_worker.Worker() as worker:
        assert worker.run(folders[0]) == 0
        codes = [
            worker.run(folders[1], kill_after_s=moments.uniform(0.05, 5 / kills))
            for _ in range(kills)
        ]
        assert -signal.SIGKILL in codes
        assert worker.run(folders[1]) == 0
    names = [sorted(p.name for p in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        pair = [folder / name for folder in folders]
        if name.endswith(".frames.h5"):
            continue  # compared with their segment
        if name.startswith("segment"):
            assert_same_segment(*pair)
        elif name.endswith(".parquet"):
            assert_same_table(*pair)
        elif name.endswith(".h5"):
            fingerprints = [read_checkpoint(path)[0].fingerprint() for path in pair]
            assert fingerprints[0] == fingerprints[1]
        else:
            assert pair[0].read_bytes() == pair[1].read_bytes()
