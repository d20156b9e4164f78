"""Averages over time origins, kept by block of time, and estimates with their joint errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

# Consecutive blocks of time origins, and how often they are resampled for an error.
BLOCKS = 16
RESAMPLES = 1000
# The error of a bootstrap counts where it exceeds that of the covariance by more than this factor.
# From 16 blocks it has a standard error of 18 % itself. Over a cage much larger than the diffusion
# it is 1.5 times too large: where in its cage an ion ends a lag belongs to another block for each
# lag, so that it does not cancel in a slope as it does over all origins.
BOOTSTRAP_EXCESS = 2.0


def block_edges(n_frames: int) -> np.ndarray:
    """(blocks + 1,) first frame of each block of time origins, and the end."""
    return np.linspace(0, n_frames, BLOCKS + 1).round().astype(int)


def evenly_spaced(n_frames: int, most: int) -> range:
    """At most `most` frames over a whole trajectory, the same number of frames apart."""
    return range(0, n_frames, -(-n_frames // most))


@dataclass(frozen=True)
class BlockSums:
    """Sums over the time origins of each block.

    Attributes:
        sums: (blocks, lags, ...).
        terms: (blocks, lags) number of terms in each sum.
    """

    sums: np.ndarray
    terms: np.ndarray

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean over all origins, a ratio of sums, (..., lags, ...).

        Args:
            weights: (..., blocks) how often each block counts; once by default.
        """
        weights = np.ones(len(self.sums)) if weights is None else weights
        terms = np.tensordot(weights, self.terms, 1)
        extra = (1,) * (self.sums.ndim - 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.tensordot(weights, self.sums, 1) / terms.reshape(*terms.shape, *extra)


def halves() -> np.ndarray:
    """(2, blocks) weights of the blocks in each half of the trajectory."""
    return np.kron(np.eye(2), np.ones(BLOCKS // 2))


@cache
def resampling_weights() -> np.ndarray:
    """(resamples, blocks) how often each block is drawn, with replacement, always the same."""
    rng = np.random.default_rng(0)
    return rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), RESAMPLES).astype(float)


def bootstrap_error(samples: np.ndarray) -> float:
    """Standard error from the values (resamples,) of resampled blocks."""
    return float(np.std(samples) * np.sqrt(BLOCKS / (BLOCKS - 1)))


def standard_error(theory: float, resampled: float) -> float:
    """The error of a covariance, or that of the bootstrap where it is significantly larger."""
    return theory if resampled <= BOOTSTRAP_EXCESS * theory else resampled


@dataclass(frozen=True)
class JointEstimate:
    """Estimates of several numbers from the same data, whose errors are correlated.

    Attributes:
        value: (n,).
        covariance: (n, n) of Gaussian displacements that diffuse.
        samples: (resamples, n) values from resampled blocks of time origins.
    """

    value: np.ndarray
    covariance: np.ndarray
    samples: np.ndarray

    def combination(self, factors: np.ndarray) -> tuple[float, float]:
        """Value and standard error of a linear combination.

        The error is that of the covariance, which is exact for Gaussian motion and free of the
        noise of few blocks, or that of the block bootstrap, which assumes nothing about the motion,
        where it is significantly larger.

        Args:
            factors: (n,).
        """
        theory = factors @ self.covariance @ factors
        resampled = bootstrap_error(self.samples @ factors)
        error = standard_error(float(np.sqrt(np.maximum(theory, 0.0))), resampled)
        return float(factors @ self.value), error

    def ratio(self, above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
        """Value and standard error of a ratio of two linear combinations, to first order.

        Args:
            above, below: (n,) factors of numerator and denominator.
        """
        divisor = float(below @ self.value)
        ratio = float(above @ self.value) / divisor if divisor else float("nan")
        _, error = self.combination(
            (above - ratio * below) / divisor if divisor else above * np.nan
        )
        return ratio, error
