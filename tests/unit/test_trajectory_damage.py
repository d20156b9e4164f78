"""Damaged files of every format: one message, or the right frames, never a traceback or a crash."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from trajectory_files import EXAMPLES, Example, walk

from vitrion.base.errors import InputError
from vitrion.trajectory import recording
from vitrion.trajectory.sources import read_files

FILES = int(os.environ.get("VITRION_DAMAGED_FILES", 300))  # of each format
N_FRAMES = 12
SLOW_S = 60  # longest time for one file


def _place(rng: np.random.Generator, content: bytes, most: int) -> tuple[int, int]:
    """A random part of a file, often in its head."""
    length = int(rng.integers(1, most + 1))
    span = len(content) if rng.random() < 0.7 else min(600, len(content))
    start = int(rng.integers(0, max(span - length, 1)))
    return start, start + length


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(1, len(content)))]


def zeros(rng: np.random.Generator, content: bytes) -> bytes:
    start, stop = _place(rng, content, 512)
    return content[:start] + b"\0" * (stop - start) + content[stop:]


def garbage(rng: np.random.Generator, content: bytes) -> bytes:
    start, stop = _place(rng, content, 512)
    return content[:start] + rng.bytes(stop - start) + content[stop:]


def lost(rng: np.random.Generator, content: bytes) -> bytes:
    start, stop = _place(rng, content, 512)
    return content[:start] + content[stop:]


def doubled(rng: np.random.Generator, content: bytes) -> bytes:
    start, stop = _place(rng, content, 512)
    return content[:stop] + content[start:]


def appended(rng: np.random.Generator, content: bytes) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 512)))


def one_byte(rng: np.random.Generator, content: bytes) -> bytes:
    at, _ = _place(rng, content, 1)
    return content[:at] + rng.bytes(1) + content[at + 1 :]


def one_digit(rng: np.random.Generator, content: bytes) -> bytes:
    at, _ = _place(rng, content, 1)
    return content[:at] + b"%d" % rng.integers(10) + content[at + 1 :]


DAMAGES: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    *(cut, zeros, garbage, lost, doubled, appended, one_byte, one_digit),
)


def _record_in_fork(request: Any, file: IO[bytes], scratch: Path | None) -> dict[str, Any]:
    """As `recording._record_in_child`, without the time that a new interpreter takes."""
    with tempfile.TemporaryFile() as reply:
        child = os.fork()
        if not child:
            try:
                signal.alarm(SLOW_S)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                recording._answer(request, file, reply, 8 << 30)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        reply.seek(0)
        code = os.waitstatus_to_exitcode(status)
        assert code != -signal.SIGALRM, f"{request.paths} takes for ever"
        return recording._found(reply.read(), code, "", str(request.paths[0]))


def outcome(path: Path, options: dict[str, Any], true: np.ndarray) -> str:
    """What became of a damaged file.

    Args:
        path: the file.
        options: of `read_files`.
        true: (frames, atoms, 3) fractional coordinates.
    """
    try:
        source = read_files(path, **options)
        chunks = list(source.chunks)
    except InputError as error:
        return "crashed reader, message" if "its reader ended" in str(error) else "message"
    positions_A = np.concatenate([chunk.positions_A for chunk in chunks])
    cells_A = np.concatenate([chunk.cells_A for chunk in chunks])
    if abs(source.frame_interval_ps - 0.1) > 1e-3:
        return "wrong interval"
    found = positions_A @ np.linalg.inv(cells_A)
    assert len(found) <= len(true)
    difference = found - true[: len(found)]
    wrong = np.abs(difference - np.round(difference)).max(axis=(1, 2)) > 3e-4
    if wrong.all() and source.notes:  # the first frames were left out
        difference = found - true[len(true) - len(found) :]
        wrong = np.abs(difference - np.round(difference)).max(axis=(1, 2)) > 3e-4
    wrong |= np.abs(np.linalg.norm(cells_A, axis=2) - 12.0).max(axis=1) > 0.02
    if wrong.any():
        return "number changed in place"
    if len(found) < len(true):
        return "whole frames, note" if source.notes else "frames lost silently"
    return "right"


def damage(
    folder: Path, example: Example, n_files: int
) -> tuple[Counter[tuple[str, str]], list[tuple[str, int]]]:
    """Outcomes of damaged files, and those to look at (kind of damage, seed)."""
    run, _ = walk(N_FRAMES)
    path, options = example.make(folder, run)
    true = run.positions_A @ np.linalg.inv(run.cells_A)
    whole = path.read_bytes()
    assert outcome(path, options, true) == "right"
    counts: Counter[tuple[str, str]] = Counter()
    odd = []
    for seed in range(n_files):
        rng = np.random.default_rng(seed)
        how = DAMAGES[seed % len(DAMAGES)]
        path.write_bytes(how(rng, whole))
        begin = time.monotonic()
        found = outcome(path, options, true)
        assert time.monotonic() - begin < 4 * SLOW_S
        counts[how.__name__, found] += 1
        if found not in {"message", "right", "whole frames, note"}:
            odd.append((how.__name__, seed))
    return counts, odd


@pytest.mark.faults
@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_damaged_files_end_in_a_message_or_right_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: Example
) -> None:
    """A number that is changed in place cannot be known in a format without checksums."""
    monkeypatch.setattr(recording, "_record_in_child", _record_in_fork)
    counts, odd = damage(tmp_path, example, FILES)
    print(f"\n{example.name}: {dict(counts)}\n{odd}")
    outcomes = {found for _, found in counts}
    assert not {"wrong interval", "frames lost silently"} & outcomes, odd
    for kind in (cut, doubled, appended):  # they change no number
        assert not counts[kind.__name__, "number changed in place"], odd


@pytest.mark.parametrize("name", ["run.lammpstrj", "run-pos-1.xyz", "run.nc"])
def test_a_few_damaged_files(tmp_path: Path, name: str) -> None:
    counts, odd = damage(tmp_path, EXAMPLES[name], 2 * len(DAMAGES))
    assert not {"wrong interval", "frames lost silently"} & {found for _, found in counts}, odd
    assert sum(count for (_, found), count in counts.items() if found == "message") >= 6


def test_a_reader_that_crashes_ends_in_a_message() -> None:
    with pytest.raises(InputError, match="is damaged: its reader ended with code -11") as error:
        recording._found(b"", -signal.SIGSEGV, "", "run.xtc")
    assert "copy it again" in str(error.value)


OUTCOMES = ("message", "right", "whole frames, note", "number changed in place")


def _row(name: str, counts: Counter[str]) -> str:
    counts["message"] += counts.pop("crashed reader, message", 0)
    assert set(counts) <= set(OUTCOMES), counts
    numbers = " | ".join(str(counts[found]) for found in OUTCOMES)
    return f"| {name} | {sum(counts.values())} | {numbers} |"


if __name__ == "__main__":  # the tables of benchmarks/trajectories.md
    recording._record_in_child = _record_in_fork
    head = "| files | " + " | ".join(OUTCOMES) + " |\n" + "| --- " * (len(OUTCOMES) + 2) + "|"
    by_kind: dict[str, Counter[str]] = {}
    print(f"| format {head}")
    for example in EXAMPLES.values():
        with tempfile.TemporaryDirectory() as folder:
            counts, _ = damage(Path(folder), example, FILES)
        own: Counter[str] = Counter()
        for (kind, found), count in counts.items():
            own[found] += count
            by_kind.setdefault(kind, Counter())[found] += count
        print(_row(f"`{example.name}`", own), flush=True)
    print(f"\n| damage {head}")
    for how in DAMAGES:
        print(_row(how.__name__.replace("_", " "), by_kind[how.__name__]))
