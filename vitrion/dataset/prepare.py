"""Labelled frames of any origin, made into the splits that a potential is trained on."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion.base.errors import InputError
from vitrion.base.files import write_json
from vitrion.base.units import EV_A3_TO_GPA, U_A3_TO_G_CM3
from vitrion.config import Dataset
from vitrion.dataset.align import Alignment, fit_level
from vitrion.dataset.check import check_frames
from vitrion.dataset.dispersion import add_dispersion
from vitrion.dataset.frame import Frame, write_frames
from vitrion.dataset.labels import PRESSURE_ONLY, STRESS_REMARKS, stress_extent
from vitrion.dataset.levels import require_single_levels
from vitrion.dataset.plausibility import compare_labels, predict_frames
from vitrion.dataset.read import import_frames
from vitrion.dataset.split import SPLITS, assign_splits, check_splits
from vitrion.potential import PotentialResult, load_model
from vitrion.structure.compositions import Composition
from vitrion.tables.io import write_table

logger = logging.getLogger("vitrion")


def prepare_dataset(
    sources: Sequence[Path | str],
    out: Path,
    *,
    settings: Dataset,
    model: str,
    seed: int,
    compositions: Mapping[str, Composition] | None = None,
    to_train: bool = True,
) -> pd.DataFrame:
    """Read, check, align and split labelled frames, and add dispersion to their labels.

    Writes train.extxyz, val.extxyz and test.extxyz (labels on the potential's energy zero), the
    table dataset.parquet with every frame and why it was left out, and alignment.json with the
    energies subtracted from the labels.

    Args:
        sources: files or folders of labelled frames.
        out: folder to write to.
        settings: limits and split.
        model: potential whose energy zero labels get, as in `vitrion.potential.load_model`.
        seed: seed of the split.
        compositions: the campaign's compositions, to name frames that do not name theirs.
        to_train: whether there must be frames to train and to validate on.

    Returns:
        The table.

    Raises:
        InputError: a source that is not there, no usable frame, none to train or validate on,
            frames of two levels of theory under one name, or of a functional that is not known.
    """
    frames = [frame for source in sources for frame in import_frames(source)]
    check_frames(
        frames,
        max_force_eV_A=settings.max_force_eV_A,
        max_energy_deviation_eV_atom=settings.max_energy_deviation_eV_atom,
    )
    names = [composition_name(frame, compositions or {}) for frame in frames]
    if settings.compositions == "campaign":
        for frame, name in zip(frames, names, strict=True):
            if not frame.rejection_reason and name not in (compositions or {}):
                frame.rejection_reason = "not one of the campaign's compositions"
    _require_usable(frames, sources)

    compare_labels(frames, model, settings.label_slope)
    _require_usable(frames, sources)
    predictions = predict_frames(frames, load_model(model))
    add_dispersion(frames, settings)
    alignments, aligned_eV = align_energies(
        frames, names, settings, predictions, first=set(compositions or {})
    )
    require_single_levels(
        frames,
        alignments,
        {
            index: (aligned_eV[index] - prediction.energy_eV) / len(frames[index].atoms)
            for index, prediction in predictions.items()
            if not frames[index].rejection_reason
        },
    )
    _require_usable(frames, sources)
    usable = [index for index, frame in enumerate(frames) if not frame.rejection_reason]
    assigned = assign_splits(
        [names[index] for index in usable],
        [str(frames[index].atoms.info["trajectory"]) for index in usable],
        settings=settings.split,
        seed=seed,
    )
    if to_train:
        check_splits(assigned, settings.split)
    split = ["none"] * len(frames)
    for index, part in zip(usable, assigned, strict=True):
        split[index] = part
    for part in SPLITS:
        write_frames(
            out / f"{part}.extxyz",
            [
                aligned_frame(frames[index], names[index], aligned_eV[index])
                for index in usable
                if split[index] == part
            ],
        )
    write_json(
        out / "alignment.json",
        {"model": model, "levels": {level: a.as_dict() for level, a in alignments.items()}},
    )
    _log_outcome(frames, split, alignments)
    table = frames_table(frames, names, split, aligned_eV)
    write_table(out / "dataset.parquet", "dataset", table, {"seed": seed, "model": model})
    return table


def composition_name(frame: Frame, compositions: Mapping[str, Composition]) -> str:
    """The campaign's name of a frame's composition, else the frame's, else its reduced formula."""
    if len(frame.atoms) == 0:
        return ""
    counts = Counter(map(str, frame.atoms.symbols))
    for name, composition in compositions.items():
        if set(counts) == set(composition.amounts):
            ratios = {counts[e] / amount for e, amount in composition.amounts.items()}
            if len(ratios) == 1:
                return name
    own = frame.atoms.info.get("composition")
    return str(own) if own else frame.atoms.symbols.formula.reduce()[0].format("hill")


def align_energies(
    frames: Sequence[Frame],
    names: Sequence[str],
    settings: Dataset,
    predictions: Mapping[int, PotentialResult],
    *,
    first: Collection[str] = (),
) -> tuple[dict[str, Alignment], list[float]]:
    """Shift the energies of each level of theory to the potential's zero.

    The shift is fitted by `fit_level`, so that training learns nothing from held-out frames unless
    only they determine their shift. The frame farthest from the potential after the fit is rejected
    where it exceeds the limit, and the fit is repeated without it.

    Args:
        frames: imported frames, checked.
        names: composition of each frame.
        settings: held-out compositions and the limit.
        predictions: of the potential, for usable frames by their index.
        first: compositions that the shift is fitted on; those of other names determine what these
            leave open (`fit_alignment`).

    Returns:
        The alignment of each level, and each frame's aligned energy in eV (NaN for rejected ones).
    """
    # Label minus prediction of each usable frame.
    residual = {
        index: (frames[index].atoms.calc.results["energy"] - prediction.energy_eV)
        / len(frames[index].atoms)
        for index, prediction in predictions.items()
        if not frames[index].rejection_reason
    }
    symbols = {index: [str(s) for s in frames[index].atoms.symbols] for index in residual}
    levels: dict[str, list[int]] = defaultdict(list)
    for index in residual:
        levels[frames[index].atoms.info["level"]].append(index)

    aligned_eV = [float("nan")] * len(frames)
    alignments: dict[str, Alignment] = {}
    for level, members in levels.items():
        while members:
            fit = fit_level(
                [names[i] for i in members],
                [symbols[i] for i in members],
                [residual[i] for i in members],
                is_held_out=[names[i] in settings.split.held_out for i in members],
                first=first,
            )
            deviation = {
                i: residual[i] - fit.total_shift_eV(symbols[i]) / len(symbols[i]) for i in members
            }
            worst = max(members, key=lambda i: abs(deviation[i]))
            if abs(deviation[worst]) <= settings.max_energy_deviation_eV_atom:
                alignments[level] = fit
                break
            off = frames[worst]
            off.energy_deviation_eV_atom = deviation[worst]
            off.rejection_reason = (
                f"energy {deviation[worst]:+.2f} eV/atom off the potential after alignment"
            )
            members = [i for i in members if i != worst]
        for index in members:
            energy_eV = frames[index].atoms.calc.results["energy"]
            aligned_eV[index] = energy_eV - alignments[level].total_shift_eV(symbols[index])
    return alignments, aligned_eV


def frames_table(
    frames: Sequence[Frame],
    names: Sequence[str],
    split: Sequence[str],
    aligned_eV: Sequence[float],
) -> pd.DataFrame:
    """The table `dataset`: one row for every imported frame, used or not."""
    rows = []
    for frame, name, part, aligned in zip(frames, names, split, aligned_eV, strict=True):
        atoms = frame.atoms
        results = atoms.calc.results if atoms.calc is not None else {}
        n_atoms = len(atoms)
        forces = np.asarray(results.get("forces", []))
        stress = np.asarray(results.get("stress", []))
        has_volume = n_atoms > 0 and atoms.cell.rank == 3
        rows.append(
            {
                "frame_id": frame.name,
                "composition": name,
                "source": str(frame.source),
                "engine": str(atoms.info.get("engine", "")),
                "split": part,
                "n_atoms": n_atoms,
                "density_g_cm3": atoms.get_masses().sum() * U_A3_TO_G_CM3 / atoms.get_volume()
                if has_volume
                else float("nan"),
                "energy_eV_atom": results.get("energy", float("nan")) / max(n_atoms, 1),
                "aligned_energy_eV_atom": aligned / max(n_atoms, 1),
                "max_force_eV_A": np.linalg.norm(forces, axis=1).max()
                if forces.shape == (n_atoms, 3) and n_atoms
                else float("nan"),
                "pressure_GPa": -np.mean(stress[:3]) * EV_A3_TO_GPA
                if stress.shape == (6,)
                else float("nan"),
                "flags": frame.rejection_reason,
            }
        )
    return pd.DataFrame(rows)


def _log_outcome(
    frames: Sequence[Frame], split: Sequence[str], alignments: Mapping[str, Alignment]
) -> None:
    for frame in frames:
        if frame.rejection_reason:
            logger.warning("left out: %s: %s", frame.name, frame.rejection_reason)
    for level, alignment in alignments.items():
        logger.info(
            "%s: energy zero fitted on %d frames, rank %d, residual %.1f meV/atom (rms)",
            level,
            alignment.n_frames,
            alignment.rank,
            1000 * alignment.residual_rms_eV_atom,
        )
    extents = Counter(stress_extent(f.atoms) for f in frames if not f.rejection_reason)
    for extent, remark in STRESS_REMARKS.items():
        if extents[extent]:
            logger.info("%d frames have %s", extents[extent], remark)
    counts = Counter(split)
    logger.info("%s", ", ".join(f"{counts[part]} {part}" for part in (*SPLITS, "none")))


def _require_usable(frames: Sequence[Frame], sources: Sequence[Path | str]) -> None:
    if any(not frame.rejection_reason for frame in frames):
        return
    reasons = "; ".join(f"{frame.name}: {frame.rejection_reason}" for frame in frames[:5])
    raise InputError(
        "dataset.sources",
        [str(source) for source in sources],
        f"hold no usable frame ({len(frames)} read: {reasons})",
    )


def aligned_frame(frame: Frame, name: str, energy_eV: float) -> Atoms:
    """A frame as the splits hold it.

    Args:
        frame: imported frame with its labels.
        name: its composition.
        energy_eV: energy on the potential's zero.
    """
    atoms = frame.atoms
    aligned = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    aligned.info = {
        "frame_id": frame.name,
        "composition": name,
        "source": str(frame.source),
        **{key: str(atoms.info[key]) for key in ("trajectory", "engine", "level")},
        **{key: atoms.info[key] for key in (PRESSURE_ONLY, "temperature_K") if key in atoms.info},
    }
    aligned.calc = SinglePointCalculator(aligned, **{**atoms.calc.results, "energy": energy_eV})
    return aligned
