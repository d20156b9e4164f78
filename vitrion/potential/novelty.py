"""How far the atoms of a configuration are from those that a model was trained on.

For each element the features of its atoms before CHGNet's last convolution have a mean and a
covariance over the training set. An atom whose distance in this metric (Mahalanobis) is longer than
that of 99 % of training atoms is outside. The share of such atoms is 0.01 on frames like the
training set's, and tends to 1 in other structures. It says where a model has no experience, not how
large its errors are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

QUANTILE = 0.99
# Variances below this share of the mean variance count as noise.
VARIANCE_FLOOR = 0.01


@dataclass(frozen=True)
class Features:
    """Distribution of the features of an element's atoms.

    Attributes:
        mean: (features).
        transform: (features, features); a deviation times it has the distance as its length.
        farthest: distance that 99 % of the training atoms are within.
    """

    mean: np.ndarray
    transform: np.ndarray
    farthest: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """(n) distances of atoms with features (n, features)."""
        return np.linalg.norm((features - self.mean) @ self.transform, axis=1)


@dataclass(frozen=True)
class TrainingSet:
    """The atoms that a model was trained on, by atomic number."""

    elements: Mapping[int, Features]

    @classmethod
    def of(cls, features: Mapping[int, np.ndarray]) -> TrainingSet:
        """Of the features of training atoms (n, features) by atomic number.

        The limit is that of atoms which did not enter mean and covariance: each half of the atoms
        is measured by the other.
        """
        elements = {}
        for number, rows in features.items():
            rows = rows.astype(np.float64)
            even, odd = rows[::2], rows[1::2]
            farthest = 0.0
            if len(odd):
                distances = [_fit(even).distances(odd), _fit(odd).distances(even)]
                farthest = float(np.quantile(np.concatenate(distances), QUANTILE))
            fitted = _fit(rows)
            elements[number] = Features(fitted.mean, fitted.transform, farthest)
        return cls(elements)

    def share_outside(self, numbers: np.ndarray, features: np.ndarray) -> float:
        """Share of atoms that are outside; atoms of other elements all are.

        Args:
            numbers: (n) atomic numbers.
            features: (n, features) as `CHGNetPotential.atom_features` gives them.
        """
        outside = np.ones(len(numbers), dtype=bool)
        for number, known in self.elements.items():
            chosen = numbers == number
            outside[chosen] = known.distances(features[chosen]) > known.farthest
        return float(outside.mean())

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything in float32, for storage."""
        return {
            f"{number}/{name}": np.asarray(getattr(known, name), dtype=np.float32)
            for number, known in self.elements.items()
            for name in ("mean", "transform", "farthest")
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TrainingSet:
        """From what `to_arrays` gave."""
        numbers = sorted({int(name.split("/")[0]) for name in arrays})
        return cls(
            {
                n: Features(
                    arrays[f"{n}/mean"], arrays[f"{n}/transform"], float(arrays[f"{n}/farthest"])
                )
                for n in numbers
            }
        )


def _fit(rows: np.ndarray) -> Features:
    """Mean and metric of some atoms' features; few atoms give a metric of the mean variance."""
    mean = rows.mean(axis=0)
    deviations = rows - mean
    covariance = deviations.T @ deviations / max(len(rows) - 1, 1)
    variances, axes = np.linalg.eigh(covariance)
    floor = max(VARIANCE_FLOOR * float(variances.mean()), 1e-12)
    return Features(mean, axes / np.sqrt(np.maximum(variances, 0.0) + floor), 0.0)
