"""Short lists in options and table cells."""

from __future__ import annotations

import math

from vitrion.base.errors import InputError


def names(text: str) -> tuple[str, ...]:
    """Parse `Cl,O`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(key: str, text: str, example: str) -> dict[str, float]:
    """Parse `Li=1,Al=3`.

    Args:
        key: name of the option or column, for the message.
        text: the list.
        example: a correct one, for the message.

    Raises:
        InputError: not such a list, or a name twice.
    """
    found: dict[str, float] = {}
    for item in names(text):
        name, _, number = (part.strip() for part in item.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise InputError(key, text, f"write each as NAME=number, for example {example}")
        if name in found:
            raise InputError(key, text, f"names {name} twice")
        found[name] = value
    return found
