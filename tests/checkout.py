"""A copy of this checkout, its toy as small as can be, in which documented commands run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from workflow import ROOT

from vitrion.config import merge

TOY = "tests/toy/config.yaml"
OWN = "tests/toy/yttrium.yaml"
SMALLEST = "tests/toy/smallest.yaml"
# What the tutorial types, so that a test of it and of the campaign share one run.
RUN_TOY = "make toy"
RUN_OWN = f"snakemake --configfile {TOY} {OWN}"


def make_checkout(folder: Path) -> None:
    """Copy the files that git knows or would add, and run both campaigns there.

    The toy is made as small as it can be. Of the paper's campaign, which documents only plan, one
    replica and one segment of each trajectory are left: its whole graph takes Snakemake long.

    Raises:
        RuntimeError: a campaign failed.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for file, changes in (
        (TOY, {**_load(SMALLEST), "campaign": "toy"}),
        (OWN, {"temperatures_K": [1200]}),
        ("config.yaml", {"replicas": 1, "production": {"segment_ps": 10000.0}}),
    ):
        small = merge(_load(file), changes)
        (folder / file).write_text(yaml.safe_dump(small, sort_keys=False, allow_unicode=True))
    # The environment that `make` would set up is the one that runs the tests.
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv/.ready").touch()
    for command in (RUN_TOY, RUN_OWN):
        ended = run(command, folder)
        if ended.returncode:
            raise RuntimeError(f"{command}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}")


def _load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def run(command: str, folder: Path, *, timeout_s: float = 1500) -> subprocess.CompletedProcess[str]:
    """Run a command line as in a shell with the environment switched on."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip
