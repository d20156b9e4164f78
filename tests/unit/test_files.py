import os
from multiprocessing import get_context

import pytest

from vitrion.base.files import whole_file


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
