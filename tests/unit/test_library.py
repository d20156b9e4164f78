"""A campaign that starts from finished glasses: what it takes, refuses and warns of."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import ase.io
import pytest
from glass_library import MODEL_HASH, make_library

from vitrion.base.errors import InputError
from vitrion.campaign.library import FILES, check_library, take_glass
from vitrion.config import Config
from vitrion.structure.compositions import Composition

LIALCL = Composition("LiAlCl", ("Li",), ("Al",), ("Cl", "O"), "LiAlCl2.5O0.75", 2.0)
NAGABR = Composition("NaGaBr", ("Na",), ("Ga",), ("Br", "O"), "NaGaBr2.5O0.75", 3.0)
COMPOSITIONS = {row.composition: row for row in (LIALCL, NAGABR)}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two replicas of both compositions, of 21 atoms."""
    monkeypatch.chdir(tmp_path)
    return make_library(tmp_path / "lib", COMPOSITIONS.values(), formula_units=4, replicas=2)


def config(library: Path | str, **changes: object) -> Config:
    """A campaign that starts from a library."""
    own = {"campaign": "x", "replicas": 2, "formula_units": 4, "finetune": {"model": "train"}}
    return Config.model_validate({**own, "quench": {"from_library": str(library)}, **changes})


def test_a_fitting_library_is_taken_byte_for_byte(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_library(config(library), COMPOSITIONS)
    check_library(config("lib"), COMPOSITIONS)
    out = tmp_path / "results/x/quench/NaGaBr/r1"
    with caplog.at_level(logging.INFO, logger="vitrion"):
        take_glass("lib", NAGABR, 1, out, formula_units=4, model_hash=MODEL_HASH)
    assert {path.name for path in out.iterdir()} == set(FILES)
    for name in FILES:
        assert (out / name).read_bytes() == (library / "NaGaBr/r1" / name).read_bytes()
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "seed 1, protocol {'melt_ps': 100.0}" in caplog.text


def _without(*names: str) -> Callable[[Path], None]:
    def change(library: Path) -> None:
        for name in names:
            (library / name).unlink()

    return change


def _without_origin(library: Path) -> None:
    path = library / "LiAlCl/r1/glass.extxyz"
    glass = ase.io.read(path)
    del glass.info["protocol"], glass.info["seed"]
    ase.io.write(path, glass)


def _swapped(library: Path) -> None:
    shutil.copy(library / "LiAlCl/r0/glass.extxyz", library / "NaGaBr/r0/glass.extxyz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _without("NaGaBr/r1/glass.extxyz", "NaGaBr/r1/thermo.parquet"),
            r"no glass.extxyz and no thermo.parquet in .*NaGaBr/r1; make the glass with vitrion "
            "quench NaGaBr --replica 1 --out .*, or leave it out",
        ),
        (_without_origin, "LiAlCl/r1/glass.extxyz'?: does not say its seed, protocol"),
        (_swapped, "NaGaBr/r0/glass.extxyz'?: is LiAlCl, not NaGaBr"),
        (
            lambda library: (library / "LiAlCl/r0/glass.extxyz").write_text("no atoms"),
            "cannot be read as extxyz",
        ),
    ],
    ids=["missing", "no origin", "another composition", "damaged"],
)
def test_what_does_not_fit_is_refused(
    library: Path, change: Callable[[Path], None], message: str
) -> None:
    change(library)
    with pytest.raises(InputError, match=message):
        check_library(config(library), COMPOSITIONS)


def test_another_number_of_atoms_is_refused(library: Path, tmp_path: Path) -> None:
    message = "formula_units = 8 asks for Li8Al8Cl20O6"
    with pytest.raises(InputError, match=message):
        check_library(config(library, formula_units=8), COMPOSITIONS)
    with pytest.raises(InputError, match=message):
        take_glass("lib", LIALCL, 0, tmp_path, formula_units=8, model_hash=MODEL_HASH)
    with pytest.raises(InputError, match="--replica 2"):
        check_library(config(library, replicas=3), COMPOSITIONS)


def test_own_glasses_are_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake would remove them before it copies them."""
    monkeypatch.chdir(tmp_path)
    folder = make_library(tmp_path / "results/x/quench", [LIALCL], formula_units=4)
    with pytest.raises(InputError, match="this campaign's own glasses"):
        check_library(config(folder, replicas=1), {"LiAlCl": LIALCL})
    check_library(config(folder, replicas=1, campaign="y"), {"LiAlCl": LIALCL})


def test_glasses_of_another_model_are_warned_of(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_library(config(library, finetune={"model": "shipped"}), COMPOSITIONS)
    (record,) = caplog.records
    assert "LiAlCl r0, LiAlCl r1, NaGaBr r0, NaGaBr r1" in record.getMessage()
    assert MODEL_HASH in record.getMessage()
    take_glass("lib", LIALCL, 0, tmp_path / "out", formula_units=4, model_hash="fedcba9876543210")
    assert "the campaign's is fedcba9876543210: LiAlCl r0." in caplog.text
