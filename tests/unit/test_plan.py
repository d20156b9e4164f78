from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from real_motion import lialcl_motion

from vitrion.bench import speed
from vitrion.bench.speed import measure_steps_per_s
from vitrion.campaign.opening import open_campaign
from vitrion.campaign.plan import (
    START_S,
    cost_line,
    format_rows,
    make_plan,
    segment_bytes,
)
from vitrion.cli import main
from vitrion.config import Production, StopWhen
from vitrion.structure.compositions import SHIPPED_TABLE
from vitrion.trajectory.h5md import write_segment
from vitrion.trajectory.metadata import SegmentMetadata
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

TOY = Path(__file__).parents[1] / "toy/config.yaml"


def test_cost_in_one_line_is_the_plans() -> None:
    config, compositions = open_campaign([])
    plan = make_plan(config, compositions, steps_per_s=50.0, on_gpu=True)
    steps = sum(rule.md_steps for rule in plan.rules)
    line = cost_line(config, compositions)
    assert line.startswith(f"campaign paper, from nothing: {plan.jobs} jobs, {steps:.2g} MD steps")
    assert f"{sum(plan.storage_GB.values()):.0f} GB" in line
    stop_when = config.production.stop_when or StopWhen(least_ps=2000.0)
    open_end = config.model_copy(
        update={"production": config.production.model_copy(update={"stop_when": stop_when})}
    )
    assert "at most" in cost_line(open_end, compositions)


def test_hours_of_the_paper_by_hand() -> None:
    config, compositions = open_campaign([])
    plan = make_plan(config, compositions, steps_per_s=50.0, on_gpu=True)
    rules = {rule.rule: rule for rule in plan.rules}
    segments = rules["produce_segment"]
    assert segments.md_steps == 27 * 4 * 3 * 10_000_000 / 4  # 10 ns at 4 fs
    assert segments.gpu_hours == pytest.approx(segments.md_steps / 50 / 3600, rel=0.01)
    assert segments.core_hours == pytest.approx(2 * segments.gpu_hours)
    assert rules["quench_glass"].md_steps == 81 * (100 + 240 + 50) * 500
    assert rules["analyze_trajectory"].gpu_hours == 0
    # One trajectory after its glass: 390 ps at 2 fs, 100 + 10 000 ps at 4 fs.
    assert plan.longest_chain_hours == pytest.approx(
        (390 * 500 + 10_100 * 250) / 50 / 3600, rel=0.1
    )
    assert plan.atoms == 1302


def test_batches_are_fewer_longer_jobs(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("production: {batch: 5}")
    plans = [
        make_plan(*open_campaign(files), steps_per_s=50.0, on_gpu=True) for files in ([], [overlay])
    ]
    alone, batch = ({rule.rule: rule for rule in plan.rules} for plan in plans)
    assert "produce_segment" not in batch
    assert batch["produce_batch"].jobs == 27 * 10 * 3  # of twelve trajectories: five, five, two
    assert batch["produce_batch"].md_steps == alone["produce_segment"].md_steps
    assert plans[1].longest_chain_hours > 4.5 * plans[0].longest_chain_hours


def test_larger_glasses_cost_more_in_proportion(tmp_path: Path) -> None:
    lines = SHIPPED_TABLE.read_text().splitlines()
    mixed = [lines[0], lines[1], "Big\tLi\tAl\tCl\tLi2Al2Cl5O1.5\t2.2"]
    (tmp_path / "two.tsv").write_text("\n".join(mixed))
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(f"compositions: {tmp_path}/two.tsv\nfinetune: {{model: pretrained}}")
    config, compositions = open_campaign([TOY, overlay])
    plan = make_plan(config, compositions, steps_per_s=10.0, on_gpu=False)
    (quench,) = (rule for rule in plan.rules if rule.rule == "quench_glass")
    steps = quench.md_steps / 2
    start_h = 2 * START_S / 3600
    assert quench.hours - start_h == pytest.approx(steps / 10 / 3600 * (1 + 0.5))
    assert plan.gpu_hours == 0
    assert "prepare_dataset" not in plan.longest_chain


@pytest.mark.parametrize("precision_A", [0.01, 0.001, 0.0001])
@pytest.mark.parametrize("atoms", [21, 336])
def test_stored_size_is_near_the_planned_one(
    tmp_path: Path, precision_A: float, atoms: int
) -> None:
    """Atoms that move as in LiAlCl at 700 K or so, through the real writer."""
    random = np.random.default_rng(3)
    positions_A = np.concatenate(
        [lialcl_motion(temperature_K, atoms) for temperature_K in (600, 800)]
    )
    frames = len(positions_A)
    state = State(
        numbers=np.full(atoms, 3),
        masses_u=np.full(atoms, 6.94),
        positions_A=positions_A[-1],
        velocities_A_ps=np.zeros((atoms, 3)),
        cell_A=20 * np.eye(3),
    )
    thermo = {
        name: random.normal(0, 1, frames)
        for name in ("target_K", "temperature_K", "energy_eV", "conserved_eV", "pressure_GPa")
    }
    samples = Samples(
        step=50 * np.arange(1, frames + 1),
        stage=np.full(frames, "produce"),
        cell_A=np.repeat(20 * np.eye(3)[None], frames, axis=0),
        positions_A=positions_A.astype(np.float32),
        **thermo,
    )
    path = tmp_path / "segment.h5"
    metadata = SegmentMetadata(
        temperature_K=600.0,
        timestep_fs=2.0,
        model_hash="x",
        seed=1,
        frame_interval_ps=0.1,
        position_precision_A=precision_A,
        n_frames=frames,
    )
    write_segment(path, [samples], state, metadata)
    production = Production(
        segment_ps=frames * 0.1, frame_interval_ps=0.1, position_precision_A=precision_A
    )
    assert path.stat().st_size == pytest.approx(segment_bytes(atoms, production), rel=0.15)


def test_speed_is_measured_with_the_real_potential() -> None:
    config, compositions = open_campaign([TOY])
    small = config.model_copy(update={"formula_units": 4})
    rate = measure_steps_per_s(compositions["LiAlCl"], small, seconds=0.5)
    assert 0.5 < rate < 1e5


@pytest.mark.parametrize("n_atoms", [21, 42, 100, 336, 1302])
def test_speed_is_measured_on_copies_of_a_small_packing(
    n_atoms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing and relaxing take the time of some 42 atoms whatever the size of the glass."""
    packed = []
    monkeypatch.setattr(speed, "CHGNetPotential", lambda *_, **__: None)
    monkeypatch.setattr(speed, "relax", lambda atoms, _: packed.append(len(atoms)))
    config, compositions = open_campaign([])
    atoms = speed._repeated_packing(compositions["LiAlCl"], config, n_atoms, "shipped")
    assert packed == [min(n_atoms, 42)]
    assert n_atoms <= len(atoms) < n_atoms + 42
    assert atoms.symbols.count("Li") * 21 == 4 * len(atoms)


def test_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "new/plan.json"
    assert main(["plan", "--configfile", str(TOY), "--steps-per-s", "20", "--json", str(path)]) == 0
    plan = json.loads(path.read_text())
    assert plan["jobs"] == sum(rule["jobs"] for rule in plan["rules"])
    assert plan["core_hours"] > 0
    assert plan["gpu_hours"] == 0  # the toy's device is the CPU
    assert plan["total_storage_GB"] == pytest.approx(sum(plan["storage_GB"].values()))
    printed = capsys.readouterr().out
    assert re.search(rf"^total +{plan['jobs']} ", printed, re.MULTILINE)
    assert "longest chain" in printed


@pytest.mark.parametrize("option", ["--steps-per-s", "--calibrate"])
def test_bad_speed_is_refused(option: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["plan", "--configfile", str(TOY), option, "-1"]) == 2
    assert option in capsys.readouterr().err


def test_rows_are_aligned() -> None:
    assert format_rows([("a", "b"), ("long", "1")]) == ["a     b", "long  1"]
