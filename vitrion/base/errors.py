"""Exceptions that commands turn into a message and an exit code."""

from __future__ import annotations

# Characters of a value in a message.
MOST_SHOWN = 500


class InputError(Exception):
    """Bad input, as one message: which key, which value, what to do.

    Every command turns it into that message on stderr and exit code 2, without a traceback.

    Args:
        key: name of the option, configuration key, file or column that is wrong.
        value: what was found there.
        remedy: what to write instead.
    """

    def __init__(self, key: str, value: object, remedy: str) -> None:
        self.key, self.value, self.remedy = key, value, remedy
        shown = repr(value)
        if len(shown) > MOST_SHOWN:
            shown = f"{shown[:MOST_SHOWN]}..."
        super().__init__(f"{key} = {shown}: {remedy}")


class PotentialError(RuntimeError):
    """Atoms that the potential cannot describe: flown apart, or in a collapsed cell."""
