"""Levels of theory: which frames share an energy zero, and levels that were taken for one.

Energies of two levels of theory differ by eV/atom (other pseudopotentials or codes) or by tens of
meV/atom (dispersion, cutoff). Each level has its own zero, so that a mixture of two in one would be
trained on as noise of that size.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from vitrion.base.errors import InputError
from vitrion.dataset.align import Alignment
from vitrion.dataset.frame import Frame
from vitrion.dataset.labels import PSEUDOPOTENTIALS

logger = logging.getLogger("vitrion")

# Root mean square of aligned energies minus the model's. On the shipped frames it is 36 meV/atom.
RESIDUAL_TO_WARN_eV_ATOM = 0.06
RESIDUAL_TO_END_eV_ATOM = 0.3
# More frames off the others are no outliers.
MOST_OUTLIERS, MOST_OUTLIER_SHARE = 2, 0.1
REMEDY = "give each its own `level` in the frames' info, or leave one out"


def separate_levels(frames: Sequence[Frame]) -> None:
    """Make levels of one name two where an element has two pseudopotentials or values of U.

    Only frames with such an element get a longer name, so that the others still share a zero.
    """
    variants: dict[tuple[str, str], set[str]] = defaultdict(set)
    usable = [frame for frame in frames if not frame.rejection_reason]
    for frame in usable:
        for element, variant in _pseudopotentials(frame).items():
            variants[frame.atoms.info["level"], element].add(variant)
    for frame in usable:
        level, own = frame.atoms.info["level"], _pseudopotentials(frame)
        differing = [own[element] for element in sorted(own) if len(variants[level, element]) > 1]
        if differing:
            frame.atoms.info["level"] = "; ".join([level, *differing])


def _pseudopotentials(frame: Frame) -> Mapping[str, str]:
    """Pseudopotential of each element; nothing where `info` has something else of this name."""
    found = frame.atoms.info.get(PSEUDOPOTENTIALS, {})
    return found if isinstance(found, Mapping) else {}


def count_levels(frames: Sequence[Frame]) -> Counter[str]:
    """Number of usable frames of each level."""
    return Counter(str(f.atoms.info["level"]) for f in frames if not f.rejection_reason)


def require_single_levels(
    frames: Sequence[Frame],
    alignments: Mapping[str, Alignment],
    deviation_eV_atom: Mapping[int, float],
) -> None:
    """Notice levels that look like two in one.

    Args:
        frames: imported frames, checked and aligned.
        alignments: of each level.
        deviation_eV_atom: aligned energy minus the model's, of each usable frame by its index.

    Raises:
        InputError: many frames of a level were rejected as outliers, or the aligned energies are
            eV apart.
    """
    total = Counter(f.atoms.info.get("level", "") for f in frames)
    outliers: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.energy_deviation_eV_atom is not None:
            outliers[frame.atoms.info["level"]].append(frame)
    for level, off in outliers.items():
        if len(off) > max(MOST_OUTLIERS, MOST_OUTLIER_SHARE * total[level]):
            shift = np.median([frame.energy_deviation_eV_atom for frame in off])
            other = next(
                (f for f in frames if not f.rejection_reason and f.atoms.info["level"] == level),
                None,
            )
            beside = f" and {other.name}" if other is not None else ""
            raise InputError(
                "dataset.sources",
                level,
                f"{len(off)} of {total[level]} frames are {shift:+.2f} eV/atom off the others: "
                f"{off[0].name}{beside} look like two levels of theory; {REMEDY}",
            )
    for level, alignment in alignments.items():
        residual = alignment.residual_rms_eV_atom
        if residual < RESIDUAL_TO_WARN_eV_ATOM:
            continue
        first, last = _extremes(frames, level, deviation_eV_atom)
        message = (
            f"aligned energies differ from the start model's by {1000 * residual:.0f} meV/atom "
            f"(rms), from {first} to {last}; if these are two levels of theory, {REMEDY}"
        )
        if residual > RESIDUAL_TO_END_eV_ATOM:
            raise InputError("dataset.sources", level, message)
        logger.warning("%s: %s", level, message)


def _extremes(
    frames: Sequence[Frame], level: str, deviation_eV_atom: Mapping[int, float]
) -> tuple[str, str]:
    """The files with the least and the largest mean deviation; of one file, its frames."""
    members = [i for i in deviation_eV_atom if frames[i].atoms.info["level"] == level]
    sources = {str(frames[i].source) for i in members}
    groups: dict[str, list[float]] = defaultdict(list)
    for i in members:
        name = str(frames[i].source) if len(sources) > 1 else frames[i].name
        groups[name].append(deviation_eV_atom[i])
    means = {name: float(np.mean(values)) for name, values in groups.items()}
    ends = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    first, last = (f"{name} ({1000 * means[name]:+.0f})" for name in ends)
    return first, last
