"""The glasses of resources/glasses: what they say of themselves, and the README of them."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import ase.io
import pytest
from checkout import ROOT

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign.library import check_library
from vitrion.config import Config, load_config
from vitrion.structure.compositions import read_compositions
from vitrion.tables.io import read_table

LIBRARY = ROOT / "resources/glasses"
FOLDERS = sorted(path.parent for path in LIBRARY.glob("*/r*/glass.extxyz"))
README = (LIBRARY / "README.md").read_text()


def test_a_campaign_starts_from_them() -> None:
    compositions = read_compositions("shipped")
    for name, replicas in Counter(folder.parent.name for folder in FOLDERS).items():
        settings = {
            "campaign": "x",
            "replicas": replicas,
            "formula_units": 16,
            "finetune": {"model": "shipped"},
            "quench": {"from_library": str(LIBRARY)},
        }
        check_library(Config.model_validate(settings), {name: compositions[name]})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_glass_is_of_the_protocol_and_tables_are_its_own(folder: Path) -> None:
    glass = ase.io.read(folder / "glass.extxyz")
    campaign = load_config(ROOT / "config.yaml", LIBRARY / "library.yaml")
    protocol = dict(glass.info["protocol"])
    del protocol["dynamics"]
    assert protocol == campaign.quench.protocol
    assert f"hash {glass.info['model_hash']}" in README
    density = glass.get_masses().sum() * U_A3_TO_G_CM3 / glass.get_volume()
    assert glass.info["density_g_cm3"] == pytest.approx(density, rel=1e-4)
    for name in ("thermo", "glass_measurements", "glass_checks"):
        assert read_table(folder / f"{name}.parquet").attrs["seed"] == glass.info["seed"]


def test_readme_has_the_table() -> None:
    rows = runpy.run_path(str(LIBRARY / "table.py"))["rows"]()
    assert len(rows) == len(FOLDERS)
    shown = [line for line in README.splitlines() if line.startswith("| ") and "/r" in line]
    assert shown == rows
