"""GPAW relabels shipped frames: the labels that were committed can be had again.

Set VITRION_GPAW_PYTHON to an interpreter that has GPAW when this one has not.
"""

from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa

from vitrion.config import Gpaw, Label
from vitrion.dataset import import_frames, label_frame
from vitrion.dataset.frame import write_frames
from vitrion.dataset.label import WORKER

SHIPPED = Path(__file__).parents[2] / "resources" / "dft"
PYTHON = os.environ.get("VITRION_GPAW_PYTHON", "")
needs_gpaw = pytest.mark.skipif(
    not PYTHON and not importlib.util.find_spec("gpaw"), reason="GPAW is not installed"
)


def small_frames() -> list[Atoms]:
    """Shipped frames that take a minute, the one with the fewest electrons first."""
    frames = [frame.atoms for frame in import_frames(SHIPPED)]
    small = [atoms for atoms in frames if len(atoms) == 21 and atoms.get_volume() < 600]
    return sorted(small, key=lambda atoms: (atoms.numbers.sum(), atoms.get_volume()))


@pytest.fixture
def frame(tmp_path):
    """The cheapest shipped frame."""
    return write(tmp_path, small_frames()[0])


def write(folder, atoms):
    write_frames(folder / "frame.extxyz", [atoms])
    return folder / "frame.extxyz", atoms


@pytest.mark.dft
@needs_gpaw
@pytest.mark.parametrize(
    "choose",
    [
        pytest.param(lambda frames: frames[0], id="cheapest"),
        pytest.param(random.choice, id="any", marks=pytest.mark.physics),
    ],
)
def test_relabelled_frame_agrees_with_the_shipped_label(tmp_path, choose):
    path, shipped = write(tmp_path, choose(small_frames()))
    print(f"relabels {shipped.info['frame_id']}")
    out = tmp_path / "labelled.extxyz"
    assert label_frame(path, out, settings=Label(engine="gpaw", gpaw=Gpaw(python=PYTHON)))
    labelled = ase.io.read(out)
    energy_meV = 1000 * (labelled.get_potential_energy() - shipped.get_potential_energy())
    assert abs(energy_meV) / len(shipped) < 1
    assert np.abs(labelled.get_forces() - shipped.get_forces()).max() < 0.010
    assert np.abs(labelled.get_stress() - shipped.get_stress()).max() < 1e-4
    assert labelled.info["level"] == shipped.info["level"]


@pytest.mark.dft
@pytest.mark.physics
@needs_gpaw
def test_stress_is_that_of_a_larger_basis(tmp_path):
    """What is taken off at 500 eV (some 2 GPa here) is what 800 eV does not have."""
    frames = [frame.atoms for frame in import_frames(SHIPPED) if len(frame.atoms) == 21]
    shipped = min(frames, key=lambda atoms: (atoms.numbers.sum(), atoms.get_volume()))
    write_frames(tmp_path / "frame.extxyz", [shipped])
    settings = Label(engine="gpaw", gpaw=Gpaw(python=PYTHON, cutoff_eV=800.0))
    assert label_frame(tmp_path / "frame.extxyz", tmp_path / "out.extxyz", settings=settings)
    difference_GPa = (
        ase.io.read(tmp_path / "out.extxyz").get_stress() - shipped.get_stress()
    ) / GPa
    assert np.abs(difference_GPa).max() < 0.1


@pytest.mark.dft
@needs_gpaw
def test_cycle_that_does_not_converge_is_retried_then_set_aside(frame, tmp_path, monkeypatch):
    """Both tries stop after a few steps here, so both end with their reason."""
    path, _ = frame
    impatient = tmp_path / "gpaw_worker.py"
    impatient.write_text(
        WORKER.read_text().replace('"maxiter": 100', '"maxiter": 2').replace("400", "3")
    )
    monkeypatch.setattr("vitrion.dataset.label.WORKER", impatient)
    settings = Label(engine="gpaw", gpaw=Gpaw(python=PYTHON, cutoff_eV=200.0))
    out = tmp_path / "labelled.extxyz"
    assert not label_frame(path, out, settings=settings)
    atoms = ase.io.read(out)
    assert atoms.info["label_failure"].count("SCF not converged") == 2
    assert atoms.calc is None


@pytest.mark.dft
@needs_gpaw
def test_pulay_stress_of_other_elements_is_measured(tmp_path, monkeypatch):
    """Of oxygen as in glasses against 800 eV; measured once, and none at 800 eV."""
    worker = pytest.importorskip("vitrion.dataset.gpaw_worker")
    monkeypatch.setattr(worker, "PULAY_eV", {})
    settings = {"cutoff_eV": 500.0, "valence_electrons": {"Li": 3}}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    worker.gpaw.setup_paths.insert(0, str(worker.generate_paw_sets({"Li": 3})))
    found = worker.pulay_eV({"O", "Li"}, settings, tmp_path)
    assert found["O"] == pytest.approx(2.1, abs=0.25)
    assert found.get("Li", 0.0) == pytest.approx(0.1, abs=0.15)
    monkeypatch.setattr(worker, "GPAW", None)  # what was measured is kept
    assert worker.pulay_eV({"O", "Li"}, settings, tmp_path) == found
    assert worker.pulay_eV({"O"}, {**settings, "cutoff_eV": 800.0}, tmp_path) == {}


@pytest.mark.dft
@needs_gpaw
def test_open_shells_ask_for_spin():
    worker = pytest.importorskip("vitrion.dataset.gpaw_worker")
    assert worker.initial_moments(Atoms("FeO")) == [4.0, 0.0]
    for closed in ("LiCl", "Y2O3", "ZrO2", "LaCl3", "ZnO", "Ga2O3"):
        assert worker.initial_moments(Atoms(closed)) is None


@pytest.mark.dft
@pytest.mark.physics
@needs_gpaw
def test_iron_is_labelled_with_its_moment(tmp_path):
    write_frames(tmp_path / "frame.extxyz", [bulk("Fe", cubic=True)])
    gpaw = Gpaw(python=PYTHON, cutoff_eV=400.0, kpoints=(4, 4, 4))
    out = tmp_path / "labelled.extxyz"
    assert label_frame(tmp_path / "frame.extxyz", out, settings=Label(engine="gpaw", gpaw=gpaw))
    moment = ase.io.read(out).info["label"]["magnetic_moment"]
    assert moment / 2 == pytest.approx(2.2, abs=0.2)  # Bohr magnetons per atom, PBE
