"""Train the shipped model: labels with dispersion, crystals, and glasses at zero pressure.

Usage: python resources/models/shipped.py OUT [CONFIGFILE ...]

Config files are laid over `shipped.yaml`; `held-out.yaml` leaves out the compositions that the
errors are reported for. What `vitrion finetune` would not do: frames with DFT labels are repeated,
and the teacher's energies get the zero of DFT's. Continues where it was stopped.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from vitrion.campaign.opening import campaign_compositions, job_seed, locate, open_config
from vitrion.config import Config
from vitrion.dataset.align import Alignment, fit_alignment
from vitrion.dataset.check import check_frames
from vitrion.dataset.dispersion import add_dispersion
from vitrion.dataset.frame import write_frames
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.prepare import align_energies, aligned_frame, composition_name
from vitrion.dataset.read import import_frames
from vitrion.potential import load_model
from vitrion.training import finetune

HERE = Path(__file__).parent
# How often an epoch has each frame with a DFT label.
REPEATS = {"glass": 4, "crystal": 3}


def main(out: Path, *configfiles: Path) -> None:
    """Prepare the frames once, then train."""
    config = open_config([HERE / "shipped.yaml", *configfiles])
    if not (out / "train.extxyz").exists():
        prepare(out, config)
    finetune(
        out / "train.extxyz",
        # No frames to choose an epoch by: the start might win, by forces, but knows no dispersion.
        out / "none.extxyz",
        out,
        settings=config.finetune,
        seed=job_seed(config, "finetune"),
        device="cpu",
        threads=2,
        metadata={"split": config.dataset.split.model_dump(mode="json")},
    )


def prepare(out: Path, config: Config) -> None:
    """Write train.extxyz, and none.extxyz, which is empty."""
    settings, compositions = config.dataset, campaign_compositions(config)
    frames = [f for source in settings.sources for f in import_frames(locate(source))]
    check_frames(
        frames,
        max_force_eV_A=settings.max_force_eV_A,
        max_energy_deviation_eV_atom=settings.max_energy_deviation_eV_atom,
    )
    frames = [
        frame
        for frame in frames
        if not frame.rejection_reason
        and composition_name(frame, compositions) not in settings.split.held_out
    ]
    names = [composition_name(frame, compositions) for frame in frames]
    symbols = [[str(symbol) for symbol in frame.atoms.symbols] for frame in frames]
    is_glass = [name in compositions for name in names]
    is_dft = [frame.atoms.info["engine"] == "gpaw" for frame in frames]

    # The start model knows both levels, without dispersion: their zeros by glasses.
    start = predict_frames(frames, load_model(config.finetune.start))
    residual_eV_atom = [
        (frame.atoms.calc.results["energy"] - start[i].energy_eV) / len(symbols[i])
        for i, frame in enumerate(frames)
    ]

    def zero_of(members: list[int]) -> Alignment:
        return fit_alignment([symbols[i] for i in members], [residual_eV_atom[i] for i in members])

    glasses = [i for i in range(len(frames)) if is_glass[i]]
    of_dft = zero_of([i for i in glasses if is_dft[i]])
    of_teacher = zero_of([i for i in glasses if not is_dft[i]])
    add_dispersion(frames, settings)
    # The labels get the zero of 0.3.0, fitted on the glasses.
    members = [i for i in range(len(frames)) if is_dft[i]]
    alignments, _ = align_energies(
        [frames[i] for i in members],
        [names[i] for i in members],
        settings,
        predict_frames([frames[i] for i in members], load_model("0.3.0")),
        first=set(compositions),
    )
    (zero,) = alignments.values()

    written = []
    for i, frame in enumerate(frames):
        shift_eV = zero.total_shift_eV(symbols[i])
        if not is_dft[i]:
            shift_eV += of_teacher.total_shift_eV(symbols[i]) - of_dft.total_shift_eV(symbols[i])
        energy_eV = frame.atoms.calc.results["energy"] - shift_eV
        times = REPEATS["glass" if is_glass[i] else "crystal"] if is_dft[i] else 1
        if not frame.rejection_reason:
            written += [aligned_frame(frame, names[i], energy_eV)] * times
    print(len(written), "frames")
    write_frames(out / "train.extxyz", written)
    write_frames(out / "none.extxyz", [])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    main(*map(Path, sys.argv[1:]))
