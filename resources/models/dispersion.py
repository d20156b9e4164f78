"""Train the shipped model on labels with dispersion, and on crystals.

Usage: python resources/models/dispersion.py OUT

Starts from the model that knows the labels without dispersion (`dispersion.yaml`), so that a part
of the teachers' frames is enough. What `vitrion finetune` would not do: frames are drawn and
repeated, and the teachers' energies get the zero of DFT's. Continues where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitrion.campaign.opening import campaign_compositions, job_seed, locate, open_config
from vitrion.dataset.align import fit_alignment
from vitrion.dataset.check import check_frames
from vitrion.dataset.dispersion import add_dispersion
from vitrion.dataset.frame import Frame, write_frames
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.prepare import align_energies, aligned_frame, composition_name
from vitrion.dataset.read import import_frames
from vitrion.dataset.split import assign_splits
from vitrion.potential import load_model
from vitrion.training import finetune

HERE = Path(__file__).parent
# Frames of the teachers that train, and how often each frame with a DFT label does.
TEACHERS, REPEATS = 1000, {"glass": 2, "crystal": 6}


def main(out: Path) -> None:
    """Prepare the frames once, then train."""
    config = open_config([HERE / "dispersion.yaml"])
    if not (out / "train.extxyz").exists():
        prepare(out, config)
    finetune(
        out / "train.extxyz",
        # No frames to choose an epoch by: the start has the least force error on glasses.
        out / "none.extxyz",
        out,
        settings=config.finetune,
        seed=job_seed(config, "finetune"),
        device="cpu",
        threads=1,
        metadata={"split": config.dataset.split.model_dump(mode="json")},
    )


def prepare(out: Path, config) -> None:
    """Write train.extxyz, val.extxyz to evaluate on, and none.extxyz, which is empty."""
    settings, compositions = config.dataset, campaign_compositions(config)
    frames = [f for source in settings.sources for f in import_frames(locate(source))]
    check_frames(
        frames,
        max_force_eV_A=settings.max_force_eV_A,
        max_energy_deviation_eV_atom=settings.max_energy_deviation_eV_atom,
    )
    frames = [frame for frame in frames if not frame.rejection_reason]
    names = [composition_name(frame, compositions) for frame in frames]
    split = assign_splits(
        names,
        [str(frame.atoms.info["trajectory"]) for frame in frames],
        settings=settings.split,
        seed=job_seed(config, "dataset"),
    )
    is_dft = np.array([frame.atoms.info["engine"] == "gpaw" for frame in frames])
    rng = np.random.default_rng(job_seed(config, "teacher"))
    chosen = np.flatnonzero(is_dft).tolist()
    teachers = np.flatnonzero(~is_dft & (np.array(split) == "train"))
    chosen += rng.choice(teachers, TEACHERS, replace=False).tolist()
    frames, names, split, is_dft = (
        [values[i] for i in chosen] for values in (frames, names, split, is_dft.tolist())
    )

    raw_eV = [frame.atoms.calc.results["energy"] for frame in frames]
    start = predict_frames(frames, load_model(config.finetune.start))
    add_dispersion(frames, settings)
    dft = [i for i in range(len(frames)) if is_dft[i]]
    # The zero of `vitrion evaluate`: 0.3.0's, fitted on the glasses that are not held out.
    alignments, _ = align_energies(
        [frames[i] for i in dft],
        [names[i] for i in dft],
        settings,
        predict_frames([frames[i] for i in dft], load_model("0.3.0")),
        first=set(compositions),
    )
    # The start model has no dispersion, so it is compared with labels without theirs.
    symbols = [[str(s) for s in frame.atoms.symbols] for frame in frames]
    (dft_level,) = alignments
    offsets = {
        level: fit_alignment(
            [symbols[i] for i in members],
            [(raw_eV[i] - start[i].energy_eV) / len(symbols[i]) for i in members],
        )
        for level, members in _by_level(frames, names, split, set(compositions)).items()
    }
    aligned_eV = []
    for i, frame in enumerate(frames):
        level = frame.atoms.info["level"]
        zero_eV = alignments[dft_level].total_shift_eV(symbols[i])
        if level != dft_level:
            zero_eV += offsets[level].total_shift_eV(symbols[i])
            zero_eV -= offsets[dft_level].total_shift_eV(symbols[i])
        aligned_eV.append(frame.atoms.calc.results["energy"] - zero_eV)

    for part in ("train", "val"):
        written = []
        for i, frame in enumerate(frames):
            if split[i] != part or frame.rejection_reason:
                continue
            kind = "glass" if names[i] in compositions else "crystal"
            times = REPEATS[kind] if part == "train" and is_dft[i] else 1
            written += [aligned_frame(frame, names[i], aligned_eV[i])] * times
        write_frames(out / f"{part}.extxyz", written)
        print(part, len(written))
    write_frames(out / "none.extxyz", [])


def _by_level(
    frames: Sequence[Frame], names: Sequence[str], split: Sequence[str], glasses: set[str]
) -> dict[str, list[int]]:
    """Frames of glasses that are not held out, by level of theory."""
    levels: dict[str, list[int]] = {}
    for i, frame in enumerate(frames):
        if split[i] != "test" and names[i] in glasses and not frame.rejection_reason:
            levels.setdefault(frame.atoms.info["level"], []).append(i)
    return levels


if __name__ == "__main__":
    main(Path(sys.argv[1]))
