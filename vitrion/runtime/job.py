"""The lock, the log and the exit code of a job."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from vitrion.base import locks
from vitrion.base.errors import InputError
from vitrion.runtime.deadline import warning_before_limit
from vitrion.runtime.gpus import own_gpu

ATTEMPT = "attempt"  # first word of the line that begins an attempt in a job's log


@contextmanager
def job_log(path: Path | str, title: str, *, gpus: int = 0) -> Iterator[logging.Logger]:
    """Send everything that a job prints to its log, and its progress to the terminal as well.

    Beside the log lies the list of the job's attempts, which is also its lock: after the workflow
    alone was killed, its jobs may still run, and a second process for the same job waits for the
    first instead of writing over its files. (The log itself cannot be the lock: Snakemake removes
    it before every attempt.) Under SLURM the job is warned before its time limit.

    Bad input ends the job with exit code 2 and its one message; any other error with exit code 1,
    the traceback in the log and a line on the terminal that says where to look.

    Args:
        path: log file; its folder is made.
        title: name of the job, put before its lines on the terminal.
        gpus: whether it takes a GPU of its own (1) where there are any, or none (0).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with ExitStack() as stack:
        waiting = f"{title}: waiting for the process that still runs it\n"
        attempts = stack.enter_context(
            locks.acquire(attempts_path(path), on_wait=lambda: terminal.write(waiting))
        )
        file = stack.enter_context(path.open("a", buffering=1))
        to_file = logging.StreamHandler(file)
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        to_terminal = logging.StreamHandler(terminal)
        to_terminal.setFormatter(
            logging.Formatter(f"[%(asctime)s] {title}: %(message)s", datefmt="%H:%M:%S")
        )
        logger = logging.getLogger("vitrion")
        logger.setLevel(logging.INFO)
        logger.handlers[:] = [to_file, to_terminal]
        logger.propagate = False
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").handlers[:] = [to_file]
        warnings.simplefilter("default")
        job = os.environ.get("SLURM_JOB_ID")
        slurm = f", SLURM job {job}" if job else ""
        begin = f"{time.strftime('%Y-%m-%d %H:%M:%S')} on {os.uname().nodename}{slurm}"
        for each in (attempts, file):
            each.write(f"{ATTEMPT} {begin}\n")
        try:
            with redirect_stdout(file), redirect_stderr(file), warning_before_limit():
                if gpus:
                    stack.enter_context(own_gpu())
                yield logger
        except InputError as error:
            logger.error("%s", error)
            sys.exit(2)
        except Exception as error:
            file.write(traceback.format_exc())
            to_terminal.handle(
                logger.makeRecord(
                    logger.name, logging.ERROR, __file__, 0, f"{error}; see {path}", (), None
                )
            )
            sys.exit(1)


def attempts_path(log: Path) -> Path:
    """List of a job's attempts beside its log, one line each; locked while the job runs."""
    return log.with_name(f".{log.name}.attempts")
