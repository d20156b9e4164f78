"""Merge labelled frames into one compressed file, with a record of what it holds."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import whole_file, write_json
from vitrion.dataset.check import label_rejection
from vitrion.dataset.frame import Frame
from vitrion.dataset.read import import_frames

LEAST_DECIMALS = 3


def collect_frames(sources: Sequence[Path | str], out: Path, *, decimals: int = 8) -> list[Frame]:
    """Merge labelled frames into a compressed extxyz file and a record of what it holds.

    Frames in `out` stay; a frame of the same name from `sources` replaces the one there. A frame
    without name is given one, its file and index. Frames without usable labels are left out. The
    record is written beside `out`, with ending ``.json``.

    Args:
        sources: files or folders of labelled frames.
        out: file to write, ``*.extxyz.xz``.
        decimals: digits kept of positions in Å and forces in eV/Å, at least `LEAST_DECIMALS`.
            extxyz has 8; 5 halve the file and change forces by less than 1 meV/Å.

    Returns:
        The frames left out, each with its reason.

    Raises:
        InputError: a source that is not there or holds nothing of a known kind; too few decimals.
    """
    if decimals < LEAST_DECIMALS:
        raise InputError("decimals", decimals, f"give {LEAST_DECIMALS} or more")
    left_out: list[Frame] = []
    collected: dict[str, Atoms] = {}
    for source in ([out] if out.exists() else []) + list(sources):
        for frame in import_frames(source):
            frame.rejection_reason = frame.rejection_reason or label_rejection(frame.atoms)
            if frame.rejection_reason:
                left_out.append(frame)
            else:
                collected[frame.name] = frame.atoms
                frame.atoms.info["frame_id"] = frame.name
    frames = [_rounded(collected[name], decimals) for name in sorted(collected)]
    with (
        whole_file(out) as partial,
        lzma.open(partial, "wt", preset=9 | lzma.PRESET_EXTREME) as file,
    ):
        ase.io.write(file, frames, format="extxyz")
    write_json(
        out.with_name(out.name.split(".")[0] + ".json"),
        {
            "collected": date.today().isoformat(),
            "code_version": __version__,
            "n_frames": len(frames),
            "n_frames_by_composition": _counts(frames, "composition"),
            "n_frames_by_level": _counts(frames, "level"),
            "n_frames_by_size": {
                f"{size} atoms": count for size, count in sorted(Counter(map(len, frames)).items())
            },
            "n_frames_by_temperature_K": _counts(frames, "temperature_K"),
            "n_frames_by_relative_density": _counts(frames, "relative_density"),
            "label_settings": _distinct_settings(frames),
        },
    )
    return left_out


def labelled_names(sources: Sequence[Path | str]) -> set[str]:
    """Names of the frames in files or folders that have usable labels."""
    return {
        frame.name
        for source in sources
        for frame in import_frames(source)
        if not (frame.rejection_reason or label_rejection(frame.atoms))
    }


def _rounded(atoms: Atoms, decimals: int) -> Atoms:
    rounded = atoms.copy()
    rounded.positions = rounded.positions.round(decimals)
    results = {**atoms.calc.results, "forces": atoms.calc.results["forces"].round(decimals)}
    rounded.calc = SinglePointCalculator(rounded, **results)
    return rounded


def _counts(frames: Sequence[Atoms], key: str) -> dict[str, int]:
    values = [atoms.info[key] for atoms in frames if key in atoms.info]
    if not all(isinstance(value, (int, float)) for value in values):
        values = list(map(str, values))
    counted = Counter(values)
    return {str(value): counted[value] for value in sorted(counted)}


def _distinct_settings(frames: Sequence[Atoms]) -> list[dict[str, object]]:
    """Each setting that occurs, with the number of its frames; `scf_steps` are results."""
    counted: Counter[str] = Counter()
    for atoms in frames:
        label = atoms.info.get("label", {})
        if not isinstance(label, Mapping):  # of another program
            label = {"label": str(label)}
        label = {k: v for k, v in label.items() if k != "scf_steps"}
        counted[json.dumps(label, sort_keys=True)] += 1
    return [{"n_frames": n, **json.loads(text)} for text, n in sorted(counted.items())]
