"""What few frames of one's own teach the shipped model: errors before and after fine-tuning.

Usage: python benchmarks/few_frames.py OUT [own] [other]

own: DFT frames of the six compositions that the shipped model has not seen (resources/dft). Each
composition is held out in turn, and of the five others one trajectory in six is not trained on.
other: Li3YCl4O, labelled by another potential (resources/few-frames), from 10 frames to all. One
trajectory of each density is not trained on; Li3YCl6 is held out, and the DFT frames of `own` show
what is forgotten.

The number of frames counts those that validate, too. Each training writes its errors to OUT and is
not repeated. Prints mean force errors by set of frames, and their differences to the start model's,
paired by frame, with standard errors from a bootstrap over trajectories.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms

from vitrion.campaign.opening import open_config
from vitrion.config import Config, Split
from vitrion.dataset.frame import Frame, read_labelled_frames, write_frames
from vitrion.dataset.plausibility import predict_frames
from vitrion.dataset.read import import_frames
from vitrion.dataset.split import assign_splits
from vitrion.potential import load_model, read_card
from vitrion.training import finetune, prepare_splits, with_data

RESOURCES = Path(__file__).parent.parent / "resources"
FOLDS = 6
HELD_OUT_OTHER = "Li3YCl6"
# Trajectories are numbered density by density; the last of each is not trained on.
PACKINGS_PER_DENSITY = 5
SETS = {
    "train": "trained",
    "val": "validation",
    "unseen": "other trajectories",
    "held out": "held out",
    "own family": "own family",
}
RESAMPLES = 2000


@dataclass(frozen=True)
class Training:
    """One training: its frames by set (`SETS`), and what it starts from."""

    title: str
    name: str
    start: str
    epochs: int
    frames: dict[str, list[Atoms]]


def own_trainings(out: Path, config: Config) -> Iterator[Training]:
    """One training for each held-out composition."""
    frames = own_family(out, config)
    for fold, held_out in enumerate(sorted({_composition(f) for f in frames})):
        sets: dict[str, list[Atoms]] = {"held out": [], "unseen": []}
        rest = []
        for frame in frames:
            packing = int(_trajectory(frame).rsplit("-p", 1)[1])
            if _composition(frame) == held_out:
                sets["held out"].append(frame)
            elif packing % FOLDS == fold:
                sets["unseen"].append(frame)
            else:
                rest.append(frame)
        sets |= split(rest, config, seed=fold)
        yield Training("own family, DFT", f"own-{fold}", "shipped", 6, sets)


def other_trainings(out: Path, config: Config) -> Iterator[Training]:
    """Trainings on nested random subsets of the frames."""
    for start, rows in {
        "shipped": {10: 20, 50: 12, 150: 6, 350: 3},
        "0.3.0": {50: 12},
    }.items():
        own = own_family(out, config) if start == "shipped" else []
        sets: dict[str, list[Atoms]] = {"held out": [], "unseen": [], "own family": own}
        pool = []
        for frame in prepared(
            out / f"other-{start}",
            config,
            import_frames(RESOURCES / "few-frames" / "sevennet.extxyz.xz"),
            start,
        ):
            packing = int(_trajectory(frame).rsplit("-p", 1)[1])
            if _composition(frame) == HELD_OUT_OTHER:
                sets["held out"].append(frame)
            elif (packing + 1) % PACKINGS_PER_DENSITY == 0:
                sets["unseen"].append(frame)
            else:
                pool.append(frame)
        order = np.random.default_rng(0).permutation(len(pool))
        for count, epochs in rows.items():
            if count > len(pool):
                print(f"no training on {count} frames: {len(pool)} are labelled")
                continue
            chosen = split([pool[i] for i in order[:count]], config, seed=0)
            title = f"Li3YCl4O, {count} frames from {start}"
            yield Training(title, f"other-{start}-{count}", start, epochs, {**sets, **chosen})


def own_family(out: Path, config: Config) -> list[Atoms]:
    """DFT frames with dispersion of the compositions that the shipped model has not seen."""
    held_out = read_card("shipped")["campaign"]["split"]["held_out"]
    frames = [f for f in import_frames(RESOURCES / "dft") if _composition(f.atoms) in held_out]
    return prepared(out / "own", config, frames, "shipped")


def prepared(out: Path, config: Config, frames: Sequence[Frame], start: str) -> list[Atoms]:
    """Frames with dispersion, their energies on the zero of `start`, in the order of their names.

    The zero, one number per element, is fitted on all frames; force errors do not depend on it.
    """
    if not (out / "test.extxyz").exists():
        out.mkdir(parents=True, exist_ok=True)
        ase.io.write(out / "all.extxyz", [frame.atoms for frame in frames])
        prepare_splits(with_data(config, [str(out / "all.extxyz")], []), out, start)
    found = [f for part in ("train", "val", "test") for f in _read(out / f"{part}.extxyz")]
    return sorted(found, key=lambda frame: frame.info["frame_id"])


def split(frames: Sequence[Atoms], config: Config, *, seed: int) -> dict[str, list[Atoms]]:
    """Frames that train and frames of other trajectories that validate."""
    settings = Split(held_out=(), validation_fraction=config.dataset.split.validation_fraction)
    parts = assign_splits(
        [_composition(f) for f in frames],
        [_trajectory(f) for f in frames],
        settings=settings,
        seed=seed,
    )
    return {
        part: [f for f, own in zip(frames, parts, strict=True) if own == part]
        for part in ("train", "val")
    }


def run(
    training: Training, out: Path, config: Config, known: dict[tuple[str, str], float]
) -> pd.DataFrame:
    """Train, and give the force error of each frame before and after; read it if it is there."""
    path = out / f"{training.name}.json"
    if not path.exists():
        folder = out / training.name
        for part in ("train", "val"):
            write_frames(folder / f"{part}.extxyz", training.frames[part])
        finetune(
            folder / "train.extxyz",
            folder / "val.extxyz",
            folder,
            settings=config.finetune.model_copy(
                update={"start": training.start, "epochs": training.epochs}
            ),
            seed=0,
            device="cpu",
            threads=1,
        )
        rows = [
            {"set": name, "trajectory": _trajectory(frame)}
            for name, frames in training.frames.items()
            for frame in frames
        ]
        frames = [frame for part in training.frames.values() for frame in part]
        table = pd.DataFrame(rows)
        for column, model in {
            "0.3.0": "0.3.0",
            "start": training.start,
            "end": str(folder / "model.safetensors"),
        }.items():
            table[column] = force_errors(frames, model, known)
        path.write_text(table.to_json(orient="records", indent=0))
    return pd.DataFrame(json.loads(path.read_text()))


def force_errors(
    frames: Sequence[Atoms], model: str, known: dict[tuple[str, str], float]
) -> list[float]:
    """Mean absolute force error of each frame in meV/Å; `known` keeps them by model and frame."""
    keys = [(model, str(frame.info["frame_id"])) for frame in frames]
    new = [i for i, key in enumerate(keys) if key not in known]
    found = predict_frames([Frame(Path(), i, frames[i]) for i in new], load_model(model))
    for number, i in enumerate(new):
        errors_eV_A = found[number].forces_eV_A - frames[i].get_forces()
        known[keys[i]] = 1000 * float(np.abs(errors_eV_A).mean())
    return [known[key] for key in keys]


def report(title: str, errors: pd.DataFrame, shares: Sequence[float]) -> None:
    """Print a row for each set of frames."""
    rng = np.random.default_rng(0)
    print(f"\n{title}; share of the way to the best epoch {', '.join(map(str, shares))}\n")
    print("| frames | number | 0.3.0 | start | fine-tuned | difference to start |")
    print("| --- | --: | --: | --: | --: | --: |")
    for name, label in SETS.items():
        members = errors[errors["set"] == name]
        if members.empty:
            continue
        members = members.assign(difference=members["end"] - members["start"])
        sums = members.groupby("trajectory")["difference"].agg(["sum", "count"])
        weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
        spread = (weights @ sums["sum"] / (weights @ sums["count"])).std()
        means = members[["0.3.0", "start", "end", "difference"]].mean()
        print(
            f"| {label} | {len(members)} | {means['0.3.0']:.1f} | {means['start']:.1f} "
            f"| {means['end']:.1f} | {means['difference']:+.2f} ± {spread:.2f} |"
        )


def main(out: Path, families: Sequence[str]) -> None:
    """Run what has not been run, and print the tables."""
    config = open_config([])
    # Of the labels in resources/few-frames; those in resources/dft name theirs.
    dataset = config.dataset.model_copy(update={"functional": "PBE"})
    config = config.model_copy(update={"dataset": dataset})
    makers = {"own": own_trainings, "other": other_trainings}
    tables: dict[str, list[pd.DataFrame]] = {}
    shares: dict[str, list[float]] = {}
    known: dict[tuple[str, str], float] = {}
    for family in families:
        for training in makers[family](out, config):
            tables.setdefault(training.title, []).append(run(training, out, config, known))
            card = json.loads((out / training.name / "model.json").read_text())
            shares.setdefault(training.title, []).append(card["interpolation"])
    for title, parts in tables.items():
        report(title, pd.concat(parts), shares[title])


def _composition(frame: Atoms) -> str:
    return str(frame.info["composition"])


def _trajectory(frame: Atoms) -> str:
    return str(frame.info["trajectory"])


def _read(path: Path) -> list[Atoms]:
    return read_labelled_frames(path) if path.exists() else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("families", nargs="*", default=["own", "other"], metavar="FAMILY")
    args = parser.parse_args()
    main(args.out, args.families)
