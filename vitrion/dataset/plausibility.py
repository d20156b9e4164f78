"""Labels in wrong units, with wrong sign or in wrong order, found by comparison with a model.

A universal potential is off by some tens of per cent, a wrong unit by factors of tens. So energies,
forces and stresses of all frames of a level of theory are regressed on those of a published CHGNet
(slope of label on prediction), which knows every element, as a fine-tuned one does not. CHGNet
0.3.0 has slopes of 1.0 to 1.4 and correlations of 0.89 to 1.00 on the shipped frames.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress
from chgnet.model import CHGNet

from vitrion.base.errors import PotentialError
from vitrion.base.progress import Progress
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.dataset.frame import Frame
from vitrion.dataset.labels import UNITS, stress_extent, stress_label_GPa
from vitrion.potential import CHGNetPotential, PotentialResult, load_model
from vitrion.potential.weights import baseline

# Value in this unit over the value in eV, eV/Å or eV/Å³.
FACTORS = {
    "energy": {
        1 / 27.2114: "Hartree", 1 / 13.6057: "Rydberg", 23.061: "kcal/mol", 96.485: "kJ/mol",
    },
    "forces": {
        1 / 51.4221: "Hartree/Bohr", 1 / 25.7110: "Rydberg/Bohr", 23.061: "kcal/mol/Å",
        96.485: "kJ/mol/Å", 964.85: "kJ/mol/nm",
    },
    "stress": {
        160.218: "GPa", 1602.18: "kBar", 160218.0: "MPa",
        1 / 183.632: "Hartree/Bohr³", 1 / 91.816: "Rydberg/Bohr³",
    },
}  # fmt: skip
# A slope this many times larger or smaller than a factor still points to it.
FACTOR_TOLERANCE = 1.6
# Less in the model's own values is no measure: eV/atom, eV/Å, GPa (root mean square).
LEAST_RMS = {"energy": 0.005, "forces": 0.05, "stress": 0.1}
LEAST_FRAMES = 3
COMPARED_FRAMES = 24  # of a level of theory
LEAST_VALUES = {"energy": 8, "forces": 30, "stress": 18}
CORRELATED, UNCORRELATED = 0.5, 0.2
# Without correlation, a ratio of the root mean squares this far from 1 is a wrong unit.
RATIO_LIMIT = 10.0
# Values of frames whose model forces are smaller may be dominated by errors of the model.
LEAST_ORDER_RMS_eV_A = 0.3
# Where VASP's order xx yy zz xy yz zx has been read as xx yy zz yz xz xy.
FROM_VASP_ORDER = [0, 1, 2, 4, 5, 3]


@dataclass(frozen=True)
class Regression:
    """Labels on predictions, through the origin.

    Attributes:
        slope: least-squares slope.
        correlation: uncentred correlation.
        ratio: root mean square of labels over that of predictions.
        rms: root mean square of predictions.
        n_values: number of values.
    """

    slope: float
    correlation: float
    ratio: float
    rms: float
    n_values: int

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray) -> Regression:
        """Regression of two arrays of the same shape."""
        norms = np.linalg.norm(labels), np.linalg.norm(predictions)
        product = float(np.sum(labels * predictions))
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(
                slope=float(product / norms[1] ** 2),
                correlation=float(product / (norms[0] * norms[1])),
                ratio=float(norms[0] / norms[1]),
                rms=float(norms[1] / math.sqrt(max(labels.size, 1))),
                n_values=labels.size,
            )


def predict_frames(
    frames: Sequence[Frame], network: CHGNet, *, most_per_level: int | None = None
) -> dict[int, PotentialResult]:
    """Energy, forces and stress of usable frames by their index, as a model predicts them.

    A frame that the model cannot describe is rejected.

    Args:
        frames: imported frames.
        network: the model.
        most_per_level: frames of a level of theory, evenly chosen; None for all.
    """
    usable = sorted(
        members[position]
        for members in _groups(frames, _usable(frames))
        for position in _spread(len(members), most_per_level or len(members))
    )
    predictions: dict[int, PotentialResult] = {}
    potentials: dict[bytes, CHGNetPotential] = {}
    with Progress(len(usable), "prediction of a model", unit="frame") as bar:
        for index in usable:
            atoms = frames[index].atoms
            system = atoms.numbers.tobytes()
            if system not in potentials:
                potentials[system] = CHGNetPotential(network, atoms.numbers)
            try:
                predictions[index] = potentials[system].compute(
                    atoms.positions, atoms.cell.array, stress=True
                )
            except PotentialError as error:
                frames[index].rejection_reason = f"the model cannot describe it: {error}"
            bar.update()
    return predictions


def compare_labels(frames: Sequence[Frame], start: str, slopes: tuple[float, float] | None) -> None:
    """Reject implausible labels by comparison with the published model behind a start model.

    Args:
        frames: imported frames.
        start: the start model; where it is fine-tuned it does not know every element.
        slopes: `dataset.label_slope`; None compares nothing.
    """
    if slopes is None or not _usable(frames):
        return
    network = load_model(baseline(start))
    predictions = predict_frames(frames, network, most_per_level=COMPARED_FRAMES)
    reject_implausible_labels(frames, predictions, slopes)


def reject_implausible_labels(
    frames: Sequence[Frame],
    predictions: Mapping[int, PotentialResult],
    slopes: tuple[float, float],
) -> None:
    """Reject frames whose labels are in wrong units, with wrong sign or in wrong order.

    Args:
        frames: imported frames.
        predictions: of a model, by index; they stand for all frames of their level.
        slopes: least and largest slope of labels on predictions.
    """
    for members in _groups(frames, _usable(frames)):
        compared = [index for index in members if index in predictions]
        if not compared:
            continue
        mean_size = float(np.mean([len(frames[index].atoms) for index in compared]))
        factors = {
            **FACTORS,
            "energy": {**FACTORS["energy"], 1 / mean_size: "eV/atom"},
        }
        values = {
            "energy": _energies_eV_atom(frames, predictions, compared),
            "forces": _forces_eV_A(frames, predictions, compared),
            "stress": _stresses_GPa(frames, predictions, compared),
        }
        reasons = [
            _reason(label, Regression.of(*values[label]), factors[label], slopes)
            for label in values
        ]
        reason = next(filter(None, [*reasons, _stress_order_reason(*values["stress"])]), "")
        for index in members if reason else ():
            frames[index].rejection_reason = reason


def _usable(frames: Sequence[Frame]) -> list[int]:
    return [index for index, frame in enumerate(frames) if not frame.rejection_reason]


def _spread(count: int, most: int) -> list[int]:
    """At most so many of some positions, evenly spread."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _groups(frames: Sequence[Frame], indices: Iterable[int]) -> Iterable[list[int]]:
    """Frames whose labels have the same origin: a level of theory, or a kind of file if it has few.

    Energies and stresses of one or two frames are too few to compare.
    """
    levels: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        levels[frames[index].atoms.info["level"]].append(index)
    kinds: dict[str, list[int]] = defaultdict(list)
    for level, members in levels.items():
        few = len(members) < LEAST_FRAMES
        kinds[f"*{frames[members[0]].source.suffix}" if few else level] += members
    return kinds.values()


def _energies_eV_atom(
    frames: Sequence[Frame], predictions: Mapping[int, PotentialResult], members: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of labels and predictions, less the mean of frames of the same formula."""
    formulas: dict[str, list[int]] = defaultdict(list)
    for index in members:
        formulas[frames[index].atoms.symbols.formula.format("hill")].append(index)
    found: list[tuple[float, float]] = []
    for same in formulas.values():
        pairs = np.array(
            [(frames[i].atoms.calc.results["energy"], predictions[i].energy_eV) for i in same]
        ) / len(frames[same[0]].atoms)
        found += (pairs - pairs.mean(axis=0)).tolist()
    labels, predicted = np.array(found).T
    return labels, predicted


def _forces_eV_A(
    frames: Sequence[Frame], predictions: Mapping[int, PotentialResult], members: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """All force components of labels and predictions."""
    labels = [frames[index].atoms.calc.results["forces"].ravel() for index in members]
    predicted = [predictions[index].forces_eV_A.ravel() for index in members]
    return np.concatenate(labels), np.concatenate(predicted)


def _stresses_GPa(
    frames: Sequence[Frame], predictions: Mapping[int, PotentialResult], members: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(frames, 6) stresses of labels and predictions as xx yy zz yz xz xy, less the mean pressure.

    Levels of theory differ by a pressure (dispersion, finite basis), which is no error of units.
    """
    full = [i for i in members if stress_extent(frames[i].atoms) == "full"]
    labels, predicted = np.zeros((2, len(full), 6))
    for row, index in enumerate(full):
        stress_eV_A3 = predictions[index].stress_eV_A3
        assert stress_eV_A3 is not None
        labels[row] = full_3x3_to_voigt_6_stress(stress_label_GPa(frames[index].atoms))
        predicted[row] = full_3x3_to_voigt_6_stress(stress_eV_A3 * EV_A3_TO_GPA)
    for stresses in (labels, predicted):
        if full:
            stresses[:, :3] -= stresses[:, :3].mean()
    return labels, predicted


def _reason(
    label: str,
    found: Regression,
    factors: Mapping[float, str],
    slopes: tuple[float, float],
) -> str:
    """Why labels cannot be right; empty when they can."""
    if found.n_values < LEAST_VALUES[label] or found.rms < LEAST_RMS[label]:
        return ""
    if abs(found.correlation) >= CORRELATED:
        factor = found.slope
        is_wrong = not slopes[0] <= factor <= slopes[1]
    elif label == "energy":
        return ""  # two levels of theory in one also scatter widely; see `require_single_levels`
    else:
        factor = found.ratio
        is_wrong = not 1 / RATIO_LIMIT <= factor <= RATIO_LIMIT
    if is_wrong:
        return (
            f"{label} {factor:.3g} times CHGNet's (correlation {found.correlation:.2f})"
            f"{_hint(factor, factors)}; give {UNITS[label]}"
        )
    if label == "forces" and found.correlation < UNCORRELATED and found.rms > LEAST_ORDER_RMS_eV_A:
        return (
            f"forces do not follow CHGNet's (correlation {found.correlation:.2f}): are "
            "they those of the atoms in another order?"
        )
    return ""


def _hint(factor: float, factors: Mapping[float, str]) -> str:
    """The unit that a factor points to, and its sign."""
    signs = [] if factor > 0 else ["of opposite sign"]
    nearest = min([1.0, *factors], key=lambda known: abs(math.log(abs(factor) / known)))
    if nearest != 1.0 and abs(math.log(abs(factor) / nearest)) < math.log(FACTOR_TOLERANCE):
        sign = "-" if factor < 0 else ""
        size = f"{nearest:.4g}" if nearest > 1 else f"1/{1 / nearest:.4g}"
        signs = [f"in {factors[nearest]} ({sign}{size})", *signs]
    return f": {' and '.join(signs)}?" if signs else ""


def _stress_order_reason(labels_GPa: np.ndarray, predicted_GPa: np.ndarray) -> str:
    """Whether shear stresses are in VASP's order; empty when they are not."""
    shear = Regression.of(labels_GPa[:, 3:], predicted_GPa[:, 3:])
    if labels_GPa.size < LEAST_VALUES["stress"] or shear.rms < LEAST_RMS["stress"]:
        return ""
    other = Regression.of(labels_GPa[:, FROM_VASP_ORDER][:, 3:], predicted_GPa[:, 3:])
    if shear.correlation > CORRELATED or other.correlation < CORRELATED:
        return ""
    return (
        "stress components follow CHGNet's in VASP's order (xx yy zz xy yz zx): write "
        "them as xx yy zz yz xz xy"
    )
