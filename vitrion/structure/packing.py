"""Packings of atoms in a periodic cubic cell, the start of every melt."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers
from ase.io.xyz import read_xyz
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE
from packmol.cli import get_binary_path
from pymatgen.core import Species
from scipy.special import erfc
from vesin import ase_neighbor_list

from vitrion.base.errors import InputError

# Spheres of this diameter (over the cube root of the volume per atom) fill 32 % of the cell, which
# packmol reaches at once; random close packing is 64 %.
RELATIVE_DISTANCE = 0.85
# Rigid-ion pre-relaxation: hot enough for ions to change places, and a few seconds long.
IONIC_TEMPERATURE_K = 3000.0
IONIC_STEPS = 500
IONIC_RELAX_STEPS = 200
IONIC_RELAX_FORCE_eV_A = 0.5
# Atoms closer than this have forces too large for the time step of a melt.
LEAST_DISTANCE_A = 1.0


def random_packing(counts: Mapping[str, int], volume_A3: float, seed: int) -> Atoms:
    """Pack atoms at random into a periodic cubic cell, with a least distance between any two.

    The distance, which holds across the faces of the cell too, starts at 0.85 (V/N)^(1/3) and is
    lowered by a tenth until packmol succeeds (Martinez et al., J. Comput. Chem. 30, 2157, 2009).
    The distance that was used is in ``info["packing_distance_A"]``.

    Args:
        counts: atoms of each element.
        volume_A3: volume of the cell.
        seed: seed of packmol's generator; the same seed gives the same packing.

    Raises:
        InputError: unknown element, no atoms, or a cell too small for them.
    """
    counts = {element: count for element, count in counts.items() if count > 0}
    n_atoms = sum(counts.values())
    if n_atoms == 0:
        raise InputError("counts", dict(counts), "give at least one atom")
    for element in counts:
        if element not in atomic_numbers:
            raise InputError("counts", element, "not an element; use its symbol")
    if not volume_A3 > 0:
        raise InputError("volume_A3", volume_A3, "must be positive")
    distance_A = RELATIVE_DISTANCE * (volume_A3 / n_atoms) ** (1 / 3)
    while distance_A >= LEAST_DISTANCE_A:
        atoms = _packmol(counts, volume_A3 ** (1 / 3), distance_A, seed)
        if atoms is not None:
            atoms.info["packing_distance_A"] = distance_A
            return atoms
        distance_A *= 0.9
    raise InputError(
        "volume_A3",
        volume_A3,
        f"too small to keep {n_atoms} atoms {LEAST_DISTANCE_A:g} Å apart; use a lower density",
    )


def ionic_packing(
    counts: Mapping[str, int], volume_A3: float, seed: int, *, charges: Mapping[str, float]
) -> Atoms:
    """Pack atoms at random and pre-relax them as rigid ions, so that cations neighbour anions.

    A random packing has halide-halide and cation-cation contacts, which hot dynamics with a
    universal potential may keep as molecules. Here the random packing is relaxed, run for 0.5 ps
    at 3000 K and relaxed again with the rigid-ion model (`IonicModel`), before any other potential
    is used.

    Args:
        counts: atoms of each element.
        volume_A3: volume of the cell.
        seed: seed of packmol and of the dynamics; the same seed gives the same packing.
        charges: formal charge of each element in e.

    Raises:
        InputError: as `random_packing`; an element without charge; a cell that is not neutral.
    """
    atoms = random_packing(counts, volume_A3, seed)
    missing = sorted(set(atoms.symbols) - set(charges))
    if missing:
        raise InputError("charges", dict(charges), f"add the charge of {', '.join(missing)}")
    net = sum(charges[symbol] for symbol in atoms.symbols)
    if abs(net) > 1e-9:
        raise InputError("charges", dict(charges), f"the cell has a net charge of {net:+g} e")
    rng = np.random.default_rng(seed)
    atoms.calc = IonicModel(charges)
    relax = {"steps": IONIC_RELAX_STEPS, "fmax": IONIC_RELAX_FORCE_eV_A}
    FIRE(atoms, logfile=None).run(**relax)
    thermalize_momenta(atoms, IONIC_TEMPERATURE_K, rng=rng)
    Langevin(
        atoms,
        units.fs,
        temperature_K=IONIC_TEMPERATURE_K,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    ).run(IONIC_STEPS)
    FIRE(atoms, logfile=None).run(**relax)
    packed = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True, info=atoms.info)
    packed.wrap()
    return packed


class IonicModel(Calculator):
    """Rigid ions: screened Coulomb attraction and repulsion, and a hard core.

    U(r) = k q_i q_j [erfc(a r)/r, damped and shifted to zero force at the cutoff] (Fennell and
    Gezelter, J. Chem. Phys. 124, 234104, 2006) + k |q_i q_j| s^8 / (9 r^9) with s the sum of
    Shannon's radii of the ions (pymatgen), so that an isolated pair of a cation and an anion has
    its minimum at s. The model is for neighbours, not for energies.

    Args:
        charges: formal charge of each element in e.
        cutoff_A: range of both parts.
        damping_1_A: a, the screening of the Coulomb part.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (ASE's own way)

    def __init__(
        self, charges: Mapping[str, float], cutoff_A: float = 8.0, damping_1_A: float = 0.2
    ) -> None:
        super().__init__()
        self.charges = dict(charges)
        self.cutoff_A = cutoff_A
        self.damping_1_A = damping_1_A

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        assert isinstance(self.atoms, Atoms)
        symbols = np.array(self.atoms.get_chemical_symbols())
        charge = np.array([self.charges[s] for s in symbols])
        radius_of = {s: ionic_radius_A(s, self.charges[s]) for s in set(symbols)}
        radius_A = np.array([radius_of[s] for s in symbols])
        i, j, r, vector = ase_neighbor_list("ijdD", self.atoms, self.cutoff_A)
        qq = units._e / (4 * np.pi * units._eps0) * 1e10 * charge[i] * charge[j]
        energy, force = self._coulomb(r)
        at_cutoff, force_at_cutoff = self._coulomb(np.array([self.cutoff_A]))
        energy = energy - at_cutoff + force_at_cutoff * (r - self.cutoff_A)
        force = force - force_at_cutoff
        core = np.abs(qq) * (radius_A[i] + radius_A[j]) ** 8 / r**9
        pair_energy = qq * energy + core / 9
        pair_force = qq * force + core / r
        forces = np.zeros((len(symbols), 3))
        np.add.at(forces, i, -(pair_force / r)[:, None] * vector)
        self.results = {"energy": float(pair_energy.sum() / 2), "forces": forces}

    def _coulomb(self, r_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Screened 1/r and minus its derivative."""
        a = self.damping_1_A
        energy = erfc(a * r_A) / r_A
        return energy, energy / r_A + 2 * a / np.sqrt(np.pi) * np.exp(-((a * r_A) ** 2)) / r_A


def ionic_radius_A(element: str, charge: float) -> float:
    """Shannon's ionic radius of an element in its charge; 1 Å where the tables have none."""
    radius = Species(element, charge).ionic_radius
    return float(radius) if radius is not None else 1.0


def _packmol(
    counts: Mapping[str, int], edge_A: float, distance_A: float, seed: int
) -> Atoms | None:
    """One run of packmol; None when it cannot keep the distance."""
    lines = [
        f"tolerance {distance_A:.4f}",
        "filetype xyz",
        "output packed.xyz",
        f"seed {seed}",
        f"pbc {edge_A:.8f} {edge_A:.8f} {edge_A:.8f}",
    ]
    with tempfile.TemporaryDirectory(prefix="vitrion-packing-") as folder:
        for element, count in counts.items():
            Path(folder, f"{element}.xyz").write_text(f"1\n\n{element} 0 0 0\n")
            lines += [f"structure {element}.xyz", f"  number {count}", "end structure"]
        script = Path(folder, "packmol.inp")
        script.write_text("\n".join(lines) + "\n")
        with script.open() as stdin:  # packmol rewinds its input, so it must be a file
            run = subprocess.run(
                [get_binary_path()], stdin=stdin, cwd=folder, capture_output=True, check=False
            )
        packed = Path(folder, "packed.xyz")
        # With exit code 173 the distances could not be kept; packmol then writes its best attempt.
        if run.returncode != 0 or not packed.is_file():
            return None
        with packed.open() as file:
            atoms = next(read_xyz(file, slice(1)))
    atoms.set_cell([edge_A] * 3)
    atoms.pbc = True
    atoms.info.clear()
    return atoms
