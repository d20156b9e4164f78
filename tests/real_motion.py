"""How atoms really move, for tests of what stores and reads them.

`lialcl_motion.npz` holds 500 frames, 0.05 ps apart, of 21 atoms (4 Li, 4 Al, 10 Cl, 3 O) of LiAlCl
at 600 K and at 800 K: the production runs of `benchmarks/lialcl.md`, in mÅ (0.001 Å), as the first
frame and the steps after it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("lialcl_motion.npz")


def lialcl_motion(temperature_K: int, n_atoms: int) -> np.ndarray:
    """Unwrapped positions in Å (500, n_atoms, 3); the atoms are repeated where more are asked."""
    with np.load(DATA) as data:
        run = (600, 800).index(temperature_K)
        moves = np.concatenate([data["first_mA"][run][None], data["steps_mA"][run]])
    positions_A = moves.cumsum(axis=0, dtype=np.int64) / 1000
    return positions_A[:, np.arange(n_atoms) % positions_A.shape[1]]
