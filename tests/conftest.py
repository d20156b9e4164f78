"""What all tests share: things made once per test run, and the CPU time of each file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Test processes and the jobs that they start share the cores. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
from checkout import make_checkout
from workflow import PAPER, TOY, Graph, Workflow, make_once

hypothesis.settings.register_profile(
    "vitrion", deadline=None, max_examples=50, derandomize=True, database=None
)
hypothesis.settings.load_profile("vitrion")

# What takes longest comes first, and beside the toy campaign what does not wait for it. Files that
# are not named here follow, those of units last.
ORDER = (
    *("test_toy", "test_labelling", "test_rounds", "test_label_gpaw"),
    *("test_reruns", "test_graph", "test_jobs", "test_slurm", "test_docs", "test_faults"),
    *("test_lengths", "test_retention", "test_batch"),
)

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Once:
    """Makes a named folder once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several processes, each with a folder
        base = base.parent
    return lambda name, make: make_once(base / "shared" / name, make)


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[..., Workflow]:
    """A maker of workflows in an empty folder."""
    return lambda *configs: Workflow(tmp_path, *configs)


@pytest.fixture(scope="session")
def checkout(once: Once) -> Path:
    """A copy of this checkout with two finished campaigns, the toy and another family's.

    Tests may add files, but leave those that are there.
    """
    return once("checkout", make_checkout)


@pytest.fixture(scope="session")
def paper_graph(once: Once) -> Graph:
    """The graph of the paper's campaign, which takes Snakemake many seconds."""
    return _graph(once, "paper", PAPER)


@pytest.fixture(scope="session")
def toy_graph(once: Once) -> Graph:
    """The graph of the toy campaign."""
    return _graph(once, "toy", PAPER, TOY)


def _graph(once: Once, name: str, *configs: Path) -> Graph:
    def make(folder: Path) -> None:
        (folder / "graph.txt").write_text(Workflow(folder, *configs).graph().printed)

    return Graph((once(f"{name}-graph", make) / "graph.txt").read_text())


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: some wait, for SLURM or for what another one makes."""
    return min(5, len(os.sched_getaffinity(0)) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; tests of a file stay in theirs."""

    def rank(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.stem
        place = ORDER.index(name) if name in ORDER else len(ORDER)
        return place, item.path.parent.name == "unit"

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Imports of the test files belong to none of them."""
    global _cpu_s
    _cpu_s = sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Note the CPU time since the report before: the wall time depends on what else runs."""
    global _cpu_s
    report = yield
    now = sum(os.times()[:4])
    report.cpu_s, _cpu_s = now - _cpu_s, now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the CPU time of each test file, the longest first."""
    cpu_s: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "cpu_s"):
                cpu_s[report.nodeid.partition("::")[0]] += report.cpu_s
    if not cpu_s:
        return
    terminalreporter.section("CPU seconds of files")
    for file, seconds in [*cpu_s.most_common(25), ("in all", sum(cpu_s.values()))]:
        terminalreporter.write_line(f"{seconds:7.1f} {file}")
