"""Labels in what VASP writes: vasprun.xml and OUTCAR.

Energies are free energies, of which the forces are the derivative, without the PV term of PSTRESS.
Steps whose electronic cycle did not converge have no label. Stress is there as VASP computed it:
with ISIF = 0 (its default in MD) there is none, with ISIF = 1 its trace alone is right.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.units import GPa
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Vasprun

from vitrion.dataset.frame import open_text
from vitrion.dataset.labels import PRESSURE_ONLY, PSEUDOPOTENTIALS, with_labels

# VASP ends an electronic cycle when the energy changes by less than EDIFF. A last change this many
# times larger means that something else ended it.
EDIFF_FACTOR = 10.0
KBAR_eV_A3 = 0.1 * GPa
# As pymatgen names them, so that a vasprun.xml and an OUTCAR have the same level.
GRADIENT_APPROXIMATIONS = {
    "PE": "PBE", "PS": "PBEsol", "RE": "revPBE", "RP": "revPBE+Padé", "AM": "AM05",
}  # fmt: skip
DISPERSIONS = {
    "1": "D2", "10": "D2", "11": "D3", "12": "D3-BJ", "13": "D4", "2": "TS", "20": "TS",
    "21": "TS-H", "202": "MBD", "4": "dDsC",
}  # fmt: skip

NO_CYCLE = "no electronic step: not a DFT calculation (a force field that VASP learned?)"

Reading = tuple[Atoms | None, str]


def read_vasprun(path: Path) -> Iterator[Reading]:
    """Each ionic step of a vasprun.xml as a labelled frame, or the reason why it is none.

    Of a file that was cut short the whole ionic steps are read.

    Raises:
        ValueError: the file cannot be read, or holds no whole ionic step.
    """
    with open_text(path, encoding="latin-1") as file:
        text = file.read()
    if "<modeling" not in text[:5000]:
        raise ValueError("not a readable vasprun.xml (it does not begin with <modeling>)")
    is_whole = "</modeling>" in text[-1000:]
    if not is_whole:
        end = text.rfind("</calculation>")
        if end < 0:
            raise ValueError("vasprun.xml ends within its first ionic step")
        text = text[:end] + "</calculation>\n</modeling>\n"
    run = _parse_vasprun(text)
    level, potentials = _level_of_run(run), _pseudopotentials_of_run(run)
    pressure_eV_A3 = run.parameters.get("PSTRESS", 0.0) * KBAR_eV_A3
    for step in run.ionic_steps:
        if reason := _vasprun_rejection(step["electronic_steps"], run.parameters):
            yield None, reason
            continue
        atoms = AseAtomsAdaptor.get_atoms(step["structure"], msonable=False)
        # Unlike that of an OUTCAR, this energy includes the PV term of PSTRESS.
        labels = {
            "free_energy": step["e_fr_energy"] - pressure_eV_A3 * atoms.get_volume(),
            "forces": step.get("forces"),
        }
        if "stress" in step:
            labels["stress"] = -KBAR_eV_A3 * np.asarray(step["stress"], dtype=float)
        isif = run.parameters.get("ISIF", 2)
        yield _labelled(atoms, labels, level, potentials, isif=isif), ""
    if not is_whole:
        number = len(run.ionic_steps) + 1
        yield None, f"vasprun.xml ends within ionic step {number}: only this one is lost"


def _parse_vasprun(text: str) -> Vasprun:
    with (
        tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="latin-1") as whole,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        whole.write(text)
        whole.flush()
        try:
            run = Vasprun(whole.name, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        except Exception as error:  # the parser raises anything for a damaged file
            raise ValueError(
                f"not a readable vasprun.xml ({type(error).__name__}: {error})"
            ) from error
    if not run.ionic_steps:
        raise ValueError("vasprun.xml ends within its first ionic step")
    return run


def _vasprun_rejection(cycle: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> str:
    """Why an electronic cycle did not converge; empty when it did."""
    if not cycle:
        return NO_CYCLE
    if len(cycle) >= parameters["NELM"]:
        return f"SCF not converged in {len(cycle)} steps"
    energies_eV = [step["e_fr_energy"] for step in cycle if "e_fr_energy" in step]
    ediff_eV = parameters.get("EDIFF")
    if ediff_eV and len(energies_eV) > 1:
        change_eV = abs(energies_eV[-1] - energies_eV[-2])
        if change_eV > EDIFF_FACTOR * ediff_eV:
            return (
                f"SCF not converged: it was stopped after {len(cycle)} steps, when the energy "
                f"changed by {change_eV:.1e} eV (EDIFF = {ediff_eV:.1e})"
            )
    return ""


def _level_of_run(run: Vasprun) -> str:
    functional = run.run_type
    if functional.startswith("GGA"):  # VASP took the functional of the POTCAR
        functional = _functional_of_titles(run.potcar_symbols) + functional.removeprefix("GGA")
    functional = functional.replace("+vdW-DFT-", "+").replace("+vdW-", "+")
    return _level(run.vasp_version.strip(), functional, run.parameters["ENMAX"])


def _level(version: str, functional: str, cutoff_eV: float) -> str:
    return f"VASP {version} {functional} {cutoff_eV:g} eV"


def _functional_of_titles(titles: Sequence[str]) -> str:
    kinds = {title.split()[0] for title in titles}
    return {"PAW_PBE": "PBE", "PAW": "LDA", "PAW_LDA": "LDA", "PAW_GGA": "PW91"}.get(
        kinds.pop() if len(kinds) == 1 else "", "GGA"
    )


def _pseudopotentials_of_run(run: Vasprun) -> dict[str, str]:
    return _pseudopotentials(run.potcar_symbols, {e: float(u) for e, u in run.hubbards.items()})


def _pseudopotentials(titles: Sequence[str], hubbard_U_eV: Mapping[str, float]) -> dict[str, str]:
    """POTCAR title, and U where there is one, of each element."""
    found = {}
    for title in titles:
        element = title.split()[1].split("_")[0]
        energy_eV = hubbard_U_eV.get(element, 0.0)
        found[element] = title + (f", U = {energy_eV:g} eV" if energy_eV else "")
    return found


def _labelled(
    atoms: Atoms,
    labels: Mapping[str, Any],
    level: str,
    pseudopotentials: Mapping[str, str],
    *,
    isif: int,
) -> Atoms:
    atoms.info |= {"engine": "vasp", "level": level, PSEUDOPOTENTIALS: dict(pseudopotentials)}
    if isif == 1 and "stress" in labels:
        atoms.info[PRESSURE_ONLY] = True
    return with_labels(atoms, labels)


@dataclass
class _Outcar:
    """What ASE's reader leaves out of an OUTCAR.

    Attributes:
        rejections: why the electronic cycle of each ionic step did not converge, or "".
        level, pseudopotentials, isif: as for `_labelled`.
    """

    rejections: list[str]
    level: str
    pseudopotentials: dict[str, str]
    isif: int


def read_outcar(path: Path) -> Iterator[Reading]:
    """Each ionic step of an OUTCAR as a labelled frame, or the reason why it is none."""
    with open_text(path, encoding="latin-1") as file:
        outcar = _scan_outcar(file)
    frames = ase.io.iread(path, index=":", format="vasp-out")
    # ASE ends a step where the scan does, so that they have the same number.
    for atoms, reason in zip(frames, outcar.rejections, strict=False):
        if reason:
            yield None, reason
            continue
        labels = atoms.calc.results
        atoms.calc = None
        yield (
            _labelled(atoms, labels, outcar.level, outcar.pseudopotentials, isif=outcar.isif),
            "",
        )


def _scan_outcar(lines: Iterable[str]) -> _Outcar:
    """Convergence of each ionic step, and the level of theory.

    VASP 6 says how every cycle ended, VASP 5 only of those that converged.
    """
    tags: dict[str, str] = {}
    titles: list[str] = []
    elements: list[str] = []
    rejections: list[str] = []
    steps, is_converged, is_stopped, version = 0, False, False, ""
    for line in lines:
        if "Iteration" in line and (match := re.search(r"Iteration\s+\d+\(\s*(\d+)\)", line)):
            steps = int(match[1])
        elif "aborting loop" in line:
            is_converged = "not reached" not in line
        elif "hard stop encountered" in line:
            is_stopped = True
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            limit = int(_number(tags.get("NELM", "0"))) or None
            rejections.append(_outcar_rejection(steps, is_converged, is_stopped, limit))
            steps, is_converged, is_stopped = 0, False, False
        elif not rejections:
            if line.startswith(" vasp."):
                version = line.split()[0].removeprefix("vasp.")
            elif match := re.match(r"\s*(?:TITEL\s*=|POTCAR:)\s*(\S+ \S+.*)", line):
                titles.append(match[1].strip())
            elif "VRHFIN" in line:
                elements.append(line.split("=", 1)[1].split(":")[0].strip())
            elif match := re.search(r"for each species LDAUU\s*=\s*([-\d. ]+)", line):
                tags["LDAUU"] = match[1]
            else:
                for name, value in re.findall(r"\b([A-Z_]{3,9})\s*=\s*([^\s;]+)", line):
                    tags.setdefault(name, value)
    if is_stopped and not steps and rejections:  # after the step whose cycle was cut
        rejections[-1] = rejections[-1] or "SCF not converged: hard stop"
    hubbards_eV = dict(zip(elements, map(float, tags.get("LDAUU", "").split()), strict=False))
    return _Outcar(
        rejections,
        _level(version, _functional(tags, titles, hubbards_eV), _number(tags.get("ENCUT", "nan"))),
        _pseudopotentials(list(dict.fromkeys(titles)), hubbards_eV),
        int(_number(tags.get("ISIF", "2"))),
    )


def _number(text: str) -> float:
    """The number that a tag begins with (`520eV`); NaN where there is none."""
    match = re.match(r"[-+]?\d*\.?\d+(?:[EeDd][-+]?\d+)?", text)
    return float(match[0].replace("D", "E").replace("d", "e")) if match else float("nan")


def _outcar_rejection(steps: int, is_converged: bool, is_stopped: bool, limit: int | None) -> str:
    if is_stopped:
        return f"SCF not converged: hard stop after {steps} steps"
    if is_converged:
        return ""
    if steps == 0:
        return NO_CYCLE
    if limit is None or steps >= limit:
        return f"SCF not converged in {steps} steps"
    return f"SCF not converged: it was stopped after {steps} steps"


def _functional(
    tags: Mapping[str, str], titles: Sequence[str], hubbards_eV: Mapping[str, float]
) -> str:
    """Functional, U and dispersion as pymatgen names them for a vasprun.xml."""
    meta, gradient = tags.get("METAGGA", "F").upper(), tags.get("GGA", "--").upper()
    if tags.get("LHFCALC", "F").startswith(("T", ".T")):
        functional = f"hybrid {tags.get('AEXX', '?')} {tags.get('HFSCREEN', '?')}"
    elif meta not in {"F", "--", "NONE", ".FALSE."}:
        functional = meta
    elif gradient == "--":
        functional = _functional_of_titles(titles)
    else:
        functional = GRADIENT_APPROXIMATIONS.get(gradient, gradient)
    if any(hubbards_eV.values()):
        functional += "+U"
    dispersion = tags.get("IVDW", "0")
    if dispersion != "0":
        functional += f"+{DISPERSIONS.get(dispersion, f'IVDW {dispersion}')}"
    return functional
