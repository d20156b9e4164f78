"""Locks on files. A lock ends with the process that holds it, whatever ends that process."""

from __future__ import annotations

import fcntl
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

logger = logging.getLogger("vitrion")


def acquire(path: Path, *, on_wait: Callable[[], object] | None = None) -> TextIO:
    """Lock a file for this process.

    File systems without locks (some network mounts) are used without, after a warning.

    Args:
        path: the file; made when it is missing.
        on_wait: called once before this waits for the process that holds the lock; without it
            the call does not wait.

    Returns:
        The file, open for appending by lines. The lock lasts until it is closed.

    Raises:
        BlockingIOError: another process holds the lock, and `on_wait` is not given.
    """
    file = path.open("a", buffering=1)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is None:
            file.close()
            raise
        on_wait()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        logger.warning("%s: this file system has no locks (%s)", path, error)
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; False without the file or without locks."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check(folder: Path) -> None:
    """Lock a file in a folder and release it.

    Raises:
        OSError: the file system has no locks, or the folder cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
