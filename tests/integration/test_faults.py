"""Faults on one machine: the campaign says what is wrong, loses little and ends the same.

Those that unit tests prove without a workflow are run by name: `pytest -m faults`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from small_campaign import (
    GLASS,
    NEXT_SEGMENT,
    PRODUCTION,
    SEGMENT,
    SEGMENT_LOG,
    TABLES,
    assert_same_analysis,
    assert_same_segment,
    copy_before_production,
    copy_stages,
    kill_session,
    records,
    small_campaign,
    start,
    wait_for,
)
from workflow import Workflow


@pytest.fixture
def unfinished(checkout: Path, tmp_path: Path) -> Workflow:
    """The campaign before its production."""
    copy_before_production(checkout, tmp_path)
    return small_campaign(tmp_path)


@pytest.fixture
def killed(unfinished: Workflow) -> Workflow:
    """The same campaign after Snakemake and its job were killed in the middle of a segment."""
    start_and_kill(unfinished, SEGMENT, SEGMENT)
    unlock(unfinished)
    return unfinished


@pytest.fixture
def small_disk(unfinished: Workflow) -> Iterator[Path]:
    """The campaign before its production, whose trajectory lies on a disk of one megabyte."""
    folder = unfinished.folder / PRODUCTION
    kept = unfinished.folder / "kept"
    folder.rename(kept)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root and the right to mount")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def start_and_kill(campaign: Workflow, target: Path, output: Path) -> None:
    """Kill Snakemake and its job in the middle of a run of MD, named by its output."""
    process = start(campaign, target)
    try:
        wait_for(lambda: len(records(campaign.folder, output)) > 2, "restart data", seconds=300)
    finally:
        kill_session(process)
    assert not (campaign.folder / target).exists()


def unlock(campaign: Workflow) -> None:
    ended = campaign.run("--unlock")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def run(campaign: Workflow, *targets: Path) -> None:
    """A run that must succeed."""
    ended = campaign.run(*targets)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def run_badly(campaign: Workflow, target: Path = SEGMENT) -> str:
    """A run that must fail; returns what it printed."""
    ended = campaign.run(target)
    assert ended.returncode != 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_killed_campaign_goes_on_to_the_same_tables(checkout: Path, tmp_path: Path) -> None:
    """Snakemake and its job are killed in the quench, then in a segment."""
    copy_stages(checkout, tmp_path, "finetune")
    campaign = small_campaign(tmp_path)
    start_and_kill(campaign, GLASS, GLASS.with_name("attempt-0"))
    assert "--unlock" in run_badly(campaign)  # the lock that it leaves
    unlock(campaign)
    start_and_kill(campaign, SEGMENT, SEGMENT)
    unlock(campaign)
    run(campaign, *TABLES)
    assert (tmp_path / GLASS).read_bytes() == (checkout / GLASS).read_bytes()
    for segment in (SEGMENT, NEXT_SEGMENT):
        assert_same_segment(tmp_path / segment, checkout / segment)
    assert_same_analysis(tmp_path, checkout)


def test_missing_module_is_named(
    unfinished: Workflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a node whose environment lacks it."""
    broken = tmp_path / "modules/vesin"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'vesin'\")")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    assert "No module named 'vesin'" in run_badly(unfinished)


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["flipped", "cut", "lost"])
def test_damaged_restart_data_costs_what_came_after_it(
    killed: Workflow, checkout: Path, damage: str
) -> None:
    folder = killed.folder
    path = records(folder)[1]
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-10])
    else:
        path.unlink()
    first_step = int(records(folder)[0].stem.partition("-")[2])
    run(killed, SEGMENT)
    log = (folder / SEGMENT_LOG).read_text()
    assert "restart data is damaged" in log
    assert f"continuing from step {first_step} instead of" in log
    assert_same_segment(folder / SEGMENT, checkout / SEGMENT)


@pytest.mark.faults
def test_damaged_segment_is_told_and_made_again(unfinished: Workflow, checkout: Path) -> None:
    segment = unfinished.folder / SEGMENT
    shutil.copy2(checkout / SEGMENT, segment)
    with h5py.File(segment) as file:
        offset = file["vitrion/checkpoint/positions_A"].id.get_offset()
    with segment.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(8))
    printed = run_badly(unfinished, NEXT_SEGMENT)
    assert "remove it to make it again" in printed
    assert str(SEGMENT) in printed
    segment.unlink()
    run(unfinished, NEXT_SEGMENT)
    for path in (SEGMENT, NEXT_SEGMENT):
        assert_same_segment(unfinished.folder / path, checkout / path)


@pytest.mark.faults
def test_full_disk_is_told_and_nothing_half_written_stays(
    unfinished: Workflow, small_disk: Path, checkout: Path
) -> None:
    room = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (room.f_bavail * room.f_frsize - 16_384))
    assert "No space left on device" in run_badly(unfinished)
    segment = unfinished.folder / SEGMENT
    assert not segment.exists()
    ballast.unlink()
    run(unfinished, SEGMENT)
    assert_same_segment(segment, checkout / SEGMENT)


@pytest.mark.faults
def test_second_snakemake_is_refused(unfinished: Workflow, checkout: Path) -> None:
    process = start(unfinished, SEGMENT)
    wait_for(lambda: records(unfinished.folder), "restart data", seconds=300)
    # Held meanwhile, or it may end before the second one has started on a loaded machine.
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        assert "cannot be locked" in run_badly(unfinished)
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(300) == 0
    assert_same_segment(unfinished.folder / SEGMENT, checkout / SEGMENT)
