"""A job's warning before its time limit, so that dynamics saves its state and a retry continues.

SLURM's own warning (`--signal`) reaches the wrapping shell or the inner Snakemake, not the program
inside. So the job reads its own end time and sends itself SIGUSR1; `vitrion.dynamics.run` then
saves the state and stops.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Share of the time left at the start, and its limits: a step may take a second, the file system
# a minute.
MARGIN = 0.1
LEAST_MARGIN_S, MOST_MARGIN_S = 15.0, 300.0
REPEAT_S = 2.0  # until there is a handler


def time_left_s() -> float | None:
    """Seconds until SLURM ends this job; None outside SLURM, without a limit, or if unknown."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    end = os.environ.get("SLURM_JOB_END_TIME", "")  # set by newer versions of srun
    if end.isdigit():
        return int(end) - time.time()
    try:
        squeue = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format", "%L"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _seconds(squeue.stdout.strip())


@contextmanager
def warning_before_limit() -> Iterator[None]:
    """Send this process SIGUSR1 shortly before the job's time limit, if it has a handler for it.

    Without a handler (libraries are being loaded, tables written) the signal would end the process,
    so it is not sent, and the check is repeated.
    """
    left_s = time_left_s()
    if left_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    margin_s = min(max(MARGIN * left_s, LEAST_MARGIN_S), MOST_MARGIN_S)

    def warn(number: int, frame: object) -> None:
        if callable(signal.getsignal(signal.SIGUSR1)):
            signal.raise_signal(signal.SIGUSR1)

    previous = signal.signal(signal.SIGALRM, warn)
    signal.setitimer(signal.ITIMER_REAL, max(left_s - margin_s, REPEAT_S), REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _seconds(text: str) -> float | None:
    """SLURM's `[[days-]hours:]minutes:seconds` in seconds; None for UNLIMITED and its like."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24.0 * days + hours) * 60 + minutes) * 60 + seconds
