"""The configuration written out for people and editors: commented YAML and JSON schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import yaml

from vitrion.config.models import Config, Section

_HEAD = """\
# The paper's campaign, and every key that Vitrion knows with its unit and meaning. A key that is
# not known is refused. Lay a file with only the keys that differ over this one:
#   snakemake --configfile mine.yaml
# (execution): how jobs run; a change makes nothing run again. (limit): judges stored measurements;
# a change makes flags again, but no dynamics.
# Written by `vitrion config` from vitrion/config/models.py.
"""


def config_yaml(config: Config) -> str:
    """All keys of a configuration with their values, each commented with its meaning."""
    return _HEAD + "\n" + "\n".join(_lines(config, indent="")) + "\n"


def config_schema() -> str:
    """JSON schema of the configuration, for editors that check and complete YAML."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def mark(section: type[Section], key: str) -> str:
    """The kind of a key in brackets, to stand after its meaning; empty for physics."""
    kind = section.kind(key)
    return "" if kind == "physics" else f" ({kind})"


def _lines(section: Section, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            if not indent:
                yield ""
            yield f"{indent}{name}: # {_first_sentence(type(value))}{mark(type(section), name)}"
            yield from _lines(value, indent + "  ")
        else:
            comment = field.description or ""
            if get_origin(field.annotation) is Literal:
                comment += f" ({', '.join(get_args(field.annotation))})"
            text = flow(section.model_dump(mode="json")[name])
            yield f"{indent}{name}: {text} # {comment}{mark(type(section), name)}"


def _first_sentence(section: type[Section]) -> str:
    text = " ".join(inspect.getdoc(section).split("\n\n")[0].split())  # type: ignore[union-attr]
    return text[0].lower() + text[1:].rstrip(".") if text[1:2].islower() else text.rstrip(".")


def flow(value: object) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def plain(value: object) -> object:
    """A default as YAML writes it."""
    return list(value) if isinstance(value, tuple) else value
