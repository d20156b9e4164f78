"""Dispersion in labels: the right numbers, added once, or an error that says what to do."""

from __future__ import annotations

import lzma
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree
from dftd3.ase import DFTD3
from workflow import ROOT

from vitrion.base.errors import InputError
from vitrion.base.units import EV_A3_TO_GPA
from vitrion.config import Dataset
from vitrion.dataset.dispersion import add_dispersion, dispersion, theory
from vitrion.dataset.frame import Frame


@pytest.fixture(scope="module")
def glass() -> Atoms:
    path = ROOT / "resources/dft/gpaw-pbe.extxyz.xz"
    return next(ase.io.iread(lzma.open(path, "rt"), format="extxyz"))


def labelled(atoms: Atoms, level: str | None = "GPAW 26 PBE 500 eV", **labels) -> Frame:
    frame = Frame(Path("data/frames.extxyz"), 0, atoms.copy())
    frame.atoms.info["level"] = level or str(frame.source.parent)
    labels = labels or {"energy": 1.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
    frame.atoms.calc = SinglePointCalculator(frame.atoms, **labels)
    return frame


def test_argon_dimer_has_the_energy_of_the_formula() -> None:
    # E = -C6 / (r⁶ + R⁶) - s8 C8 / (r⁸ + R⁸) with R = a1 √(C8 / C6) + a2 (Grimme et al., 2011), C6
    # of two atoms without neighbours from the reference table, C8 = 3 C6 Q with √Q = 3.447 a0.
    c6, q, s8, a1, a2 = 64.6462, 3.44677275, 0.7875, 0.4289, 4.4407  # atomic units, PBE
    c8 = 3 * c6 * q**2
    r = 3.8 / Bohr
    radius = a1 * np.sqrt(c8 / c6) + a2
    expected = -c6 / (r**6 + radius**6) - s8 * c8 / (r**8 + radius**8)
    dimer = Atoms("Ar2", [[0, 0, 0], [3.8, 0, 0]], cell=[60] * 3, pbc=True)
    assert dispersion(dimer, "PBE")["energy"] == pytest.approx(expected * Hartree, rel=1e-3)


def test_forces_and_stress_are_derivatives_of_the_energy(glass: Atoms) -> None:
    found = dispersion(glass, "PBE")
    step_A, strain = 1e-3, 1e-4
    for atom, axis in ((0, 0), (9, 2)):
        ends = []
        for sign in (1, -1):
            moved = glass.copy()
            moved.positions[atom, axis] += sign * step_A
            ends.append(dispersion(moved, "PBE")["energy"])
        force = -(ends[0] - ends[1]) / (2 * step_A)
        assert found["forces"][atom, axis] == pytest.approx(force, abs=1e-6)
    for number, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        ends = []
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[i, j] += sign * strain / 2
            deformation[j, i] += sign * strain / 2
            strained = glass.copy()
            strained.set_cell(glass.cell.array @ deformation, scale_atoms=True)
            ends.append(dispersion(strained, "PBE")["energy"])
        stress = (ends[0] - ends[1]) / (2 * strain) / glass.get_volume()
        assert found["stress"][number] == pytest.approx(stress, abs=2e-7)  # 3e-5 GPa
    # Dispersion pulls the glass together, by tenths of a GPa.
    assert 0.2 < np.mean(found["stress"][:3]) * EV_A3_TO_GPA < 2.0


def test_the_sum_over_pairs_is_that_of_the_library(glass: Atoms) -> None:
    glass = glass.copy()
    glass.calc = DFTD3(method="PBE", damping="d3bj", ewald={})  # without truncation
    found = dispersion(glass, "PBE")
    assert found["energy"] == pytest.approx(glass.get_potential_energy(), abs=3e-4 * len(glass))
    np.testing.assert_allclose(found["forces"], glass.get_forces(), atol=1e-5)
    np.testing.assert_allclose(found["stress"], glass.get_stress(), atol=1e-5)  # 2 MPa


def test_labels_get_their_functionals_dispersion_once(glass: Atoms) -> None:
    frames = [labelled(glass, "GPAW 26 PBE 500 eV"), labelled(glass, "VASP 6.4.2 R2SCAN 680 eV")]
    for _ in range(2):  # a prepared data set may be a source again
        add_dispersion(frames, Dataset())
    for frame, method in zip(frames, ("PBE", "r2SCAN"), strict=True):
        expected, results = dispersion(glass, method), frame.atoms.calc.results
        assert results["energy"] == pytest.approx(1.0 + expected["energy"])
        np.testing.assert_allclose(results["forces"], expected["forces"])
        np.testing.assert_allclose(results["stress"], expected["stress"])
        assert frame.atoms.info["level"].endswith("eV + D3(BJ)")
    energies = [frame.atoms.calc.results["energy"] for frame in frames]
    assert energies[0] < energies[1] - 0.1  # r2SCAN has some of it already


def test_a_label_without_stress_stays_without(glass: Atoms) -> None:
    frame = labelled(glass, energy=0.0, forces=np.zeros((len(glass), 3)))
    add_dispersion([frame], Dataset())
    assert set(frame.atoms.calc.results) == {"energy", "forces"}


@pytest.mark.parametrize(
    "level",
    [
        "VASP 6.3.2 PBE+D3-BJ 400 eV", "VASP 6.3.2 PBE+TS 400 eV", "VASP 6.3.2 PBE+IVDW 5 400 eV",
        "VASP 6.4 R2SCAN+rVV10 500 eV", "QE PBE-D3(BJ), 80 Ry", "optB88-vdW", "CP2K PBE D3BJ",
    ],
)  # fmt: skip
def test_levels_with_dispersion_are_left_alone_and_named(glass: Atoms, level: str, caplog) -> None:
    frame = labelled(glass, level)
    with caplog.at_level("INFO", logger="vitrion"):
        add_dispersion([frame], Dataset())
    assert frame.atoms.calc.results["energy"] == 1.0
    assert frame.atoms.info["level"] == level
    assert f"{level}: 1 frames hold dispersion already" in caplog.text


@pytest.mark.parametrize(
    "level",
    [None, "VASP 6.4 hybrid 0.25 0.2 400 eV", "CP2K BLYP", "VASP 6 LDA 400 eV; PAW_PBE Al",
     "PBE at r2SCAN's structure"],
)  # fmt: skip
def test_unknown_functionals_end_with_a_remedy(glass: Atoms, level: str | None) -> None:
    frame = labelled(glass, level)
    with pytest.raises(InputError, match=r"dataset\.functional.*dataset\.dispersion to none"):
        add_dispersion([frame], Dataset())
    add_dispersion([frame], Dataset(dispersion="none"))
    assert frame.atoms.calc.results["energy"] == 1.0


def test_a_functional_can_be_given_for_levels_without(glass: Atoms) -> None:
    frames = [labelled(glass, None), labelled(glass, "a potential trained on DFT")]
    add_dispersion(frames, Dataset(functional="PBE"))
    for frame in frames:
        assert frame.atoms.calc.results["energy"] < 0.0
        assert frame.atoms.info["level"].endswith("+ D3(BJ) of PBE")
        assert theory(frame.atoms.info["level"]) == ("PBE", "D3(BJ)")


def test_rejected_frames_are_left_alone(glass: Atoms) -> None:
    frame = labelled(glass, "no functional")
    frame.rejection_reason = "force of 99 eV/Å"
    add_dispersion([frame], Dataset())
    assert frame.atoms.calc.results["energy"] == 1.0
