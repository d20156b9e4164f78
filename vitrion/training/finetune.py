"""Fine-tuning of CHGNet on energies, forces and stresses.

The model is chgnet's, and so is the loss, `CombinedLoss` (`objective.py`). The loop is not, because
chgnet's `Trainer` (0.4.2) lacks what a campaign needs: it does not clip gradients, freeze layers or
stop early, saves neither the order of the batches nor the best weights (`best_model` is the current
model, chosen by energy), needs a validation set, and pickles its state.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from ase import Atoms
from chgnet.model import CHGNet
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vitrion import __version__
from vitrion.base.errors import InputError
from vitrion.base.files import sha256
from vitrion.base.progress import Progress
from vitrion.base.seeds import derive_seed
from vitrion.campaign.model_card import read_card
from vitrion.config import Finetune
from vitrion.dataset.frame import read_labelled_frames
from vitrion.dataset.labels import UNITS
from vitrion.potential.engine import choose_device
from vitrion.potential.network import Network
from vitrion.potential.weights import (
    load_model,
    load_training_set,
    model_hash,
    save_model,
    with_angle_cutoff,
)
from vitrion.tables.io import write_table
from vitrion.training.batches import TrainingFrame, builder_for, training_frames
from vitrion.training.checkpoint import (
    TrainingState,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from vitrion.training.domain import describe_frames, joined, reference_features
from vitrion.training.muon import Muon
from vitrion.training.objective import Objective, Step, trainable
from vitrion.training.replay import replay_file, replay_frames

logger = logging.getLogger("vitrion")

# Compiling takes one to three minutes and saves about 10 ms for each frame of 21 atoms, so it pays
# from this number of atoms on, summed over the frames of all epochs.
COMPILE_FROM_ATOMS = 200_000
# Weights that validation frames choose from: these shares of the way from the start model's to
# those of the best epoch (Wortsman et al., CVPR 2022, arXiv 2109.01903).
SHARES = tuple(tenth / 10 for tenth in range(11))
# Larger errors of the start model are not errors of a model: column, limit, unit, and label.
ABSURD_ERRORS = (
    ("train_force_mae_meV_A", 3000.0, "meV/Å", "forces"),
    ("train_stress_mae_GPa", 20.0, "GPa", "stress"),
)


def finetune(
    train: Path,
    val: Path,
    out: Path,
    *,
    settings: Finetune,
    seed: int,
    device: str = "auto",
    threads: int | None = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Fine-tune the start model and write the weights with the smallest validation force error.

    The best epoch is the one whose averaged weights have it. Of the weights between the start
    model's and these, the ones with the smallest error are kept, so that the result is never worse
    than the start model on validation frames. Without validation frames all epochs are run and the
    last one is kept. A killed run continues from its last epoch. On a CPU with the same number of
    threads it ends with the same weights bit for bit. Where `out` has the model of the same inputs
    already, nothing is trained.

    Args:
        train: training frames (extxyz).
        val: validation frames (extxyz, may be empty).
        out: folder for model.safetensors, model.json (model card) and learning.parquet.
        settings: the `finetune` section of the configuration.
        seed: fixes the order of the batches.
        device: cpu, cuda or auto.
        threads: CPU threads; None leaves PyTorch's choice.
        metadata: added to the card and to the table's metadata.

    Raises:
        InputError: unreadable or unlabelled frames, no training frame, an unknown layer to freeze,
            or a training that diverges.
    """
    train, val, out, metadata = Path(train), Path(val), Path(out), dict(metadata or {})
    if threads is not None:
        torch.set_num_threads(threads)

    frames = {"train": read_labelled_frames(train), "val": read_labelled_frames(val)}
    if not frames["train"]:
        raise InputError("train", str(train), "no frames to train on; see the dataset's table")
    start = start_model(settings)
    replay = replay_frames(settings, device)
    known, own = read_card(settings.start).get("trained_on"), describe_frames(frames["train"])
    if replay and known:
        _warn_of_another_level(known, own)
    card: dict[str, object] = {
        "start_model": settings.start,
        "start_model_hash": model_hash(settings.start),
        "dataset": {
            split: {
                "sha256": sha256(path),
                "n_frames": len(frames[split]),
                "levels": dict(Counter(str(f.info.get("level", "")) for f in frames[split])),
            }
            for split, path in (("train", train), ("val", val))
        },
        "replay": {"sha256": sha256(replay_file()), "n_frames": len(replay)} if replay else None,
        # `model` names the model of a campaign; it is not a setting of the training.
        "settings": settings.model_dump(mode="json", exclude={"validation", "model"}),
        "seed": seed,
        "versions": {
            "vitrion": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "chgnet", "ase")},
        },
    }
    key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    model_file, learning = out / "model.safetensors", out / "learning.parquet"
    if learning.exists() and read_card(model_file).get("inputs_sha256") == key:
        logger.info("fine-tune: %s is of the same frames and settings; nothing to do", model_file)
        return

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / ".finetune.checkpoint"
    run = _Run(
        start,
        frames,
        replay,
        settings=settings,
        seed=seed,
        device=choose_device(device),
    )
    saved = read_checkpoint(checkpoint, key)
    if saved is None:
        if checkpoint.exists():
            logger.warning("fine-tune: starts again; %s is of other frames or settings", checkpoint)
        run.measure_start()
        _warn_of_absurd_errors(run.history[0])
    else:
        run.restore(saved)
        logger.info("fine-tune: continues after epoch %d", run.epoch)
    total, done = (epochs * run.steps_per_epoch for epochs in (settings.epochs, run.epoch))
    with Progress(total, "fine-tune", done=done) as progress:
        while not run.finished:
            run.train_epoch(progress)
            write_checkpoint(checkpoint, key, run.state())

    share, errors = run.interpolate()
    best = run.model
    history = pd.DataFrame(run.history)
    if share == 0:
        trained_on, training_set = known, load_training_set(settings.start)
    else:
        # What the start model knew it knows still where that was replayed.
        trained_on = joined(known, own) if replay else own
        references = [*frames["train"], *replay]
        training_set = reference_features(best, references, run.device.type)
    card |= {
        "trained_on": trained_on,
        "model_hash": model_hash(best),
        "device": run.device.type,
        "epochs": run.epoch,
        "best_epoch": run.best_epoch,
        "interpolation": share,
        "metrics": {
            "start": _plain_row(run.history[0]),
            "best_epoch": _plain_row(run.history[run.best_epoch]),
            "result": _plain_row(errors),
        },
        "wall_s": round(float(history["wall_s"].sum()), 1),
        "inputs_sha256": key,
        "campaign": metadata,
    }
    if share == 0:
        logger.warning("fine-tune: no weights were better than the start model's, which are kept")
    save_model(best, model_file, card, training_set)
    write_table(learning, "learning", history, {**metadata, "best_epoch": run.best_epoch})
    remove_checkpoint(checkpoint)


def start_model(settings: Finetune) -> CHGNet:
    """The model that training starts from, with the angle cutoff of the settings."""
    model = load_model(settings.start)
    if settings.angle_cutoff_A is None:
        return model
    return with_angle_cutoff(model, settings.angle_cutoff_A)


def _warn_of_absurd_errors(start: Mapping[str, float]) -> None:
    for column, limit, unit, label in ABSURD_ERRORS:
        if start[column] > limit:
            logger.warning(
                "fine-tune: the start model's mean error of the %s on the training frames is "
                "%.0f %s; are the labels in %s?",
                label,
                start[column],
                unit,
                UNITS[label],
            )


def _warn_of_another_level(known: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Replayed frames keep the level of theory of the start model, beside another one."""
    for key in ("functional", "dispersion"):
        others = sorted(own[key].keys() - known[key].keys() - {"unknown"})
        if others:
            logger.warning(
                "fine-tune: the %s of your frames is %s, of the start model's and so of the "
                "replayed ones %s; with finetune.replay: 0 yours alone is learned",
                key,
                ", ".join(others),
                ", ".join(sorted(known[key])),
            )


def learning_rate(step: int, steps_per_epoch: int, settings: Finetune) -> float:
    """Learning rate of a step counted from 0: a linear rise, then a cosine to zero.

    The step after the last one would be at zero.
    """
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.warmup_epochs * steps_per_epoch, total / 2)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (math.ceil(warmup) + 1)
    return settings.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


class _Run:
    """A training run: weights, their average, optimizers, and the errors of each epoch."""

    def __init__(
        self,
        model: CHGNet,
        frames: Mapping[str, Sequence[Atoms]],
        replay: Sequence[Atoms] = (),
        *,
        settings: Finetune,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.settings, self.seed, self.device = model, settings, seed, device
        model.to(device)
        network = trainable(model, device)
        self.frames = {split: training_frames(frames[split], network) for split in frames}
        self.replay = training_frames(replay, network)
        own = len(frames["train"])
        self.replayed_per_epoch = round(settings.replay * own) if replay else 0
        _freeze(model, settings.freeze)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = _optimizers(model, settings)
        self.averaged = AveragedModel(model, avg_fn=self._average).eval()
        self.averaged_model = cast(CHGNet, self.averaged.module)
        self.objective = Objective(settings.loss, builder_for(network), settings.batch_size)
        self.history: list[dict[str, float]] = []
        self.start = _copy(model.state_dict())
        self.best, self.best_epoch = self.start, 0
        share = (own + self.replayed_per_epoch) / own
        atoms = settings.epochs * share * sum(len(frame) for frame in frames["train"])
        self.step: Step = Network.energies_and_bond_gradients
        if atoms > COMPILE_FROM_ATOMS:
            self.step = self.objective.compiled(model, self.frames["train"][0])

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history) - 1

    @property
    def finished(self) -> bool:
        stale = bool(self.frames["val"]) and self.epoch - self.best_epoch >= self.settings.patience
        return stale or self.epoch >= self.settings.epochs

    def state(self) -> TrainingState:
        groups = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
        }
        for optimizer in self.optimizers:
            groups[type(optimizer).__name__] = {
                f"{index}/{name}": tensor
                for index, members in optimizer.state_dict()["state"].items()
                for name, tensor in members.items()
            }
        return TrainingState(groups, self.history, self.best_epoch)

    def restore(self, state: TrainingState) -> None:
        self.model.load_state_dict(state.groups["model"])
        self.averaged.load_state_dict(state.groups["averaged"])
        for optimizer in self.optimizers:
            members: dict[int, dict[str, Tensor]] = {}
            for full_name, tensor in state.groups[type(optimizer).__name__].items():
                index, name = full_name.split("/")
                members.setdefault(int(index), {})[name] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": members})
        self.history, self.best_epoch = state.history, state.best_epoch
        self.best = state.groups["best"]

    def measure_start(self) -> None:
        """Errors of the start model, as epoch 0."""
        started = time.monotonic()
        errors = {
            split: self._errors(self.model, self._batches(frames))
            for split, frames in self.frames.items()
        }
        self._record(errors, rate=0.0, wall_s=time.monotonic() - started)

    @property
    def steps_per_epoch(self) -> int:
        frames = len(self.frames["train"]) + self.replayed_per_epoch
        return math.ceil(frames / self.settings.batch_size)

    def train_epoch(self, progress: Progress) -> None:
        started = time.monotonic()
        number = self.epoch + 1
        frames = self._frames_of_epoch(number)
        step = (number - 1) * self.steps_per_epoch
        error = self.history[-1]["val_force_mae_meV_A"]
        note = f"epoch {number}, validation force error before it {error:.0f} meV/Å"
        rate = 0.0

        def update(gradient: Sequence[Tensor | None]) -> None:
            nonlocal step, rate
            rate = learning_rate(step, self.steps_per_epoch, self.settings)
            for parameter, grad in zip(self.parameters, gradient, strict=True):
                parameter.grad = grad
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
            if not torch.isfinite(norm):
                raise InputError(
                    "finetune.learning_rate",
                    self.settings.learning_rate,
                    f"training diverged in epoch {number}; lower it, or finetune.gradient_clip",
                )
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            self.averaged.update_parameters(self.model)
            step += 1
            progress.update(note=note)

        errors = {
            "train": self._errors(self.model, self._batches(frames), update),
            "val": self._errors(self.averaged_model, self._batches(self.frames["val"])),
        }
        self._record(errors, rate=rate, wall_s=time.monotonic() - started)
        scores = [row["val_force_mae_meV_A"] for row in self.history]
        # Without validation frames every comparison is with NaN, and the last epoch is the best.
        if self.best_epoch == 0 or not scores[-1] >= scores[self.best_epoch]:
            self.best_epoch = number
            self.best = _copy(self.averaged_model.state_dict())

    def interpolate(self) -> tuple[float, dict[str, float]]:
        """Give the model the best weights between the start's and those of the best epoch.

        Returns:
            Their share of the way from the start (0) to the best epoch (1, which it is without
            validation frames), and their errors on the validation frames.
        """
        found: dict[float, dict[str, float]] = {}
        for share in SHARES if self.frames["val"] else SHARES[-1:]:
            self._load_between(share)
            errors = {"val": self._errors(self.model, self._batches(self.frames["val"]))}
            found[share] = _error_columns(errors)
        best = min(found, key=lambda share: found[share]["val_force_mae_meV_A"])
        self._load_between(best)
        return best, found[best]

    def _load_between(self, share: float) -> None:
        weights = {
            name: torch.lerp(self.start[name], end, share) if end.is_floating_point() else end
            for name, end in self.best.items()
        }
        self.model.load_state_dict(weights)

    def _average(self, averaged: Tensor, new: Tensor, number: Tensor | int) -> Tensor:
        """Exponential moving average that forgets the start faster in the first steps."""
        decay = min(self.settings.ema_decay, (1 + float(number)) / (10 + float(number)))
        return torch.lerp(averaged, new, 1 - decay)

    def _frames_of_epoch(self, number: int) -> list[TrainingFrame]:
        """Training frames in random order, and among them replayed ones, other ones each epoch."""

        def permuted(count: int, *key: object) -> list[int]:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, *key))
            return torch.randperm(count, generator=generator).tolist()

        frames = list(self.frames["train"])
        if self.replayed_per_epoch:
            first = (number - 1) * self.replayed_per_epoch
            rounds: dict[int, list[int]] = {}
            for position in range(first, first + self.replayed_per_epoch):
                turn, place = divmod(position, len(self.replay))
                if turn not in rounds:
                    rounds[turn] = permuted(len(self.replay), "replay", turn)
                frames.append(self.replay[rounds[turn][place]])
        return [frames[index] for index in permuted(len(frames), "batches", number)]

    def _batches(self, frames: Sequence[TrainingFrame]) -> Iterable[Sequence[TrainingFrame]]:
        size = self.settings.batch_size
        for first in range(0, len(frames), size):
            yield frames[first : first + size]

    def _errors(
        self,
        model: CHGNet,
        batches: Iterable[Sequence[TrainingFrame]],
        update: Callable[[Sequence[Tensor | None]], None] | None = None,
    ) -> dict[str, float]:
        """Mean absolute errors over batches in chgnet's units; `update` takes each gradient."""
        sums, counts = dict.fromkeys("efs", 0.0), dict.fromkeys("efs", 0)
        for batch in batches:
            if update is None:
                result = self.objective(model, batch)
            else:
                result, gradient = self.objective.gradient(model, self.parameters, batch, self.step)
                update(gradient)
            for part in sums:
                size = int(result[f"{part}_MAE_size"])
                sums[part] += float(result[f"{part}_MAE"].detach()) * size
                counts[part] += size
        return {part: sums[part] / counts[part] if counts[part] else math.nan for part in sums}

    def _record(
        self, errors: Mapping[str, dict[str, float]], *, rate: float, wall_s: float
    ) -> None:
        row: dict[str, float] = {"epoch": len(self.history), "learning_rate": rate}
        self.history.append({**row, **_error_columns(errors), "wall_s": wall_s})


def _error_columns(errors: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Columns of the `learning` table from mean absolute errors of splits in chgnet's units."""
    columns = {}
    for split, found in errors.items():
        columns[f"{split}_energy_mae_meV_atom"] = found["e"] * 1000
        columns[f"{split}_force_mae_meV_A"] = found["f"] * 1000
        columns[f"{split}_stress_mae_GPa"] = found["s"]
    return columns


def _freeze(model: CHGNet, layers: Sequence[str]) -> None:
    """Freeze layers by name, and those that get no gradient from energies, forces, stresses."""
    known = [name for name, _ in model.named_children()]
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise InputError("finetune.freeze", unknown[0], f"no such layer; chgnet has {known}")
    # The reference energies stay: labels are aligned to them. site_wise gives magnetic moments.
    for layer in {*layers, "composition_model", "site_wise"}:
        getattr(model, layer).requires_grad_(False)


def _optimizers(model: CHGNet, settings: Finetune) -> list[torch.optim.Optimizer]:
    """Adam alone, or Muon for matrices and Adam for the rest.

    The rest are biases, norms and the embedding of the elements. Muon orthogonalises the step of a
    matrix (K. Jordan et al., 2024); its length is scaled to Adam's (Liu et al., arXiv 2502.16982).
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            is_matrix = p.ndim == 2 and min(p.shape) > 1 and not name.startswith("atom_embedding")
            (matrices if is_matrix and settings.optimizer == "muon" else others).append(p)
    rate = settings.learning_rate  # `train_epoch` sets it for each step
    adam = torch.optim.Adam(others, lr=rate)
    if not matrices:
        return [adam]
    return [Muon(matrices, lr=rate), adam]


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _plain_row(row: Mapping[str, float]) -> dict[str, float | None]:
    """A row for JSON, which has no NaN."""
    return {name: round(x, 6) if math.isfinite(x) else None for name, x in row.items()}
