"""Environments: how many of each ligand are in a centre's first shell, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitrion.base.errors import InputError
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.contacts import (
    RESIDENCE_ORIGINS,
    ContactIntervals,
    Contacts,
    follow_contacts,
)

# Bits of a code, which is a signed 64-bit integer, and the most that one ligand's count needs.
CODE_BITS = 62
MOST_COUNT_BITS = 8


def _base(ligands: Sequence[str]) -> int:
    """Counts of ligands are the digits of a code to this base: 256 for up to seven ligands."""
    return 1 << min(CODE_BITS // len(ligands), MOST_COUNT_BITS)


def environment_codes(
    contacts: Mapping[str, Contacts], ligands: Sequence[str], n_centers: int
) -> np.ndarray:
    """Which ligands are around each centre, as one number.

    Args:
        contacts: of the centres with each ligand, over the same frames.
        ligands: elements, in the order of the code's digits.
        n_centers: number of centres.

    Returns:
        (centers, frames) int64, Σ count · base^place over the ligands.

    Raises:
        InputError: more ligands in a first shell than a code holds.
    """
    n_frames = next(iter(contacts.values())).inside.shape[1]
    codes, base = np.zeros((n_centers, n_frames), dtype=np.int64), _base(ligands)
    for place, ligand in enumerate(ligands):
        found = contacts[ligand]
        if not len(found.center):
            continue
        centers, first = np.unique(found.center, return_index=True)
        counts = np.add.reduceat(found.inside, first, axis=0, dtype=np.int64)
        if counts.max() >= base:
            raise InputError(
                "ligands",
                list(ligands),
                f"a first shell holds {counts.max()} {ligand}, more than {base - 1}; give a "
                "shorter cutoff in cutoffs_A, or fewer ligands",
            )
        codes[centers] += counts * base**place
    return codes


def environment_name(code: int, ligands: Sequence[str]) -> str:
    """Name of a code: `Cl3O1` for three chlorines and an oxygen, `bare` without ligands."""
    base = _base(ligands)
    digits = [(ligand, code // base**place % base) for place, ligand in enumerate(ligands)]
    return "".join(f"{ligand}{count}" for ligand, count in digits if count) or "bare"


@dataclass(frozen=True)
class Environments:
    """How often each environment occurs.

    Attributes:
        names: environments seen, the most frequent first.
        fraction: (environments,) mean share of the centres; they sum to 1.
        fraction_err: (environments,) one standard error.
    """

    names: tuple[str, ...]
    fraction: np.ndarray
    fraction_err: np.ndarray


class EnvironmentCounter:
    """Counts the frames that each centre spends in each environment."""

    def __init__(self, n_centers: int, ligands: Sequence[str]) -> None:
        self.ligands, self.n_centers, self.n_frames = ligands, n_centers, 0
        self._time: dict[int, np.ndarray] = {}

    def add(self, codes: np.ndarray) -> None:
        """Count the frames of codes (centers, frames)."""
        self.n_frames += codes.shape[1]
        for code in np.unique(codes):
            time = self._time.setdefault(int(code), np.zeros(self.n_centers))
            time += (codes == code).sum(axis=1)

    def result(self) -> Environments:
        """Fractions, with errors from the spread between centres.

        Centres are the independent samples. In a glass an environment outlives the trajectory, so
        errors from the spread between blocks of time would be far too small.
        """
        codes = sorted(self._time, key=lambda code: -self._time[code].sum())
        shares = np.stack([self._time[code] for code in codes]) / self.n_frames
        n = self.n_centers
        return Environments(
            names=tuple(environment_name(code, self.ligands) for code in codes),
            fraction=shares.mean(axis=1),
            fraction_err=shares.std(axis=1, ddof=1) / np.sqrt(n)
            if n > 1
            else shares[:, 0] * np.nan,
        )


class EnvironmentSpells:
    """Intervals of time during which each centre keeps its environment.

    Memory: 16 bytes per change of an environment, about 80 at the peak.
    """

    def __init__(self, n_centers: int, n_frames: int) -> None:
        self.n_centers, self.n_frames, self._seen = n_centers, n_frames, 0
        self._last = np.full(n_centers, -1, dtype=np.int64)
        self._keys: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []

    def add(self, codes: np.ndarray) -> None:
        """Add the next stretch of codes, (centers, frames)."""
        known = np.concatenate([self._last[:, None], codes], axis=1)
        center, frame = np.nonzero(known[:, 1:] != known[:, :-1])
        self._keys.append(center * self.n_frames + frame + self._seen)
        self._codes.append(codes[center, frame])
        self._last = codes[:, -1].copy()
        self._seen += codes.shape[1]

    def result(self) -> ContactIntervals:
        """The intervals, in which a centre is in contact with an environment.

        The environments, in the order of their codes, take the place of the mobile ions.
        """
        keys = np.concatenate(self._keys)
        order = np.argsort(keys)
        keys, codes = keys[order], np.concatenate(self._codes)[order]
        center, start = np.divmod(keys, self.n_frames)
        stop = np.append(start[1:], self.n_frames)
        stop[:-1][center[1:] != center[:-1]] = self.n_frames
        seen, kind = np.unique(codes, return_inverse=True)
        pair = center * len(seen) + kind
        order = np.lexsort((start, pair))
        stride = max(1, -(-self.n_frames // RESIDENCE_ORIGINS))
        at = np.arange(self.n_centers)[:, None] * self.n_frames + np.arange(
            0, self.n_frames, stride
        )
        return ContactIntervals(
            pair=pair[order],
            start=start[order].astype(np.int32),
            stop=stop[order].astype(np.int32),
            codes=codes[np.searchsorted(keys, at, "right") - 1],
            stride=stride,
            n_mobile=len(seen),
            n_frames=self.n_frames,
        )


def follow_environments(
    trajectory: Trajectory,
    center: str,
    cutoffs_A: Mapping[str, float],
    others_A: Mapping[str, float],
) -> Iterator[tuple[np.ndarray, dict[str, Contacts]]]:
    """Environments of all centres at every frame, and contacts with other elements.

    Args:
        trajectory: the frames.
        center: element of the centres.
        cutoffs_A: first-shell cutoff of each ligand.
        others_A: cutoff of each other element whose contacts are wanted.

    Yields:
        Codes (centers, frames) and contacts by element, for one stretch of frames after another.
    """
    ligands = tuple(cutoffs_A)
    n_centers = trajectory.counts()[center]
    for contacts in follow_contacts(trajectory, center, {**cutoffs_A, **others_A}):
        yield environment_codes(contacts, ligands, n_centers), contacts
