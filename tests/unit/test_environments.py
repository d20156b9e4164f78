"""The environments in `envs/` name the same versions, and all that the package needs."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    """Version by package of lines like `numpy==2.4.6`."""
    return dict(line.lower().split("==") for line in lines if "==" in line)


def conda_pins(name: str) -> dict[str, str]:
    """What pip installs in a conda environment file."""
    listed = yaml.safe_load((ROOT / "envs" / name).read_text())["dependencies"]
    return pins(next(item["pip"] for item in listed if isinstance(item, dict)))


def test_conda_environments_follow_the_lock() -> None:
    lock = pins((ROOT / "envs/requirements.lock").read_text().splitlines())
    for name in ("vitrion.yaml", "dft.yaml"):
        found = conda_pins(name)
        assert found.items() <= lock.items(), name


def test_conda_environment_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w.-]+", line)[0].lower() for line in project["dependencies"]}
    assert needed == set(conda_pins("vitrion.yaml"))


def test_the_lock_has_every_dependency_and_extra() -> None:
    """The extra dft has a lock of its own, since GPAW compiles."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    installed = [*project["dependencies"], *extras["dev"], *extras["formats"], *extras["slurm"]]
    for lock, listed in (("requirements.lock", installed), ("dft.lock", extras["dft"])):
        locked = set(pins((ROOT / "envs" / lock).read_text().splitlines()))
        needed = {re.match(r"[\w.-]+", line)[0].lower() for line in listed}
        assert needed <= locked, lock
