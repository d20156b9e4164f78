"""Choose the frames that `finetune.replay` trains beside a user's own.

    python make_replay.py RESOURCES OUT

Of the teacher's frames (RESOURCES/teacher), which the shipped model learned from, 12 of each
composition by farthest-point selection among 60 drawn at random (fewer where there are fewer).
Labels are left out, because the start model of a training labels them.
"""

from __future__ import annotations

import lzma
import sys
from collections import defaultdict
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from vitrion.dataset.frame import read_frames
from vitrion.dataset.sample import farthest_points, standardise, structure_features
from vitrion.potential import load_model

SOURCE = "sevennet-3.extxyz.xz"
CANDIDATES, CHOSEN = 60, 12


def main(resources: Path, out: Path) -> None:
    """Choose and write."""
    by_composition: dict[str, list[Atoms]] = defaultdict(list)
    for frame in read_frames(resources / "teacher" / SOURCE):
        by_composition[frame.info["composition"]].append(frame)
    rng = np.random.default_rng(0)
    model = load_model("shipped")
    chosen = []
    for composition, frames in sorted(by_composition.items()):
        drawn = [frames[i] for i in rng.permutation(len(frames))[:CANDIDATES]]
        features = standardise(structure_features(drawn, model))
        temperatures_K = [frame.info["temperature_K"] for frame in drawn]
        allowed = np.ones(len(drawn), dtype=bool)
        for index in farthest_points(features, temperatures_K, CHOSEN, allowed=allowed):
            frame = drawn[index]
            bare = Atoms(frame.symbols, frame.positions.round(4), cell=frame.cell.array.round(6))
            bare.pbc = True
            bare.info = {"frame_id": frame.info["frame_id"], "composition": composition}
            chosen.append(bare)
    with lzma.open(out, "wt", preset=9) as text:
        ase.io.write(text, chosen, format="extxyz", columns=["symbols", "positions"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
