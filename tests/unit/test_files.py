import json
import math
import os
import time
from multiprocessing import get_context

import pytest

from vitrion.base.files import LEFTOVER_AGE_S, json_text, whole_file, write_json


def test_file_takes_its_place_when_written(tmp_path):
    path = tmp_path / "new/table.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.txt"]


def test_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.txt"]


def _write_and_die(path):
    with whole_file(path) as partial:
        partial.write_text("new")
        os._exit(9)


def test_killed_writer_leaves_the_file_and_the_next_one_goes_on(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")
    writer = get_context("spawn").Process(target=_write_and_die, args=(path,))
    writer.start()
    writer.join()
    assert writer.exitcode == 9
    assert path.read_text() == "old"
    with whole_file(path) as partial:
        partial.write_text("next")
    assert path.read_text() == "next"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.txt"]


def test_two_writers_of_one_file_have_names_of_their_own(tmp_path):
    path = tmp_path / "table.txt"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the block that ended last
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.txt"]


def test_partial_files_of_living_writers_stay(tmp_path):
    """Of this process, and young ones of other machines; those of the dead and old ones go."""
    path = tmp_path / "a.h5"
    other_file = tmp_path / ".a.h5.txt.node7-11-0123abcd.partial"
    young, old, legacy = (
        tmp_path / f".a.h5.{writer}partial"
        for writer in ("node7-11-0123abcd.", "node7-12-0123abcd.", "")
    )
    for leftover in (other_file, young, old, legacy):
        leftover.write_text("half")
    day_ago = time.time() - LEFTOVER_AGE_S - 60
    for leftover in (other_file, old, legacy):
        os.utime(leftover, (day_ago, day_ago))
    with whole_file(path) as mine:
        mine.write_text("1")
        with whole_file(path) as again:
            again.write_text("2")
        assert mine.exists()
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"a.h5", young.name, other_file.name}


def test_json_has_null_for_what_is_no_number(tmp_path):
    values = {"rows": [{"density": math.nan, "length": 1.5}, (math.inf, "Å", None, True)]}
    write_json(tmp_path / "new/figures.json", values)
    text = (tmp_path / "new/figures.json").read_text(encoding="utf-8")
    assert text == json_text(values)

    def refuse(name):
        raise AssertionError(name)

    expected = {"rows": [{"density": None, "length": 1.5}, [None, "Å", None, True]]}
    assert json.loads(text, parse_constant=refuse) == expected
