"""Faults on one machine: the campaign tells what is wrong, loses little and ends the same."""

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
    NEXT_SEGMENT,
    PRODUCTION,
    SEGMENT,
    SEGMENT_LOG,
    assert_same_segment,
    blocks,
    copy_before_production,
    kill_session,
    local_command,
    run_here,
    wait_for,
    write_configs,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run gives."""
    folder = tmp_path_factory.mktemp("reference")
    ended = run_here(folder, write_configs(folder), NEXT_SEGMENT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.fixture
def unfinished(reference: Path, tmp_path: Path) -> Path:
    """The same campaign before its production."""
    copy_before_production(reference, tmp_path)
    return tmp_path


@pytest.fixture
def killed(unfinished: Path) -> Path:
    """The same campaign after Snakemake and its job were killed in the middle of a segment."""
    process = start(unfinished)
    wait_for(lambda: len(blocks(unfinished)) > 2, "restart data", seconds=300)
    kill_session(process)
    return unfinished


@pytest.fixture
def small_disk(unfinished: Path) -> Iterator[Path]:
    """The campaign before its production, whose trajectory lies on a disk of one megabyte."""
    folder = unfinished / PRODUCTION
    kept = unfinished / "kept"
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


def start(folder: Path) -> subprocess.Popen:
    """Start Snakemake on the segment."""
    return subprocess.Popen(
        local_command(folder, write_configs(folder), SEGMENT),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(folder: Path, target: Path = SEGMENT) -> str:
    """A run that must succeed; returns what it printed."""
    ended = run_here(folder, write_configs(folder), target)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def run_badly(folder: Path, target: Path = SEGMENT) -> str:
    """A run that must fail; returns what it printed."""
    ended = run_here(folder, write_configs(folder), target)
    assert ended.returncode != 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def unlock(folder: Path) -> None:
    command = local_command(folder, write_configs(folder))
    subprocess.run([*command[: command.index("--")], "--unlock"], check=True, capture_output=True)


def test_stale_lock_is_told_and_taken_off(killed: Path, reference: Path) -> None:
    assert "--unlock" in run_badly(killed)
    unlock(killed)
    run(killed)
    assert_same_segment(killed / SEGMENT, reference / SEGMENT)


@pytest.mark.parametrize("damage", ["flipped", "cut", "lost"])
def test_damaged_restart_data_costs_what_came_after_it(
    killed: Path, reference: Path, damage: str
) -> None:
    unlock(killed)
    path = blocks(killed)[1]
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-10])
    else:
        path.unlink()
    first_step = int(blocks(killed)[0].stem.partition("-")[2])
    run(killed)
    log = (killed / SEGMENT_LOG).read_text()
    assert "restart data is damaged" in log
    assert f"going on from step {first_step} instead of" in log
    assert_same_segment(killed / SEGMENT, reference / SEGMENT)


def test_damaged_segment_is_told_and_made_again(unfinished: Path, reference: Path) -> None:
    run(unfinished)
    with h5py.File(unfinished / SEGMENT) as file:
        offset = file["vitrion/checkpoint/positions_A"].id.get_offset()
    with (unfinished / SEGMENT).open("r+b") as file:
        file.seek(offset)
        file.write(bytes(8))
    printed = run_badly(unfinished, NEXT_SEGMENT)
    assert "remove the file to make it again" in printed
    assert str(SEGMENT) in printed
    (unfinished / SEGMENT).unlink()
    run(unfinished, NEXT_SEGMENT)
    for segment in (SEGMENT, NEXT_SEGMENT):
        assert_same_segment(unfinished / segment, reference / segment)


def test_full_disk_is_told_and_nothing_half_written_stays(
    unfinished: Path, small_disk: Path, reference: Path
) -> None:
    room = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (room.f_bavail * room.f_frsize - 16_384))
    assert "No space left on device" in run_badly(unfinished)
    assert not (unfinished / SEGMENT).exists()
    ballast.unlink()
    run(unfinished)
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)


def test_second_snakemake_is_refused(unfinished: Path, reference: Path) -> None:
    process = start(unfinished)
    wait_for(lambda: blocks(unfinished), "restart data", seconds=300)
    # Held meanwhile, or it may end before the second one has started on a loaded machine.
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        assert "cannot be locked" in run_badly(unfinished)
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(300) == 0
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)


def test_missing_module_is_named(
    unfinished: Path, reference: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a node whose environment lacks it."""
    broken = tmp_path / "modules/chgnet"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'chgnet'\")")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(broken.parent))
        assert "No module named 'chgnet'" in run_badly(unfinished)
    run(unfinished)
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)
