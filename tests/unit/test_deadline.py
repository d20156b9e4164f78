from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitrion.runtime import deadline
from vitrion.runtime.deadline import time_left_s, warning_before_limit
from vitrion.runtime.job import attempts_path, job_log


def slurm_says(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose squeue prints `text`; the real one is asked in tests/slurm."""
    squeue = folder / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '{text}'\n")
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:07", 7.0),
        ("23:59:01", 86_341.0),
        ("2-01:00:00", 176_400.0),
        ("UNLIMITED", None),
        ("", None),
    ],
)
def test_time_left_is_read_as_squeue_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, seconds: float | None
) -> None:
    slurm_says(text, tmp_path, monkeypatch)
    assert time_left_s() == seconds


def test_end_time_of_newer_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    assert time_left_s() == pytest.approx(100, abs=2)


def test_no_limit_without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert time_left_s() is None


def test_warning_comes_once_and_only_to_who_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal without a handler would end the process; once handled, it must not come again."""
    slurm_says("0:16", tmp_path, monkeypatch)
    monkeypatch.setattr(deadline, "REPEAT_S", 0.2)
    heard: list[int] = []

    def listen(number: int, frame: object) -> None:
        heard.append(number)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # as the dynamics does

    with warning_before_limit():
        time.sleep(1.5)  # the first warning comes here, where there is no handler
        signal.signal(signal.SIGUSR1, listen)
        try:
            time.sleep(1.0)
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    time.sleep(0.5)
    assert heard == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_job_log_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole process that waits for the warning and leaves as interrupted dynamics does."""
    slurm_says("0:16", tmp_path, monkeypatch)
    program = (
        "import signal, sys, time\n"
        "from vitrion.runtime.job import job_log\n"
        "with job_log(sys.argv[1], 'title'):\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        "    time.sleep(30)\n"
    )
    log = tmp_path / "job.log"
    ended = subprocess.run([sys.executable, "-c", program, str(log)], check=False)
    assert ended.returncode == 75
    assert "SLURM job 7" in log.read_text()


def test_each_attempt_begins_with_a_line(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    for _ in range(2):
        with job_log(log, "title"):
            pass
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("attempt 20") for line in lines)


def test_lock_holds_although_snakemake_removes_the_log(tmp_path: Path) -> None:
    """Snakemake unlinks a job's log before the job; the first process's lock must still count."""
    log = tmp_path / "job.log"
    program = (
        "import sys\n"
        "from vitrion.runtime.job import job_log\n"
        "with job_log(sys.argv[1], 'second'):\n"
        "    pass\n"
    )
    with job_log(log, "first"):
        log.unlink()
        second = subprocess.Popen([sys.executable, "-c", program, str(log)], stderr=subprocess.PIPE)
        assert b"waiting for the process that still runs it" in second.stderr.readline()
        assert not log.exists()
    second.communicate()
    assert second.returncode == 0
    assert len(attempts_path(log).read_text().splitlines()) == 2
