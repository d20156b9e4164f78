"""Label one frame with GPAW: a script that the labelling step runs as its own process.

    python gpaw_worker.py frames.extxyz 0 labelled.extxyz '{"cutoff_eV": 600, ...}'

The arguments: a file of frames, the index of one, the file to write, the settings (those of
`vitrion.config.Gpaw` and `safer`, which mixes more slowly and steadily). It needs GPAW and ASE
only, so GPAW may be installed in another environment. Exit code 3: the SCF cycle did not converge,
the reason is the last line of stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ase.io
import gpaw
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import ground_state_magnetic_moments
from gpaw import GPAW, KohnShamConvergenceError

# A frame takes a minute with these; tighter ones change forces by less than 1 meV/Å.
CONVERGENCE = {"energy": 1e-5, "density": 3e-5, "eigenstates": 1e-6}
# Mean-value point of a cubic Brillouin zone: Baldereschi, Phys. Rev. B 7, 5212 (1973). It costs
# about as much as two calculations at Gamma, with a seventh to two fifths of Gamma's force error.
MEAN_VALUE_POINT = [[0.25, 0.25, 0.25]]
SAFER = {"mixer": {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100}, "maxiter": 400}
# The finite basis adds an isotropic tension (Pulay stress), which would make every cell too dense.
# It comes from compact orbitals and belongs to the atoms: stress times volume per atom in eV by
# cutoff. These were measured in glasses against 800 eV (LiAlCl, NaGaBr, KInI).
PULAY_eV = {
    500.0: {
        "O": 2.1,
        "Li": 0.2,
        **dict.fromkeys(("Na", "K", "Al", "Ga", "In", "Cl", "Br", "I"), 0.0),
    },
    600.0: {"O": 0.61, **dict.fromkeys(("Li", "Na", "K", "Al", "Ga", "In", "Cl", "Br", "I"), 0.0)},
}
# All others are measured on an isolated atom, as (2/3) cutoff dE/dcutoff (Francis and Payne, J.
# Phys.: Condens. Matter 2, 4395, 1990), which gives 1.96 eV for oxygen at 500 eV.
PULAY_STEP = 0.02  # relative change of the cutoff
CONVERGED_eV = 800.0  # from here on none is removed
ATOM_CELL_A = 6.0
# Elements with open d or f shells are calculated with spin, from the moments of free atoms.
OPEN_SHELLS = (*range(23, 30), *range(42, 47), *range(58, 71), *range(74, 79), *range(90, 104))


def generate_paw_sets(valence_electrons: dict[str, int]) -> Path:
    """Generate PAW sets with more valence electrons than GPAW's default, once per GPAW version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "vitrion" / f"gpaw-{gpaw.__version__}-pbe"
    folder.mkdir(parents=True, exist_ok=True)
    for element, electrons in valence_electrons.items():
        name = f"{element}.e{electrons}.PBE"
        if (folder / name).is_file():
            continue
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = ["dataset", element, "-f", "PBE", "-e", str(electrons), "-t", f"e{electrons}"]
            subprocess.run(
                [sys.executable, "-m", "gpaw", *command, "-w"],
                cwd=scratch, check=True, capture_output=True,
            )  # fmt: skip
            os.replace(Path(scratch, name), folder / name)
    return folder


def pulay_eV(elements: set[str], settings: dict, folder: Path) -> dict[str, float]:
    """Stress times volume of the finite basis for an atom of each element, in eV.

    What is measured is kept in `folder`, for each PAW set and cutoff.
    """
    cutoff_eV = settings["cutoff_eV"]
    if cutoff_eV >= CONVERGED_eV:
        return {}
    known = PULAY_eV.get(cutoff_eV, {})
    found = {}
    for element in sorted(elements):
        electrons = settings["valence_electrons"].get(element)
        kept = folder / f"pulay-{element}-e{electrons or 'default'}-{cutoff_eV:g}.json"
        if element in known:
            found[element] = known[element]
        elif kept.is_file():
            found[element] = json.loads(kept.read_text())
        else:
            found[element] = round(_pulay_of_atom_eV(element, electrons, cutoff_eV), 3)
            partial = kept.with_name(f".{kept.name}.{os.getpid()}")
            partial.write_text(json.dumps(found[element]))
            os.replace(partial, kept)
    return {element: value for element, value in found.items() if value != 0}


def _pulay_of_atom_eV(element: str, electrons: int | None, cutoff_eV: float) -> float:
    energies = []
    for cutoff in ((1 - PULAY_STEP) * cutoff_eV, (1 + PULAY_STEP) * cutoff_eV):
        atom = Atoms(element, positions=[[ATOM_CELL_A / 2] * 3], cell=[ATOM_CELL_A] * 3, pbc=True)
        atom.calc = GPAW(
            mode={"name": "pw", "ecut": cutoff},
            xc="PBE",
            nbands=-8,
            occupations={"name": "fermi-dirac", "width": 0.1},
            setups={element: f"e{electrons}"} if electrons else {},
            symmetry={"point_group": False},
            convergence={"energy": 1e-5, "density": 1e-4},
            mixer={"backend": "pulay", "beta": 0.05, "nmaxold": 5, "weight": 50},
            maxiter=400,
            txt=None,
        )
        energies.append(atom.get_potential_energy(force_consistent=True))
    return -(energies[1] - energies[0]) / (3 * PULAY_STEP)


def initial_moments(atoms: Atoms) -> list[float] | None:
    """Magnetic moments to start from; None where no element asks for spin."""
    if not any(number in OPEN_SHELLS for number in atoms.numbers):
        return None
    return [
        float(ground_state_magnetic_moments[number]) if number in OPEN_SHELLS else 0.0
        for number in atoms.numbers
    ]


def calculate(atoms: Atoms, settings: dict, log: Path) -> Atoms:
    """Energy, forces and stress of a frame.

    The energy is the free energy of the electrons, of which the forces are the derivative.

    Raises:
        KohnShamConvergenceError: the SCF cycle did not converge.
    """
    mean_value = settings["kpoints"] == "mean_value"
    wanted = {e: n for e, n in settings["valence_electrons"].items() if e in atoms.symbols}
    folder = generate_paw_sets(wanted)
    gpaw.setup_paths.insert(0, str(folder))
    removed_eV = pulay_eV(set(atoms.symbols), settings, folder)
    moments = initial_moments(atoms)
    parameters: dict[str, Any] = {
        "mode": {"name": "pw", "ecut": settings["cutoff_eV"]},
        "xc": "PBE",
        "kpts": MEAN_VALUE_POINT if mean_value else {"size": settings["kpoints"], "gamma": True},
        "nbands": "110%",
        "occupations": {"name": "fermi-dirac", "width": settings["smearing_eV"]},
        "setups": {element: f"e{electrons}" for element, electrons in wanted.items()},
        "symmetry": {"point_group": False},
        "convergence": CONVERGENCE,
        "maxiter": 100,
        **({"spinpol": True} if moments is not None else {}),
        **(SAFER if settings["safer"] else {}),
    }
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    atoms.calc = GPAW(txt=str(log), **parameters)
    forces = atoms.get_forces()
    stress = atoms.get_stress()
    stress[:3] -= sum(removed_eV.get(symbol, 0.0) for symbol in atoms.symbols) / atoms.get_volume()
    free_energy = atoms.get_potential_energy(force_consistent=True)
    smearing_meV = 1000 * (atoms.get_potential_energy() - free_energy)
    labelled = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    kpoints = "mean value" if mean_value else "x".join(map(str, settings["kpoints"]))
    labelled.info = {
        **{key: value for key, value in atoms.info.items() if key not in settings["left_out"]},
        "engine": "gpaw",
        # Frames of one level share an energy zero.
        "level": f"GPAW {gpaw.__version__} PBE {settings['cutoff_eV']:g} eV, k {kpoints}",
        "label": {
            "parameters": parameters,
            "pulay_stress_removed_eV": removed_eV,
            "scf_steps": atoms.calc.get_number_of_iterations(),
            **({"magnetic_moment": atoms.get_magnetic_moment()} if moments is not None else {}),
        },
        "smearing_correction_meV": round(smearing_meV, 3),
    }
    labelled.calc = SinglePointCalculator(
        labelled, energy=free_energy, forces=forces, stress=stress
    )
    return labelled


def main() -> int:
    """Read the frame, label it, write it whole or not at all."""
    source, index, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    settings = json.loads(sys.argv[4])
    try:
        (atoms,) = ase.io.iread(source, index=index)
        atoms.set_constraint()  # labels are of all atoms
        labelled = calculate(atoms, settings, out.with_suffix(".txt"))
    except KohnShamConvergenceError as error:
        print(f"SCF not converged: {error}", file=sys.stderr)
        return 3
    partial = out.with_name(f".{out.name}.partial")
    ase.io.write(partial, labelled, format="extxyz")
    os.replace(partial, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
