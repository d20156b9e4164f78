"""Whether held-out compositions exist, before anything is made without them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.campaign.opening import locate
from vitrion.dataset.prepare import composition_name
from vitrion.dataset.read import import_frames
from vitrion.structure.compositions import Composition


def check_held_out(
    key: str,
    names: Iterable[str],
    sources: Iterable[Path | str],
    compositions: Mapping[str, Composition],
) -> None:
    """Refuse a held-out composition that no frame has: a typing mistake would train on it.

    Args:
        key: the key or option that holds the names.
        names: of the held-out compositions.
        sources: files or folders of labelled frames.
        compositions: of the campaign, which name frames.

    Raises:
        InputError: names the composition and those that are known.
    """
    frames = (frame for source in sources for frame in import_frames(locate(source)))
    known = {composition_name(frame, compositions) for frame in frames} - {""}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close or sorted(known))}?"
            raise InputError(key, name, f"no labelled frame has this composition; {hint}")
