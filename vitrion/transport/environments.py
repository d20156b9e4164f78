"""Ligands in the first shell of each centre, at every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.contacts import Contacts, follow_contacts

# Counts of ligands are digits of a code to this base.
BASE = 16


def environment_codes(
    contacts: Mapping[str, Contacts], ligands: Sequence[str], n_centers: int
) -> np.ndarray:
    """(centers, frames) code of the ligands around each centre."""
    n_frames = next(iter(contacts.values())).inside.shape[1]
    codes = np.zeros((n_centers, n_frames), dtype=np.int32)
    for place, ligand in enumerate(ligands):
        found = contacts[ligand]
        if not len(found.center):
            continue
        centers, first = np.unique(found.center, return_index=True)
        counts = np.add.reduceat(found.inside, first, axis=0, dtype=np.int32)
        codes[centers] += np.minimum(counts, BASE - 1) * BASE**place
    return codes


def environment_name(code: int, ligands: Sequence[str]) -> str:
    """`Cl3O1` for three chlorines and an oxygen; `bare` without ligands."""
    digits = [(ligand, code // BASE**place % BASE) for place, ligand in enumerate(ligands)]
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
    """Time that each centre spends in each environment."""

    def __init__(self, n_centers: int, ligands: Sequence[str]) -> None:
        self.ligands, self.n_centers, self.n_frames = ligands, n_centers, 0
        self._time: dict[int, np.ndarray] = {}

    def add(self, codes: np.ndarray) -> None:
        """Count codes (centers, frames)."""
        self.n_frames += codes.shape[1]
        for code in np.unique(codes):
            time = self._time.setdefault(int(code), np.zeros(self.n_centers))
            time += (codes == code).sum(axis=1)

    def result(self) -> Environments:
        """Fractions, with errors from the spread between centres.

        Centres are the independent samples: in a glass an environment outlives the trajectory, so
        the spread between stretches of time would promise far too much.
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


def follow_environments(
    trajectory: Trajectory,
    center: str,
    cutoffs_A: Mapping[str, float],
    others_A: Mapping[str, float],
) -> Iterator[tuple[np.ndarray, dict[str, Contacts]]]:
    """Codes (centers, frames) and contacts with `others_A`, stretch after stretch."""
    ligands = tuple(cutoffs_A)
    n_centers = trajectory.counts()[center]
    for contacts in follow_contacts(trajectory, center, {**cutoffs_A, **others_A}):
        yield environment_codes(contacts, ligands, n_centers), contacts
