"""The workflow of a checkout, run in a folder of its own, and what is made once per test run."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config.yaml"
TOY = ROOT / "tests/toy/config.yaml"
SMALLEST = ROOT / "tests/toy/smallest.yaml"

JOB = re.compile(
    r"^(?:local)?(?:rule|checkpoint) (\w+):\n(?:    (?!output).*\n)*"
    r"    output: (.*)\n    log: (.*)\n",
    re.MULTILINE,
)


class Workflow:
    """The workflow, run in `folder` so that nothing in the checkout is touched.

    Args:
        folder: where results are written.
        configs: configuration files, each laid over the one before.
        root: the checkout whose workflow it is.
    """

    def __init__(self, folder: Path, *configs: Path, root: Path = ROOT) -> None:
        self.folder, self.configs, self.root = folder, configs, root

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of one Snakemake run; its arguments are options and then targets."""
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(self.root / "Snakefile")),
            *("--workflow-profile", str(self.root / "profiles/default")),
            *("--directory", str(self.folder), "--configfile", *map(str, self.configs)),
            *("--cores", "2", *map(str, arguments)),
        ]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)

    def graph(self, *arguments: str | Path) -> Graph:
        """The jobs that a run would execute now.

        Raises:
            AssertionError: the dry run failed.
        """
        ended = self.run("--dry-run", *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        graph = Graph(ended.stdout)
        assert graph.counts or "Nothing to be done" in ended.stdout + ended.stderr
        return graph


class Graph:
    """The jobs of a dry run.

    Args:
        printed: what Snakemake printed.
    """

    def __init__(self, printed: str) -> None:
        self.printed = printed

    @property
    def counts(self) -> dict[str, int]:
        """Jobs by rule, and `total`; empty when there is nothing to do."""
        return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", self.printed, re.M)}

    @property
    def jobs(self) -> set[tuple[str, frozenset[str], str]]:
        """Rule, outputs and log of every job that has a log."""
        return {
            (rule, frozenset(outputs.replace(" (update)", "").split(", ")), log)
            for rule, outputs, log in JOB.findall(self.printed)
        }


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Fill a folder, in the first process that asks; the others wait for it.

    Args:
        folder: same path in all processes of a test run.
        make: fills the folder, which is empty; called once.

    Raises:
        RuntimeError: `make` failed, in this process or in another.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    done, failed = (folder.with_name(f"{folder.name}.{end}") for end in ("done", "failed"))
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            raise RuntimeError(failed.read_text())
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                failed.write_text(traceback.format_exc())
                raise
            done.touch()
    return folder
