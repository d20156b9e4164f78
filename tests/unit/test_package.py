"""The package as a whole: which of its packages imports which, and what is light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vitrion
from vitrion.base.errors import InputError
from vitrion.trajectory.sources import read_files

ROOT = Path(__file__).parents[2]
# A package imports from those before it, never from those after it.
ORDER = (
    "base", "runtime", "tables", "structure", "config", "campaign", "trajectory", "potential",
    "dynamics", "dataset", "training", "transport", "statistics", "paper", "report", "bench",
    "commands",
)  # fmt: skip
HEAVY = ("torch", "matplotlib", "scipy", "pymatgen", "pandas", "chgnet")
MOST_MODULES = 600  # 400 today; a number of modules does not depend on the machine, as time does


def imported_packages(path: Path) -> Iterator[str]:
    """Packages of Vitrion that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "vitrion":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vitrion."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("vitrion."))


def test_every_package_has_its_place() -> None:
    found = {path.parent.name for path in (ROOT / "vitrion").glob("*/__init__.py")}
    assert found - {"data"} == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_down(package: str) -> None:
    later = ORDER[ORDER.index(package) + 1 :]
    folder = ROOT / "vitrion"
    upward = [
        (path.relative_to(folder).as_posix(), imported)
        for path in (folder / package).rglob("*.py")
        for imported in imported_packages(path)
        if imported in later
    ]
    assert upward == []


@pytest.mark.parametrize(
    "modules",
    [
        "vitrion.campaign.figures",
        "vitrion.campaign.jobs, vitrion.campaign.plan, vitrion.campaign.stopping",
        "vitrion.campaign.status, vitrion.campaign.doctor, vitrion.cli",
        "vitrion, vitrion.tables, vitrion.config, vitrion.base.seeds",
    ],
)
def test_what_names_things_is_light(modules: str) -> None:
    """Rules, plans and status name figures, tables and jobs thousands of times a campaign."""
    code = (
        f"import sys, {modules}\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        f"assert len(sys.modules) < {MOST_MODULES}, len(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("command", ["plan --steps-per-s 40", "status", "config"])
def test_commands_that_only_look_are_light(command: str) -> None:
    code = (
        "import sys\n"
        "from vitrion.cli import main\n"
        f"assert main({command.split()}) == 0\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        f"assert len(sys.modules) < {MOST_MODULES}, len(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_formats_that_need_the_extra_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)  # as if it were not installed
    path = tmp_path / "run.xtc"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'vitrion\[formats\]'"):
        read_files([path], frame_interval_ps=1.0, topology=tmp_path / "run.pdb")


def test_the_interface_of_import_vitrion() -> None:
    """Every name is there, and is the object of its module."""
    assert set(vitrion.__all__) == set(vitrion._MODULES) <= set(dir(vitrion))
    assert vitrion.read_files is read_files
    assert vitrion.Config().campaign == "paper"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vitrion.nothing  # noqa: B018


def test_drawing_and_stop_decisions_need_no_torch() -> None:
    code = "import sys, vitrion.report.figures, vitrion.statistics.summary\n"
    code += "import vitrion.transport.analyze\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
