"""Frames to label: ionic packings, melted and cooled, of which the most different are chosen."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE
from chgnet.model import CHGNet

from vitrion.base.errors import InputError, PotentialError
from vitrion.base.progress import Progress
from vitrion.base.seeds import derive_seed
from vitrion.campaign.model_card import outside_training, warn_outside_training
from vitrion.config import Sample
from vitrion.potential import CHGNetCalculator, CHGNetPotential, load_model
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import ionic_packing

logger = logging.getLogger("vitrion")

TIMESTEP_FS = 2.0
FRICTION_1_FS = 0.02
# Larger forces come from collisions, which do not occur in a glass or melt.
MAX_FORCE_eV_A = 30.0
# Steps of minimisation of a packing. Without them its shortest bonds are so strained that the first
# steps of MD throw atoms through each other.
RELAX_STEPS = 30


def sample_frames(
    composition: Composition,
    settings: Sample,
    *,
    model: str,
    seed: int,
    known: Sequence[Atoms] = (),
) -> list[Atoms]:
    """Draw frames of one composition from molten and quenched MD, chosen for diversity.

    Every packing runs Langevin dynamics with the potential at each temperature, from hot to cold,
    so it melts and then cools. From all candidates the frames are chosen by farthest-point
    selection on CHGNet's atom features, the temperatures taking turns, because the model is least
    certain far from its training frames. The result depends on the arguments alone, apart from
    rounding, which differs between machines and which molten MD amplifies.

    Args:
        composition: what to pack, with the charges of its ions.
        settings: how many frames, cell size, densities, temperatures.
        model: potential that runs the dynamics, as in `vitrion.potential.load_model`.
        seed: seed of this composition's sampling.
        known: labelled frames of this composition; what is chosen is far from them.

    Returns:
        Frames in the order of selection; the first n of them are diverse for any n. `info` holds
        frame_id, composition, trajectory (the packing of origin), temperature_K, density_g_cm3,
        relative_density, step and seed.

    Raises:
        InputError: fewer candidates than frames wanted.
    """
    counts = composition.counts(settings.formula_units)
    warn_outside_training(composition.composition, model, outside_training(model, counts))
    network = load_model(model)
    calculator = CHGNetCalculator(model=network)
    n_large = min(settings.large_frames, settings.frames_per_composition)
    small = [
        (density, settings.formula_units)
        for density in settings.relative_densities
        for _ in range(settings.packings_per_density)
    ]
    middle = sorted(settings.relative_densities)[len(settings.relative_densities) // 2]
    large = [(middle, 2 * settings.formula_units)] if n_large else []
    candidates: list[Atoms] = []
    with Progress(
        len(small) + len(large), f"sample {composition.composition}", unit="packing"
    ) as bar:
        for index, (density, formula_units) in enumerate(small + large):
            trajectory = f"{composition.composition}-{seed:08x}-p{index}"
            packing_seed = derive_seed(seed, "packing", index)
            atoms = ionic_packing(
                composition.counts(formula_units),
                composition.volume_A3(formula_units, density * composition.density_guess_g_cm3),
                packing_seed,
                charges=composition.charges,
            )
            atoms.info = {
                "composition": composition.composition,
                "trajectory": trajectory,
                "relative_density": density,
                "density_g_cm3": round(density * composition.density_guess_g_cm3, 4),
                "seed": seed,
            }
            candidates += _melt_and_cool(atoms, calculator, settings, packing_seed)
            bar.update()
    atoms_in_small = sum(composition.counts(settings.formula_units).values())
    is_large = np.array([len(atoms) > atoms_in_small for atoms in candidates], dtype=bool)
    pools = ((settings.frames_per_composition - n_large, ~is_large), (n_large, is_large))
    for count, allowed in pools:
        if allowed.sum() < count:
            raise InputError(
                "dataset.sample",
                f"{allowed.sum()} candidates of {composition.composition}",
                f"too few to choose {count}; sample more often (frame_interval), longer "
                "(steps_per_temperature) or from more packings (packings_per_density)",
            )
    everything = [*candidates, *known]
    features = standardise(structure_features(everything, network))
    groups = [atoms.info["temperature_K"] for atoms in candidates] + [None] * len(known)
    taken = list(range(len(candidates), len(everything)))
    chosen: list[int] = []
    for count, allowed in pools:
        chosen += farthest_points(
            features,
            groups,
            count,
            allowed=np.append(allowed, np.zeros(len(known), dtype=bool)),
            chosen=taken + chosen,
        )
    return [candidates[index] for index in chosen]


def _melt_and_cool(
    atoms: Atoms, calculator: Calculator, settings: Sample, seed: int
) -> Iterator[Atoms]:
    """Run a packing through the temperatures; yield candidate frames without calculator.

    Where the potential blows up, the frames before that are kept.
    """
    try:
        yield from _frames(atoms, calculator, settings, seed)
    except PotentialError as error:
        logger.warning("sample %s: %s", atoms.info["trajectory"], error)


def _frames(atoms: Atoms, calculator: Calculator, settings: Sample, seed: int) -> Iterator[Atoms]:
    rng = np.random.default_rng(seed)
    temperatures_K = sorted(settings.temperatures_K, reverse=True)
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(steps=RELAX_STEPS)
    thermalize_momenta(atoms, temperatures_K[0], rng=rng)
    step = 0
    for temperature_K in temperatures_K:
        dynamics = Langevin(
            atoms,
            TIMESTEP_FS * units.fs,
            temperature_K=temperature_K,
            friction=FRICTION_1_FS / units.fs,
            fixcm=False,
            rng=rng,
        )
        for _ in range(settings.steps_per_temperature // settings.frame_interval):
            dynamics.run(settings.frame_interval)
            step += settings.frame_interval
            if np.linalg.norm(atoms.get_forces(), axis=1).max() > MAX_FORCE_eV_A:
                continue
            frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
            frame.wrap()
            frame.info = {
                "frame_id": f"{atoms.info['trajectory']}-s{step:05d}",
                **atoms.info,
                "temperature_K": temperature_K,
                "step": step,
            }
            yield frame


def structure_features(frames: Sequence[Atoms], model: CHGNet) -> np.ndarray:
    """CHGNet's atom features before the last convolution, averaged over the atoms of each element.

    Returns:
        Array (frames, elements × features); the frames must have the same elements.
    """
    elements = sorted(set(frames[0].symbols))
    potentials: dict[bytes, CHGNetPotential] = {}
    rows = []
    for atoms in frames:
        system = atoms.numbers.tobytes()
        if system not in potentials:
            potentials[system] = CHGNetPotential(model, atoms.numbers)
        features = potentials[system].atom_features(atoms.positions, atoms.cell.array)
        rows.append(np.concatenate([features[atoms.symbols == e].mean(axis=0) for e in elements]))
    return np.array(rows, dtype=np.float64)


def standardise(features: np.ndarray) -> np.ndarray:
    """Features with zero mean and unit variance; constant ones become zero."""
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


def farthest_points(
    features: np.ndarray,
    groups: Sequence[object],
    count: int,
    *,
    allowed: np.ndarray,
    chosen: Sequence[int] = (),
) -> list[int]:
    """Choose points far from each other, the groups taking turns.

    Farthest-point selection (Gonzalez, Theor. Comput. Sci. 38, 293, 1985): the next point is the
    one whose nearest chosen neighbour is farthest. The first is the one nearest to the mean.

    Args:
        features: coordinates of the points (n, d).
        groups: label of each point; turns follow the order of first appearance.
        count: points to choose; fewer are returned when there are not enough.
        allowed: mask (n,) of the points that may be chosen.
        chosen: points chosen already; new ones are far from them.

    Returns:
        Indices of the newly chosen points in the order of choice.
    """
    labels = np.array([list(dict.fromkeys(groups)).index(group) for group in groups])
    free = np.array(allowed, dtype=bool)
    distance = np.full(len(features), np.inf)
    for index in chosen:
        free[index] = False
        distance = np.minimum(distance, np.linalg.norm(features - features[index], axis=1))
    new: list[int] = []
    turn = 0
    while len(new) < count and free.any():
        members = np.flatnonzero(free & (labels == turn % (labels.max() + 1)))
        turn += 1
        if len(members) == 0:
            continue
        if np.isinf(distance).all():
            middle = np.linalg.norm(features - features[members].mean(axis=0), axis=1)
            best = members[middle[members].argmin()]
        else:
            best = members[distance[members].argmax()]
        new.append(int(best))
        free[best] = False
        distance = np.minimum(distance, np.linalg.norm(features - features[best], axis=1))
    return new
