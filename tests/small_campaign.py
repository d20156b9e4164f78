"""One trajectory of the toy campaign, to be disturbed: for the tests of faults, here and on SLURM.

What an undisturbed run gives lies in the shared checkout, and the stages that come before the
disturbed one are copied from there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml
from workflow import PAPER, SMALLEST, TOY, Workflow

from vitrion.runtime.job import attempts_path
from vitrion.tables import TRANSPORT_TABLES
from vitrion.trajectory.h5md import frames_path

RESULTS = Path("results/toy")
GLASS = RESULTS / "quench/LiAlCl/r0/glass.extxyz"
PRODUCTION = RESULTS / "production/LiAlCl/T0800/r0"
SEGMENT = PRODUCTION / "segment-0000.h5"
NEXT_SEGMENT = PRODUCTION / "segment-0001.h5"
SEGMENT_LOG = RESULTS / "logs/produce_segment/LiAlCl-T0800-r0-0000.log"
ANALYSIS = RESULTS / "transport/LiAlCl/T0800/r0"
TABLES = [ANALYSIS / f"{table}.parquet" for table in TRANSPORT_TABLES]


def small_campaign(folder: Path, **changes: object) -> Workflow:
    """The toy campaign in a folder of its own, with restart data often, so that a fault finds some.

    Args:
        folder: where results are written.
        changes: sections of the configuration, laid over it.
    """
    overlay = folder / "mine.yaml"
    often = {"campaign": "toy", "dynamics": {"checkpoint_interval_ps": 0.05}}
    overlay.write_text(yaml.safe_dump({**often, **changes}))
    return Workflow(folder, PAPER, TOY, SMALLEST, overlay)


def copy_stages(checkout: Path, folder: Path, *stages: str, without: str = "") -> None:
    """Copy finished stages of the toy campaign.

    Args:
        checkout: the shared checkout.
        folder: where to.
        stages: folders of its results.
        without: pattern of files to leave out.
    """
    for stage in stages:
        ignored = shutil.ignore_patterns(".*", *filter(None, [without]))
        shutil.copytree(checkout / RESULTS / stage, folder / RESULTS / stage, ignore=ignored)


def copy_before_production(checkout: Path, folder: Path) -> None:
    """A campaign that has its model, glasses and equilibrated states, and no segment."""
    copy_stages(checkout, folder, "finetune", "quench", "production", without="segment-*")


def rules_run(printed: str) -> list[str]:
    """Rules of the jobs that Snakemake ran, sorted, from what it printed."""
    return sorted(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", printed, re.MULTILINE))


def attempts(folder: Path) -> int:
    """How often the segment's job was started."""
    path = attempts_path(folder / SEGMENT_LOG)
    return len(path.read_text().splitlines()) if path.exists() else 0


def records(folder: Path, output: Path = SEGMENT) -> list[Path]:
    """Records of the checkpoint log of an unfinished MD run, by its output, in order."""
    return sorted(folder.glob(str(output.with_name(f".{output.name}.*") / "*.record")))


def assert_same_segment(found: Path, expected: Path) -> None:
    """Every array of the checkpoint and of the frames has the same bits."""
    for pair in ((found, expected), (frames_path(found), frames_path(expected))):
        first, second = map(_arrays, pair)
        assert first.keys() == second.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name], err_msg=name)


def assert_same_analysis(folder: Path, checkout: Path) -> None:
    """The tables of the trajectory are the same, but for how long it took."""
    for table in TABLES:
        found, expected = (pd.read_parquet(root / table) for root in (folder, checkout))
        timing = [name for name in ("wall_hours", "steps_per_s") if name in found]
        pd.testing.assert_frame_equal(found.drop(columns=timing), expected.drop(columns=timing))


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


def start(campaign: Workflow, target: Path) -> subprocess.Popen:
    """Start Snakemake in a session of its own."""
    return subprocess.Popen(
        campaign.command(target),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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
