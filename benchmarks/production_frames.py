"""The potential's error where a campaign uses it: frames of its production against DFT.

From the repository's folder, in an environment with GPAW (make .venv/.dft-ready):

    python benchmarks/production_frames.py draw results/lialcl 2 local/production.extxyz
    vitrion label local/production.extxyz --processes 2 --out local/labelled-production
    vitrion dataset collect local/labelled-production --out benchmarks/lialcl/gpaw-pbe.extxyz.xz
    python benchmarks/production_frames.py compare benchmarks/lialcl/gpaw-pbe.extxyz.xz shipped

`draw` takes so many frames of every trajectory, each from the middle of an equal part of its
length; the trajectories take turns. `compare` adds D3(BJ) to the labels and prints the model's
errors by temperature, with standard errors over the frames; energies are on one zero for all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms

from vitrion.base.units import EV_A3_TO_GPA, U_A3_TO_G_CM3
from vitrion.campaign.layout import PRODUCTION
from vitrion.dataset.dispersion import dispersion
from vitrion.dataset.frame import write_frames
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.read import import_frames
from vitrion.potential import PotentialResult, load_model
from vitrion.trajectory.h5md import read_checkpoint, read_samples
from vitrion.trajectory.samples import Samples

DIGITS = (1, 3, 2, 3, 1)  # of the columns of errors


def draw(campaign: str, each: str, out: str) -> None:
    """Write EACH frames of every trajectory: everybody's first before anybody's second."""
    any_trajectory = PRODUCTION.format(composition="*", temperature="*", replica="*")
    folders = sorted(Path(campaign).glob(any_trajectory))
    trajectories = [_drawn(folder, int(each)) for folder in folders]
    turns = [frame for turn in zip(*trajectories, strict=True) for frame in turn]
    write_frames(Path(out), turns)
    print(len(turns), "frames of", len(trajectories), "trajectories")


def _drawn(folder: Path, each: int) -> list[Atoms]:
    segments = sorted(folder.glob("segment-????.h5"))  # not their files of frames
    state, metadata = read_checkpoint(segments[-1])
    samples = Samples.join(read_samples(path) for path in segments)
    name = "-".join(folder.parts[-3:])
    frames = []
    for row in ((np.arange(each) + 0.5) / each * len(samples)).astype(int):
        frame = Atoms(state.numbers, samples.positions_A[row], cell=samples.cell_A[row], pbc=True)
        frame.wrap()
        frame.info = {
            "frame_id": f"{name}-{samples.step[row]}",
            "composition": metadata.composition,
            "trajectory": name,
            "temperature_K": metadata.temperature_K,
            "density_g_cm3": frame.get_masses().sum() * U_A3_TO_G_CM3 / frame.get_volume(),
            "model_hash": metadata.model_hash,
        }
        frames.append(frame)
    return frames


def compare(labels: str, model: str) -> None:
    """Print errors of forces, pressures and energies by temperature."""
    frames = import_frames(labels)
    predicted = predict_frames(frames, load_model(model))
    errors = np.array([_errors(frame.atoms, predicted[i]) for i, frame in enumerate(frames)])
    errors[:, -1] = np.abs(errors[:, -1] - errors[:, -1].mean())
    temperatures_K = np.array([frame.atoms.info["temperature_K"] for frame in frames])
    print(
        "| K | frames | force MAE, meV/Å | slope | pressure of DFT, GPa | off that, GPa "
        "| energy MAE, meV/atom |\n| --: | --: | --: | --: | --: | --: | --: |"
    )
    for temperature_K in np.unique(temperatures_K):
        _print_row(f"{temperature_K:g}", errors[temperatures_K == temperature_K])
    _print_row("all", errors)


def _errors(atoms: Atoms, predicted: PotentialResult) -> tuple[float, ...]:
    label, added = atoms.calc.results, dispersion(atoms, "PBE")
    forces = label["forces"] + added["forces"]
    off = predicted.forces_eV_A - forces
    pressure_GPa = -EV_A3_TO_GPA * np.mean((label["stress"] + added["stress"])[:3])
    return (
        1000 * np.abs(off).mean(),
        1 + np.sum(off * forces) / np.sum(forces**2),
        pressure_GPa,
        -EV_A3_TO_GPA * np.trace(predicted.stress_eV_A3) / 3 - pressure_GPa,
        1000 * (predicted.energy_eV - label["energy"] - added["energy"]) / len(atoms),
    )


def _print_row(name: str, errors: np.ndarray) -> None:
    mean, err = errors.mean(axis=0), errors.std(axis=0, ddof=1) / len(errors) ** 0.5
    cells = [name, str(len(errors))]
    for value, error, digits in zip(mean, err, DIGITS, strict=True):
        cells.append(f"{value:.{digits}f} ± {error:.{digits}f}")
    print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    {"draw": draw, "compare": compare}[sys.argv[1]](*sys.argv[2:])
