"""Import of other people's data: known keys, units and signs, and every kind of broken input."""

import gzip
import json
import lzma
import re
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.units import GPa
from pymatgen.io.vasp import Vasprun

from vitrion.base.errors import InputError
from vitrion.dataset.check import check_frames
from vitrion.dataset.collect import collect_frames
from vitrion.dataset.frame import read_frame, read_frames, read_labelled_frames, write_frames
from vitrion.dataset.labels import stress_extent, stress_label_GPa, voigt_stress
from vitrion.dataset.read import import_frames

# Real VASP output comes with ASE.
VASP = Path(ase.__file__).parent / "test" / "testdata" / "vasp"
pytestmark = pytest.mark.filterwarnings("ignore")


def copper(seed=0, **info):
    """A sheared, rattled cell of copper with EMT labels."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.set_cell(atoms.cell @ np.array([[0.97, 0.02, 0], [0, 1, 0.01], [0, 0, 1.01]]), True)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    labels = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info.update(info)
    return atoms


def renamed(atoms, energy="REF_energy", forces="REF_forces", stress="REF_stress"):
    """The same frame with its labels in info and arrays under other names."""
    results = atoms.calc.results
    bare = atoms.copy()
    bare.info[energy] = results["energy"]
    bare.arrays[forces] = results["forces"]
    if stress in ("virial", "REF_virial", "virials"):
        bare.info[stress] = -atoms.get_stress(voigt=False) * atoms.get_volume()
    elif stress == "nine":
        bare.info["REF_stress"] = atoms.get_stress(voigt=False).ravel()
    else:
        bare.info[stress] = results["stress"]
    return bare


def checked(source):
    frames = import_frames(source)
    check_frames(frames, max_force_eV_A=30.0, max_energy_deviation_eV_atom=1.0)
    return frames


def assert_labels(frame, reference):
    assert frame.rejection_reason == ""
    results = frame.atoms.calc.results
    assert results["energy"] == pytest.approx(reference.get_potential_energy(), abs=1e-7)
    assert np.allclose(results["forces"], reference.get_forces(), atol=1e-6)
    assert np.allclose(results["stress"], reference.get_stress(), atol=1e-7)


def test_stress_read_is_the_derivative_of_the_energy(tmp_path):
    """The sign and unit that everything below is held to, by finite differences."""
    atoms = copper()
    ase.io.write(tmp_path / "a.extxyz", atoms)
    stress = checked(tmp_path)[0].atoms.calc.results["stress"]
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for strain in (1e-4, -1e-4):
            deformation = np.eye(3)
            deformation[i, j] += strain / 2
            deformation[j, i] += strain / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ deformation, scale_atoms=True)
            strained.calc = EMT()
            energies.append(strained.get_potential_energy())
        expected = (energies[0] - energies[1]) / 2e-4 / atoms.get_volume()
        assert stress[voigt] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"stress": "nine"},
        {"energy": "energy", "forces": "forces", "stress": "virial"},
        {"energy": "energy", "forces": "force", "stress": "virials"},
        {"stress": "REF_virial"},
        {"energy": "dft_energy", "forces": "dft_forces", "stress": "dft_stress"},
        {"energy": "energy", "forces": "force", "stress": "stress"},
    ],
)
def test_extxyz_labels_by_other_names(tmp_path, keys):
    reference = copper()
    ase.io.write(tmp_path / "a.xyz", renamed(reference, **keys), format="extxyz")
    (frame,) = checked(tmp_path / "a.xyz")
    assert_labels(frame, reference)
    assert not {"REF_energy", "virial", "dft_energy"} & set(frame.atoms.info)


def _predicted(atoms):
    """A model's labels, which are not those of the reference."""
    count = len(atoms)
    return SinglePointCalculator(
        atoms, energy=-1.0, forces=np.full((count, 3), 0.5), stress=np.full(6, 0.25)
    )


def test_reference_labels_come_before_predicted_ones(tmp_path):
    reference = copper()
    both = renamed(reference)
    both.calc = _predicted(both)
    ase.io.write(tmp_path / "a.extxyz", both)
    assert_labels(checked(tmp_path)[0], reference)


def test_labels_of_two_sources_are_never_combined(tmp_path):
    reference = copper()
    half = reference.copy()
    half.info["REF_energy"] = reference.get_potential_energy()
    half.calc = _predicted(half)
    ase.io.write(tmp_path / "a.extxyz", half)
    (frame,) = checked(tmp_path)
    assert frame.rejection_reason.startswith("no forces (eV/Å; looked for [REF_|DFT_|dft_]forces")
    # Without a REF_stress there is no stress; the model's is not a label.
    half.arrays["REF_forces"] = reference.get_forces()
    ase.io.write(tmp_path / "a.extxyz", half)
    (frame,) = checked(tmp_path)
    assert frame.rejection_reason == ""
    assert sorted(frame.atoms.calc.results) == ["energy", "forces"]
    assert np.allclose(frame.atoms.calc.results["forces"], reference.get_forces(), atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "REF_"])
def test_free_energy_wins_because_forces_are_its_derivative(tmp_path, prefix):
    reference = copper()
    atoms = renamed(
        reference, energy=f"{prefix}energy", forces=f"{prefix}forces", stress=f"{prefix}stress"
    )
    atoms.info[f"{prefix}free_energy"] = reference.get_potential_energy() - 0.2
    ase.io.write(tmp_path / "a.extxyz", atoms)
    (frame,) = checked(tmp_path)
    energy = frame.atoms.calc.results["energy"]
    assert energy == pytest.approx(reference.get_potential_energy() - 0.2, abs=1e-7)


@pytest.mark.parametrize("constraint", [FixAtoms([0, 3, 7]), FixCartesian([1, 2])])
def test_constraints_change_no_label(tmp_path, constraint):
    reference = copper()
    fixed = reference.copy()
    fixed.set_constraint(constraint)
    fixed.calc = SinglePointCalculator(fixed, **reference.calc.results)
    ase.io.write(tmp_path / "a.extxyz", fixed)
    assert "move_mask" in (tmp_path / "a.extxyz").read_text()
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(fixed, trajectory="b")
    for path in ("a.extxyz", "a.db"):
        (frame,) = checked(tmp_path / path)
        assert_labels(frame, reference)
        assert frame.atoms.constraints == []
    (own,) = read_labelled_frames(tmp_path / "a.extxyz")
    assert np.allclose(own.get_forces(), reference.get_forces(), atol=1e-6)
    collect_frames([tmp_path / "a.extxyz"], tmp_path / "all.extxyz.xz")
    (collected,) = checked(tmp_path / "all.extxyz.xz")
    assert_labels(collected, reference)


@pytest.mark.parametrize("opener", [gzip.open, lzma.open], ids=["gz", "xz"])
def test_compressed_extxyz(tmp_path, opener):
    reference = copper()
    suffix = {gzip.open: "gz", lzma.open: "xz"}[opener]
    with opener(tmp_path / f"a.extxyz.{suffix}", "wt") as file:
        ase.io.write(file, [reference, copper(1)], format="extxyz")
    frames = checked(tmp_path)
    assert len(frames) == 2
    assert_labels(frames[0], reference)


def test_ase_database(tmp_path):
    reference = copper()
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(reference, trajectory="run7")
        database.write(renamed(copper(1)), data={"REF_energy": 1.0})
    frames = checked(tmp_path)
    assert_labels(frames[0], reference)
    assert frames[0].atoms.info["trajectory"] == "run7"
    assert "no forces" in frames[1].rejection_reason


@pytest.mark.parametrize("name", ["vasprun_dfpt.xml", "vasprun_pstress.xml"])
def test_real_vasprun(tmp_path, name):
    shutil.copy(VASP / name, tmp_path / "vasprun.xml")
    reference = ase.io.read(VASP / name)
    (frame,) = checked(tmp_path)
    assert frame.rejection_reason == ""
    results = frame.atoms.calc.results
    # The force-consistent energy, without the PV term of PSTRESS.
    energy = reference.get_potential_energy(force_consistent=True)
    assert results["energy"] == pytest.approx(energy, abs=1e-8)
    assert np.array_equal(results["forces"], reference.calc.results["forces"])
    assert np.allclose(frame.atoms.positions, reference.positions, atol=1e-9)
    assert np.allclose(results["stress"], reference.get_stress())
    assert frame.atoms.info["engine"] == "vasp"
    assert frame.atoms.info["level"].startswith("VASP 6.3")


def test_folder_of_real_vasp_runs_is_read_once_each(tmp_path):
    for number, name in enumerate(("vasprun_dfpt.xml", "vasprun_pstress.xml")):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "vasprun.xml.gz").write_bytes(gzip.compress((VASP / name).read_bytes()))
        shutil.copy(VASP / "OUTCAR_example_1", folder / "OUTCAR")
    alone = tmp_path / "run2"
    alone.mkdir()
    shutil.copy(VASP / "OUTCAR_example_1", alone / "OUTCAR")
    frames = checked(tmp_path)
    assert [str(frame.atoms.symbols) for frame in frames] == ["NaCl", "C2", "Ni18"]
    reference = ase.io.read(VASP / "OUTCAR_example_1", format="vasp-out")
    assert frames[2].atoms.calc.results["energy"] == reference.calc.results["free_energy"]


def test_vasprun_that_used_up_its_steps_is_not_converged(tmp_path):
    text = (VASP / "vasprun_dfpt.xml").read_text()
    steps = len(Vasprun(VASP / "vasprun_dfpt.xml").ionic_steps[0]["electronic_steps"])

    changed, count = re.subn(r'(name="NELM">)\s*\d+', rf"\g<1> {steps}", text)
    assert count
    (tmp_path / "vasprun.xml").write_text(changed)
    (frame,) = checked(tmp_path)
    assert frame.rejection_reason == f"SCF not converged in {steps} steps"


def several_steps(text, first, last, energy):
    """A real run of one ionic step made into one of three, with energies of -10, -20 and -30 eV.

    Returns:
        What is before the steps, the steps, and what is behind them.
    """
    head, rest = text.split(first, 1)
    body, tail = rest.split(last, 1)
    steps = []
    for number in range(3):
        step = first + body + last
        *_, found = re.finditer(energy, step)
        steps.append(f"{step[: found.start(1)]}{-10.0 * (number + 1):.8f}{step[found.end(1) :]}")
    return head, steps, tail


@pytest.fixture
def outcar():
    text = (VASP / "OUTCAR_example_1").read_text()
    first = next(line for line in text.splitlines() if "Iteration    1(   1)" in line)
    text = text.replace(" General timing", "END General timing")
    return several_steps(text, first, "END", r"free  energy   TOTEN  =\s+(\S+)")


@pytest.fixture
def vasprun():
    text = (VASP / "vasprun_pstress.xml").read_text()
    energy = r'<energy>\s*<i name="e_fr_energy">\s+(\S+)'
    return several_steps(text, "<calculation>", "</calculation>", energy)


def energies(frames):
    """Of each frame that is kept, None for a rejected one (to 0.1 eV, for the PV term of one)."""
    return [
        None if f.rejection_reason else round(f.atoms.calc.results["energy"], 1) for f in frames
    ]


CONVERGED = re.compile(r"-+ aborting loop because EDIFF is reached -+\n")


@pytest.mark.parametrize(
    ("nelm", "replacement", "reason"),
    [
        ("{steps}", "", "SCF not converged in {steps} steps"),  # VASP 5 says nothing
        (
            "120",
            "--- aborting loop EDIFF was not reached (unconverged)  ---\n",
            "SCF not converged: it was stopped after {steps} steps",
        ),
        ("120", "hard stop encountered!  aborting job ...\n", "hard stop after {steps} steps"),
        ("120", "", "it was stopped after {steps} steps"),
    ],
)
def test_unconverged_steps_of_an_outcar_are_left_out_by_name(
    tmp_path, outcar, nelm, replacement, reason
):
    head, steps, tail = outcar
    count = steps[0].count("Iteration")
    head, replaced = re.subn(r"(NELM   =)\s+120", rf"\g<1> {nelm.format(steps=count)}", head)
    assert replaced
    (tmp_path / "OUTCAR").write_text(head + "".join(steps) + tail)
    assert energies(import_frames(tmp_path)) == [-10.0, -20.0, -30.0]
    steps[1], replaced = CONVERGED.subn(replacement, steps[1])
    assert replaced
    (tmp_path / "OUTCAR").write_text(head + "".join(steps) + tail)
    frames = import_frames(tmp_path)
    # The frames behind it keep their own labels.
    assert energies(frames) == [-10.0, None, -30.0]
    assert reason.format(steps=count) in frames[1].rejection_reason


LEVELS = {
    "plain": ("", "VASP 5.3.3 PBE 300 eV", {"Ni": "PAW_PBE Ni 02Aug2007"}),
    "U": (
        "   VRHFIN =Ni: \n   LDAU = T\n U (eV)   for each species LDAUU =    6.2\n",
        "VASP 5.3.3 PBE+U 300 eV",
        {"Ni": "PAW_PBE Ni 02Aug2007, U = 6.2 eV"},
    ),
    "dispersion": ("   IVDW = 12\n", "VASP 5.3.3 PBE+D3-BJ 300 eV", {"Ni": "PAW_PBE Ni 02Aug2007"}),
    "functional": (
        "   METAGGA = R2SCAN\n", "VASP 5.3.3 R2SCAN 300 eV", {"Ni": "PAW_PBE Ni 02Aug2007"},
    ),
    "cutoff": ("   ENCUT = 520eV !\n", "VASP 5.3.3 PBE 520 eV", {"Ni": "PAW_PBE Ni 02Aug2007"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", LEVELS)
def test_what_belongs_to_the_level_of_theory_of_an_outcar(tmp_path, kind):
    lines, level, pseudopotentials = LEVELS[kind]
    text = (VASP / "OUTCAR_example_1").read_text()
    (tmp_path / "OUTCAR").write_text(text.replace(" INCAR:\n", f" INCAR:\n{lines}", 1))
    (frame,) = import_frames(tmp_path)
    assert frame.rejection_reason == ""
    assert frame.atoms.info["level"] == level
    assert frame.atoms.info["pseudopotentials"] == pseudopotentials


def test_stress_of_vasp_by_isif(tmp_path):
    """0, the default in MD, has none; 1 its trace alone; 2 all of it."""
    text = (VASP / "vasprun_dfpt.xml").read_text()
    isif = '<i type="int" name="ISIF">     2</i>'
    assert isif in text
    (tmp_path / "vasprun.xml").write_text(text.replace(isif, isif.replace("2", "1")))
    (frame,) = checked(tmp_path)
    assert stress_extent(frame.atoms) == "pressure"
    expected = ase.io.read(VASP / "vasprun_dfpt.xml").get_stress(voigt=False)
    label_GPa = stress_label_GPa(frame.atoms)
    assert label_GPa.diagonal() == pytest.approx(3 * [np.trace(expected) / 3 / GPa])
    assert np.isnan(label_GPa).sum() == 6
    without = re.sub(r'<varray name="stress" >.*?</varray>', "", text, flags=re.S)
    (tmp_path / "vasprun.xml").write_text(without.replace(isif, isif.replace("2", "0")))
    (frame,) = checked(tmp_path)
    assert frame.rejection_reason == ""
    assert stress_extent(frame.atoms) == "none"


def test_level_of_a_vasprun(tmp_path):
    text = (VASP / "vasprun_dfpt.xml").read_text()
    changed = text.replace("<incar>", '<incar>\n  <i type="int" name="IVDW"> 12</i>', 1)
    for content, functional in ((text, "PBE"), (changed, "PBE+D3-BJ")):
        (tmp_path / "vasprun.xml").write_text(content)
        (frame,) = import_frames(tmp_path)
        assert frame.atoms.info["level"] == f"VASP 6.3.2 {functional} 400 eV"
        assert frame.atoms.info["pseudopotentials"] == {
            "Na": "PAW_PBE Na 08Apr2002", "Cl": "PAW_PBE Cl 06Sep2000",
        }  # fmt: skip


def test_steps_of_a_learned_force_field_are_no_labels(tmp_path, outcar):
    head, steps, tail = outcar
    steps[1] = re.sub("Iteration", "ML step", CONVERGED.sub("", steps[1]))
    (tmp_path / "OUTCAR").write_text(head + "".join(steps) + tail)
    frames = import_frames(tmp_path)
    assert energies(frames) == [-10.0, None, -30.0]
    assert "no electronic step" in frames[1].rejection_reason


def test_vasprun_steps_of_a_learned_force_field_are_no_labels(tmp_path, vasprun):
    head, steps, tail = vasprun
    steps[1] = re.sub(r"<scstep>.*</scstep>", "", steps[1], flags=re.S)
    (tmp_path / "vasprun.xml").write_text(head + "".join(steps) + tail)
    frames = import_frames(tmp_path)
    assert energies(frames) == [-10.0, None, -30.0]
    assert "no electronic step" in frames[1].rejection_reason


def test_vasprun_step_whose_cycle_was_stopped_is_left_out_by_name(tmp_path, vasprun):
    head, steps, tail = vasprun
    (tmp_path / "vasprun.xml").write_text(head + "".join(steps) + tail)
    assert energies(import_frames(tmp_path)) == [-10.0, -20.0, -30.0]
    # The last energies of the cycle are -20.24695945 and -20.24695937; EDIFF is 1e-4.
    steps[1] = steps[1].replace("-20.24695937", "-20.24495937")
    (tmp_path / "vasprun.xml").write_text(head + "".join(steps) + tail)
    frames = import_frames(tmp_path)
    assert energies(frames) == [-10.0, None, -30.0]
    assert "energy changed by 2.0e-03 eV (EDIFF = 1.0e-04)" in frames[1].rejection_reason


def test_whole_ionic_steps_of_a_cut_vasprun_are_kept(tmp_path, vasprun):
    head, steps, _ = vasprun
    (tmp_path / "vasprun.xml").write_text(head + steps[0] + steps[1] + steps[2][:2000])
    frames = import_frames(tmp_path)
    assert energies(frames) == [-10.0, -20.0, None]
    assert "ends within ionic step 3" in frames[2].rejection_reason
    assert np.allclose(
        frames[1].atoms.calc.results["forces"], frames[0].atoms.calc.results["forces"]
    )


def test_the_outcar_is_read_where_the_vasprun_holds_no_whole_step(tmp_path, vasprun, outcar):
    head, steps, _ = vasprun
    (tmp_path / "vasprun.xml").write_text(head + steps[0][:2000])
    (tmp_path / "OUTCAR").write_text(outcar[0] + "".join(outcar[1]) + outcar[2])
    for source in (tmp_path, tmp_path / "vasprun.xml"):
        frames = import_frames(source)
        assert energies(frames) == [None, -10.0, -20.0, -30.0]
        assert "OUTCAR beside it is read instead" in frames[0].rejection_reason
        assert frames[1].source == tmp_path / "OUTCAR"


@pytest.mark.parametrize("layout", ["mptrj", "lists"])
def test_chgnet_json_has_vasps_stress(tmp_path, layout):
    """The stress that pymatgen reads from a real run is what CHGNet's JSON holds."""
    run = Vasprun(VASP / "vasprun_dfpt.xml", parse_potcar_file=False)
    step = run.ionic_steps[0]
    row = {
        "structure": step["structure"].as_dict(),
        "uncorrected_total_energy": step["e_fr_energy"],
        "energy_per_atom": 99.0,
        "force": np.asarray(step["forces"]).tolist(),
        "stress": np.asarray(step["stress"]).tolist(),
    }
    data = {"mp-1": {"mp-1-0": row}}
    if layout == "lists":
        data = {key: [value] for key, value in row.items()}
    (tmp_path / "a.json").write_text(json.dumps(data))
    (frame,) = checked(tmp_path)
    assert_labels(frame, _with(step["e_fr_energy"], ase.io.read(VASP / "vasprun_dfpt.xml")))


def _with(energy, atoms):
    atoms.calc.results["energy"] = energy
    return atoms


def test_kbar_of_compression_is_negative_tension():
    row = voigt_stress(np.diag([10.0, 20, 30]) * -0.1 * GPa)
    assert row == pytest.approx([-1 * GPa, -2 * GPa, -3 * GPa, 0, 0, 0])


def test_energies_per_atom_count_when_there_is_no_total(tmp_path):
    structure = Vasprun(VASP / "vasprun_dfpt.xml", parse_potcar_file=False).final_structure
    row = {"structure": structure.as_dict(), "energy_per_atom": -2.5, "force": [[0, 0, 0]] * 2}
    (tmp_path / "a.json").write_text(json.dumps({"mp-1": {"a": row}}))
    assert checked(tmp_path)[0].atoms.calc.results["energy"] == -5.0


# Every kind of broken input: name, how to write it, and the expected rejection reason.
def _frames(change):
    def write(folder):
        atoms = copper(1)
        change(atoms)
        ase.io.write(folder / "a.extxyz", [copper(), atoms])

    return write


def _text(change):
    def write(folder):
        ase.io.write(folder / "a.extxyz", [copper(), copper(1)])
        path = folder / "a.extxyz"
        path.write_text(change(path.read_text()))

    return write


def _set(label, value):
    def change(atoms):
        atoms.calc.results[label] = value

    return change


def _drop(label):
    return lambda atoms: atoms.calc.results.pop(label)


def _nan_force(atoms):
    atoms.calc.results["forces"][3, 1] = np.nan


def _big_force(atoms):
    atoms.calc.results["forces"][3] = [0, 40.0, 0]


def _nan_position(atoms):
    atoms.positions[2, 0] = np.nan


def _overlap(atoms):
    atoms.positions[1] = atoms.positions[0] + [0.3, 0, 0]


def _no_cell(atoms):
    atoms.cell[:] = 0


def _flat_cell(atoms):
    atoms.cell[2] = atoms.cell[1]


def _not_periodic(atoms):
    atoms.pbc = (True, True, False)


def _isolated(atoms):
    atoms.cell = np.eye(3) * 60.0
    atoms.positions[0] = [30.0, 30, 30]


def _unknown_element(atoms):
    atoms.numbers[0] = 0


def _energy_off(folder):
    frames = [copper(seed) for seed in range(5)]
    frames[4].calc.results["energy"] += 2.0 * len(frames[4])
    ase.io.write(folder / "a.extxyz", frames)


def _same_wrapped(folder):
    twice = copper()
    twice.positions += twice.cell[0]
    ase.io.write(folder / "a.extxyz", [copper(), twice])


def _same_name(folder):
    ase.io.write(folder / "a.extxyz", [copper(0, frame_id="x"), copper(1, frame_id="x")])


def _failed_label(atoms):
    atoms.calc = None
    atoms.info["label_failure"] = "SCF not converged"


def _odd_stress(atoms):
    atoms.info |= {"REF_energy": atoms.get_potential_energy(), "REF_stress": np.arange(9.0)}
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None


def _truncated_xml(folder):
    text = (VASP / "vasprun_dfpt.xml").read_text()
    (folder / "vasprun.xml").write_text(text[: len(text) // 3])


def _garbage(name, content=b"\x00\x01 not data at all"):
    return lambda folder: (folder / name).write_bytes(content)


def _empty_database(folder):
    sqlite3.connect(folder / "a.db").execute("create table t (x)")


BROKEN = {
    "no energy": (_frames(_drop("energy")), "no energy"),
    "no forces": (_frames(_drop("forces")), "no forces"),
    "energy NaN": (_frames(_set("energy", np.nan)), "energy not finite"),
    "energy infinite": (_frames(_set("energy", np.inf)), "energy not finite"),
    "force NaN": (_frames(_nan_force), "forces not finite"),
    "stress NaN": (_frames(_set("stress", np.full(6, np.nan))), "stress not finite"),
    "stress not symmetric": (_frames(_odd_stress), "stress is not symmetric"),
    "position NaN": (_frames(_nan_position), "positions not finite"),
    "force too large": (_frames(_big_force), "force of 40.0 eV/Å"),
    "no cell": (_frames(_no_cell), "not periodic|no cell"),
    "flat cell": (_frames(_flat_cell), "no cell"),
    "not periodic": (_frames(_not_periodic), "not periodic"),
    "overlap": (_frames(_overlap), "0.30 Å apart"),
    "isolated atom": (_frames(_isolated), "no neighbour within 6 Å"),
    "unknown element": (_frames(_unknown_element), "elements that CHGNet does not know: X"),
    "label failed": (_frames(_failed_label), "labelling failed: SCF not converged"),
    "energy outlier": (_energy_off, r"energy \+2.00 eV/atom off"),
    "duplicate": (_same_wrapped, "duplicate of"),
    "name twice": (_same_name, "name x is taken"),
    "truncated": (_text(lambda text: text[: int(len(text) * 0.8)]), "ends within|cannot be read"),
    "header": (_text(lambda text: text + "not a number\n"), "a number of atoms was expected"),
    "column missing": (
        _text(lambda text: "\n".join(line.rsplit(None, 1)[0] if line.startswith("Cu") and i > 20
                                     else line for i, line in enumerate(text.split("\n")))),
        "cannot be read",
    ),
    "word for number": (
        _text(lambda text: text[:-40].rsplit("Cu ", 1)[0] + "Cu " + "abc " * 6 + "\n"),
        "cannot be read",
    ),
    "vasprun truncated": (_truncated_xml, "ends within its first ionic step"),
    "vasprun garbage": (_garbage("vasprun.xml"), "not a readable vasprun.xml"),
    "OUTCAR garbage": (_garbage("OUTCAR"), "cannot be read|no energy"),
    "OUTCAR empty": (_garbage("OUTCAR", b""), "cannot be read"),
    "database garbage": (_garbage("a.db"), "cannot be read"),
    "database empty": (_empty_database, "no frame"),
    "not compressed": (_garbage("a.extxyz.xz"), "cannot be read"),
    "json rows": (_garbage("a.json", b'{"a": {"b": {"structure": 1}}}'), "cannot be read"),
    "json cut": (_garbage("a.json", b'{"a": {"b": {"structure": '), "cannot be read"),
    "empty file": (_garbage("a.extxyz", b""), "no frame"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_input_is_reported_by_file_frame_and_reason(tmp_path, kind):
    write, reason = BROKEN[kind]
    write(tmp_path)
    frames = checked(tmp_path)
    rejected = [frame for frame in frames if frame.rejection_reason]
    assert len(rejected) == 1
    assert re.search(reason, rejected[0].rejection_reason), rejected[0].rejection_reason
    assert rejected[0].source.parent == tmp_path
    assert rejected[0] is frames[-1]
    assert rejected[0].index == len(frames) - 1


def test_missing_and_unknown_sources_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "notes.txt", tmp_path):
        with pytest.raises(InputError) as caught:
            import_frames(path)
        assert caught.value.value == str(path)


def test_files_of_other_things_in_a_folder_are_passed_over(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", copper())
    (tmp_path / "provenance.json").write_text('{"engine": "gpaw"}')
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".a.extxyz.partial").write_text("x")
    assert len(import_frames(tmp_path)) == 1


def _labels(frame):
    results = frame.atoms.calc.results
    return [results["energy"], *np.ravel(results["forces"]), *np.ravel(results.get("stress", []))]


def _json_of(name):
    step = Vasprun(VASP / name, parse_potcar_file=False).ionic_steps[0]
    rows = {
        f"mp-1-{number}": {
            "structure": step["structure"].as_dict(),
            "uncorrected_total_energy": step["e_fr_energy"] + number,
            "force": np.asarray(step["forces"]).tolist(),
            "stress": np.asarray(step["stress"]).tolist(),
        }
        for number in range(3)
    }
    return json.dumps({"mp-1": rows}).encode()


def _written(folder, name):
    path = folder / name
    if path.suffix == ".db":
        with ase.db.connect(path) as database:
            for seed in range(3):
                database.write(copper(seed))
    else:
        ase.io.write(path, [copper(seed) for seed in range(3)], format="extxyz")
    return path.read_bytes()


WHOLE = {
    "a.extxyz": lambda folder: _written(folder, "a.extxyz"),
    "a.extxyz.xz": lambda folder: lzma.compress(_written(folder, "b.extxyz")),
    "a.extxyz.gz": lambda folder: gzip.compress(_written(folder, "b.extxyz")),
    "a.db": lambda folder: _written(folder, "a.db"),
    "a.json": lambda _: _json_of("vasprun_dfpt.xml"),
    "a.json.gz": lambda _: gzip.compress(_json_of("vasprun_dfpt.xml")),
    "vasprun.xml": lambda _: (VASP / "vasprun_dfpt.xml").read_bytes(),
    "OUTCAR": lambda _: (VASP / "OUTCAR_example_1").read_bytes(),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_gives_its_whole_frames_and_a_reason(tmp_path, name):
    """Never a traceback, and never a label that is not in the whole file."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    content = WHOLE[name](tmp_path / "whole")
    path = tmp_path / "cut" / name
    path.write_bytes(content)
    whole = [_labels(frame) for frame in import_frames(path)]
    assert whole
    rng = np.random.default_rng(7)
    cuts = [0, 1, len(content) - 1, *rng.integers(2, len(content) - 1, 25).tolist()]
    for cut in cuts:
        path.write_bytes(content[:cut])
        frames = checked(path)
        kept = [frame for frame in frames if not frame.rejection_reason]
        rejected = [frame for frame in frames if frame.rejection_reason]
        assert [_labels(frame) for frame in kept] == whole[: len(kept)], cut
        assert len(kept) == len(whole) or rejected or content[:cut].endswith(b"\n"), cut
        assert all(frame.source == path for frame in rejected)
        with suppress(InputError):  # what has no mark of a data file is passed over in a folder
            import_frames(path.parent)


def test_own_files_cut_anywhere_are_named_with_the_remedy(tmp_path):
    path = tmp_path / "train.extxyz"
    write_frames(path, [copper(seed) for seed in range(3)])
    content = path.read_bytes()
    rng = np.random.default_rng(7)
    errors = []
    for cut in rng.integers(1, len(content), 40).tolist():
        path.write_bytes(content[:cut])
        try:
            read_labelled_frames(path)
        except InputError as error:
            errors.append(error)
    assert len(errors) > 30
    for error in errors:
        assert error.value == str(path)
        assert "write or copy the file again" in error.remedy
    path.write_bytes(b"")
    assert read_labelled_frames(path) == []


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
@pytest.mark.parametrize("kind", ["extxyz", "traj"])
def test_compressed_frames_are_those_of_the_plain_file(tmp_path, suffix, opener, kind):
    """In any of ASE's formats, all of them or one; a file cut short is refused by name."""
    plain = tmp_path / f"frames.{kind}"
    packed = plain.with_name(plain.name + suffix)
    ase.io.write(plain, [copper(seed) for seed in range(3)])
    with opener(packed, "wb") as file:
        file.write(plain.read_bytes())
    frames = read_frames(plain)
    assert read_frames(packed) == frames
    one = read_frame(packed, 2)
    assert one == frames[2]
    assert one.get_potential_energy() == frames[2].get_potential_energy()
    with pytest.raises(InputError, match="holds no frame 3"):
        read_frame(packed, 3)
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{packed.name}.*cannot be read"):
        read_frames(packed)
