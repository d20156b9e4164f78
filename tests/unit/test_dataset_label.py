"""Labelling: engines, retries, resuming. GPAW itself runs in tests/integration."""

import gzip
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.core import SETTINGS
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from vitrion.base.errors import InputError
from vitrion.cli import main
from vitrion.config import AseCalculator, Gpaw, Label, Vasp
from vitrion.dataset import import_frames, label_frame, label_frames
from vitrion.dataset.check import label_rejection
from vitrion.dataset.frame import LabelError, write_frames
from vitrion.dataset.vasp import run_vasp, write_inputs
from vitrion.structure.packing import random_packing

VASP = Path(ase.__file__).parent / "test" / "testdata" / "vasp"
EMT_LABEL = Label(engine="ase", ase=AseCalculator(calculator="ase.calculators.emt:EMT"))


def frames_of(element, count=3):
    frames = []
    for index in range(count):
        atoms = bulk(element, cubic=True)
        atoms.rattle(0.05, seed=index)
        atoms.info["frame_id"] = f"{element}-{index}"
        frames.append(atoms)
    return frames


@pytest.fixture
def copper(tmp_path):
    path = tmp_path / "Cu.extxyz"
    write_frames(path, frames_of("Cu"))
    return path


def test_any_ase_calculator_labels(copper, tmp_path):
    out = tmp_path / "labelled" / "a.extxyz"
    assert label_frame(copper, out, settings=EMT_LABEL, index=2)
    labelled, direct = ase.io.read(out), ase.io.read(copper, index=2)
    direct.calc = EMT()
    assert labelled.get_potential_energy() == pytest.approx(direct.get_potential_energy(), abs=1e-7)
    assert np.allclose(labelled.get_forces(), direct.get_forces(), atol=1e-7)
    assert np.allclose(labelled.get_stress(), direct.get_stress(), atol=1e-8)
    assert labelled.info["frame_id"] == "Cu-2"
    assert labelled.info["engine"] == "ase"
    assert "EMT" in labelled.info["level"]


class CountedEMT(EMT):
    made = 0

    def __init__(self):
        CountedEMT.made += 1
        super().__init__()


def test_a_calculator_is_made_once(copper, tmp_path):
    settings = Label(engine="ase", ase=AseCalculator(calculator=f"{__name__}:CountedEMT"))
    assert label_frames([copper], tmp_path / "labelled", settings=settings) == (3, 0)
    assert CountedEMT.made == 1


def test_failed_calculation_is_set_aside_with_its_reason(tmp_path, caplog):
    """EMT has no lithium, so it fails, and fails again."""
    source, out = tmp_path / "Li.extxyz", tmp_path / "out.extxyz"
    write_frames(source, frames_of("Li", 1))
    assert not label_frame(source, out, settings=EMT_LABEL)
    atoms = ase.io.read(out)
    assert "No EMT-potential for Li" in atoms.info["label_failure"]
    assert atoms.info["label_failure"].count("then:") == 1
    assert atoms.calc is None


def test_a_new_label_keeps_nothing_of_an_old_one(copper, tmp_path):
    """Neither names of other programs' labels, nor the failure, nor what the stress was."""
    frames = ase.io.read(copper, ":")
    for atoms in frames:
        atoms.info |= {"REF_energy": 1.0, "label_failure": "no", "stress_is_pressure_only": True}
        atoms.info |= {"pseudopotentials": {"Cu": "Cu_pv"}, "temperature_K": 300.0}
        atoms.arrays["REF_forces"] = np.ones((len(atoms), 3))
    write_frames(copper, frames)
    assert label_frames([copper], tmp_path / "labelled", settings=EMT_LABEL) == (3, 0)
    for frame in import_frames(tmp_path / "labelled"):
        assert not label_rejection(frame.atoms)
        assert frame.atoms.info["temperature_K"] == 300.0
        assert not {"label_failure", "stress_is_pressure_only"} & frame.atoms.info.keys()
        assert frame.atoms.get_potential_energy() != 1.0


def test_frames_that_failed_before_are_named(tmp_path, capsys, caplog):
    source = tmp_path / "Li.extxyz"
    write_frames(source, frames_of("Li", 2))
    settings = tmp_path / "emt.yaml"
    settings.write_text(
        "dataset: {label: {engine: ase, ase: {calculator: ase.calculators.emt:EMT}}}"
    )
    arguments = ["label", str(source), "--configfile", str(settings), "--out", str(tmp_path / "x")]
    with pytest.raises(SystemExit, match="no calculation gave a label"):
        main(arguments)
    assert main(arguments) == 0
    assert "2 frames failed before and are not labelled again; remove their files" in caplog.text
    assert "0 frames labelled, 0 failed" in capsys.readouterr().out
    assert main([*arguments, "--gpaw-python", "python"]) == 2
    assert "--gpaw-python = python: has no meaning with the engine ase" in (
        capsys.readouterr().err.replace("'", "")
    )


def test_two_frames_of_one_name_are_refused(copper, tmp_path):
    other = tmp_path / "other.extxyz"
    write_frames(other, frames_of("Cu", 1))
    with pytest.raises(InputError, match=r"other.extxyz = 'Cu-0': is that of a frame of .*Cu.ext"):
        label_frames([copper, other], tmp_path / "labelled", settings=EMT_LABEL)


def test_files_take_turns_and_finished_frames_stay(copper, tmp_path, monkeypatch):
    gold = tmp_path / "Au.extxyz"
    write_frames(gold, frames_of("Au", 2))
    order = []
    run = label_frame

    def recorded(source, out, **options):
        order.append(out.stem)
        return run(source, out, **options)

    monkeypatch.setattr("vitrion.dataset.label.label_frame", recorded)
    folder = tmp_path / "labelled"
    assert label_frames([copper, gold], folder, settings=EMT_LABEL) == (5, 0)
    assert order == ["Cu-0", "Au-0", "Cu-1", "Au-1", "Cu-2"]
    (folder / "Au-1.extxyz").unlink()
    assert label_frames([copper, gold], folder, settings=EMT_LABEL) == (1, 0)
    assert order[5:] == ["Au-1"]


def test_frames_with_labels_elsewhere_are_not_labelled_again(copper, tmp_path, capsys):
    """Those that failed there are."""
    elsewhere = tmp_path / "elsewhere"
    for index in range(2):
        label_frame(copper, elsewhere / f"{index}.extxyz", settings=EMT_LABEL, index=index)
    failed = ase.io.read(copper, index=2)
    failed.info["label_failure"] = "did not converge"
    write_frames(elsewhere / "2.extxyz", [failed])
    config, out = tmp_path / "emt.yaml", tmp_path / "labelled"
    config.write_text(
        "campaign: x\ndataset: {label: {engine: ase, ase: {calculator: 'ase.calculators.emt:EMT'}}}"
    )
    command = ["label", str(copper), "--configfile", str(config), "--out", str(out)]
    assert main([*command, "--known", str(elsewhere)]) == 0
    assert capsys.readouterr().out.startswith("1 frames labelled, 0 failed")
    assert [path.name for path in out.iterdir()] == ["Cu-2.extxyz"]


@pytest.mark.parametrize("name", [None, "../elsewhere", 3])
def test_frames_without_a_name_fit_for_a_file_are_refused(tmp_path, name):
    (atoms,) = frames_of("Cu", 1)
    atoms.info = {} if name is None else {"frame_id": name}
    write_frames(tmp_path / "a.extxyz", [atoms])
    with pytest.raises(InputError, match="frame_id"):
        label_frames([tmp_path / "a.extxyz"], tmp_path / "out", settings=EMT_LABEL)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (Label(), "dataset.label.engine"),
        (Label(engine="gpaw", gpaw=Gpaw(python="/nowhere/python")), "dataset.label.gpaw.python"),
        (Label(engine="ase"), "dataset.label.ase.calculator"),
        (
            Label(engine="ase", ase=AseCalculator(calculator="ase.calculators.emt:Nothing")),
            "dataset.label.ase.calculator",
        ),
        (
            Label(
                engine="ase",
                ase=AseCalculator(calculator="ase.calculators.emt:EMT", arguments={"label": 1}),
            ),
            "dataset.label.ase.calculator",
        ),
    ],
)
def test_engine_that_cannot_be_used_ends_with_one_message(copper, tmp_path, settings, key):
    with pytest.raises(InputError) as caught:
        label_frame(copper, tmp_path / "out.extxyz", settings=settings)
    assert caught.value.key == key
    assert not (tmp_path / "out.extxyz").exists()


def test_interpreter_without_gpaw_is_told(copper, tmp_path):
    """An interpreter that has ASE and no GPAW: this one, with `gpaw` hidden."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "'
        "import sys, runpy; sys.modules['gpaw'] = None; sys.argv = sys.argv[1:]; "
        'runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$@"\n'
    )
    python.chmod(0o755)
    settings = Label(engine="gpaw", gpaw=Gpaw(python=str(python)))
    with pytest.raises(InputError, match="has no GPAW"):
        label_frame(copper, tmp_path / "out.extxyz", settings=settings)


@pytest.fixture
def glass():
    return random_packing({"Li": 4, "Al": 4, "Cl": 10, "O": 3}, 21 * 19.0, seed=1)


def test_vasp_inputs_are_byte_stable_and_read_by_pymatgen(glass, tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", None)
    for folder in ("first", "second"):
        with pytest.raises(InputError, match="PMG_VASP_PSP_DIR"):
            write_inputs(glass, tmp_path / folder, Vasp())
    for name in ("INCAR", "KPOINTS", "POSCAR"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    incar = Incar.from_file(tmp_path / "first" / "INCAR")
    assert (tmp_path / "first" / "INCAR").read_text() == EXPECTED_INCAR
    # What makes it CHGNet's level of theory.
    assert incar["ENCUT"] == 520
    assert incar["NSW"] == 0
    assert "LDAU" not in incar
    assert "GGA" not in incar
    assert Kpoints.from_file(tmp_path / "first" / "KPOINTS").kpts == [(3, 3, 3)]
    structure = Poscar.from_file(tmp_path / "first" / "POSCAR", check_for_potcar=False).structure
    assert np.allclose(structure.cart_coords, glass.positions, atol=1e-7)
    assert [site.specie.symbol for site in structure] == list(glass.symbols)


EXPECTED_INCAR = """\
ALGO = Fast
EDIFF = 0.0010500000000000002
ENCUT = 520.0
ISMEAR = 0
ISPIN = 2
LAECHG = False
LASPH = True
LCHARG = False
LORBIT = 11
LREAL = False
LVTOT = False
LWAVE = False
MAGMOM = 21*0.6
NELM = 100
NSW = 0
PREC = Accurate
SIGMA = 0.05

"""


def test_vasp_settings_and_the_second_try_reach_the_incar(glass, tmp_path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", None)
    settings = Vasp(input_set="MPScanStaticSet", incar={"ENCUT": 700, "NCORE": 4})
    with pytest.raises(InputError):
        write_inputs(glass, tmp_path, settings, safer=True)
    incar = Incar.from_file(tmp_path / "INCAR")
    assert (incar["ENCUT"], incar["NCORE"], incar["ALGO"]) == (700, 4, "All")
    assert incar["METAGGA"].upper() == "R2SCAN"
    assert not (tmp_path / "KPOINTS").exists()  # KSPACING stands for it


# VASP's licence forbids shipping a POTCAR; this is the least that pymatgen takes for one.
POTCAR = """\
  PAW_PBE {symbol} 01Jan2000
   7.000000000000
 parameters from PSCTR are:
   VRHFIN ={element}: s1
   LEXCH  = PE
   TITEL  = PAW_PBE {symbol} 01Jan2000
   POMASS =   22.990; ZVAL   =    7.000    mass and valenz
   ENMAX  =  260.000; ENMIN  =  195.000 eV
END of PSCTR-controll parameters
 local part
  98.2665  0.1  0.2
 End of Dataset
"""


@pytest.fixture
def _pseudopotentials(tmp_path, monkeypatch):
    folder = tmp_path / "psp" / "POT_GGA_PAW_PBE"
    folder.mkdir(parents=True)
    for symbol in ("Na_pv", "Cl"):
        text = POTCAR.format(symbol=symbol, element=symbol.split("_")[0])
        (folder / f"POTCAR.{symbol}.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "psp"))


@pytest.mark.usefixtures("_pseudopotentials")
@pytest.mark.filterwarnings("ignore")
class TestVaspRuns:
    """The user's command is anything that leaves a vasprun.xml: here a copy of a real one."""

    reference = VASP / "vasprun_dfpt.xml"

    def test_labels_come_from_vasprun(self, tmp_path):
        expected = ase.io.read(self.reference)
        settings = Vasp(command=f"cp {self.reference} vasprun.xml")
        labelled = run_vasp(expected, tmp_path / "run", settings)
        energy = expected.get_potential_energy(force_consistent=True)
        assert labelled.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        assert np.allclose(labelled.get_stress(), expected.get_stress())
        assert labelled.info["engine"] == "vasp"
        assert (tmp_path / "run" / "POTCAR").read_text().startswith("  PAW_PBE Na_pv")

    def test_atoms_not_grouped_get_their_own_forces(self, tmp_path):
        """Na Cl Na Cl becomes Na Na Cl Cl in POSCAR, and comes back as Na Cl Na Cl."""
        cell = ase.io.read(self.reference) * (2, 1, 1)
        script = tmp_path / "vasp.py"
        script.write_text(
            "import ase.io, sys\n"
            "atoms = ase.io.read('POSCAR')\n"
            "assert str(atoms.symbols) == 'Na2Cl2', atoms.symbols\n"
            "rows = ''.join('<v> %.8f %.8f %.8f </v>' % tuple(p) for p in atoms.positions)\n"
            "scaled = ''.join('<v> %.8f %.8f %.8f </v>' % tuple(p)\n"
            "                 for p in atoms.get_scaled_positions())\n"
            "cell = ''.join('<v> %.8f %.8f %.8f </v>' % tuple(p) for p in atoms.cell)\n"
            "import re\n"
            f"text = open({str(self.reference)!r}).read()\n"
            "text = re.sub(r'(<varray name=\"forces\" >).*?(</varray>)',\n"
            "              lambda m: m[1] + rows + m[2], text, flags=re.S)\n"
            "text = re.sub(r'(<varray name=\"positions\" >).*?(</varray>)',\n"
            "              lambda m: m[1] + scaled + m[2], text, flags=re.S)\n"
            "text = re.sub(r'(<varray name=\"basis\" >).*?(</varray>)',\n"
            "              lambda m: m[1] + cell + m[2], text, flags=re.S)\n"
            "atom = '<rc><c>%s</c><c> %d</c></rc>'\n"
            "kinds = ''.join(atom % (s, 1 + (s == 'Cl')) for s in atoms.symbols)\n"
            "text = re.sub(r'(<atoms>\\s*)2', r'\\g<1>4', text)\n"
            "text = re.sub(r'(<array name=\"atoms\" >.*?<set>).*?(</set>)',\n"
            "              lambda m: m[1] + kinds + m[2], text, flags=re.S)\n"
            "open('vasprun.xml', 'w').write(text)\n"
        )
        assert str(cell.symbols) == "NaClNaCl"
        labelled = run_vasp(cell, tmp_path / "run", Vasp(command=f"{sys.executable} {script}"))
        # The stand-in gives each atom its position as force.
        assert np.allclose(labelled.get_forces(), cell.get_positions(), atol=1e-6)

    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ('sh -c "echo no licence; exit 3"', r"exit code 3 \(see .*vasp.out\): no licence"),
            ("true", "not a readable vasprun.xml"),
            (f"cp {VASP / 'vasprun_pstress.xml'} vasprun.xml", "other atoms than POSCAR"),
        ],
    )
    def test_failures_have_their_reason(self, tmp_path, command, reason):
        with pytest.raises(LabelError, match=reason):
            run_vasp(ase.io.read(self.reference), tmp_path / "run", Vasp(command=command))

    @pytest.mark.parametrize(
        ("command", "remedy"),
        [
            ("mpirun -n 4 vasp_std > log", "no shell"),
            ("module load vasp; vasp_std", "bash -c"),
            ("mpirun -n $SLURM_NTASKS vasp_std", "no shell"),
            ("vasp_std 'unclosed", "cannot be split"),
            (" ", "name the program"),
            ("vasp_of_nowhere -x", "no program vasp_of_nowhere"),
            ("./vasp_of_nowhere", "no program .*run/vasp_of_nowhere"),
        ],
    )
    def test_command_that_cannot_run_ends_with_one_message(self, tmp_path, command, remedy):
        with pytest.raises(InputError, match=remedy) as caught:
            run_vasp(ase.io.read(self.reference), tmp_path / "run", Vasp(command=command))
        assert caught.value.key == "dataset.label.vasp.command"

    def test_shell_syntax_works_in_a_shell_that_the_user_names(self, tmp_path):
        command = f"bash -c 'cp {self.reference} there.xml && mv there.xml vasprun.xml'"
        labelled = run_vasp(ase.io.read(self.reference), tmp_path / "run", Vasp(command=command))
        assert str(labelled.symbols) == "NaCl"
