"""What a model was trained on, for its card and for the measure of novelty."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from chgnet.model import CHGNet

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign.model_card import reduced_formula
from vitrion.dataset.dispersion import theory
from vitrion.potential import CHGNetPotential, TrainingSet

# More frames change the distribution of features no more.
MOST_REFERENCES = 600


def describe_frames(frames: Sequence[Atoms]) -> dict[str, Any]:
    """The part `trained_on` of a model card.

    Returns:
        `n_frames`; `elements`: least and largest share of the atoms; `compositions`: number of
        frames and range of densities; `temperature_K`: range, None where no frame names one;
        `functional` and `dispersion`: number of frames of each.
    """
    counts = [Counter(map(str, frame.symbols)) for frame in frames]
    elements = sorted(set().union(*counts))
    shares = {element: [one[element] / sum(one.values()) for one in counts] for element in elements}
    members: dict[str, list[Atoms]] = defaultdict(list)
    for frame, one in zip(frames, counts, strict=True):
        members[reduced_formula(one)].append(frame)
    temperatures_K = [
        float(frame.info["temperature_K"]) for frame in frames if "temperature_K" in frame.info
    ]
    theories = [theory(str(frame.info.get("level", ""))) for frame in frames]
    return {
        "n_frames": len(frames),
        "elements": {element: _range(values) for element, values in shares.items()},
        "compositions": {
            formula: {
                "n_frames": len(same),
                "density_g_cm3": _range(
                    [f.get_masses().sum() * U_A3_TO_G_CM3 / f.get_volume() for f in same]
                ),
            }
            for formula, same in sorted(members.items())
        },
        "temperature_K": _range(temperatures_K) if temperatures_K else None,
        "functional": dict(Counter(functional for functional, _ in theories)),
        "dispersion": dict(Counter(dispersion for _, dispersion in theories)),
    }


def joined(first: Mapping[str, Any] | None, second: Mapping[str, Any]) -> dict[str, Any]:
    """`trained_on` of a start model and of a training on more frames that replayed the first."""
    if not first:
        return dict(second)
    elements = {}
    for element in sorted({*first["elements"], *second["elements"]}):
        both = [part["elements"].get(element, [0.0, 0.0]) for part in (first, second)]
        elements[element] = _range(both)
    compositions = dict(first["compositions"])
    for formula, own in second["compositions"].items():
        known = compositions.get(formula)
        compositions[formula] = (
            own
            if known is None
            else {
                "n_frames": known["n_frames"] + own["n_frames"],
                "density_g_cm3": _range([known["density_g_cm3"], own["density_g_cm3"]]),
            }
        )
    temperatures_K = [part["temperature_K"] for part in (first, second) if part["temperature_K"]]
    return {
        "n_frames": first["n_frames"] + second["n_frames"],
        "elements": elements,
        "compositions": dict(sorted(compositions.items())),
        "temperature_K": _range(temperatures_K) if temperatures_K else None,
        **{
            key: dict(Counter(first[key]) + Counter(second[key]))
            for key in ("functional", "dispersion")
        },
    }


def reference_features(model: CHGNet, frames: Sequence[Atoms], device: str) -> TrainingSet:
    """The distribution of atom features of training frames, evenly chosen if there are many."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_REFERENCES).astype(int))
    potentials: dict[bytes, CHGNetPotential] = {}
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for index in chosen:
        atoms = frames[index]
        system = atoms.numbers.tobytes()
        if system not in potentials:
            potentials[system] = CHGNetPotential(model, atoms.numbers, device=device)
        features = potentials[system].atom_features(atoms.positions, atoms.cell.array)
        for number in np.unique(atoms.numbers):
            found[int(number)].append(features[atoms.numbers == number])
    return TrainingSet.of({number: np.concatenate(parts) for number, parts in found.items()})


def _range(values: Any) -> list[float]:
    """Least and largest of some values, to five digits."""
    return [float(f"{limit:.5g}") for limit in (np.min(values), np.max(values))]
