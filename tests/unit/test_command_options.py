"""Options of all commands alike: defaults in the help, and paths that are refused at once."""

from __future__ import annotations

import argparse
import errno
import os
import pkgutil
from pathlib import Path

import pytest
from test_opening import subparsers

from vitrion import commands
from vitrion.cli import build_parser, main
from vitrion.commands import COMMANDS, doctor, input_folder, output_file, output_folder

PARSERS = subparsers(build_parser())
OUTPUTS = {"out": (output_folder, output_file), "json": (output_file,)}


def test_commands_are_listed_in_the_order_of_the_workflow() -> None:
    assert sorted(COMMANDS) == [module.name for module in pkgutil.iter_modules(commands.__path__)]
    text = build_parser().format_help()
    places = [text.index(f"\n    {name} ") for name in COMMANDS]
    assert places == sorted(places)
    assert "Documentation: " in text


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_says_its_default_and_writes_where_it_can(name: str) -> None:
    for action in PARSERS[name]._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        assert action.help, action.dest
        is_flag = action.nargs == 0
        if action.option_strings and not action.required and not is_flag:
            assert "default" in action.help, f"{action.option_strings[0]} {action.help}"
            if isinstance(action.default, int | float | str) and action.default != "":
                shown = action.help % {"default": action.default}
                assert (
                    f"{action.default:g}"
                    if isinstance(action.default, float)
                    else str(action.default) in shown
                ), shown
        if action.dest in OUTPUTS:
            assert action.type in OUTPUTS[action.dest], f"{name} {action.dest}"
        if action.dest in ("directory", "against"):
            assert action.type is input_folder


def test_paths_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert output_folder(str(tmp_path / "new/folder")) == tmp_path / "new/folder"
    assert output_file(str(tmp_path / "new/table.json")) == tmp_path / "new/table.json"
    assert output_file(str(file)) == file
    for check, path, message in (
        (output_folder, file, "is a file; name a folder"),
        (output_folder, file / "below", "is a file, so"),
        (output_file, file / "below/table.json", "is a file, so"),
        (output_file, tmp_path, "is a folder; name a file"),
        (output_folder, tmp_path / ("x" * 300), "File name too long"),
        (input_folder, tmp_path / "none", "no such folder"),
        (input_folder, file, "is a file; name a folder"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            check(str(path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(argparse.ArgumentTypeError, match="cannot be written to"):
        output_folder(str(tmp_path / "new"))


@pytest.mark.parametrize(
    "command",
    [
        ["status", "--directory", "FILE/none"],
        ["status", "--json", "FILE/status.json"],
        ["plan", "--against", "FILE/none"],
        ["report", "--directory", "FILE"],
        ["archive", "--out", "FILE"],
        ["quench", "LiAlCl", "--model", "shipped", "--out", "FILE"],
        ["finetune", "--out", "FILE"],
        ["bench", "md", "--json", "FILE/md.json"],
        ["convert", "shipped", "FILE/model.pth.tar"],
        ["verify", "FILE/none"],
    ],
)
def test_commands_end_before_they_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (tmp_path / "FILE").touch()
    with pytest.raises(SystemExit) as ended:
        main([part.replace("FILE", str(tmp_path / "FILE")) for part in command])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"vitrion {command[0]}")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some"),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
         "No space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "x.h5"), "x.h5: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied; name"),
    ],
)  # fmt: skip
def test_full_disks_and_read_only_folders(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
    message: str,
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith(f"vitrion doctor: {message}")


def test_other_errors_of_the_system_are_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(doctor, "run", fail)
    with pytest.raises(OSError, match="Input/output"):
        main(["doctor"])


@pytest.mark.parametrize("command", ["evaluate --model shipped", "finetune"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--held-out LiAlF", "--held-out = 'LiAlF': no labelled frame has this composition; did"),
        ("--dataset nowhere", "--dataset = 'nowhere': no such file or folder"),
        ("--device cuda", "--device = 'cuda': torch sees no GPU here"),
    ],
)
def test_training_options_are_refused_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    options: str,
    message: str,
) -> None:
    out = tmp_path / "out"
    assert main([*command.split(), *options.split(), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_frames_of_the_configuration_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As outside a checkout, where resources/dft does not exist."""
    monkeypatch.setattr("vitrion.campaign.opening.WORKFLOW", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", "--out", "out"]) == 2
    assert "name labelled frames with --dataset" in capsys.readouterr().err
