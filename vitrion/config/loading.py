"""Reading a configuration: YAML files laid over each other, and messages for what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vitrion.base.errors import InputError
from vitrion.config.models import Config, Section

# Keys and values of earlier versions, each with the one that took its place.
RETIRED = {
    "finetune.accept": "finetune.validation",
    "finetune.validation.hot_md_ps": "finetune.validation.stability_ps",
    "finetune.validation.hot_md_temperature_K": "finetune.validation.stability_temperature_K",
    "production.until": "production.stop_when",
}
RETIRED_VALUES = {
    "finetune.validation.override": {
        "hot_md_length": "stability_length",
        "hot_md_least_distance": "stability_least_distance",
        "hot_md_energy_drift": "stability_energy_drift",
    },
    "production.stop_when.quantities": {"D_alkali": "D_mobile"},
}

# For errors that pydantic describes in terms of Python.
_REMEDIES = {
    "tuple_type": "give a list",
    "model_type": "give the keys of the section, or leave it out",
    "dict_type": "give keys and values",
}


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
            read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError("configfile", str(path), f"is not YAML: {error}") from error
        if not isinstance(read, Mapping):
            raise InputError("configfile", str(path), "must hold keys and values")
        merged = merge(merged, read)
    return validate_config(merged)


def validate_config(values: Mapping[str, Any]) -> Config:
    """Validate merged values, without those that Snakemake adds.

    Raises:
        InputError: names each offending key with its value and the remedy.
    """
    try:
        return Config.model_validate({key: values[key] for key in values if key != "pathvars"})
    except ValidationError as error:
        raise _as_input_error(error) from None


def _as_input_error(error: ValidationError) -> InputError:
    """The first error as an InputError, whose remedy lists the others."""
    found = [
        (".".join(map(str, each["loc"])), each["input"], _remedy(each)) for each in error.errors()
    ]
    key, value, remedy = found[0]
    for other_key, other_value, other_remedy in found[1:]:
        remedy += f"\n{other_key} = {other_value!r}: {other_remedy}"
    return InputError(key, value, remedy)


def _remedy(error: Mapping[str, Any]) -> str:
    """What to write instead of one wrong key or value."""
    path = ".".join(str(part) for part in error["loc"] if not isinstance(part, int))
    if error["type"] != "extra_forbidden":
        renamed = RETIRED_VALUES.get(path, {})
        return next(
            (f"is now called {renamed[v]}" for v in renamed if v == error["input"]),
            _REMEDIES.get(error["type"], error["msg"]),
        )
    if path in RETIRED:
        return f"is now called {RETIRED[path]}"
    section: type[Section] = Config
    for part in error["loc"][:-1]:
        section = section.inner(str(part)) or section
    name = str(error["loc"][-1])
    close = difflib.get_close_matches(name, section.model_fields, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(section.model_fields)}"
    return f"unknown key; {hint}"
