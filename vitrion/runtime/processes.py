"""Programs that end with the process that started them, whatever ends it.

A program such as mpirun starts processes of its own, and a Python process that is killed cannot end
them. So a guard, this file run as a script, stands between the two. It waits for the program and
for the end of a pipe that only the starting process holds open. That process may finish, be
interrupted, or be killed (signal 9, time limit, no memory left): the pipe ends, and the guard ends
the program's whole process group.

It needs the standard library alone, because the guard starts with nothing else (`python -I -S`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Time between SIGTERM, on which mpirun ends its ranks, and SIGKILL.
GRACE_S = 5.0
_guards: set[subprocess.Popen] = set()


def run_guarded(
    command: Sequence[str],
    *,
    output: IO,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    grace_s: float = GRACE_S,
) -> int:
    """Run a program whose processes end when it ends, or when this process does.

    Args:
        command: program and arguments; no shell reads them.
        output: open file that gets what the program prints (stdout and stderr).
        cwd: folder to run in.
        env: environment; by default this process's.
        grace_s: time between the program's SIGTERM and SIGKILL.

    Returns:
        The program's exit code; 128 + number after a signal, 127 where it cannot be started.

    Raises:
        KeyboardInterrupt: `stop_guarded` was called meanwhile.
    """
    guard = [sys.executable, "-I", "-S", __file__, str(grace_s), *command]
    with subprocess.Popen(
        guard,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        # Ctrl-C in the terminal reaches this process, which then ends the program.
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        _guards.add(process)
        try:
            code = process.wait()
        finally:
            _guards.discard(process)
        if process.stdin.closed:
            raise KeyboardInterrupt
    return code


def stop_guarded() -> None:
    """End every program that other threads run with `run_guarded`."""
    for process in tuple(_guards):
        assert process.stdin is not None
        process.stdin.close()


def _guard(grace_s: float, command: Sequence[str]) -> int:
    """Run a program and end its process group with it, or when stdin ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)
        return 127

    def end_with_parent() -> None:
        os.read(0, 1)  # returns when the other end of the pipe is closed
        _signal_group(program.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            program.wait(grace_s)
        _signal_group(program.pid, signal.SIGKILL)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        code = program.wait()
    finally:
        _signal_group(program.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(_guard(float(sys.argv[1]), sys.argv[2:]))
