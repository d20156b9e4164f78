"""The recipe of the container: what it copies is there, and it installs what is pinned."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "envs/apptainer.def"
SECTIONS = {"help", "setup", "files", "labels", "environment", "post", "runscript", "startscript",
            "test", "arguments"}  # fmt: skip


def sections() -> dict[str, str]:
    """Text by section; the header's is under an empty name."""
    parts = re.split(r"^%(\w+)$", RECIPE.read_text(), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def test_recipe_copies_what_is_there_and_installs_the_lock() -> None:
    found = sections()
    assert set(found) <= SECTIONS | {""}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Bootstrap: docker" in found[""]
    version = re.search(r"^From: python:(\d+\.\d+)", found[""], re.MULTILINE)
    assert version
    assert f">={version[1]}" in project["requires-python"].replace(" ", "")
    copied = {}
    for line in found["files"].split("\n"):
        if line.strip():
            source, target = line.split()
            copied[source] = target
            assert (ROOT / source).exists(), source
            assert target == f"/opt/vitrion/{source}"
    needed = {"pyproject.toml", "vitrion", "envs/requirements.lock", str(project["readme"])}
    assert needed <= set(copied)
    assert "pip install --no-cache-dir -r envs/requirements.lock" in found["post"]
    commands = found["post"] + found["test"]
    shell = subprocess.run(
        ["sh", "-n"], input=commands, text=True, capture_output=True, check=False
    )
    assert shell.returncode == 0, shell.stderr


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("apptainer") is None, reason="Apptainer is not installed")
def test_container_is_built_and_passes_its_test(tmp_path: Path) -> None:
    image = tmp_path / "vitrion.sif"
    subprocess.run(["apptainer", "build", str(image), str(RECIPE)], cwd=ROOT, check=True)
    subprocess.run(["apptainer", "test", str(image)], check=True)


@pytest.mark.parametrize("name", ["campaign.sh", "node.sh"])
def test_batch_scripts_are_shell_and_name_profiles_that_exist(name: str) -> None:
    path = ROOT / "profiles/slurm" / name
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    text = path.read_text()
    directives = re.findall(r"^#SBATCH (--[\w-]+)", text, re.MULTILINE)
    assert {"--partition", "--time", "--output"} <= set(directives)
    for profile in re.findall(r"profiles/(\w+)", text):
        assert profile == "mycluster" or (ROOT / "profiles" / profile / "config.yaml").is_file()
