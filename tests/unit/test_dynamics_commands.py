"""`vitrion md` and `vitrion quench`: wrong input ends with one message and exit code 2."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from potentials import LennardJones, argon

from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign.library import check_library
from vitrion.cli import main
from vitrion.config import load_config
from vitrion.dynamics.engine import Engine
from vitrion.structure.compositions import read_compositions
from vitrion.tables.io import read_table
from vitrion.trajectory.h5md import read_checkpoint, read_samples


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(Engine, "model_hash", "x")
    monkeypatch.setattr(Engine, "potential", lambda self, numbers: LennardJones(cutoff_A=4.0))


@pytest.fixture
def structure(tmp_path):
    path = tmp_path / "argon.extxyz"
    ase.io.write(path, argon().to_atoms())
    return str(path)


def md(structure, tmp_path, *options):
    fixed = ["--model", "pretrained", "--out", str(tmp_path / "md.h5")]
    # Options given twice: the last one counts.
    usual = ["--ensemble", "nvt", "--temperature-K", "80", "--steps", "20"]
    usual += ["--timestep-fs", "2", "--frame-interval-ps", "0.01"]
    return main(["md", structure, *fixed, *usual, *options])


def exit_code(run, *arguments):
    """Of a command, whether it or its parser ended."""
    try:
        return run(*arguments)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--timestep-fs", "0"], "--timestep-fs"),
        (["--timestep-fs", "50"], "--timestep-fs"),
        (["--temperature-K", "-300"], "--temperature-K"),
        (["--temperature-K", "nan"], "--temperature-K"),
        (["--steps", "0"], "--steps"),
        (["--frame-interval-ps", "0.0111"], "--timestep-fs"),
        (["--position-precision-A", "0"], "--position-precision-A"),
        (["--thermostat-tau-fs", "-1"], "--thermostat-tau-fs"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--frame-interval-ps", "inf"], "--frame-interval-ps"),
        (["--temperature-K", "inf"], "--temperature-K"),
        (["--temperature-K", "1e12"], "--temperature-K = 1000000000000.0: give at most 5000"),
        (
            ["--ensemble", "nve", "--pressure-GPa", "1"],
            "has no meaning in nve",
        ),
        (["--ensemble", "nve", "--thermostat-tau-fs", "50"], "--thermostat-tau-fs"),
        (["--pressure-GPa", "1"], "--pressure-GPa = 1.0: has no meaning in nvt"),
        (["--ensemble", "npt", "--thermostat", "bussi"], "--thermostat"),
        (["--ensemble", "npt", "--pressure-GPa", "1e9"], "give a number from -20 to 200"),
        (["--model", "CHGNet"], "--model = 'CHGNet': use pretrained, shipped, 0.3.0"),
        (["--model", "none.safetensors"], "--model = 'none.safetensors': no such file"),
        (["--resume"], "--resume = "),
        (["--device", "cuda"], "--device = 'cuda': torch sees no GPU here"),
        (["--out", "/dev/null/md.h5"], "/dev/null is a file, so /dev/null cannot be made"),
        (["--out", "."], ". is a folder; name a file"),
    ],
)
def test_wrong_options(structure, tmp_path, capsys, options, key):
    assert exit_code(md, structure, tmp_path, *options) == 2
    message = capsys.readouterr().err
    assert key in message
    assert message.count("\n") == 1
    assert not (tmp_path / "md.h5").exists()


def test_wrong_structures(tmp_path, capsys):
    ase.io.write(tmp_path / "molecule.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 1]]))
    (tmp_path / "text.extxyz").write_text("no structure\n")
    crystal = argon().to_atoms()
    for name, changed in {
        "slab": {"pbc": (True, True, False)},
        "open": {"pbc": False},
        "fixed": {"constraint": FixAtoms([0])},
        "nan": {"positions": np.full((len(crystal), 3), np.nan)},
        "massless": {"masses": np.zeros(len(crystal))},
    }.items():
        atoms = Atoms(**{"numbers": crystal.numbers, "positions": crystal.positions,
                         "cell": crystal.cell, "pbc": True, **changed})  # fmt: skip
        ase.io.write(tmp_path / f"{name}.extxyz", atoms)
    ase.io.write(tmp_path / "POSCAR", ase.io.read(tmp_path / "fixed.extxyz"))
    for name, reason in (
        ("slab.extxyz", "is not periodic along c"),
        ("open.extxyz", "is not periodic along a, b, c"),
        ("fixed.extxyz", "has constraints (FixAtoms)"),
        ("POSCAR", "has constraints (Fix"),
        ("nan.extxyz", "not finite"),
        ("massless.extxyz", "mass"),
        ("none.extxyz", "no such file"),
        ("molecule.extxyz", "periodic"),
        ("text.extxyz", "cannot read"),
    ):
        assert md(str(tmp_path / name), tmp_path) == 2
        assert reason in capsys.readouterr().err


def test_md_writes_a_segment(structure, tmp_path):
    assert md(structure, tmp_path, "--thermostat", "nose_hoover", "--seed", "3") == 0
    state, metadata = read_checkpoint(tmp_path / "md.h5")
    assert state.step == 20
    assert state.chain.shape == (2, 3)
    assert metadata.temperature_K == 80
    assert read_samples(tmp_path / "md.h5").step.tolist() == [5, 10, 15, 20]
    assert md(structure, tmp_path) == 2  # the file exists


def test_masses_of_the_structure_are_kept(tmp_path):
    heavy = argon().to_atoms()
    heavy.set_masses(np.linspace(39, 41, len(heavy)).round(3))
    ase.io.write(tmp_path / "heavy.extxyz", heavy)
    assert md(str(tmp_path / "heavy.extxyz"), tmp_path) == 0
    state, _ = read_checkpoint(tmp_path / "md.h5")
    np.testing.assert_array_equal(state.masses_u, heavy.get_masses())
    np.testing.assert_array_equal(state.to_atoms().get_masses(), heavy.get_masses())


def test_quench_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(*(Engine, "potential"), lambda self, numbers: LennardJones(0.02, 2.4, 4.0))
    table = tmp_path / "table.tsv"
    table.write_text(
        "composition\tmobile\tcenter\tligands\tformula\tdensity_guess_g_cm3\n"
        "LiAlCl\tLi\tAl\tCl\tLiAlCl2.5O0.75\t1.5\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        f"{{campaign: x, compositions: {table}, quench: {{melt_ps: 0.02, anneal_ps: 0.04, "
        "quench_rate_K_ps: 50000, attempts: 1}, dynamics: {sample_interval_ps: 0.004}}"
    )
    out = tmp_path / "library/LiAlCl/r0"
    common = ["--model", "pretrained", "--configfile", str(config), "--out", str(out)]
    assert main(["quench", "LiAlXX", *common]) == 2
    assert "LiAlCl" in capsys.readouterr().err
    assert main(["quench", "LiAlCl", "--formula-units", "3", *common]) == 2
    assert "multiple of 4" in capsys.readouterr().err
    assert main(["quench", "LiAlCl", "--formula-units", "4", "--seed", "1", *common]) == 0
    assert "central atoms with 4 ligands" in capsys.readouterr().out
    checks = read_table(out / "glass_checks.parquet")
    assert np.isfinite(checks["value"]).all()
    glass = ase.io.read(out / "glass.extxyz")
    assert len(glass) == 21
    density_g_cm3 = glass.get_masses().sum() * U_A3_TO_G_CM3 / glass.get_volume()
    assert glass.info["density_g_cm3"] == pytest.approx(density_g_cm3, rel=1e-4)
    assert glass.info["protocol"]["melt_ps"] == 0.02
    assert glass.info["protocol"]["dynamics"]["timestep_fs"] == 2.0
    # Another campaign can start from it.
    campaign = load_config(config).model_copy(update={"formula_units": 4, "replicas": 1})
    quench = campaign.quench.model_copy(update={"from_library": str(tmp_path / "library")})
    check_library(
        campaign.model_copy(update={"quench": quench}),
        {"LiAlCl": read_compositions(table)["LiAlCl"]},
    )
