"""Frames that look damaged although their format was kept: numbers that no run would give."""

from __future__ import annotations

import numpy as np

from vitrion.trajectory.motion import Motion

BATCH = 256
# An atom that moves so far and back within two frames, in Å and in usual steps.
SPIKE_A, SPIKE_STEPS = 4.0, 12.0
RETURNS = 0.3  # of the way is left after a return


def odd_frame(
    positions_A: np.ndarray, cells_A: np.ndarray, rows: np.ndarray, motion: Motion
) -> tuple[int, str] | None:
    """The first frame with an atom where it cannot have been.

    Such is exactly the origin, where a block was never written, and a place far away from those in
    the frames before and after.

    Args:
        positions_A: (frames, atoms, 3).
        cells_A: (frames, 3, 3).
        rows: the frames that are used, in order.
        motion: distances between the frames. Atoms that move by hops may be at the origin.

    Returns:
        The place in `rows` and what is odd; None where nothing is.
    """
    by_hops = motion.is_by_hops
    farthest_A = max(SPIKE_A, SPIKE_STEPS * motion.usual_A) if not by_hops else np.inf
    for start in range(0, len(rows), BATCH):
        own = rows[start : start + BATCH + 2]
        some_A: np.ndarray = np.asarray(positions_A[own], dtype=np.float32)
        at_origin = np.logical_not(np.any(some_A, axis=2))
        crowded = np.flatnonzero(at_origin.sum(axis=1) > 1)
        if len(crowded):
            return start + int(crowded[0]), "several atoms are exactly at the origin"
        appears = np.asarray(at_origin[1:] & ~at_origin[:-1])
        if appears.any() and not by_hops:
            place, atom = np.argwhere(appears)[0]
            return start + int(place) + 1, f"atom {atom + 1} is exactly at the origin"
        inverse = np.linalg.inv(cells_A[own[1:]]).astype(np.float32)
        steps = np.matmul(np.diff(some_A, axis=0), inverse)
        steps = np.matmul(steps - np.round(steps), cells_A[own[1:]].astype(np.float32))
        lengths_A = np.linalg.norm(steps, axis=2)
        is_far = (lengths_A[:-1] > farthest_A) & (lengths_A[1:] > farthest_A)
        if is_far.any():
            back_A = np.linalg.norm(steps[:-1] + steps[1:], axis=2)
            spikes = np.argwhere(is_far & (back_A < RETURNS * lengths_A[:-1]))
            if len(spikes):
                place, atom = spikes[0]
                far_A = lengths_A[place, atom]
                return start + int(place) + 1, f"atom {atom + 1} moves {far_A:.2g} Å and back"
    return None
