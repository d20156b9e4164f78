"""A campaign that starts from finished glasses: what it takes, refuses and warns of."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
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


def _twice(library: Path) -> None:
    path = library / "LiAlCl/r1/glass.extxyz"
    path.write_text(2 * path.read_text())


def _changed(**changes: object) -> Callable[[Path], None]:
    def change(library: Path) -> None:
        path = library / "LiAlCl/r0/glass.extxyz"
        glass = ase.io.read(path)
        for name, value in changes.items():
            setattr(glass, name, value)
        ase.io.write(path, glass)

    return change


def _same_glass(library: Path) -> None:
    """As by the command of r0, with another folder to write."""
    shutil.copytree(library / "LiAlCl/r0", library / "LiAlCl/r1", dirs_exist_ok=True)


def _copied(source: str, target: str) -> Callable[[Path], None]:
    return lambda library: shutil.copy(library / source, library / target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _without("NaGaBr/r1/glass.extxyz", "NaGaBr/r1/thermo.parquet"),
            r"no glass.extxyz and no thermo.parquet in .*NaGaBr/r1; make the glass with vitrion "
            "quench NaGaBr --replica 1 --model MODEL --configfile FILE --out .*, where FILE has "
            "formula_units: 4 and the protocol .*, or leave it out",
        ),
        (_without_origin, "LiAlCl/r1/glass.extxyz'?: does not say its seed, protocol"),
        (_swapped, "NaGaBr/r0/glass.extxyz'?: is LiAlCl, not NaGaBr"),
        (
            lambda library: (library / "LiAlCl/r0/glass.extxyz").write_text("no atoms"),
            "from_library = .*LiAlCl/r0/glass.extxyz'?: ASE cannot read it",
        ),
        (
            lambda library: (library / "LiAlCl/r0/glass.extxyz").write_text(""),
            "from_library = .*LiAlCl/r0/glass.extxyz'?: ASE cannot read it",
        ),
        (_twice, "has 46 lines, one structure of 21 atoms has two more"),
        (_changed(pbc=False), "is not periodic along a, b, c"),
        (_changed(positions=np.full((21, 3), np.nan)), "coordinates that are not finite"),
        (_changed(cell=9 * np.eye(3)), r"says 2.0 g/cm³, but its cell gives \d"),
        (_same_glass, "LiAlCl/r1'?: has the seed of .*LiAlCl/r0 .0., so the two are no indep"),
        (
            lambda library: (library / "LiAlCl/r1/thermo.parquet").write_bytes(b"PAR1 is not"),
            "from_library = .*LiAlCl/r1/thermo.parquet'?: table = ",
        ),
        (
            _copied("LiAlCl/r1/thermo.parquet", "LiAlCl/r1/glass_measurements.parquet"),
            "is a table thermo, not glass_measurements",
        ),
        (
            _copied("LiAlCl/r0/glass_measurements.parquet", "LiAlCl/r1/glass_measurements.parquet"),
            "is of the seed 0, but the glass beside it of 1",
        ),
    ],
    ids=[
        "missing",
        "no origin",
        "another composition",
        "damaged",
        "empty",
        "two",
        "open",
        "nan",
        "another cell",
        "same glass",
        "damaged table",
        "another table",
        "table of another glass",
    ],
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


def test_a_protocol_that_makes_no_glass_is_warned_of(
    library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quench = {"from_library": str(library), "melt_timestep_fs": 1.0, "limits": {}}
    check_library(config(library, quench=quench), COMPOSITIONS)
    assert not caplog.records  # the time step is that of the stability test of a training too
    quench |= {"melt_ps": 500.0}
    check_library(config(library, quench=quench), COMPOSITIONS)
    (record,) = caplog.records
    assert "quench.melt_ps = 500.0 makes no glass; take it out" in record.getMessage()
    caplog.clear()
    quench |= {"attempts": 1}
    check_library(config(library, quench=quench), COMPOSITIONS)
    assert "quench.attempts = 1 make no glass; take them out" in caplog.text


def test_a_hash_that_looks_like_a_number_is_read_as_it_is(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in library.rglob("glass.extxyz"):
        path.write_text(path.read_text().replace(MODEL_HASH, "00123456789e0012"))
    take_glass("lib", LIALCL, 0, tmp_path / "x", formula_units=4, model_hash="00123456789e0012")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_glasses_of_another_model_are_warned_of(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_library(config(library, finetune={"model": "shipped"}), COMPOSITIONS)
    (record,) = caplog.records
    assert "LiAlCl r0, LiAlCl r1, NaGaBr r0, NaGaBr r1" in record.getMessage()
    assert MODEL_HASH in record.getMessage()
    take_glass("lib", LIALCL, 0, tmp_path / "out", formula_units=4, model_hash="fedcba9876543210")
    assert "the campaign's is fedcba9876543210: LiAlCl r0." in caplog.text
