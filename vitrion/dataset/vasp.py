"""Labelling with VASP, with inputs as for CHGNet's training set.

CHGNet was trained on MPtrj, which the Materials Project computed with these input sets, so frames
labelled here with `MPStaticSet` need no other level of theory than the potential's own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp.inputs import PmgVaspPspDirError
from pymatgen.io.vasp.sets import MPScanStaticSet, MPStaticSet, VaspInputSet

from vitrion.base.errors import InputError
from vitrion.config import Vasp
from vitrion.dataset.frame import LabelError
from vitrion.dataset.vasp_output import read_vasprun
from vitrion.runtime.processes import run_guarded

INPUT_SETS = {"MPStaticSet": MPStaticSet, "MPScanStaticSet": MPScanStaticSet}
# The sets' default smearing, the tetrahedron method, needs a mesh of several k-points, which a
# large cell does not get; Gaussian smearing is the same for every cell. The densities are not used.
INCAR = {"ISMEAR": 0, "SIGMA": 0.05, "LCHARG": False, "LAECHG": False, "LVTOT": False}
# Plain damped mixing with the robust minimiser: slower, and converges where the default does not.
SAFER = {"ALGO": "All", "NELM": 300, "TIME": 0.2}
# What only a shell understands, and the quoted words in which it is plain text.
SHELL_SYNTAX = re.compile(r"[|&;<>()$`*?~\n]")
QUOTED = re.compile(r"""'[^']*'|"[^"$`]*"|\\.""")


def input_set(atoms: Atoms, settings: Vasp, *, safer: bool = False) -> VaspInputSet:
    """The pymatgen input set of a frame.

    Args:
        atoms: grouped by element.
        settings: name of the input set, and INCAR tags over its own.
        safer: use `SAFER`, for a second try.
    """
    incar = {**INCAR, **(SAFER if safer else {}), **settings.incar}
    structure = AseAtomsAdaptor.get_structure(atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return INPUT_SETS[settings.input_set](
            structure, user_incar_settings=incar, sort_structure=False
        )


def write_inputs(atoms: Atoms, folder: Path, settings: Vasp, *, safer: bool = False) -> None:
    """Write INCAR, KPOINTS (unless INCAR's KSPACING stands for it), POSCAR and POTCAR.

    POTCAR comes last, so that the other files can be checked where it cannot be written.

    Raises:
        InputError: no pseudopotentials (VASP's licence forbids shipping them).
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs = input_set(atoms, settings, safer=safer)
    (folder / "INCAR").write_text(str(inputs.incar) + "\n")
    (folder / "POSCAR").write_text(inputs.poscar.get_str(significant_figures=10))
    if inputs.kpoints is not None:
        (folder / "KPOINTS").write_text(str(inputs.kpoints))
    try:
        potcar = inputs.potcar
    except (PmgVaspPspDirError, OSError, ValueError, KeyError) as error:
        raise InputError(
            "PMG_VASP_PSP_DIR",
            f"{inputs.potcar_functional}: {', '.join(inputs.potcar_symbols)}",
            f"no POTCAR ({error}); point pymatgen to your licensed files "
            "(pmg config --add PMG_VASP_PSP_DIR <folder>)",
        ) from None
    potcar.write_file(str(folder / "POTCAR"))


def split_command(command: str, folder: Path) -> list[str]:
    """Program and arguments of the VASP command, which runs without a shell.

    Args:
        command: `dataset.label.vasp.command`.
        folder: where it will run.

    Raises:
        InputError: shell syntax outside quotes, quotes that do not match, no such program.
    """
    key, remedy = "dataset.label.vasp.command", f"for shell syntax write bash -c {shlex.quote('…')}"
    if SHELL_SYNTAX.search(QUOTED.sub("", command)):
        raise InputError(key, command, f"no shell reads it; {remedy}")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(key, command, f"cannot be split into words: {error}") from None
    if not words:
        raise InputError(key, command, "name the program that runs VASP")
    program = str(folder / words[0]) if "/" in words[0] else words[0]
    if shutil.which(program) is None:
        raise InputError(key, command, f"no program {program}; give its path, or load its module")
    return words


def run_vasp(atoms: Atoms, folder: Path, settings: Vasp, *, safer: bool = False) -> Atoms:
    """Label a frame with the user's VASP command.

    Its processes end with it, and when this process ends. `vasp.out` in the folder holds what it
    prints.

    Raises:
        InputError: no pseudopotentials, or a command that cannot be run.
        LabelError: VASP failed or did not converge.
    """
    # POSCAR groups atoms by element; the labels are put back in the frame's own order.
    rank = {element: number for number, element in enumerate(dict.fromkeys(atoms.symbols))}
    order = np.argsort([rank[element] for element in atoms.symbols], kind="stable")
    command = split_command(settings.command, folder)
    write_inputs(atoms[order], folder, settings, safer=safer)
    log = folder / "vasp.out"
    with log.open("w") as output:
        code = run_guarded(command, output=output, cwd=folder)
    if code != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        raise LabelError(f"{settings.command} ended with exit code {code} (see {log}){last}")
    try:
        *_, (result, reason) = read_vasprun(folder / "vasprun.xml")
    except Exception as error:  # the parsers raise anything for a damaged file
        raise LabelError(f"not a readable vasprun.xml ({error})") from error
    if result is None:
        raise LabelError(reason)
    if list(result.symbols) != list(atoms.symbols[order]):
        raise LabelError("vasprun.xml holds other atoms than POSCAR")
    original = np.argsort(order)
    labelled = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    labelled.info = {
        **atoms.info,
        **result.info,
        "label": {"input_set": settings.input_set, "incar": settings.incar, "safer": safer},
    }
    results = {**result.calc.results, "forces": result.calc.results["forces"][original]}
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled
