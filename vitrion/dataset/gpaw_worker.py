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
from gpaw import GPAW, KohnShamConvergenceError

# A frame takes a minute with these; tighter ones change forces by less than 1 meV/Å.
CONVERGENCE = {"energy": 1e-5, "density": 3e-5, "eigenstates": 1e-6}
# Mean-value point of a cubic Brillouin zone: Baldereschi, Phys. Rev. B 7, 5212 (1973). It costs
# about as much as two calculations at Gamma, with a seventh to two fifths of Gamma's force error.
MEAN_VALUE_POINT = [[0.25, 0.25, 0.25]]
SAFER = {"mixer": {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100}, "maxiter": 400}
# The finite basis adds an isotropic tension (Pulay stress), which would make every cell too dense.
# It comes from oxygen's and lithium's compact orbitals: stress times volume per atom in eV by
# cutoff, measured against 800 eV on LiAlCl, NaGaBr and KInI. Other elements have no correction.
PULAY_eV = {500.0: {"O": 2.1, "Li": 0.2}, 600.0: {"O": 0.61}}


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


def calculate(atoms: Atoms, settings: dict, log: Path) -> Atoms:
    """Energy, forces and stress of a frame.

    The energy is the free energy of the electrons, of which the forces are the derivative.

    Raises:
        KohnShamConvergenceError: the SCF cycle did not converge.
    """
    mean_value = settings["kpoints"] == "mean_value"
    wanted = {e: n for e, n in settings["valence_electrons"].items() if e in atoms.symbols}
    gpaw.setup_paths.insert(0, str(generate_paw_sets(wanted)))
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
        **(SAFER if settings["safer"] else {}),
    }
    atoms.calc = GPAW(txt=str(log), **parameters)
    forces = atoms.get_forces()
    pulay_eV = PULAY_eV.get(settings["cutoff_eV"], {})
    stress = atoms.get_stress()
    stress[:3] -= sum(pulay_eV.get(symbol, 0.0) for symbol in atoms.symbols) / atoms.get_volume()
    free_energy = atoms.get_potential_energy(force_consistent=True)
    smearing_meV = 1000 * (atoms.get_potential_energy() - free_energy)
    labelled = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    kpoints = "mean value" if mean_value else "x".join(map(str, settings["kpoints"]))
    labelled.info = {
        **atoms.info,
        "engine": "gpaw",
        # Frames of one level share an energy zero.
        "level": f"GPAW {gpaw.__version__} PBE {settings['cutoff_eV']:g} eV, k {kpoints}",
        "label": {
            "parameters": parameters,
            "pulay_stress_removed_eV": pulay_eV,
            "scf_steps": atoms.calc.get_number_of_iterations(),
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
