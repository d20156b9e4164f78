"""Lines of text files, compressed or not, with what a killed writer leaves at their end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from vitrion.trajectory.readers.frames import Cut, Damaged

_COMPRESSIONS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"BZh", bz2.open),
)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is compressed (gzip, xz or bzip2)."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        for magic, unpacked in _COMPRESSIONS:
            if head.startswith(magic):
                with unpacked(file) as content:
                    yield cast("IO[bytes]", content)
                return
        yield file


class Lines:
    """Lines of a text file, one after another, some of which can be given back.

    Use as a context manager. What is wrong with a last line that has no end becomes `Cut`: its
    writer was killed there.

    Attributes:
        number: number of the line that was read last, from 1.
        has_no_end: whether the last line of the file was read and lacks the end of a line.
    """

    def __init__(self, path: Path) -> None:
        self._context = opened(path)
        self._waiting: list[str] = []
        self.has_no_end = False
        self.number = 0

    def __enter__(self) -> Lines:
        content = self._context.__enter__()
        self._file = io.TextIOWrapper(content, encoding="utf-8-sig", errors="replace")  # type: ignore[type-var]
        return self

    def __exit__(self, kind: type | None, exception: Any, traceback: Any) -> None:
        self._context.__exit__(kind, exception, traceback)
        if self.has_no_end and isinstance(exception, (Damaged, ValueError, IndexError)):
            raise Cut("it ends within it") from None

    def next(self) -> str | None:
        """The next line without its end; None where the file ends."""
        found = self._read(1)
        return found[0].rstrip("\r\n") if found else None

    def next_filled(self) -> str | None:
        """The next line that is not blank; None where the file ends."""
        while (line := self.next()) is not None and not line.strip():
            pass
        return line

    def take(self, count: int) -> list[str]:
        """So many lines.

        Raises:
            Cut: the file ends before, or the last line has no end and may be cut.
        """
        lines = self._read(count)
        if len(lines) < count or (count and not lines[-1].endswith("\n")):
            raise Cut("it ends within it")
        return lines

    def give_back(self, *lines: str) -> None:
        """Lines to be read again, in order."""
        self._waiting[:0] = [line if line.endswith("\n") else line + "\n" for line in lines]
        self.number -= len(lines)

    def _read(self, count: int) -> list[str]:
        lines = self._waiting[:count]
        del self._waiting[:count]
        if len(lines) < count:
            lines.extend(self._from_file(count - len(lines)))
        self.number += len(lines)
        return lines

    def _from_file(self, count: int) -> list[str]:
        lines: list[str] = []
        try:
            lines.extend(islice(self._file, count))
        except EOFError:  # a compressed file that is cut
            self.has_no_end = True
        if lines and not lines[-1].endswith("\n"):
            self.has_no_end = True
        for at, line in enumerate(lines):
            if "\0" in line:
                self._check_only_zeros(line, lines[at + 1 :])
                self.has_no_end = True
                start = line[: line.index("\0")]
                return lines[:at] + ([start] if start else [])
        return lines

    def _check_only_zeros(self, line: str, after: list[str]) -> None:
        """A file whose blocks were not written before a crash ends with zero bytes."""
        rest = line[line.index("\0") :]
        if rest.strip("\0\n") or any(text.strip("\0\n") for text in after):
            raise Damaged("there are zero bytes in the text")
        while piece := self._file.read(1 << 20):
            if piece.strip("\0\n"):
                raise Damaged("there are zero bytes in the text")


def table(lines: list[str]) -> np.ndarray:
    """Words of lines that have as many each, (lines, words).

    Raises:
        Damaged: some line has more or fewer words than the first.
    """
    rows = [line.split() for line in lines]
    width = len(rows[0]) if rows else 0
    for at, row in enumerate(rows):
        if len(row) != width:
            raise Damaged(f"{len(row)} columns where {width} are expected: {lines[at].strip()!r}")
    return np.array(rows)


def count_of(text: str, expected: int | None = None) -> int:
    """A number of atoms.

    Raises:
        Damaged: not a whole number above 0, or another than that of the frames before.
    """
    word = text.strip()
    if not word.isdigit() or not 0 < int(word) < 10**9:
        raise Damaged(f"{word[:40]!r} is no number of atoms")
    if expected is not None and int(word) != expected:
        raise Damaged(f"{int(word)} atoms where {expected} are expected; the atoms change")
    return int(word)
