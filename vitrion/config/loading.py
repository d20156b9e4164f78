"""Reading a configuration: YAML files laid over each other, and messages for what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vitrion.base.errors import InputError
from vitrion.config.models import Config


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another as Snakemake does: dictionaries merge, others replace.

    An empty dictionary changes nothing, also where there was none before.
    """
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            below = merged.get(key, {})
            if isinstance(below, Mapping):
                value = merge(below, value)
            elif not value:
                value = below
        merged[key] = value
    return merged


def load_config(*paths: Path | str) -> Config:
    """Read YAML files, each laid over the one before, and validate the result.

    Raises:
        InputError: a missing file, bad YAML, or anything that the models refuse.
    """
    merged: dict[str, Any] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise InputError("configfile", str(path), "no such file")
        try:
            read = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise InputError("configfile", str(path), f"is not YAML: {error}") from error
        if not isinstance(read, Mapping):
            raise InputError("configfile", str(path), "must hold keys and values")
        merged = merge(merged, read)
    return validate_config(merged)


def validate_config(values: Mapping[str, Any]) -> Config:
    """Validate merged values.

    Raises:
        InputError: names each offending key with its value and the remedy.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _as_input_error(error) from None


def _as_input_error(error: ValidationError) -> InputError:
    """The first fault as an InputError; the others are told in its remedy."""
    faults = [
        (".".join(map(str, fault["loc"])), fault["input"], _remedy(fault))
        for fault in error.errors()
    ]
    key, value, remedy = faults[0]
    for other_key, other_value, other_remedy in faults[1:]:
        remedy += f"\n{other_key} = {other_value!r}: {other_remedy}"
    return InputError(key, value, remedy)


def _remedy(fault: Mapping[str, Any]) -> str:
    if fault["type"] != "extra_forbidden":
        return fault["msg"]
    section: type[BaseModel] = Config
    for part in fault["loc"][:-1]:
        annotation = section.model_fields[str(part)].annotation
        section = next(a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields"))
    name = str(fault["loc"][-1])
    close = difflib.get_close_matches(name, section.model_fields, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(section.model_fields)}"
    return f"unknown key; {hint}"
