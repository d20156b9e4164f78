"""A campaign of one glass, made to be disturbed: for the tests of faults, here and on SLURM."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import yaml

from vitrion.runtime.job import attempts_path

ROOT = Path(__file__).parents[1]
RESULTS = Path("results/smallest")
PRODUCTION = RESULTS / "production/LiAlCl/T0800/r0"
SEGMENT = PRODUCTION / "segment-0000.h5"
NEXT_SEGMENT = PRODUCTION / "segment-0001.h5"
SEGMENT_LOG = RESULTS / "logs/produce_segment/LiAlCl-T0800-r0-0000.log"
# No training, which has tests of its own; restart data often, so that a fault finds some.
OVERLAY = {
    "temperatures_K": [600, 700, 800],
    "finetune": {"model": "pretrained"},
    "quench": {"attempts": 1},
    "dynamics": {"checkpoint_interval_ps": 0.05},
}


def write_configs(folder: Path, **production: float) -> tuple[Path, ...]:
    """Files of its configuration, the changed ones below `folder`; keywords change production."""
    table = folder / "one.tsv"
    rows = (ROOT / "tests/toy/compositions.tsv").read_text().splitlines(keepends=True)
    table.write_text("".join(rows[:2]))
    overlay = folder / "mine.yaml"
    changes = {"compositions": str(table), "production": production}
    overlay.write_text(yaml.safe_dump({**OVERLAY, **changes}))
    shipped = ("config.yaml", "tests/toy/config.yaml", "tests/toy/smallest.yaml")
    return (*(ROOT / file for file in shipped), overlay)


def local_command(folder: Path, configs: tuple[Path, ...], *targets: str | Path) -> list[str]:
    """Snakemake on this machine."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles/default"), "--directory", str(folder)),
        *("--cores", "2", "--configfile", *map(str, configs), "--", *map(str, targets)),
    ]


def run_here(
    folder: Path, configs: tuple[Path, ...], *targets: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on this machine to its end."""
    command = local_command(folder, configs, *targets)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rules_run(printed: str) -> list[str]:
    """Rules of the jobs that Snakemake ran, sorted, from what it printed."""
    return sorted(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", printed, re.MULTILINE))


def copy_before_production(finished: Path, folder: Path) -> None:
    """A campaign that has its glass and equilibrated states, and no segment."""
    for part in ("finetune", "quench", "production"):
        shutil.copytree(
            finished / RESULTS / part,
            folder / RESULTS / part,
            ignore=shutil.ignore_patterns("segment-*", ".*"),
        )


def attempts(folder: Path) -> int:
    """How often the segment's job was started."""
    path = attempts_path(folder / SEGMENT_LOG)
    return len(path.read_text().splitlines()) if path.exists() else 0


def blocks(folder: Path) -> list[Path]:
    """Restart data of the unfinished segment, in order."""
    return sorted(folder.glob(str(SEGMENT.with_name(f".{SEGMENT.name}.*") / "*.record")))


def assert_same_segment(found: Path, expected: Path) -> None:
    """Every array has the same bits."""
    first, second = _arrays(found), _arrays(expected)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def wait_for(condition: Callable[[], object], what: str, *, seconds: float) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not come about.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: nothing after {seconds:g} s")
        time.sleep(0.1)


def kill_session(process: subprocess.Popen) -> None:
    """End a process and all that it has started at once, without a warning."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return arrays
