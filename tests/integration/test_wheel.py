"""A wheel, built and installed in a folder of its own, works without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# All commands in one process, so that torch is imported once.
PROGRAM = """
import sys
from pathlib import Path

import vitrion
from vitrion.cli import main

assert Path(vitrion.__file__).is_relative_to(sys.argv[1]), vitrion.__file__
Path("small.yaml").write_text(
    "formula_units: 4\\n"
    "dynamics: {device: cpu, threads: 1, sample_interval_ps: 0.02}\\n"
    "quench: {attempts: 1, melt_ps: 0.1, quench_rate_K_ps: 20000.0, anneal_ps: 0.1}\\n"
)
roles = "--charges Li=1,Al=3,Cl=-1,O=-2 --mobile Li --center Al --ligands Cl,O".split()
commands = (
    "plan --steps-per-s 40 --json plan.json",
    "tables",
    "quench LiAlCl --model shipped --configfile small.yaml --out glass",
    "md glass/glass.extxyz --model shipped --ensemble nvt --temperature-K 600 --steps 40 "
    "--frame-interval-ps 0.004 --threads 1 --device cpu --out md.h5",
    "analyze md.h5 --temperature-K 600 --frame-interval-ps 0.004 --out analysis",
)
for command in commands:
    words = command.split()
    words += roles if words[0] == "analyze" else []
    print("$ vitrion", *words, flush=True)
    assert main(words) == 0, command
assert main(["dataset", "check", sys.argv[2]]) == 0
try:
    assert main(["doctor"]) == 0
except SystemExit as ended:  # a machine may lack something
    assert ended.code == 1
assert main("plan --configfile nowhere.yaml --steps-per-s 1".split()) == 2
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy without anything that an earlier build left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "vitrion", source / "vitrion", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    run("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def run(*arguments: str) -> None:
    """Pip, without looking at dependencies."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    ended = subprocess.run(
        [*command, *arguments, "--no-deps"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_the_wheel_holds_the_package_and_its_data_alone(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "vitrion"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert held == {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_commands_run_outside_of_a_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "empty"
    folder.mkdir()
    run("install", "--target", str(installed), str(wheel))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(installed), str(ROOT / "resources/dft")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    assert {path.name for path in (folder / "analysis").iterdir()} >= {
        "msd.parquet",
        "overview.png",
    }
