"""A program and all that it starts end with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrion.runtime.processes import run_guarded, stop_guarded

# Starts a child, as mpirun does its ranks, and writes the numbers of both.
PROGRAM = """\
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
with open("pids.partial", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.replace("pids.partial", "pids")
print("ready", flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
"""
STARTER = """\
import sys
from pathlib import Path
from vitrion.runtime.processes import run_guarded
with open("out", "w") as output:
    run_guarded([sys.executable, "program.py", "wait"], output=output)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pids(folder: Path) -> list[int]:
    assert wait_for((folder / "pids").exists)
    found = [int(word) for word in (folder / "pids").read_text().split()]
    assert len(found) == 2
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stopped_job_leaves_no_process(folder: Path, number: signal.Signals) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER], cwd=folder, stderr=subprocess.PIPE)
    started = pids(folder)
    assert all(map(is_running, started))
    os.kill(starter.pid, number)
    starter.communicate()
    assert wait_for(lambda: not any(map(is_running, started)))


def test_a_program_that_ends_leaves_no_process_and_its_exit_code(folder: Path) -> None:
    with (folder / "out").open("w") as output:
        code = run_guarded([sys.executable, "program.py", "end"], output=output, cwd=folder)
    assert code == 0
    assert (folder / "out").read_text() == "ready\n"
    assert not any(map(is_running, pids(folder)))


@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [
        (["sh", "-c", "echo out; echo err >&2; exit 7"], 7, "out\nerr\n"),
        (["sh", "-c", "kill -9 $$"], 128 + 9, ""),
        (["/nowhere/vasp"], 127, "/nowhere/vasp cannot be started"),
        (["cat"], 0, ""),  # stdin is empty
    ],
)
def test_exit_code_and_output(tmp_path: Path, command: list[str], code: int, printed: str) -> None:
    with (tmp_path / "out").open("w") as output:
        assert run_guarded(command, output=output) == code
    assert (tmp_path / "out").read_text().startswith(printed)


def test_programs_of_other_threads_are_stopped_and_ignored_sigterm_is_no_way_out(
    tmp_path: Path,
) -> None:
    ended: list[BaseException] = []

    def run() -> None:
        with (tmp_path / "out").open("w") as output:
            try:
                run_guarded(
                    ["sh", "-c", "trap '' TERM; echo $$ > pids; sleep 60; sleep 60"],
                    output=output, cwd=tmp_path, grace_s=0.2,
                )  # fmt: skip
            except KeyboardInterrupt as error:
                ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").stat().st_size > 0)
    stop_guarded()
    thread.join(timeout=30)
    assert len(ended) == 1
    pid = int((tmp_path / "pids").read_text())
    assert wait_for(lambda: not is_running(pid))
