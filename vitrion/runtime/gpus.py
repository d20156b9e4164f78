"""One GPU of a workstation for each job, so that concurrent jobs do not share one.

Snakemake counts GPUs (`resources: gpu`) but does not choose them: every process would use the first
one. So a job locks one GPU and sees no other. The lock ends with the process, whatever ends it. The
one GPU of a SLURM job is the scheduler's choice and is not locked; the several GPUs of a SLURM job
in which Snakemake itself runs (a whole node) are shared out likewise.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vitrion.base import locks

logger = logging.getLogger("vitrion")

VISIBLE = "CUDA_VISIBLE_DEVICES"
PAUSE_S = 1.0


@contextmanager
def own_gpu() -> Iterator[str | None]:
    """Take one GPU of this machine for this process and those that it starts.

    Waits while other jobs have them all. Must come before CUDA is used.

    Yields:
        The GPU, as CUDA names it; None where there is none or the scheduler has chosen.
    """
    gpus = visible_gpus()
    if not gpus or ("SLURM_JOB_ID" in os.environ and len(gpus) == 1):
        yield None
        return
    before = os.environ.get(VISIBLE)
    gpu, lock = _take(gpus)
    os.environ[VISIBLE] = gpu
    try:
        yield gpu
    finally:
        lock.close()
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip()]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    # By UUID, since CUDA and nvidia-smi may number GPUs differently.
    return re.findall(r"^GPU \d+:.*\(UUID: (GPU-[^)]+)\)", listed, re.MULTILINE)


def lock_folder() -> Path:
    """Where the locks of this machine's GPUs lie.

    SLURM may number the GPUs of every job from 0, so each of its jobs has locks of its own.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir()) / f"vitrion-gpus-{os.getuid()}{f'-{job}' if job else ''}"


def _take(gpus: list[str]) -> tuple[str, TextIO]:
    folder = lock_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    has_logged = False
    while True:
        for gpu in gpus:
            try:
                lock = locks.acquire(folder / re.sub(r"[^\w-]", "_", gpu))
            except BlockingIOError:
                continue
            logger.info("on GPU %s", gpu)
            return gpu, lock
        if not has_logged:
            logger.info("waiting for one of the GPUs %s", ", ".join(gpus))
            has_logged = True
        time.sleep(PAUSE_S)
