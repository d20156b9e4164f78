"""How long a time step may be: the same systems with several, against exact answers.

    python benchmarks/timestep.py oscillators spectrum
    python benchmarks/timestep.py argon ions --length-ps 400 --json timestep.json
    python benchmarks/timestep.py glass --length-ps 10 --json timestep.json

- oscillators: 64 of each of six wave numbers, 300 K; exact: m <v²> = k <x²> = k_B T of each.
- argon: 108 atoms of Lennard-Jones liquid, 130 K; steps scaled to the one of the ions by the
  highest frequency.
- ions: 84 rigid ions with the masses of LiAlCl2.5O0.75 and bonds as stiff as the glass's, liquid.
- spectrum: no dynamics; the vibrations of a quenched 42-atom LiAlCl2.5O0.75 with the shipped model,
  and what follows from them for each step by the shadow Hamiltonian of Verlet (timestep.md).
- glass: 84 atoms of LiAlCl2.5O0.75 with the shipped model, 900 K.

Each system runs with the thermostat in the middle of the drift (`vitrion.dynamics.integrators`)
and, for comparison, at the end of the step, where the kinetic energy of full steps is canonical.
The configurational temperature of an element is <|F|²> / (k_B <∇²U>) over its atoms (Rugh, Phys.
Rev. Lett. 78, 772, 1997; here the form of Butler et al., J. Chem. Phys. 109, 6519, 1998): that of
the positions alone, exact for a canonical distribution of any potential. Errors are one standard
error of means over blocks. Prints a table; with --json adds the figures to a file.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from scipy.special import erfc

from vitrion.base.units import EV_A3_TO_GPA, BOLTZMANN_eV_K, U_A2_PS2_eV
from vitrion.dynamics.integrators import (
    BussiNVT,
    RescaleNPT,
    advance,
    half_step_temperature_K,
    pressure_eV_A3,
    rescale_velocities,
    verlet,
)
from vitrion.dynamics.quench import relax
from vitrion.potential import CHGNetPotential, load_model
from vitrion.structure.packing import ionic_packing
from vitrion.trajectory.state import State

TAU_PS = 0.1
COUNTS = {"Li": 16, "Al": 16, "Cl": 40, "O": 12}
CHARGES = {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
RADII_A = {"Li": 0.73, "Al": 0.53, "Cl": 1.67, "O": 1.24}
CHARGE_SCALE = 0.5
COULOMB_eV_A = 14.399645
DISTANCES_A = np.arange(1.0, 6.0, 0.1)


@dataclass
class Result:
    """What a potential gives; `laplacian` is ∇²U by atom, where it is cheap (eV/Å²)."""

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None
    laplacian_eV_A2: np.ndarray | None = None


class EndNVT(BussiNVT):
    """The thermostat at the end of the step, on the kinetic energy of the full step."""

    def step(self, state, forces, temperature_K):
        moved, kick = verlet(state, forces, self.timestep_ps)

        def complete(forces):
            return rescale_velocities(kick(forces), temperature_K, self.timestep_ps, self.tau_ps)

        return moved, complete


SCHEMES = {"middle": BussiNVT, "end": EndNVT}


class Pairs:
    """Pairs of atoms in a cube, up to a cutoff where energy and force are shifted to zero.

    Args:
        pair: energy, derivative and second derivative at distances (n, n), by pair of atoms.
        cutoff_A: at most half the edge.
    """

    def __init__(self, pair: Callable, n_atoms: int, cutoff_A: float) -> None:
        self.pair, self.cutoff_A = pair, cutoff_A
        self.last = pair(np.full((n_atoms, n_atoms), cutoff_A))

    def compute(self, positions_A, cell_A, *, stress=False):
        edge = cell_A[0, 0]
        vectors = positions_A[None] - positions_A[:, None]
        vectors -= edge * np.rint(vectors / edge)
        r = np.sqrt((vectors**2).sum(-1))
        np.fill_diagonal(r, self.cutoff_A)
        near = r < self.cutoff_A
        energy, slope, curvature = self.pair(r)
        last_energy, last_slope, _ = self.last
        energy = near * (energy - last_energy - last_slope * (r - self.cutoff_A))
        slope = near * (slope - last_slope)
        laplacian = (near * (curvature + 2 * slope / r)).sum(1)
        scaled = slope / r
        forces = (scaled[:, None] @ vectors)[:, 0]
        virial = None
        if stress:
            virial = np.einsum("ij,ijk,ijl->kl", scaled, vectors, vectors) / 2 / edge**3
        return Result(float(energy.sum() / 2), forces, virial, laplacian)


def lennard_jones(r):
    """Energy, derivative and second derivative of argon."""
    i2 = 1 / r**2
    s2 = 3.4**2 * i2
    s6, e = s2 * s2 * s2, 0.0103
    energy = 4 * e * (s6 * s6 - s6)
    return energy, 24 * e * (s6 - 2 * s6 * s6) / r, 24 * e * (26 * s6 * s6 - 7 * s6) * i2


def rigid_ions(symbols):
    """Screened Coulomb and r^-9 cores, as `vitrion.structure.packing.IonicModel`."""
    charge = CHARGE_SCALE * np.array([CHARGES[s] for s in symbols])
    radius = np.array([RADII_A[s] for s in symbols])
    qq = COULOMB_eV_A * np.outer(charge, charge)
    core = np.abs(qq) * np.add.outer(radius, radius) ** 8
    a = 0.25

    def pair(r):
        i1 = 1 / r
        i2 = i1 * i1
        screened, gauss = erfc(a * r) * i1, 2 * a / math.sqrt(math.pi) * np.exp(-(a * a) * r * r)
        slope = -(screened + gauss) * i1
        curvature = 2 * screened * i2 + gauss * (2 * i2 + 2 * a * a)
        repulsion = core * (i2 * i2) ** 2 * i1
        return (
            qq * screened + repulsion / 9,
            qq * slope - repulsion * i1,
            qq * curvature + 10 * repulsion * i2,
        )

    return pair


class Glass:
    """The shipped model; the Laplacian by element from random displacements of its atoms."""

    def __init__(self, symbols):
        self.symbols = np.array(symbols)
        self._potential = CHGNetPotential(
            load_model("shipped"), Atoms(symbols).numbers, device="cpu"
        )
        self._rng = np.random.default_rng(1)

    def compute(self, positions_A, cell_A, *, stress=False):
        return self._potential.compute(positions_A, cell_A, stress=stress)

    def laplacian(self, state, step_A=0.01):
        """Stochastic trace of the Hessian over each element's atoms, spread over them."""
        found = np.zeros(len(self.symbols))
        for element in dict.fromkeys(self.symbols):
            own = self.symbols == element
            probe = own[:, None] * self._rng.choice((-1.0, 1.0), state.positions_A.shape)
            there, back = (
                self.compute(state.positions_A + sign * step_A * probe, state.cell_A).forces_eV_A
                for sign in (1, -1)
            )
            found[own] = ((back - there) * probe).sum() / (2 * step_A) / own.sum()
        return found


@dataclass
class System:
    """A potential, where to start, and what to measure every how many ps."""

    potential: object
    symbols: np.ndarray
    start: Callable[[int], State]
    temperature_K: float
    sample_ps: float
    lags_ps: tuple[float, float]
    warm_up_ps: float


def argon_system() -> System:
    """A liquid of Lennard-Jones atoms."""
    atoms = bulk("Ar", "fcc", a=5.8, cubic=True).repeat(3)

    def start(seed):
        return State.from_atoms(atoms, temperature_K=260, seed=seed)

    potential = Pairs(lennard_jones, len(atoms), 8.5)
    return System(potential, np.array(atoms.symbols), start, 130.0, 0.05, (2.0, 8.0), 20.0)


def ions_system() -> System:
    """A melt of rigid ions with half their formal charges."""
    symbols = [s for s, n in COUNTS.items() for _ in range(n)]
    edge = (2152 / 0.60221 / 2.1) ** (1 / 3)
    packed = ionic_packing(COUNTS, edge**3, 1, charges=CHARGES)
    assert list(packed.symbols) == symbols

    def start(seed):
        return State.from_atoms(packed, temperature_K=2000, seed=seed)

    potential = Pairs(rigid_ions(symbols), len(symbols), 5.85)
    return System(potential, np.array(symbols), start, 1200.0, 0.048, (2.0, 8.0), 8.0)


def walk(system: System, state: State, integrator, steps: int, temperature_K: float) -> Iterator:
    """State and forces after each step."""
    potential = system.potential

    def evaluate(state):
        return potential.compute(state.positions_A, state.cell_A, stress=integrator.needs_stress)

    forces = evaluate(state)
    for _ in range(steps):
        state, forces = advance(integrator, state, forces, evaluate, temperature_K)
        yield state, forces


def last(walked: Iterator) -> State:
    """The last state of a walk."""
    ((state, _),) = deque(walked, maxlen=1)
    return state


def measure(system: System, start: State, integrator, length_ps: float) -> dict[str, np.ndarray]:
    """Time series of one run, and its g(r) and displacements."""
    step_ps, kT = integrator.timestep_ps, BOLTZMANN_eV_K * system.temperature_K
    steps, every = round(length_ps / step_ps), max(1, round(system.sample_ps / step_ps))
    elements = list(dict.fromkeys(system.symbols))
    own = {e: system.symbols == e for e in elements}
    total_mass = start.masses_u.sum()
    found: dict[str, list] = {}
    positions, counted = [], np.zeros((len(elements), len(elements), len(DISTANCES_A) - 1))
    conserved_eV = []
    walked = walk(system, start, integrator, steps, system.temperature_K)
    for k, (state, forces) in enumerate(walked, 1):
        if k % every:
            continue
        row = {
            "T": half_step_temperature_K(state, forces, step_ps) / system.temperature_K,
            "U": forces.energy_eV / len(system.symbols) / kT,
        }
        conserved_eV.append(integrator.conserved_eV(state, forces, system.temperature_K))
        laplacian = getattr(forces, "laplacian_eV_A2", None)
        if laplacian is None and len(conserved_eV) % 4 == 1:
            laplacian = system.potential.laplacian(state)
        if laplacian is not None:
            with_stress = system.potential.compute(state.positions_A, state.cell_A, stress=True)
            row["p"] = pressure_eV_A3(state, with_stress, step_ps) * EV_A3_TO_GPA
        if integrator.needs_stress:
            row["density"] = state.density_g_cm3
        change = step_ps / 2 * forces.forces_eV_A / state.masses_u[:, None] / U_A2_PS2_eV
        for e, chosen in own.items():
            masses = state.masses_u[chosen]
            # An atom of mass m has 3 (1 - m / M) degrees of freedom.
            dof = 3 * (1 - masses / total_mass).sum()
            full = (masses[:, None] * state.velocities_A_ps[chosen] ** 2).sum()
            half = full + (masses[:, None] * change[chosen] ** 2).sum()
            row[f"T_full {e}"] = U_A2_PS2_eV * full / dof / kT
            row[f"T_half {e}"] = U_A2_PS2_eV * half / dof / kT
            row[f"F2 {e}"] = (forces.forces_eV_A[chosen] ** 2).sum()
            if laplacian is not None:
                row[f"L {e}"] = laplacian[chosen].sum() * kT
        row["F2 all"] = (forces.forces_eV_A**2).sum()
        if laplacian is not None:
            row["L all"] = laplacian.sum() * kT
        for name, value in row.items():
            found.setdefault(name, []).append(value)
        positions.append(state.positions_A)
        edge = state.cell_A[0, 0]
        vectors = state.positions_A[None] - state.positions_A[:, None]
        r = np.sqrt(((vectors - edge * np.round(vectors / edge)) ** 2).sum(-1))
        for a, first in enumerate(elements):
            for b, second in enumerate(elements):
                pairs = r[np.ix_(own[first], own[second])]
                counted[a, b] += np.histogram(pairs, DISTANCES_A)[0]
    out = {name: np.array(values) for name, values in found.items()}
    out["g"] = counted / len(positions)
    out["drift"] = (
        np.polyfit(np.arange(len(conserved_eV)) * every * step_ps, conserved_eV, 1)[:1]
        * 1000
        / len(system.symbols)
    )
    for e, chosen in own.items():
        out[f"D {e}"] = np.array(
            [diffusion(np.array(positions)[:, chosen], every * step_ps, system.lags_ps)]
        )
    return out


def diffusion(positions_A: np.ndarray, interval_ps: float, lags_ps: tuple[float, float]) -> float:
    """Slope of the mean squared displacement between two lags, over six (Å²/ps)."""
    lags = np.unique(np.linspace(*lags_ps, 9) / interval_ps).astype(int)
    lags = lags[lags < len(positions_A) / 2]
    if len(lags) < 3:
        return math.nan
    msd = [((positions_A[k:] - positions_A[:-k]) ** 2).sum(-1).mean() for k in lags]
    return float(np.polyfit(lags * interval_ps, msd, 1)[0] / 6)


def summary(runs: list[dict[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
    """Means over runs with standard errors: of runs where there are several, else of blocks."""
    blocks = max(1, 12 // len(runs))
    found = {}
    for name in runs[0]:
        if name in ("g",) or name.startswith("L "):
            continue
        if name.startswith("F2 "):
            pairs = [
                (f.mean(), w.mean())
                for run in runs
                for f, w in zip(
                    np.array_split(run[name], blocks),
                    np.array_split(run["L" + name[2:]], blocks),
                    strict=True,
                )
            ]
            force, weight = np.array(pairs).T
            ratio = force.sum() / weight.sum()
            spread = (force - ratio * weight).std(ddof=1) / weight.mean() / math.sqrt(len(force))
            found["T_conf" + name[2:]] = (float(ratio), float(spread))
            continue
        means = np.array(
            [
                block.mean()
                for run in runs
                for block in np.array_split(run[name], min(blocks, len(run[name])))
            ]
        )
        error = means.std(ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
        found[name] = (float(means.mean()), float(error))
    return found


def difference_of_g(runs, reference) -> float:
    """Largest difference of the counts in bins of 0.1 Å, in its standard errors over runs."""
    a, b = (np.array([run["g"] for run in each]) for each in (runs, reference))
    error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    seen = (a.mean(0) + b.mean(0)) > 0.1
    z = np.abs(a.mean(0) - b.mean(0))[seen] / error[seen]
    return float(np.sqrt((z**2).mean()))


def oscillators() -> list[dict]:
    """Means of k x² and m v² over k_B T by wave number (0: all), of half and of full steps."""
    wave_numbers, each, temperature_K = (100, 300, 500, 700, 900, 1100), 64, 300.0
    omega = 2 * math.pi * 0.0299792458 * np.repeat(wave_numbers, each)[:, None]  # rad/ps
    kT = BOLTZMANN_eV_K * temperature_K
    # The last atom is heavy and free: it takes the recoil.
    springs = np.vstack((10 * U_A2_PS2_eV * omega**2, [[0.0]]))
    masses = np.append(np.full(len(omega), 10.0), 1e9)

    class Springs:
        def compute(self, positions_A, cell_A, *, stress=False):
            energy = 0.5 * float((springs * positions_A**2).sum())
            return Result(energy, -springs * positions_A, None)

    x = np.random.default_rng(1).normal(size=(len(omega), 3)) * np.sqrt(kT / springs[:-1])
    start = State(
        numbers=np.ones(len(masses), dtype=int),
        masses_u=masses,
        positions_A=np.vstack((x, np.zeros((1, 3)))),
        velocities_A_ps=np.zeros((len(masses), 3)),
        cell_A=100 * np.eye(3),
        seed=1,
    ).with_velocities(temperature_K)
    system = System(Springs(), np.array(["X"]), lambda seed: start, temperature_K, 0, (0, 0), 0)
    rows, steps = [], 20_000
    for scheme, kind in SCHEMES.items():
        for step_fs in (1.0, 2.0, 3.0, 4.0, 5.0):
            integrator = kind(step_fs / 1000, 0.02)
            totals = np.zeros((3, len(omega)))
            for state, forces in walk(system, start, integrator, steps, temperature_K):
                change = integrator.timestep_ps / 2 * forces.forces_eV_A / masses[:, None]
                v2 = masses[:, None] * state.velocities_A_ps**2 * U_A2_PS2_eV
                h2 = v2 + masses[:, None] * change**2 / U_A2_PS2_eV
                squares = springs * state.positions_A**2, h2, v2
                totals += [square[:-1].mean(1) / kT / steps for square in squares]
            by_number = totals.reshape(3, len(wave_numbers), each).mean(2).T
            for number, means in zip((0, *wave_numbers), (totals.mean(1), *by_number), strict=True):
                rows.append(
                    {"scheme": scheme, "step_fs": step_fs, "wave_number_1_cm": number}
                    | dict(
                        zip(("positions", "half_step", "full_step"), means.tolist(), strict=True)
                    )
                )
    return rows


def glass_system(file: Path) -> System:
    """Made once, and kept in a file: packing, melt at 1500 K and cooling to 900 K, 4 ps each."""
    symbols = [s for s, n in COUNTS.items() for _ in range(n)]
    potential = Glass(symbols)
    system = System(potential, np.array(symbols), None, 900.0, 0.024, (1.0, 4.0), 1.0)
    if not file.is_file():
        edge = (2152 / 0.60221 / 2.1) ** (1 / 3)
        packed = ionic_packing(COUNTS, edge**3, 1, charges=CHARGES)
        relax(packed, potential)
        state = State.from_atoms(packed, temperature_K=1500, seed=1)
        for kelvin in np.linspace(1500, 900, 7):
            steps = 1000 if kelvin == 1500 else 300
            state = last(walk(system, state, BussiNVT(0.002, TAU_PS), steps, kelvin))
        np.savez(file, **state.to_arrays())
    with np.load(file) as arrays:
        state = State.from_arrays(arrays)
    system.start = lambda seed: State(**{**vars(state), "step": 0, "seed": seed}).with_velocities(
        900
    )
    return system


def spectrum() -> list[dict]:
    """By step and element: kinetic energy that full steps miss, and what partial temperatures do.

    A vibration of frequency ω has z = (ω dt)². Its kinetic energy at full steps is too small by
    z / 4. The shadow Hamiltonian, in which vibrations share energy equally, is
    k A² / 2 (1 - z / 12), so with one thermostat for all of them each is hotter than the mean by
    z / 12 - <z / 12>.
    """
    counts = {element: n // 2 for element, n in COUNTS.items()}
    counts["O"] = 6
    symbols = np.array([s for s, n in counts.items() for _ in range(n)])
    edge = (1076 / 0.60221 / 2.1) ** (1 / 3)
    packed = ionic_packing(counts, edge**3, 1, charges=CHARGES)
    glass = Glass(symbols)
    relax(packed, glass)
    system = System(glass, symbols, None, 900.0, 0, (0, 0), 0)
    state = State.from_atoms(packed, temperature_K=900, seed=1)
    state = last(walk(system, state, BussiNVT(0.002, TAU_PS), 500, 900))
    atoms = state.to_atoms()
    for _ in range(300):  # down the forces
        forces = glass.compute(atoms.positions, state.cell_A).forces_eV_A
        atoms.positions += 0.01 * forces
    n, step_A = len(symbols), 0.01
    hessian = np.zeros((3 * n, 3 * n))
    for k in range(3 * n):
        shift = np.zeros(3 * n)
        shift[k] = step_A
        there, back = (
            glass.compute(atoms.positions + sign * shift.reshape(n, 3), state.cell_A).forces_eV_A
            for sign in (1, -1)
        )
        hessian[k] = ((back - there) / (2 * step_A)).ravel()
    root = np.sqrt(np.repeat(state.masses_u, 3) * U_A2_PS2_eV)
    squares, modes = np.linalg.eigh((hessian + hessian.T) / 2 / np.outer(root, root))
    shares = (modes**2).reshape(n, 3, -1).sum(1)  # of atoms in modes
    highest = math.sqrt(squares[-1]) / (2 * math.pi * 0.0299792458)
    rows = [{"highest_1_cm": highest, "unstable_modes": int((squares < -1).sum())}]
    for step_fs in (1.0, 2.0, 3.0, 4.0, 5.0):
        z = squares.clip(0) * (step_fs / 1000) ** 2
        row = {"step_fs": step_fs, "mean missing_percent": 25 * z.mean()}
        for element in counts:
            share = shares[symbols == element].sum(0)
            own = (share * z).sum() / share.sum()
            row[f"{element} missing_percent"] = 25 * own
            row[f"{element} hotter_percent"] = 100 / 12 * (own - z.mean())
        rows.append(row)
    return rows


def barostat(step_ps: float) -> RescaleNPT:
    """At zero pressure, or at 2 GPa, which keeps the rigid ions together."""
    return RescaleNPT(step_ps, TAU_PS, 2 / EV_A3_TO_GPA, 1.0, 0.05 * EV_A3_TO_GPA)


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "systems", nargs="+", choices=("oscillators", "spectrum", "argon", "ions", "glass")
    )
    parser.add_argument("--length-ps", type=float, default=100.0, help="of each run")
    parser.add_argument("--steps-fs", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0])
    parser.add_argument("--schemes", nargs="+", choices=("middle", "end", "npt"), default=SCHEMES)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--glass", type=Path, default=Path("glass.npz"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for name in args.systems:
        if name in ("oscillators", "spectrum"):
            found = oscillators() if name == "oscillators" else spectrum()
            print(*found, sep="\n")
        else:
            found = compare(name, args)
        if args.json:
            known = json.loads(args.json.read_text()) if args.json.is_file() else {}
            args.json.write_text(json.dumps(known | {name: known.get(name, []) + found}, indent=1))


def compare(name: str, args: argparse.Namespace) -> list[dict]:
    """A row of means and errors for each scheme and step."""
    if name == "glass":
        system = glass_system(args.glass)
    else:
        system = {"argon": argon_system, "ions": ions_system}[name]()
    rows, reference = [], None
    for scheme in args.schemes:
        for step_fs in args.steps_fs:
            # The highest frequency of argon is that of the glass over about seven.
            step_ps = step_fs / 1000 * (7 if name == "argon" else 1)
            integrator = barostat(step_ps) if scheme == "npt" else SCHEMES[scheme](step_ps, TAU_PS)
            began, runs = time.process_time(), []
            for seed in range(args.first_seed, args.first_seed + args.seeds):
                warm = round(system.warm_up_ps / step_ps)
                state = integrator.start(system.start(seed))
                state = last(walk(system, state, integrator, warm, system.temperature_K))
                runs.append(measure(system, state, integrator, args.length_ps))
            row = {
                "scheme": scheme,
                "step_fs": 1000 * step_ps,
                "seeds": args.seeds,
                "length_ps": args.length_ps,
                **summary(runs),
            }
            reference = reference or runs
            if args.seeds > 1 and runs is not reference:
                row["rms_z_of_g"] = difference_of_g(runs, reference)
            row["cpu_s"] = time.process_time() - began
            rows.append(row)
            print(name, json.dumps(row), flush=True)
    return rows


if __name__ == "__main__":
    main()
