"""CHGNet weights: chgnet's published models, the shipped model, and safetensors files.

Nothing here unpickles code. chgnet's own checkpoints are read with torch's `weights_only`
unpickler, which builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import io
import json
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chgnet.model import CHGNet
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.campaign.model_card import shipped_file
from vitrion.potential.novelty import TrainingSet

PUBLISHED = {
    "0.3.0": "chgnet_0.3.0_e29f68s314m37.pth.tar",
    "r2scan": "chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
BASELINE = "0.3.0"
SHIPPED = "shipped"
_ARGUMENTS = "chgnet_arguments"
_TRAINING_SET = "training_set/"  # names of tensors that are no weights
CHGNET_CUTOFFS_A = (6.0, 3.0)  # of all bonds, and of those that make angles, in chgnet's models
# The shipped model's hash is stored in finished campaigns from before hashes covered the cutoffs.
_SHIPPED_HASH, _SHIPPED_CUTOFFS_A = "9bc2aa6fa790efca", (6.0, 3.5)


def baseline(start: str) -> str:
    """The published model that others are measured against: the start model if it is one.

    A start that is fine-tuned already, like the shipped model, would leave nothing to be better
    than, and knows no other elements than it was trained on.
    """
    return start if start in PUBLISHED else BASELINE


def load_model(model: str | os.PathLike[str]) -> CHGNet:
    """Load a CHGNet.

    Args:
        model: `shipped` (comes with Vitrion), `0.3.0` or `r2scan` (published with chgnet), or the
            path of a `.safetensors` file that `save_model` wrote.

    Returns:
        The model on the CPU, in float32 and evaluation mode.

    Raises:
        InputError: no such model, or a file that is damaged, incomplete, of the wrong shape, or
            holds numbers that are not finite.
    """
    name = os.fspath(model)
    if name == SHIPPED:
        with importlib.resources.as_file(shipped_file(".safetensors")) as path:
            return load_model(path)
    if name in PUBLISHED:
        checkpoint = importlib.resources.files("chgnet") / "pretrained" / name / PUBLISHED[name]
        with importlib.resources.as_file(checkpoint) as path:
            return import_chgnet(path, version=name)
    path = Path(name)
    if path.suffix != ".safetensors":
        names = ", ".join((SHIPPED, *PUBLISHED))
        raise InputError("model", name, f"use {names} or a .safetensors file")
    if not path.is_file():
        raise InputError("model", name, "no such file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            arguments = (file.metadata() or {}).get(_ARGUMENTS)
            state = {
                key: file.get_tensor(key)
                for key in file.keys()  # noqa: SIM118
                if not key.startswith(_TRAINING_SET)
            }
    except (SafetensorError, OSError) as error:
        raise InputError(
            "model", name, f"is not a whole safetensors file ({error}); copy or train it again"
        ) from None
    if arguments is None:
        raise InputError("model", name, f"lacks `{_ARGUMENTS}`; write it with save_model")
    try:
        parsed = json.loads(arguments)
    except ValueError:
        raise InputError("model", name, f"`{_ARGUMENTS}` is not JSON") from None
    return _build(name, parsed, state)


def import_chgnet(path: str | os.PathLike[str], version: str | None = None) -> CHGNet:
    """Read a checkpoint that chgnet's own trainer wrote, without executing anything in it.

    Args:
        path: a `.pth.tar` file.
        version: name to record in the model's arguments.

    Raises:
        InputError: not such a checkpoint, or one that needs more than tensors and containers.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        raise InputError("model", name, "no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)["model"]
        arguments, state = dict(content["model_args"]), content["state_dict"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("model", name, f"is not a plain chgnet checkpoint ({reason})") from None
    if version is not None:
        # As CHGNet.load passes them: only 0.2.0 had a bias in the output layers.
        arguments |= {"version": version, "mlp_out_bias": False}
    return _build(name, arguments, state)


def load_training_set(model: str | os.PathLike[str]) -> TrainingSet | None:
    """The distribution of features that a model was trained on; None where no file holds one.

    Args:
        model: a name or file that `load_model` takes.
    """
    name = os.fspath(model)
    located = shipped_file(".safetensors") if name == SHIPPED else Path(name)
    if not located.is_file():  # published models are in chgnet's own files
        return None
    with importlib.resources.as_file(located) as path, safe_open(path, framework="np") as file:
        arrays = {
            key.removeprefix(_TRAINING_SET): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118
            if key.startswith(_TRAINING_SET)
        }
    return TrainingSet.from_arrays(arrays) if arrays else None


def save_model(
    model: CHGNet,
    path: str | os.PathLike[str],
    card: Mapping[str, object],
    training_set: TrainingSet | None = None,
) -> None:
    """Write weights as safetensors and the model card as JSON beside them (same stem).

    Args:
        model: the model; its architecture goes into the file's metadata.
        path: ends in `.safetensors`.
        card: what the model is and how it was made (JSON).
        training_set: the distribution of features that it was trained on.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError("path", str(path), "must end in .safetensors")
    state = {
        key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()
    }
    for key, values in (training_set.to_arrays() if training_set else {}).items():
        state[f"{_TRAINING_SET}{key}"] = torch.tensor(values)
    # One entry alone: safetensors writes several in random order. Equal models make equal files.
    metadata = {_ARGUMENTS: json.dumps(_plain_arguments(model))}
    text = json.dumps(dict(card), indent=2, sort_keys=True, default=str) + "\n"
    with whole_file(path) as partial:
        # `save_file` would make a file that only its owner may read.
        partial.write_bytes(save(state, metadata=metadata))
    with whole_file(path.with_suffix(".json")) as partial:
        partial.write_text(text)


def export_chgnet(model: CHGNet, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint that `chgnet.model.CHGNet.from_file` loads (a pickle of tensors)."""
    content = {"model": {"state_dict": model.state_dict(), "model_args": _plain_arguments(model)}}
    with whole_file(Path(path)) as partial:
        torch.save(content, partial)


def with_angle_cutoff(model: CHGNet, cutoff_A: float) -> CHGNet:
    """The same weights, where bonds up to another length make angles: a start for a training.

    CHGNet 0.3.0 weighs angles by a smooth cutoff at 3 Å, of which a twentieth is left at 2.75 Å, so
    angles around a central cation among iodides hardly count. The radial functions of these bonds
    keep their values at each length, except for the smooth cutoff.

    Args:
        model: not changed.
        cutoff_A: longest bond that makes angles, at most that of all bonds.

    Raises:
        InputError: a cutoff that is longer.
    """
    arguments, state = _plain_arguments(model), dict(model.state_dict())
    longest_A = model.graph_converter.atom_graph_cutoff
    if not 0 < cutoff_A <= longest_A:
        raise InputError("angle_cutoff_A", cutoff_A, f"longer than 0, at most {longest_A} Å")
    stretch = cutoff_A / model.graph_converter.bond_graph_cutoff
    # sin(frequency r / cutoff) sqrt(2 / cutoff), times the weights
    state["bond_basis_expansion.rbf_expansion_bg.frequencies"] = (
        state["bond_basis_expansion.rbf_expansion_bg.frequencies"] * stretch
    )
    state["bond_weights_bg.weight"] = state["bond_weights_bg.weight"] * math.sqrt(stretch)
    return _build("angle_cutoff_A", {**arguments, "bond_graph_cutoff": cutoff_A}, state)


def model_hash(model: str | os.PathLike[str] | CHGNet) -> str:
    """The first 16 hex characters of a sha256 over weights and cutoffs, in whatever file they are.

    Cutoffs of 6 and 3 Å, those of chgnet's own models, add nothing to the hash.

    Args:
        model: as for `load_model`, or a loaded model.
    """
    if not isinstance(model, CHGNet):
        model = load_model(model)
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    converter = model.graph_converter
    cutoffs_A = float(converter.atom_graph_cutoff), float(converter.bond_graph_cutoff)
    of_weights = digest.hexdigest()[:16]
    if cutoffs_A == CHGNET_CUTOFFS_A or (of_weights, cutoffs_A) == (
        _SHIPPED_HASH,
        _SHIPPED_CUTOFFS_A,
    ):
        return of_weights
    digest.update(f"cutoffs_A {cutoffs_A[0]!r} {cutoffs_A[1]!r}\n".encode())
    return digest.hexdigest()[:16]


def _plain_arguments(model: CHGNet) -> dict[str, Any]:
    arguments = dict(model.model_args)
    if isinstance(arguments.get("composition_model"), torch.nn.Module):
        # Its weights are in the state dict; the name only tells chgnet that the model has one.
        arguments["composition_model"] = "MPtrj"
    return arguments


def _build(name: str, arguments: object, state: Mapping[str, torch.Tensor]) -> CHGNet:
    """A CHGNet of the given architecture and weights, both checked."""
    if not isinstance(arguments, dict):
        raise InputError("model", name, "its architecture is not a table of arguments")
    try:
        # chgnet prints a line for every model it makes.
        with contextlib.redirect_stdout(io.StringIO()):
            model = CHGNet(**arguments)
    except Exception as error:
        raise InputError("model", name, f"chgnet refuses its architecture: {error}") from None
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys())
    wrong += sorted(
        key
        for key in expected.keys() & state.keys()
        if not isinstance(state[key], torch.Tensor) or state[key].shape != expected[key].shape
    )
    if wrong:
        raise InputError("model", name, f"does not fit its architecture: {', '.join(wrong[:3])}")
    for key, value in state.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise InputError("model", name, f"{key} holds values that are not finite; train again")
    model.load_state_dict(state)
    return model.float().eval()
