"""Frames of foreign files, read once into an unnamed file of plain numbers.

What is known of all frames, times first of all, decides which of them are used, so that the whole
is read before anything is analysed. The file takes 12 bytes per atom and frame. Formats that
compiled code of others parses are read in a process of their own: a damaged file may crash it, keep
it busy for ever, or take all memory.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.readers import Cut, Format, Frame, Request, format_of
from vitrion.trajectory.readers.frames import Damaged
from vitrion.trajectory.readers.gromacs import check_can_read_xtc
from vitrion.trajectory.readers.labels import charges_by_element, check_mapping, elements
from vitrion.trajectory.readers.topology import read_topology

MOST_A = 1e6  # farther from the origin is no position
LEAST_VOLUME_A3 = 1e-3
STALL_S = 300.0  # longest time for one frame
MEMORY_BYTES = 4 << 30  # of the process that reads, beside six times the files
COPY_AGAIN = "copy it again, or leave it out"


@dataclass(frozen=True)
class Recording:
    """Frames as their files give them, in the order of the files.

    Attributes:
        symbols: element of each atom.
        positions_A: (frames, atoms, 3), on disk.
        cells_A: (frames, 3, 3), NaN where a file gives none.
        file: (frames,) number of the file of each.
        time_ps: (frames,), NaN where a file gives none with a unit.
        bare_time: (frames,), NaN where a file gives none without a unit.
        step: (frames,), NaN where a file gives none.
        is_unwrapped: (frames,) whether positions were never folded back into the cell.
        charges: charge of each element in e, None where the files give none.
        notes: what the user should know.
    """

    symbols: tuple[str, ...]
    positions_A: np.ndarray
    cells_A: np.ndarray
    file: np.ndarray
    time_ps: np.ndarray
    bare_time: np.ndarray
    step: np.ndarray
    is_unwrapped: np.ndarray
    charges: Mapping[str, float] | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.file)

    def without_last(self, note: str) -> Recording:
        """All frames but the last."""
        series = {name: getattr(self, name)[:-1] for name in (*_SERIES, "positions_A")}
        return replace(self, **series, notes=(*self.notes, note))


def record(request: Request, scratch: Path | None = None) -> Recording:
    """Read files.

    Args:
        request: what to read.
        scratch: folder of the unnamed file, by default the system's.

    Raises:
        InputError: names the file, what is wrong with it and the remedy.
    """
    check_mapping(request.elements)
    formats = [format_of(path) for path in request.paths]
    for path, kind in zip(request.paths, formats, strict=True):
        if kind.reader == "gromacs:xtc":
            check_can_read_xtc(path)
        if not kind.names_atoms and request.topology is None:
            raise _needs_topology(path)
    others = [] if request.topology is None else [_format_of_topology(request.topology)]
    with _scratch_file(scratch) as file:
        if any(kind.compiled for kind in (*formats, *others)):
            found = _record_in_child(request, file, scratch)
        else:
            found = _record(request, formats, file)
        n_atoms = len(found["symbols"])
        shape = (len(found["file"]), n_atoms, 3)
        # The mapping keeps the content after the file is closed.
        positions_A = np.memmap(file, dtype=np.float32, mode="r", shape=shape)
    arrays = {name: np.asarray(found[name], dtype=float) for name in _SERIES}
    return Recording(
        symbols=tuple(found["symbols"]),
        positions_A=positions_A,
        cells_A=arrays.pop("cells_A").reshape(-1, 3, 3),
        file=arrays.pop("file").astype(int),
        is_unwrapped=arrays.pop("is_unwrapped").astype(bool),
        charges=found["charges"],
        notes=tuple(found["notes"]),
        **arrays,
    )


def _scratch_file(folder: Path | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        where = "scratch" if folder is None else str(folder)
        raise InputError(
            "out", where, f"no file can be written there ({error.strerror}); name another folder"
        ) from None


def _format_of_topology(path: Path) -> Format:
    try:
        return format_of(path)
    except InputError as error:
        raise InputError("topology", str(path), error.remedy) from None


def _needs_topology(path: Path) -> InputError:
    return InputError(
        "topology",
        None,
        f"{path.name} does not name its atoms; give --topology with a file that does (gro, PDB, "
        "LAMMPS data and others)",
    )


_SERIES = ("file", "cells_A", "time_ps", "bare_time", "step", "is_unwrapped")


def _record(request: Request, formats: list[Format], file: IO[bytes]) -> dict[str, Any]:
    """Read files in this process; what is known of the frames apart from positions."""
    recorder = _Recorder(request, file)
    for number, (path, kind) in enumerate(zip(request.paths, formats, strict=True)):
        count = 0
        try:
            with _named(path, kind), np.errstate(all="ignore"):
                for frame in kind.frames(path, request):
                    recorder.add(frame, number, count)
                    count += 1
        except Cut as cut:
            if not count:
                raise InputError(
                    "trajectory", str(path), f"holds no whole frame ({cut}); {COPY_AGAIN}"
                ) from None
            request.note(
                f"{path.name}: frame {count + 1} is cut ({cut}); the {count} whole frames before "
                "it "
                "are used"
            )
        if not count:
            raise InputError("trajectory", str(path), "holds no frame; leave it out")
    if request.topology is not None and not request.used_topology:
        request.note(f"{request.topology.name} is not needed: the files name their atoms")
    return recorder.found()


@contextmanager
def _named(path: Path, kind: Format) -> Iterator[None]:
    """Whatever a parser raises at content that it does not expect becomes one message.

    Raises:
        InputError: instead.
        Cut: as it is.
    """
    try:
        yield
    except (InputError, Cut):
        raise
    except MemoryError:
        reason = "asks for more memory than a frame can need"
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    else:
        return
    raise InputError(
        "trajectory",
        str(path),
        f"cannot be read as {kind.name} ({reason[:300]}); {COPY_AGAIN}",
    ) from None


@dataclass
class _Recorder:
    """Checks frames and writes them down."""

    request: Request
    file: IO[bytes]
    symbols: tuple[str, ...] = ()
    charges: dict[str, float] | None = None
    series: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _SERIES})
    _labels: np.ndarray | None = None
    _topology: tuple[np.ndarray, np.ndarray | None] | None = None

    def add(self, frame: Frame, number: int, count: int) -> None:
        """Add a frame of a file.

        Raises:
            InputError: names what is wrong with it.
        """
        path = self.request.paths[number]
        positions_A = frame.positions_A
        if positions_A.ndim != 2 or positions_A.shape[1] != 3 or not len(positions_A):
            raise Damaged(f"positions of shape {positions_A.shape}")
        self._name_atoms(frame, path)
        if frame.labels is None and len(positions_A) != len(self.symbols):
            raise InputError(
                "topology",
                str(self.request.topology),
                f"names {len(self.symbols)} atoms, and {path} has {len(positions_A)}; give the "
                "topology of these atoms",
            )
        if len(positions_A) != len(self.symbols):
            raise self._wrong(
                path,
                count,
                f"has {len(positions_A)} atoms, not {len(self.symbols)}; the atoms change",
            )
        if not np.isfinite(positions_A).all():
            raise self._wrong(path, count, f"holds positions that are not numbers; {COPY_AGAIN}")
        if np.abs(positions_A).max() > MOST_A:
            raise self._wrong(path, count, f"has an atom beyond {MOST_A:g} Å; {COPY_AGAIN}")
        cell_A = self._cell(frame.cell_A, path, count)
        values = (frame.time_ps, frame.bare_time, frame.step)
        times = [np.nan if value is None else float(value) for value in values]
        if any(value is not None and not np.isfinite(value) for value in values):
            raise self._wrong(path, count, f"holds a time that is no number; {COPY_AGAIN}")
        for name, value in zip(
            _SERIES, (number, cell_A.ravel(), *times, frame.is_unwrapped), strict=True
        ):
            self.series[name].append(value)
        self._write(np.ascontiguousarray(positions_A, dtype=np.float32))

    def found(self) -> dict[str, Any]:
        """What is known of the frames apart from positions."""
        return {
            **self.series,
            "symbols": self.symbols,
            "charges": self.charges,
            "notes": self.request.notes,
        }

    def _wrong(self, path: Path, count: int, remedy: str) -> InputError:
        return InputError("trajectory", str(path), f"frame {count + 1} {remedy}")

    def _name_atoms(self, frame: Frame, path: Path) -> None:
        """Elements of the first frame, which the others must have."""
        labels, charges = frame.labels, frame.charges
        if labels is None:
            labels, topology_charges = self._labels_of_topology(path)
            charges = topology_charges if charges is None else charges
        if self._labels is not None and np.array_equal(labels, self._labels):
            return
        unused = sorted(set(self.request.elements) - set(np.unique(labels).tolist()))
        if unused:
            raise InputError(
                "elements",
                ", ".join(unused),
                f"no atom of {path} is called so; its atoms are {', '.join(np.unique(labels)[:8])}",
            )
        symbols = elements(labels, self.request.elements, str(path))
        self._labels = np.array(labels)
        if not self.symbols:
            self.symbols = symbols
            if charges is not None and len(charges) == len(symbols):
                self.charges = charges_by_element(symbols, np.asarray(charges, dtype=float))
            if any(str(label).strip().upper() in {"D", "T"} for label in labels):
                self.request.note(f"{path.name}: D and T are taken as H")
        elif symbols != self.symbols:
            raise InputError(
                "trajectory", str(path), "the atoms change from frame to frame; keep their order"
            )

    def _labels_of_topology(self, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        if self._topology is None:
            if self.request.topology is None:
                raise _needs_topology(path)
            self.request.used_topology = True
            self._topology = read_topology(self.request.topology, self.request)
        return self._topology

    def _cell(self, cell_A: np.ndarray | None, path: Path, count: int) -> np.ndarray:
        if cell_A is None or not np.any(cell_A):
            return np.full((3, 3), np.nan)
        if not np.isfinite(cell_A).all() or np.abs(cell_A).max() > MOST_A:
            raise self._wrong(path, count, f"has a cell that is not numbers; {COPY_AGAIN}")
        volume_A3 = abs(np.linalg.det(cell_A))
        if volume_A3 < max(LEAST_VOLUME_A3, 1e-6 * float(np.prod(np.linalg.norm(cell_A, axis=1)))):
            raise self._wrong(
                path,
                count,
                "has a cell without volume; give frames with a cell in three directions",
            )
        return np.asarray(cell_A, dtype=float)

    def _write(self, positions_A: np.ndarray) -> None:
        content = memoryview(positions_A.tobytes())
        try:
            while content:
                content = content[self.file.write(content) :]
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise InputError(
                "out",
                "scratch",
                "no space is left for the frames (12 bytes per atom and frame); name an --out on a "
                "disk with more",
            ) from None


def _record_in_child(request: Request, file: IO[bytes], scratch: Path | None) -> dict[str, Any]:
    """Read files in a process of its own, which may die without harm."""
    path = str(request.paths[0])
    with tempfile.TemporaryFile(dir=scratch) as reply, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        numbers = (file.fileno(), reply.fileno())
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=numbers,
            env=environment,
        )
        assert process.stdin is not None
        with process:
            try:
                asked = {**asdict(request), "paths": [str(p) for p in request.paths]}
                if request.topology is not None:
                    asked["topology"] = str(request.topology)
                process.stdin.write(json.dumps(asked).encode())
                process.stdin.close()
                _wait(process, file, path)
            except BaseException:
                process.kill()
                raise
        reply.seek(0)
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return _found(reply.read(), process.returncode, " ".join(last), path)


def _found(answer: bytes, code: int, last_words: str, path: str) -> dict[str, Any]:
    """What the process that reads has found.

    Raises:
        InputError: what it raised, or that it died.
    """
    if code or not answer:
        raise InputError(
            "trajectory",
            path,
            f"is damaged: its reader ended with code {code} {last_words[:200]}; {COPY_AGAIN}",
        )
    found = json.loads(answer)
    if "error" in found:
        raise InputError(*found["error"])
    return found


def _wait(process: subprocess.Popen, file: IO[bytes], path: str) -> None:
    """Wait for the process for as long as it reads frames.

    Raises:
        InputError: no frame for a long time.
    """
    size, since = -1, time.monotonic()
    while True:
        try:
            process.wait(0.5)
            return
        except subprocess.TimeoutExpired:
            now = os.fstat(file.fileno()).st_size
            if now != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > STALL_S:
                raise InputError(
                    "trajectory", path, f"gave no frame in {STALL_S:g} s; {COPY_AGAIN}"
                ) from None


def _main(frames_fd: int, reply_fd: int) -> None:
    """The process that reads: a request on stdin, frames and answer into open files."""
    asked = json.loads(sys.stdin.buffer.read())
    topology = asked.pop("topology")
    paths = [Path(path) for path in asked.pop("paths")]
    request = Request(paths=paths, topology=topology and Path(topology), **asked)
    with os.fdopen(frames_fd, "wb", buffering=0) as file, os.fdopen(reply_fd, "wb") as reply:
        _answer(request, file, reply, MEMORY_BYTES + 6 * sum(p.stat().st_size for p in paths))


def _answer(request: Request, file: IO[bytes], reply: IO[bytes], memory_bytes: int) -> None:
    """Read files and write down what was found, as the one thing that this process does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core file beside the user's
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answer: dict[str, Any]
    try:
        answer = _record(request, [format_of(path) for path in request.paths], file)
        answer = {**answer, "cells_A": [cell.tolist() for cell in answer["cells_A"]]}
    except InputError as error:
        answer = {"error": [error.key, error.value, error.remedy]}
    reply.write(json.dumps(answer).encode())
    reply.flush()


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
