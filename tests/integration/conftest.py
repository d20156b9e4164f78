"""Running Snakemake on the workflow of this checkout, in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import shared_checkout

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "config.yaml"
TOY = ROOT / "tests/toy/config.yaml"
SMALLEST = ROOT / "tests/toy/smallest.yaml"


class Workflow:
    """The workflow, run in `folder` so that nothing in the checkout is touched.

    Args:
        folder: where results are written.
        configs: configuration files, each laid over the one before.
        root: the checkout whose workflow it is.
    """

    def __init__(self, folder: Path, *configs: Path, root: Path = ROOT) -> None:
        self.folder, self.configs, self.root = folder, configs, root

    def command(self, *arguments: str) -> list[str]:
        """The command line of one Snakemake run."""
        return [
            *(sys.executable, "-m", "snakemake", *arguments),
            *("--snakefile", str(self.root / "Snakefile")),
            *("--workflow-profile", str(self.root / "profiles/default")),
            *("--directory", str(self.folder), "--cores", "2"),
            *("--configfile", *map(str, self.configs)),
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)


@pytest.fixture
def workflow(tmp_path: Path) -> type:
    """A maker of workflows in an empty folder."""
    return lambda *configs: Workflow(tmp_path, *configs)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A copy of this checkout with two finished campaigns, the toy and another family's.

    One for all processes of a test run; tests may add files, but leave those that are there.
    """
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several processes, each with a folder
        base = base.parent
    return shared_checkout(base / "shared")
