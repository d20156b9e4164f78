"""How far frames of a recording are from each other, and which of them are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_ATOMS = 64  # enough to tell frames apart; 768 bytes per frame in memory
BATCH = 512
# Two frames are the same when they are closer than this share of the usual step between frames.
SAME = 0.1
# More frames than so many that equal the one before are no repetitions.
MOST_RESTS, MOST_RESTS_SHARE = 3, 0.02
_DIRECTIONS = 6


class Motion:
    """Distances between frames, of some atoms that stand for all.

    Args:
        positions_A: (frames, atoms, 3).
        cells_A: (frames, 3, 3).
        file: (frames,) number of the file of each.

    Attributes:
        steps_A: (frames - 1,) root mean square distance of each frame from the one before.
        usual_A: median of the steps within files, or of all where files hold one frame each.
    """

    def __init__(
        self,
        positions_A: np.ndarray,
        cells_A: np.ndarray,
        file: np.ndarray,
    ) -> None:
        n_atoms = positions_A.shape[1]
        self._atoms = np.unique(np.linspace(0, n_atoms - 1, MOST_ATOMS).astype(int))
        self._fractional = np.empty((len(positions_A), len(self._atoms), 3), dtype=np.float32)
        for first in range(0, len(positions_A), BATCH):
            piece = slice(first, first + BATCH)
            some_A = np.asarray(positions_A[piece][:, self._atoms], dtype=float)
            self._fractional[piece] = np.matmul(some_A, np.linalg.inv(cells_A[piece]))
        self._cells_A = cells_A
        self.steps_A = np.array(
            [self.distance_A(n, n + 1) for n in range(len(positions_A) - 1)], dtype=float
        )
        moves = self.steps_A > 0
        within = self.steps_A[moves & (np.diff(file) == 0)]
        if not len(within):  # one frame in each file
            within = self.steps_A[moves]
        self.usual_A = float(np.median(within)) if len(within) else 0.0

    @property
    def rests(self) -> np.ndarray:
        """(frames - 1,) whether each frame equals the one before."""
        return self.steps_A <= SAME * self.usual_A

    @property
    def is_by_hops(self) -> bool:
        """Whether the atoms often rest between frames, as on the sites of a lattice model."""
        rests = np.count_nonzero(self.rests)
        return bool(rests > max(MOST_RESTS, MOST_RESTS_SHARE * len(self.steps_A)))

    def distance_A(self, one: int, other: int) -> float:
        """Root mean square distance of the atoms in two frames, to the nearest image."""
        step = self._fractional[other] - self._fractional[one]
        step = (step - np.round(step)) @ self._cells_A[other].astype(np.float32)
        return float(np.sqrt(np.einsum("ax,ax->", step, step) / len(step)))

    def is_same(self, one: int, other: int) -> bool:
        """Whether two frames are one, but for rounding."""
        return self.distance_A(one, other) <= SAME * self.usual_A

    def last_same(self, rows: Sequence[int], other: int) -> int | None:
        """The place of the last of some frames that a frame equals, None where there is none."""
        for end in range(len(rows), 0, -BATCH):
            first = max(end - BATCH, 0)
            steps = self._fractional[other] - self._fractional[np.array(rows[first:end])]
            steps = (steps - np.round(steps)) @ self._cells_A[other].astype(np.float32)
            squares_A2 = np.einsum("fax,fax->f", steps, steps) / steps.shape[1]
            same = np.flatnonzero(squares_A2 <= (SAME * self.usual_A) ** 2)
            if len(same):
                return first + int(same[-1])
        return None

    def repeats(self) -> dict[int, int]:
        """Frames that an earlier frame equals: the frame, and the earliest that it equals."""
        from scipy.spatial import cKDTree

        marks = self._marks()
        if not self.usual_A or len(marks) < 2:
            return {}
        usual = float(np.median(np.linalg.norm(np.diff(marks, axis=0), axis=1)))
        found: dict[int, int] = {}
        for one, other in sorted(cKDTree(marks).query_pairs(SAME * usual)):
            if other not in found and self.is_same(one, other):
                found[other] = one
        return found

    def _marks(self) -> np.ndarray:
        """A few numbers for each frame, which are close where frames are, folded or not."""
        angles = np.random.default_rng(0).normal(size=(_DIRECTIONS, len(self._atoms), 3))
        out = np.empty((len(self._fractional), _DIRECTIONS))
        for first in range(0, len(out), BATCH):
            waves = np.sin(2 * np.pi * self._fractional[first : first + BATCH])
            out[first : first + BATCH] = np.einsum("dax,fax->fd", angles, waves)
        return out


def folding_jump(
    positions_A: np.ndarray, cells_A: np.ndarray, rows: np.ndarray
) -> tuple[int, float] | None:
    """The first place where positions that should never be folded are.

    There an atom moves by about a whole cell vector while the others move little. Atoms that truly
    move more than half a cell between frames end at any fraction of it.

    Args:
        positions_A: (frames, atoms, 3).
        cells_A: (frames, 3, 3).
        rows: the frames that are used, in order.

    Returns:
        The place in `rows` and the step in cell lengths; None where there is none.
    """
    first: tuple[int, float] | None = None
    jumps = near = count = 0
    squares = 0.0
    for start in range(0, len(rows) - 1, BATCH):
        own = rows[start : start + BATCH + 1]
        steps_A = np.diff(np.asarray(positions_A[own], dtype=float), axis=0)
        fractional = np.matmul(steps_A, np.linalg.inv(cells_A[own[1:]]))
        rest = np.abs(fractional - np.round(fractional))
        is_jump = np.abs(fractional) > 0.5
        if first is None and is_jump.any():
            at = np.unravel_index(np.argmax(is_jump), is_jump.shape)
            first = start + int(at[0]) + 1, float(abs(fractional[at]))
        jumps += int(is_jump.sum())
        near += int((is_jump & (rest < 0.25)).sum())
        squares, count = squares + float((rest**2).sum()), count + rest.size
    moves_little = count > 0 and (squares / count) ** 0.5 < 0.12
    is_folded = jumps and near >= 0.9 * jumps and (moves_little or jumps >= 10)
    return first if is_folded else None
