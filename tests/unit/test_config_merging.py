"""Configuration files laid over each other, and lists in options: whatever they hold."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from snakemake.utils import update_config

from vitrion.base.errors import InputError
from vitrion.base.text import names, numbers
from vitrion.config import merge

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([1, 2])
# Few keys, so that files often meet in one.
CONFIGS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abc"), SCALARS | below, max_size=3),
    max_leaves=8,
)


@given(CONFIGS, CONFIGS)
@example({"a": None}, {"a": {}})
def test_merging_is_that_of_snakemake(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    expected = copy.deepcopy(base)
    update_config(expected, copy.deepcopy(overlay))
    assert merge(base, overlay) == expected


@given(CONFIGS, CONFIGS)
def test_merging_changes_neither_file(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    before = copy.deepcopy((base, overlay))
    merge(base, overlay)
    assert (base, overlay) == before


@given(CONFIGS, CONFIGS)
def test_later_file_wins(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    merged = merge(base, overlay)
    assert merged.keys() == base.keys() | overlay.keys()
    assert merge(merged, overlay) == merged
    for key, value in overlay.items():
        if not isinstance(value, dict):
            assert merged[key] == value
    for key in base.keys() - overlay.keys():
        assert merged[key] == base[key]


NAMES = st.text("ABCabc123-", min_size=1, max_size=5)
SPACES = st.sampled_from(["", " ", "  "])


@given(
    st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=5),
    SPACES,
)
def test_list_of_numbers_is_read_as_it_was_written(found: dict[str, float], space: str) -> None:
    text = f"{space},{space}".join(f"{name}{space}={space}{x!r}" for name, x in found.items())
    assert numbers("--charges", text, "Li=1") == found
    assert names(",".join(found)) == tuple(found)


@given(st.text("Aa1=., -", max_size=8))
def test_any_other_list_ends_in_the_message(text: str) -> None:
    """Either all of it is read, or the message names the option and the text."""
    message = ""
    try:
        found = numbers("--charges", text, "Li=1")
    except InputError as error:
        message = str(error)
    if message:
        assert message.startswith(f"--charges = {text!r}: ")
    else:
        assert len(found) == len([item for item in text.split(",") if item.strip()])


@given(NAMES, st.sampled_from(["nan", "inf", "-inf", "", "x", "1e999"]))
def test_what_is_not_a_finite_number_is_refused(name: str, number: str) -> None:
    with pytest.raises(InputError, match="NAME=number"):
        numbers("--charges", f"{name}={number}", "Li=1")


@given(NAMES, st.integers(-9, 9), st.integers(-9, 9))
def test_a_name_given_twice_is_refused(name: str, first: int, second: int) -> None:
    with pytest.raises(InputError, match=f"names {name} twice"):
        numbers("--charges", f"{name}={first},{name}={second}", "Li=1")


def test_fractions_are_read() -> None:
    assert numbers("--charges", "Li=0.5", "Li=1") == {"Li": 0.5}
    assert math.isclose(numbers("--charges", "Li=1e-3", "Li=1")["Li"], 0.001)
