"""Has a model learned dispersion? Pressures and forces of held-out glasses, beside explicit D3.

Usage: python benchmarks/dispersion.py MODEL [MODEL_WITHOUT]

MODEL was trained on labels with dispersion, MODEL_WITHOUT without. On the frames of the glasses
that MODEL's training held out it prints, by density over the density guess, the mean pressure of
GPAW and of MODEL_WITHOUT, both with explicit D3(BJ), and of MODEL; then force and pressure errors
of both models against the labels with D3. Then come the mean pressures of the labelled frames of
each crystal, and the bulk moduli (GPa) by which they change with its volume. Last are those of the
glasses at zero pressure, by composition: how far the densities that MODEL gives are off its DFT's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from vitrion.base.units import EV_A3_TO_GPA, U_A3_TO_G_CM3
from vitrion.dataset.dispersion import dispersion
from vitrion.dataset.frame import Frame
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.read import import_frames
from vitrion.potential import load_model, read_card
from vitrion.structure.compositions import read_compositions

Values = dict[str, np.ndarray]
BINS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)


def main(model: str, without: str = "resources/models/without-dispersion.safetensors") -> None:
    """Print the tables."""
    held_out = set(read_card(model)["campaign"]["split"]["held_out"])
    glasses = [f for f in import_frames("resources/dft") if f.atoms.info["composition"] in held_out]
    if glasses:
        print_glasses(glasses, model, without)
    print_crystals(model, without)
    print_zero_pressure(model, without)


def print_crystals(model: str, without: str) -> None:
    """Print mean pressures and bulk moduli of the labelled frames of each crystal."""
    crystals = import_frames("resources/dft-crystals")
    columns = _values(crystals, model, without)
    print(
        "| crystal | frames | D3 alone | GPAW + D3 | without, + D3 | with | K: GPAW + D3 | with |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    names = np.array([f.atoms.info["trajectory"].removeprefix("crystal-") for f in crystals])
    log_volumes = np.log([f.atoms.get_volume() / len(f.atoms) for f in crystals])
    for name in sorted(set(names)):
        members = np.flatnonzero(names == name)
        moduli = ["", ""]
        if len(members) > 2:
            moduli = [
                f"{-np.polyfit(log_volumes[members], _pressures(rows)[members], 1)[0]:.0f}"
                for rows in (columns[1], columns[3])
            ]
        print(_means(name, columns, members), *moduli, "", sep=" | ")


def print_zero_pressure(model: str, without: str) -> None:
    """Print mean pressures of the labelled glasses at zero pressure, and how far MODEL is off."""
    frames = import_frames("resources/dft-glasses")
    columns = _values(frames, model, without)
    off = _pressures(columns[3]) - _pressures(columns[1])
    names = np.array([f.atoms.info["composition"] for f in frames])
    print(
        "\n| glass | frames | D3 alone | GPAW + D3 | without, + D3 | with | with, off GPAW + D3 |"
    )
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for name in (*read_compositions("shipped"), "all"):
        members = np.flatnonzero((names == name) | (name == "all"))
        err = off[members].std(ddof=1) / len(members) ** 0.5
        print(_means(name, columns, members), f"| {off[members].mean():+.3f} ± {err:.3f} |")


def print_glasses(glasses: Sequence[Frame], model: str, without: str) -> None:
    """Print pressures by density, then errors."""
    compositions = read_compositions("shipped")
    added, true, explicit, learned = _values(glasses, model, without)
    ratio = np.array(
        [
            f.atoms.get_masses().sum()
            * U_A3_TO_G_CM3
            / f.atoms.get_volume()
            / compositions[f.atoms.info["composition"]].density_guess_g_cm3
            for f in glasses
        ]
    )
    print("| density over guess | frames | D3 alone | GPAW + D3 | without, + D3 | with |")
    print("| --- | --: | --: | --: | --: | --: |")
    for low, high in itertools.pairwise(BINS):
        members = np.flatnonzero((ratio >= low) & (ratio < high))
        if len(members):
            name = f"{low:g} to {high:g}"
            print(_means(name, (added, true, explicit, learned), members), "|")

    print("\n| | force MAE, meV/Å | slope | pressure MAE, GPa | mean pressure error, GPa |")
    print("| --- | --: | --: | --: | --: |")
    reference, pressure = _forces(true), _pressures(true)
    for name, rows in {"without, + D3": explicit, "with": learned}.items():
        forces, off = _forces(rows), _pressures(rows) - pressure
        print(
            f"| {name} | {1000 * np.abs(forces - reference).mean():.1f} "
            f"| {reference @ forces / (reference @ reference):.3f} "
            f"| {np.abs(off).mean():.3f} | {off.mean():+.3f} |"
        )

    print()


def _values(frames: Sequence[Frame], model: str, without: str) -> tuple[list[Values], ...]:
    """Forces and stress of D3, of GPAW with it, of `without` with it, and of `model`."""
    added = [dispersion(frame.atoms, "PBE") for frame in frames]
    old, new = (predict_frames(frames, load_model(name)) for name in (without, model))
    true, explicit = [], []
    for i, (frame, d) in enumerate(zip(frames, added, strict=True)):
        label = frame.atoms.calc.results
        true.append({key: label[key] + d[key] for key in ("forces", "stress")})
        predicted = {
            "forces": old[i].forces_eV_A,
            "stress": full_3x3_to_voigt_6_stress(old[i].stress_eV_A3),
        }
        explicit.append({key: predicted[key] + d[key] for key in predicted})
    learned = [
        {
            "forces": new[i].forces_eV_A,
            "stress": full_3x3_to_voigt_6_stress(new[i].stress_eV_A3),
        }
        for i in range(len(frames))
    ]
    return added, true, explicit, learned


def _means(name: str, columns: tuple[list[Values], ...], members: np.ndarray) -> str:
    means = " | ".join(f"{_pressures(rows)[members].mean():+.2f}" for rows in columns)
    return f"| {name} | {len(members)} | {means}"


def _forces(rows: list[Values]) -> np.ndarray:
    return np.concatenate([row["forces"].ravel() for row in rows])


def _pressures(rows: list[Values]) -> np.ndarray:
    """Pressures in GPa."""
    return np.array([-np.mean(row["stress"][:3]) * EV_A3_TO_GPA for row in rows])


if __name__ == "__main__":
    main(*sys.argv[1:3])
