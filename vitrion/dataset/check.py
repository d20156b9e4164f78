"""What makes a frame unfit to train on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial import cKDTree

from vitrion.dataset.frame import Frame
from vitrion.dataset.labels import FAILURE, missing_label
from vitrion.dataset.levels import separate_levels
from vitrion.structure.neighbors import neighbor_distances

# CHGNet's cutoff; an atom without a neighbour within it has no features.
NEIGHBOR_CUTOFF_A = 6.0
# Below this share of the covalent bond length nuclei overlap, and PAW spheres do badly.
LEAST_RELATIVE_DISTANCE = 0.5
# CHGNet knows the elements up to plutonium.
LAST_ELEMENT = 94
# Two frames of one system whose atoms differ by less in sum are the same frame.
DUPLICATE_A = 0.01
# The median of fewer frames of a composition is no reference.
LEAST_FRAMES_FOR_MEDIAN = 3


def check_frames(
    frames: Sequence[Frame], *, max_force_eV_A: float, max_energy_deviation_eV_atom: float
) -> None:
    """Set the `rejection_reason` of every frame that cannot be trained on.

    Levels of theory are first separated by pseudopotentials (`separate_levels`).

    Args:
        frames: frames as imported; a reason that is set already stays.
        max_force_eV_A: largest force allowed on an atom.
        max_energy_deviation_eV_atom: largest distance allowed between a frame's energy and the
            median of the frames of its composition and level of theory.
    """
    separate_levels(frames)
    for frame in frames:
        if not frame.rejection_reason:
            frame.rejection_reason = frame_rejection(frame.atoms, max_force_eV_A=max_force_eV_A)
    _mark_duplicates(frames)
    _mark_energy_outliers(frames, max_energy_deviation_eV_atom)


def frame_rejection(atoms: Atoms, *, max_force_eV_A: float) -> str:
    """Why a frame by itself cannot be trained on; empty when it can."""
    if len(atoms) == 0:
        return "no atoms"
    for name, values in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if not np.isfinite(values).all():
            return f"{name} not finite"
    if not atoms.pbc.all():
        return "not periodic in all directions"
    if atoms.cell.rank < 3 or atoms.get_volume() < 1.0:
        return "no cell"
    unknown = sorted({str(s) for s, z in zip(atoms.symbols, atoms.numbers, strict=True)
                      if not 1 <= z <= LAST_ELEMENT})  # fmt: skip
    if unknown:
        return f"elements that CHGNet does not know: {', '.join(unknown)}"
    return (
        label_rejection(atoms)
        or _distance_rejection(atoms)
        or _force_rejection(atoms.calc.results["forces"], max_force_eV_A)
    )


def label_rejection(atoms: Atoms) -> str:
    """Why the labels cannot be used; empty when they can. Stress may be missing."""
    if FAILURE in atoms.info:
        return f"labelling failed: {atoms.info[FAILURE]}"
    results = atoms.calc.results if atoms.calc is not None else {}
    for name, shape in (("energy", ()), ("forces", (len(atoms), 3)), ("stress", (6,))):
        if name not in results:
            if name == "stress":
                continue
            return missing_label(name)
        if np.shape(results[name]) != shape:
            return f"{name} of shape {np.shape(results[name])} instead of {shape}"
        if not np.isfinite(results[name]).all():
            return f"{name} not finite"
    return ""


def _distance_rejection(atoms: Atoms) -> str:
    i, j, distances_A = neighbor_distances(atoms.positions, atoms.cell.array, NEIGHBOR_CUTOFF_A)
    isolated = sorted(set(range(len(atoms))) - {*i.tolist(), *j.tolist()})
    if isolated:
        return f"atom {isolated[0]} has no neighbour within {NEIGHBOR_CUTOFF_A:g} Å"
    radii = covalent_radii[atoms.numbers]
    relative = distances_A / (radii[i] + radii[j])
    worst = relative.argmin()
    if relative[worst] < LEAST_RELATIVE_DISTANCE:
        return f"atoms {i[worst]} and {j[worst]} are {distances_A[worst]:.2f} Å apart"
    return ""


def _force_rejection(forces_eV_A: np.ndarray, limit_eV_A: float) -> str:
    largest = np.linalg.norm(forces_eV_A, axis=1).max()
    return f"force of {largest:.1f} eV/Å" if largest > limit_eV_A else ""


def _usable(frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame in frames if not frame.rejection_reason]


def _mark_duplicates(frames: Sequence[Frame]) -> None:
    """The later of two equal structures is a duplicate, and so is a name used twice."""
    groups: dict[tuple[int, ...], list[Frame]] = defaultdict(list)
    for frame in _usable(frames):
        groups[tuple(frame.atoms.numbers)].append(frame)
    for group in groups.values():
        # Sine and cosine of the phase of each coordinate, so that wrapping makes no difference.
        points = []
        for frame in group:
            phase = 2 * np.pi * frame.atoms.get_scaled_positions(wrap=False)
            length = frame.atoms.cell.lengths() / (2 * np.pi)
            points.append(
                np.concatenate(
                    [
                        (length * np.sin(phase)).ravel(),
                        (length * np.cos(phase)).ravel(),
                        frame.atoms.cell.array.ravel(),
                    ]
                )
            )
        for first, second in sorted(cKDTree(points).query_pairs(DUPLICATE_A)):
            if not group[first].rejection_reason and not group[second].rejection_reason:
                group[second].rejection_reason = f"duplicate of {group[first].name}"
    names: dict[str, Frame] = {}
    for frame in _usable(frames):
        first_of_name = names.setdefault(frame.name, frame)
        if first_of_name is not frame:
            frame.rejection_reason = f"name {frame.name} is taken ({first_of_name.source})"


def _mark_energy_outliers(frames: Sequence[Frame], limit_eV_atom: float) -> None:
    groups: dict[tuple[str, str], list[tuple[Frame, float]]] = defaultdict(list)
    for frame in _usable(frames):
        atoms = frame.atoms
        formula = atoms.symbols.formula.reduce()[0].format("hill")
        energy = atoms.calc.results["energy"] / len(atoms)
        groups[formula, atoms.info.get("level", "")].append((frame, energy))
    for group in groups.values():
        if len(group) < LEAST_FRAMES_FOR_MEDIAN:
            continue
        median = np.median([energy for _, energy in group])
        for frame, energy in group:
            if abs(energy - median) > limit_eV_atom:
                frame.energy_deviation_eV_atom = float(energy - median)
                frame.rejection_reason = (
                    f"energy {energy - median:+.2f} eV/atom off its composition's median"
                )
