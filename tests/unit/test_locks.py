"""Locks that one process holds and another sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitrion.base import locks

HOLDER = (
    "import sys\n"
    "from pathlib import Path\n"
    "from vitrion.base import locks\n"
    "lock = locks.acquire(Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


def test_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_locked(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    assert locks.is_locked(path)
    with pytest.raises(BlockingIOError):
        locks.acquire(path)
    with locks.acquire(path, on_wait=holder.kill):
        assert holder.wait() != 0
        assert locks.is_locked(path)
    assert not locks.is_locked(path)
    holder.communicate()
