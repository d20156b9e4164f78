"""Restart data of an unfinished run: a log of records that are written whole or not at all.

A record holds a part of the trajectory: its samples, and the state at its end. A run that was
killed continues from the end of its last undamaged record, so samples are neither lost nor
doubled. All records stay until the run's output is complete, so a damaged one costs only what came
after it.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrion import __version__
from vitrion.base import locks
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion.dynamics")


def is_unfinished(output: Path) -> bool:
    """Whether a run that was to write a file has left restart data."""
    return any(output.parent.glob(glob.escape(f".{output.name}.") + "?" * 16))


@dataclass(frozen=True)
class Record:
    """A part of a trajectory.

    Attributes:
        first_step: step of the state that it starts from.
        state: state at its end.
        samples: samples taken in it.
        wall_s: wall time it took.
    """

    first_step: int
    state: State
    samples: Samples
    wall_s: float


class DamagedRecord(Exception):
    """A record file whose checksum is wrong."""


class CheckpointLog:
    """The records of one run, in a hidden folder beside its output.

    The folder's name holds a hash of the run's inputs, so records of other inputs are never used;
    they are removed. A lock prevents two processes from working on one run.

    Args:
        output: the file that the run will write.
        inputs: everything that determines the trajectory; must be representable as JSON.
        keep_others: refuse a run that has records of other inputs alone, in place of removing them.

    Attributes:
        folder: where the records lie.
        state: state at the end of the last record; None without records.

    Raises:
        InputError: another process writes the same file, or records of other inputs are to be kept.
    """

    def __init__(
        self, output: Path, inputs: Mapping[str, object], *, keep_others: bool = False
    ) -> None:
        text = json.dumps({"vitrion": __version__, **inputs}, sort_keys=True, default=str)
        stem = f".{output.name}."
        self.folder = output.parent / (stem + hashlib.sha256(text.encode()).hexdigest()[:16])
        for other in output.parent.glob(glob.escape(stem) + "?" * 16):
            if other == self.folder:
                continue
            if locks.is_locked(other / "lock"):
                raise InputError(
                    "output",
                    str(output),
                    "another process is making it with other settings; wait for it or end it",
                )
            if keep_others and not self.folder.exists():
                raise InputError(
                    "resume",
                    str(output),
                    f"was begun with other settings, or another version of Vitrion ({other}); give "
                    "the settings that it was begun with, or start again without --resume",
                )
            logger.warning("removing restart data of other inputs: %s", other)
            shutil.rmtree(other)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = locks.acquire(self.folder / "lock")
        except BlockingIOError:
            raise InputError(
                "output", str(output), "another process is making it; wait for it or end it"
            ) from None
        self._paths = self._undamaged_paths()
        self.state = _read(self._paths[-1]).state if self._paths else None

    def append(self, record: Record) -> None:
        """Add a record. It is on the disk when this returns."""
        path = self.folder / f"{len(self._paths):06d}-{record.state.step:015d}.record"
        _write(path, record)
        self._paths.append(path)
        self.state = record.state

    def records(self) -> Iterator[Record]:
        """The records in order, each read when it is asked for."""
        return map(_read, self._paths)

    def samples(self, n_atoms: int, at: np.ndarray | None = None) -> Samples:
        """All samples, or those at some steps.

        Args:
            n_atoms: number of atoms.
            at: steps; all by default.
        """
        parts = (record.samples for record in self.records())
        if at is not None:
            parts = (part.where(np.isin(part.step, at)) for part in parts)
        return Samples.join([Samples.none(n_atoms), *parts])

    def rows(self) -> Samples:
        """All samples without positions, which are small however long the run."""
        parts = (record.samples.without_positions() for record in self.records())
        return Samples.join([Samples.none(0), *parts])

    @property
    def first_step(self) -> int:
        """Step at which the first record begins (0 without records)."""
        return _read(self._paths[0]).first_step if self._paths else 0

    def wall_s(self) -> float:
        """Wall time of all records."""
        return sum(record.wall_s for record in self.records())

    def clear(self) -> None:
        """Remove all records."""
        for path in self._paths:
            path.unlink()
        self._paths, self.state = [], None

    def discard(self) -> None:
        """Remove the log, when the output of the run is complete."""
        shutil.rmtree(self.folder)
        self._lock.close()

    def close(self) -> None:
        """Release the lock and keep the records."""
        self._lock.close()

    def _undamaged_paths(self) -> list[Path]:
        """Record files before the first that is damaged or missing; the others are removed."""
        for leftover in self.folder.glob("*.partial"):
            leftover.unlink()
        paths = sorted(self.folder.glob("*.record"))
        step: int | None = None
        for number, path in enumerate(paths):
            try:
                record = _read(path)
                follows = int(path.stem[:6]) == number and step in (None, record.first_step)
            except DamagedRecord:
                follows = False
            if not follows:
                logger.warning(
                    "restart data is damaged (%s): continuing from step %s instead of %d",
                    path,
                    "0, the start," if step is None else step,
                    int(paths[-1].stem[7:]),
                )
                for lost in paths[number:]:
                    lost.unlink()
                return paths[:number]
            step = record.state.step
        return paths


def _write(path: Path, record: Record) -> None:
    arrays: dict[str, Any] = {
        "first_step": record.first_step,
        "wall_s": record.wall_s,
        **{f"state_{name}": array for name, array in record.state.to_arrays().items()},
        **{f"samples_{name}": array for name, array in record.samples.to_arrays().items()},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getbuffer()
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def _read(path: Path) -> Record:
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise DamagedRecord(path)
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
        parts: dict[str, dict[str, np.ndarray]] = {"state": {}, "samples": {}}
        for key in arrays.files:
            part, _, name = key.partition("_")
            if part in parts:
                parts[part][name] = arrays[key]
        return Record(
            first_step=int(arrays["first_step"]),
            state=State.from_arrays(parts["state"]),
            samples=Samples.from_arrays(parts["samples"]),
            wall_s=float(arrays["wall_s"]),
        )
