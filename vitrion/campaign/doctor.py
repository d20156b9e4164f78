"""Whether this machine can run a campaign: what is here, what is missing, and what to do."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from vitrion import __version__
from vitrion.base import locks
from vitrion.base.errors import InputError
from vitrion.campaign.opening import WORKFLOW, open_campaign
from vitrion.campaign.plan import n_atoms, storage_GB
from vitrion.config import Config

Verdict = Literal["ok", "missing", "note"]
PACKAGES = ("torch", "chgnet", "ase", "pymatgen", "numpy", "h5py", "pyarrow", "snakemake")
COMMAND_S = 20.0
# The plugin's default; MinJobAge must be three times as long for squeue to know how jobs ended.
FIRST_CHECK_S = 40
SPARE_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes:
        subject: what was looked at.
        verdict: ok; missing, where a campaign cannot run without it; note for everything else.
        found: what is there.
        remedy: what to do about it.
    """

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.verdict:<8}{self.subject:<14}{self.found}"
        return f"{text}\n{'':22}→ {self.remedy}" if self.remedy else text


def examine(
    configfiles: Sequence[Path | str], folder: Path, kernels_compiled: Callable[[], bool]
) -> Iterator[Finding]:
    """Look at environment, device, disk, configuration, scheduler and DFT.

    Args:
        configfiles: of the campaign, as for Snakemake.
        folder: where results will be written.
        kernels_compiled: whether the potential's CPU kernels compile and load here; may raise
            ImportError.
    """
    has_workflow = (WORKFLOW / "Snakefile").is_file()
    workflow = f"workflow in {WORKFLOW}" if has_workflow else "installed without the workflow"
    yield Finding("vitrion", "ok", f"{__version__}, {workflow}")
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    yield from map(_package, PACKAGES)
    yield _packmol()
    yield _kernels(kernels_compiled)
    yield _device()
    config = None
    try:
        config, compositions = open_campaign(configfiles)
    except InputError as error:
        yield Finding("configuration", "missing", str(error), "correct it")
    else:
        yield Finding(
            "configuration",
            "ok",
            f"campaign {config.campaign}: {len(compositions)} compositions, "
            f"{len(config.temperatures_K)} temperatures, {config.replicas} replicas",
        )
        atoms = {name: n_atoms(composition, config) for name, composition in compositions.items()}
        yield _disk(config, atoms, folder)
    yield _lock(folder)
    yield _locking(folder)
    yield from _slurm()
    yield _gpaw(config)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", "make setup, or pip install -e .")


def _packmol() -> Finding:
    try:
        from packmol.cli import get_binary_path

        return Finding("packmol", "ok", str(get_binary_path()))
    except (ImportError, OSError) as error:
        return Finding("packmol", "missing", str(error), "pip install packmol")


def _kernels(compiled: Callable[[], bool]) -> Finding:
    try:
        if compiled():
            return Finding("CPU kernels", "ok", "compiled")
    except ImportError as error:
        return Finding("CPU kernels", "note", str(error), "install torch and chgnet")
    return Finding(
        "CPU kernels",
        "note",
        "not compiled; the potential is slower on the CPU, with the same results",
        "install a C compiler (gcc)",
    )


def _device() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("device", "missing", str(error), "pip install torch")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("device", "ok", f"{len(names)} GPU: {', '.join(names)}")
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs alone"
    return Finding(
        "device",
        "note",
        f"no GPU that torch {torch.__version__} ({build}) sees; {os.cpu_count()} CPUs",
        "fine on a login node and for small campaigns; else install a torch that is built for a "
        "CUDA no newer than nvidia-smi shows, for 12.6: "
        "pip install --index-url https://download.pytorch.org/whl/cu126 torch",
    )


def _disk(config: Config, atoms: Mapping[str, int], folder: Path) -> Finding:
    needed_GB = sum(storage_GB(config, atoms, thinned=False).values()) + SPARE_GB
    free_GB = shutil.disk_usage(folder).free / 1e9
    found = f"{free_GB:.0f} GB free in {folder.resolve()}, {needed_GB:.0f} GB needed in all"
    if free_GB >= needed_GB:
        return Finding("disk", "ok", found)
    return Finding("disk", "note", found, "run elsewhere (--directory), or store frames less often")


def _lock(folder: Path) -> Finding:
    locks = list((folder / ".snakemake/locks").glob("*"))
    if not locks:
        return Finding("folder lock", "ok", "not locked by a Snakemake")
    return Finding(
        "folder lock",
        "note",
        f"a Snakemake runs in {folder.resolve()}, or was killed there",
        "if none runs: snakemake --unlock; its jobs may still run (squeue), new ones wait for them",
    )


def _locking(folder: Path) -> Finding:
    """Jobs lock their logs, so that two processes never work on one job."""
    try:
        locks.check(folder)
    except OSError as error:
        return Finding(
            "file locks",
            "note",
            f"{folder.resolve()}: {error}",
            "mount it with flock (Lustre, NFS)",
        )
    return Finding("file locks", "ok", "work here")


def _slurm() -> Iterator[Finding]:
    if shutil.which("sinfo") is None:
        yield Finding("SLURM", "note", "not on this machine", "only needed for profiles/slurm")
        return
    partitions = _ask("sinfo", "--noheader", "--format", "%R %l %G")
    if partitions is None:
        yield Finding(
            "SLURM", "note", "no answer from the controller", "check SLURM_CONF, or ask its admins"
        )
        return
    rows = sorted({tuple(line.split(maxsplit=2)) for line in partitions.splitlines()})
    listed = "; ".join(f"{name} (limit {limit}, {gres})" for name, limit, gres in rows)
    yield Finding("SLURM", "ok", f"partitions {listed}")
    yield Finding("SLURM profile", "note", "profiles/slurm", "set slurm_partition to two of these")
    yield _accounting(_ask("scontrol", "show", "config") or "")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        version = metadata.version("snakemake-executor-plugin-slurm")
        yield Finding("SLURM plugin", "ok", version)
    else:
        yield Finding("SLURM plugin", "missing", "not installed", "pip install 'vitrion[slurm]'")


def _accounting(config: str) -> Finding:
    """Which status command the plugin must use; with the wrong one it waits forever."""
    storage = re.search(r"^AccountingStorageType\s*=\s*(\S+)", config, re.MULTILINE)
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.MULTILINE)
    if storage and storage[1] != "accounting_storage/none":
        return Finding("accounting", "ok", f"{storage[1]}: slurm-status-command: sacct")
    age_s = int(age[1]) if age else 0
    found = f"none; finished jobs are kept {age_s} s"
    if age_s >= 3 * FIRST_CHECK_S:
        return Finding(
            "accounting", "note", found, "set slurm-status-command: squeue in profiles/slurm"
        )
    return Finding(
        "accounting",
        "missing",
        found,
        f"set slurm-status-command: squeue and slurm-init-seconds-before-status-checks: "
        f"{max(1, age_s // 3)} in profiles/slurm",
    )


def _gpaw(config: Config | None) -> Finding:
    python = (config and config.dataset.label.gpaw.python) or sys.executable
    version = _ask(python, "-c", "import gpaw; print(gpaw.__version__)")
    if version:
        return Finding("GPAW", "ok", f"{version.strip()} in {python}")
    wanted = config is not None and config.dataset.label.engine == "gpaw"
    return Finding(
        "GPAW",
        "missing" if wanted else "note",
        f"not in {python}",
        "only to label new frames: CC=g++ pip install -r envs/dft.lock",
    )


def _ask(*command: str) -> str | None:
    """Output of a command; None when it fails or says nothing in time."""
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None
