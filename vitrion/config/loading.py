"""Reading a configuration: YAML files laid over each other, and messages for what is wrong."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vitrion.base.errors import InputError
from vitrion.config.models import Config, Section
from vitrion.config.wording import request
from vitrion.config.yaml_text import flow, plain

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

# One message lists so many errors at most.
MOST_ERRORS = 20


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
    for path in paths:
        merged = merge(merged, read_yaml(path))
    return validate_config(merged)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The keys and values of one file.

    Raises:
        InputError: a missing or unreadable file, bad YAML, or a key that is there twice.
    """
    path = Path(path)
    try:
        read = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise InputError("configfile", str(path), "no such file") from None
    except OSError as error:
        raise InputError("configfile", str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError("configfile", str(path), "is not text; save it as UTF-8") from None
    except _Refused as refused:
        raise InputError("configfile", str(path), str(refused)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(
            "configfile", str(path), f"is not YAML{where}: {error.problem or error.context}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("configfile", str(path), f"is not YAML: {reason}") from None
    if not isinstance(read or {}, dict):
        raise InputError("configfile", str(path), "must hold keys and values, such as seed: 1")
    return read or {}


class _Refused(Exception):
    """Something that YAML takes, but not as it was meant."""


class _Loader(yaml.SafeLoader):
    """YAML in which no key of a table is there twice: the last one would win unnoticed.

    Nor are numbers octal (0600 is 384) or of base 60 (1:30 is 90).
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if ":" in node.value or re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            number = super().construct_yaml_int(node)
            raise _Refused(
                f"has {node.value} in line {node.start_mark.line + 1}, which YAML reads as "
                f"{number}; write the decimal number without leading zero, or a text in quotes"
            )
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        number = super().construct_yaml_float(node)
        if ":" in node.value:
            raise _Refused(
                f"has {node.value} in line {node.start_mark.line + 1}, which YAML reads as "
                f"{number}; write the decimal number, or a text in quotes"
            )
        return number

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in lines:
                    raise _Refused(
                        f"has the key {key.value} twice, in lines {lines[key.value]} and {line}; "
                        "remove one"
                    )
                lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def validate_config(values: Mapping[str, Any]) -> Config:
    """Validate merged values, without those that Snakemake adds.

    Raises:
        InputError: names each offending key with its value and the remedy.
    """
    values = merge({}, {key: values[key] for key in values if key != "pathvars"})
    _refuse_odd_keys(values)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise input_error(error, values) from None


def input_error(
    error: ValidationError, values: Mapping[str, Any], section: type[Section] = Config
) -> InputError:
    """The first error as an InputError, whose remedy lists the others.

    Args:
        error: of the validation.
        values: what was validated.
        section: the model that validated it.
    """
    found: dict[str, tuple[object, str]] = {}
    for each in error.errors():
        key, value, remedy = _explain(each, values, section)
        found.setdefault(key, (value, remedy))
    # An entry that is wrong also makes its list too short.
    entries = {key.partition(" (entry ")[0] for key in found if " (entry " in key}
    found = {key: found[key] for key in found if key not in entries}
    (key, (value, remedy)), *others = found.items()
    for other_key, (other_value, other_remedy) in others[: MOST_ERRORS - 1]:
        remedy += f"\n{InputError(other_key, other_value, other_remedy)}"
    if len(found) > MOST_ERRORS:
        remedy += f"\n... and {len(found) - MOST_ERRORS} more"
    return InputError(key, value, remedy)


def _refuse_odd_keys(values: Mapping[Any, Any], path: str = "") -> None:
    """YAML reads some words as other things, such as `no` as false."""
    for key, value in values.items():
        if not isinstance(key, str):
            raise InputError(
                f"{path}{key}", value, "this key is not read as text; write it in quotes"
            )
        if isinstance(value, Mapping):
            _refuse_odd_keys(value, f"{path}{key}.")


def _explain(
    error: Mapping[str, Any], values: Mapping[str, Any], section: type[Section]
) -> tuple[str, object, str]:
    """Key, value and remedy of one error.

    The location of an error goes through sections to the field, then through the entries of its
    value, then may name the kind of value that was tried.
    """
    *_, last = loc = error["loc"]
    path: list[str] = []
    value: Any = values
    schema: dict[str, Any] | None = None
    field = None
    for part in loc:
        if schema is None:
            path.append(str(part))
            if part not in section.model_fields:
                return ".".join(path), error["input"], _unknown_key(path, error["input"], section)
            field = section.model_fields[part]
            value = value.get(part) if isinstance(value, Mapping) else None
            if (inner := section.inner(part)) and part != last:
                section = inner
            else:
                schema = _schema(section)["properties"][part]
            continue
        kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        if len(kinds) > 1 or part == "[key]":
            break
        (schema,) = kinds
        if isinstance(part, int) and isinstance(value, list | tuple) and part < len(value):
            path[-1] += f" (entry {part + 1})"
            value, field = value[part], None
            schema = schema.get("items") or schema["prefixItems"][part]
        elif isinstance(part, str) and isinstance(value, Mapping) and part in value:
            path.append(part)
            value, field = value[part], None
            schema = schema["additionalProperties"]
        else:
            break
    key = ".".join(path)
    renamed = RETIRED_VALUES.get(re.sub(r" \(entry \d+\)", "", key), {})
    if isinstance(value, str) and value in renamed:
        return key, value, f"is now called {renamed[value]}"
    if key in RETIRED:
        return key, value, f"is now called {RETIRED[key]}"
    if error["type"] == "value_error" and not isinstance(value, bool):
        return key, value, error["msg"].removeprefix("Value error, ")
    inner_section = section.inner(str(last)) if last in section.model_fields else None
    if inner_section and error["type"] in ("model_type", "model_attributes_type"):
        some = ", ".join(list(inner_section.model_fields)[:3])
        return key, value, f"give the keys of the section ({some}, ...), or leave it out"
    remedy = request(schema or {})
    if "items" in (schema or {}) and isinstance(value, str | int | float):
        return key, value, f"write a list: [{value}]"
    if error["type"] == "missing" and value is None:
        return key, value, f"is missing; {remedy}"
    if error["type"] == "string_pattern_mismatch":
        remedy = "use letters, digits, _, - and ., a letter or digit first, 100 at most"
    default = None if field is None or field.is_required() else field.get_default()
    if default not in (None, (), {}, ""):
        remedy += f", for example {flow(plain(default))}"
    return key, value, remedy


@functools.cache
def _schema(section: type[Section]) -> dict[str, Any]:
    return section.model_json_schema()


def _unknown_key(path: list[str], value: object, section: type[Section]) -> str:
    """What to write instead of an unknown key; `section` is where it was found."""
    name = path[-1]
    if ".".join(path) in RETIRED:
        return f"is now called {RETIRED['.'.join(path)]}"
    every = {".".join(found): found for found in _paths(Config)}
    if name in every or ".".join(path) in every:  # written with dots, or a section's key outside
        right = every.get(name) or every[".".join(path)]
        return f"unknown key here; write it as {_nested(right, value)}"
    homes = [found for found in every.values() if found[-1] == name]
    if len(homes) == 1:
        return f"unknown key here; write it as {_nested(homes[0], value)}"
    if homes:
        sections = " or ".join(".".join(found[:-1]) or "the top level" for found in homes)
        return f"unknown key here; it belongs to {sections}"
    known = {key.lower(): key for key in section.model_fields}
    for cutoff in (0.7, 0.6):
        if close := difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff):
            return f"unknown key; did you mean {known[close[0]]}?"
        elsewhere = {found[-1].lower(): found for found in every.values()}
        if close := difflib.get_close_matches(name.lower(), elsewhere, n=1, cutoff=0.8):
            return f"unknown key; did you mean {_nested(elsewhere[close[0]], value)}?"
    return f"unknown key; known: {', '.join(section.model_fields)}"


def _paths(section: type[Section], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys and sections in a section."""
    for key in section.model_fields:
        yield (*above, key)
        if inner := section.inner(key):
            yield from _paths(inner, (*above, key))


def _nested(path: tuple[str, ...], value: object) -> str:
    """A key in its sections, as YAML on one line."""
    text = flow(value) if isinstance(value, bool | int | float | str | list) else "..."
    *sections, key = path
    inner = f"{key}: {text if len(text) < 40 else '...'}"
    for section in reversed(sections):
        inner = f"{section}: {{{inner}}}"
    return inner
