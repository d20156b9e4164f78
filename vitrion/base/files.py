"""Files that appear whole or not at all, whatever ends the writer; checksums, and JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vitrion.base.errors import InputError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# A partial file of another machine may have a living writer. It is removed when it is this old.
LEFTOVER_AGE_S = 24 * 3600.0


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Write a file under another name; it takes the place of `path` when the block ends well.

    The folder is made, the content is on the disk before it gets its name, and an error leaves
    `path` as it was. The other name belongs to this call alone, so that two writers never share
    one. What killed writers of the same file left behind is removed.

    Args:
        path: the file to make or replace.

    Yields:
        The name to write to, in the same folder; hidden, and ending in `.partial`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    writer = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _machine() -> str:
    """Name of this machine, in characters that any file name can have."""
    return re.sub(r"[^A-Za-z0-9-]", "_", os.uname().nodename)


def _remove_leftovers(path: Path) -> None:
    """Remove partial files of `path` whose writer is dead, or on another machine and old."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(?:([^.]+)-(\d+)-[0-9a-f]{{8}}\.)?partial")
    with os.scandir(path.parent) as entries:
        found = [match for entry in entries if (match := ours.fullmatch(entry.name))]
    for match in found:
        partial = path.with_name(match[0])
        try:
            if match[1] == _machine():
                is_left = not _is_alive(int(match[2]))
            else:
                is_left = time.time() - partial.stat().st_mtime > LEFTOVER_AGE_S
            if is_left:
                partial.unlink()
        except FileNotFoundError:  # another process has removed or renamed it
            continue


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def sha256(path: Path | Traversable) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        # The type of a resource's file leaves out readinto, which all of them have.
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def read_json(path: Path | Traversable, key: str) -> dict[str, Any]:
    """The names and values that a file of JSON holds.

    Args:
        path: the file.
        key: what the file is, for the message.

    Raises:
        InputError: it holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no names and values")
    except ValueError as error:
        remedy = f"cannot be read as JSON ({error}); remove it or copy it again"
        raise InputError(key, str(path), remedy) from error
    return values


def json_text(values: object) -> str:
    """Readable JSON; null for the numbers that JSON does not have (NaN and the infinities)."""
    return json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, values: object) -> None:
    """Write `json_text` whole or not at all; its folder is made."""
    with whole_file(path) as partial:
        partial.write_text(json_text(values), encoding="utf-8")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
