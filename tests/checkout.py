"""A copy of this checkout, its toy as small as can be, in which documented commands run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from vitrion.config import merge

ROOT = Path(__file__).parents[1]
TOY = "tests/toy/config.yaml"
OWN = "tests/toy/yttrium.yaml"
# What the tutorial types, so that a test of it and of the campaign share one run.
RUN_TOY = f"snakemake --configfile {TOY}"
RUN_OWN = f"snakemake --configfile {TOY} {OWN}"


def make_checkout(folder: Path) -> Path:
    """Copy the files that git knows or would add; the toy becomes as small as it can be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    toy, smallest, own = (
        yaml.safe_load((folder / name).read_text())
        for name in (TOY, "tests/toy/smallest.yaml", OWN)
    )
    small = merge(merge(toy, smallest), {"campaign": toy["campaign"]})
    (folder / TOY).write_text(yaml.safe_dump(small))
    (folder / OWN).write_text(yaml.safe_dump({**own, "temperatures_K": [1200]}))
    return folder


def run(command: str, folder: Path, *, timeout_s: float = 1500) -> subprocess.CompletedProcess[str]:
    """Run a command line as in a shell with the environment switched on."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip


def shared_checkout(shared: Path) -> Path:
    """The checkout that all test processes share, with both campaigns finished.

    Args:
        shared: folder that all of them see.
    """
    shared.mkdir(parents=True, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, done = shared / "checkout", shared / "done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make_checkout(folder)
            for command in (RUN_TOY, RUN_OWN):
                ended = run(command, folder)
                if ended.returncode:
                    raise RuntimeError(f"{command}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}")
            done.touch()
    return folder
