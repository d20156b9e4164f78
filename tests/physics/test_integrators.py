"""Integrators against exact answers: conserved quantities, canonical distributions, ASE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet
from potentials import Harmonic, IdealGas, LennardJones, argon, gas
from scipy import stats

from vitrion.base.units import EV_A3_TO_GPA, BOLTZMANN_eV_K, U_A2_PS2_eV
from vitrion.dynamics.integrators import (
    NVE,
    BussiNVT,
    NoseHooverNVT,
    RescaleNPT,
    advance,
    half_step_kinetic_eV,
    half_step_temperature_K,
    pressure_eV_A3,
    verlet,
)
from vitrion.trajectory.state import State

BAROSTAT = {"pressure_eV_A3": 0.01, "barostat_tau_ps": 0.5, "compressibility_A3_eV": 50.0}


def integrators(timestep_ps=0.004, tau_ps=0.1):
    return [
        NVE(timestep_ps),
        BussiNVT(timestep_ps, tau_ps),
        NoseHooverNVT(timestep_ps, tau_ps),
        RescaleNPT(timestep_ps, tau_ps, **BAROSTAT),
    ]


def walk(state, integrator, potential, steps, temperature_K, every=1):
    """States and forces after every few steps."""

    def evaluate(state):
        return potential.compute(state.positions_A, state.cell_A, stress=integrator.needs_stress)

    forces = evaluate(state)
    for step in range(1, steps + 1):
        state, forces = advance(integrator, state, forces, evaluate, temperature_K)
        if step % every == 0:
            yield state, forces


def last(states):
    *_, (state, _) = states
    return state


def conserved(integrator, timestep_ps, potential, length_ps):
    state = integrator.start(argon(temperature_K=60))
    return np.array(
        [
            integrator.conserved_eV(s, f, 60)
            for s, f in walk(state, integrator, potential, round(length_ps / timestep_ps), 60)
        ]
    )


@pytest.mark.parametrize("kind", [NVE, NoseHooverNVT])
def test_error_of_the_conserved_quantity_is_of_second_order(kind):
    """The shadow Hamiltonian differs by O(dt²): halving the step divides the spread by four."""
    spreads = []
    for timestep_ps in (0.01, 0.005):
        integrator = kind(timestep_ps) if kind is NVE else kind(timestep_ps, 0.2)
        spreads.append(conserved(integrator, timestep_ps, LennardJones(cutoff_A=5.5), 4.0).std())
    assert 3.4 < spreads[0] / spreads[1] < 4.6


@pytest.mark.parametrize("integrator", integrators(), ids=lambda i: type(i).__name__)
def test_conserved_quantity_does_not_drift(integrator):
    """Over 8 ps the account of energy, heat and work closes to a tenth of what was exchanged."""
    values = conserved(integrator, 0.004, LennardJones(cutoff_A=5.5), 8.0)
    thermal = BOLTZMANN_eV_K * 60 * 32
    assert abs(values[-500:].mean() - values[:500].mean()) < 0.01 * thermal


@pytest.mark.parametrize("integrator", integrators(), ids=lambda i: type(i).__name__)
def test_stopped_and_resumed_is_the_same_trajectory(integrator):
    potential = LennardJones(cutoff_A=5.5)
    start = integrator.start(argon())
    whole = last(walk(start, integrator, potential, 40, 80))
    for stop in (1, 17, 39):
        half = last(walk(start, integrator, potential, stop, 80))
        loaded = State.from_arrays(half.to_arrays())
        assert last(walk(loaded, integrator, potential, 40 - stop, 80)).fingerprint() == (
            whole.fingerprint()
        )


@pytest.mark.parametrize("integrator", integrators(), ids=lambda i: type(i).__name__)
def test_total_momentum_stays_zero(integrator):
    """Also a small momentum, which thermostats would let grow without end, goes away."""
    start = integrator.start(argon(repeat=1))
    start = replace(start, velocities_A_ps=start.velocities_A_ps + 1e-6)
    state = last(walk(start, integrator, IdealGas(), 500, 80))
    momentum = state.masses_u @ state.velocities_A_ps
    assert np.abs(momentum).max() < 1e-13 * state.masses_u.sum()


def test_first_velocities_are_canonical():
    states = [gas(7, 1e3, 300, seed=seed) for seed in range(400)]
    _assert_canonical_kinetic(np.array([s.kinetic_eV for s in states]), 18, 300)


@pytest.mark.parametrize("n_atoms", [2, 7, 40])
def test_bussi_kinetic_energy_is_canonical(n_atoms):
    """Kinetic energies follow Gamma((3n - 3) / 2, k_B T), for an ideal gas at any time step."""
    integrator = BussiNVT(0.5, 0.1)
    states = walk(gas(n_atoms, 1e5, 900), integrator, IdealGas(), 3000, 300)
    kinetic = np.array([state.kinetic_eV for state, _ in states][10:])
    _assert_canonical_kinetic(kinetic, 3 * n_atoms - 3, 300)


def test_energy_of_oscillators():
    """Kinetic and potential energy each hold (3n - 3) k_B T / 2."""
    state = argon(repeat=1, temperature_K=300, seed=3)
    integrator = BussiNVT(0.005, 0.02)
    potential = Harmonic(state.positions_A, np.linspace(0.5, 2.0, 4)[:, None])
    walked = walk(integrator.start(state), integrator, potential, 30_000, 300, every=5)
    found = [(state.kinetic_eV, forces.energy_eV) for state, forces in walked][200:]
    for energy in np.array(found).T:
        error = block_error(energy)
        exact = 9 * BOLTZMANN_eV_K * 300 / 2
        assert error < 0.05 * exact  # 3n would be 33 % more
        assert abs(energy.mean() - exact) < 4 * error


@pytest.mark.parametrize("kind", [BussiNVT, NoseHooverNVT])
@pytest.mark.parametrize("phase", [0.2, 0.8, 1.4])  # ω dt; Verlet is stable up to 2
def test_positions_of_oscillators_do_not_depend_on_the_time_step(kind, phase):
    """Mean potential energy is (3n - 3) k_B T / 2 at any ω dt.

    So is the kinetic energy at half steps; that at full steps is less by (ω dt / 2)².
    """
    start = argon(repeat=1, temperature_K=300, seed=3)
    # Equal frequencies (k / m): the integrator couples modes of a harmonic system by nothing else.
    spring = 1.0 * start.masses_u[:, None] / start.masses_u.mean()
    timestep_ps = phase * np.sqrt(start.masses_u[0] * U_A2_PS2_eV / spring[0, 0])
    integrator = kind(timestep_ps, 5 * timestep_ps)
    potential = Harmonic(start.positions_A, spring)
    walked = walk(integrator.start(start), integrator, potential, 20_000, 300)
    thermal = 9 * BOLTZMANN_eV_K * 300 / 2
    found = [
        (f.energy_eV, half_step_kinetic_eV(s, f, timestep_ps), s.kinetic_eV) for s, f in walked
    ]
    exact = thermal * np.array([1, 1, 1 - phase**2 / 4])
    for energy, expected in zip(np.array(found[200:]).T, exact, strict=True):
        error = block_error(energy)
        assert error < 0.03 * thermal
        assert abs(energy.mean() - expected) < 4 * error


def test_half_step_kinetic_energy_is_the_mean_of_both_half_steps():
    """Positions give the velocities of half steps: (x(t + dt) - x(t)) / dt."""
    potential, timestep_ps = LennardJones(cutoff_A=5.5), 0.01
    states = [state for state, _ in walk(argon(), NVE(timestep_ps), potential, 22, 80)][-3:]
    halves = np.diff([state.positions_A for state in states], axis=0) / timestep_ps
    masses = states[1].masses_u[:, None]
    expected = np.mean([0.5 * U_A2_PS2_eV * (masses * half**2).sum() for half in halves])
    forces = potential.compute(states[1].positions_A, states[1].cell_A)
    assert half_step_kinetic_eV(states[1], forces, timestep_ps) == pytest.approx(expected, 1e-9)
    assert states[1].kinetic_eV < expected * (1 - 1e-4)


@pytest.mark.parametrize("kind", [BussiNVT, NoseHooverNVT])
def test_kinetic_energy_of_a_liquid_is_canonical(kind):
    """Mean and variance of Gamma((3n - 3) / 2, k_B T), the same for light and heavy atoms."""
    _assert_liquid_kinetic(kind, steps=8000)


@pytest.mark.physics
@pytest.mark.parametrize("kind", [BussiNVT, NoseHooverNVT])
def test_kinetic_energy_of_a_liquid_is_canonical_long(kind):
    _assert_liquid_kinetic(kind, steps=80_000)


def _assert_liquid_kinetic(kind, steps):
    temperature_K, integrator = 150.0, kind(0.004, 0.1)
    state = argon(lattice_A=5.8, temperature_K=temperature_K)
    light = np.arange(32) % 2 == 0
    state = replace(state, masses_u=np.where(light, 20.0, 40.0)).with_velocities(temperature_K)
    walked = walk(
        integrator.start(state), integrator, LennardJones(cutoff_A=5.5), steps, temperature_K, 5
    )
    found = [
        (s.kinetic_eV, 0.5 * U_A2_PS2_eV * 20 * (s.velocities_A_ps[light] ** 2).sum())
        for s, _ in walked
    ]
    kinetic, of_light = np.array(found[100:]).T
    thermal = BOLTZMANN_eV_K * temperature_K
    assert abs(kinetic.mean() - 93 / 2 * thermal) < 4 * block_error(kinetic)
    squared = (kinetic - 93 / 2 * thermal) ** 2
    assert abs(squared.mean() - 93 / 2 * thermal**2) < 4 * block_error(squared)
    # An atom lacks m / M of its three degrees of freedom: the light ones 16 x 20 / 960 together.
    assert abs(of_light.mean() - 1.5 * thermal * (16 - 320 / 960)) < 4 * block_error(of_light)


def test_volume_of_an_ideal_gas():
    """V follows Gamma(n + 1, k_B T / p): the centre of mass counts among the n."""
    _assert_gas_volume(steps=60_000)


@pytest.mark.physics
def test_volume_of_an_ideal_gas_long():
    _assert_gas_volume(steps=1_000_000)


def _assert_gas_volume(steps):
    n_atoms, temperature_K, pressure = 6, 300.0, 0.01
    integrator = RescaleNPT(0.004, 0.05, pressure, 0.2, 1 / pressure)
    exact = stats.gamma(n_atoms + 1, scale=BOLTZMANN_eV_K * temperature_K / pressure)
    state = integrator.start(gas(n_atoms, exact.mean(), temperature_K))
    every = 10
    states = walk(state, integrator, IdealGas(), steps, temperature_K, every)
    volume = np.array([state.volume_A3 for state, _ in states][100:])
    error = block_error(volume)
    assert abs(volume.mean() - exact.mean()) < 4 * error
    assert error < 0.035 * exact.mean()  # so that n instead of n + 1 would be seen
    assert volume.std() == pytest.approx(exact.std(), rel=8 * error / exact.mean() + 0.02)


def test_pressure_of_a_liquid_is_the_one_asked_for():
    """In NPT the mean of the virial pressure is p; in NVT at that volume it is the same again."""
    _assert_pressure(steps=6000, repeat=2)


@pytest.mark.physics
def test_pressure_of_a_liquid_is_the_one_asked_for_long():
    _assert_pressure(steps=60_000, repeat=2)


def _assert_pressure(steps, repeat):
    asked = 0.2 / EV_A3_TO_GPA
    potential = LennardJones(cutoff_A=5.0)
    integrator = RescaleNPT(0.005, 0.1, asked, 0.3, 0.3 * EV_A3_TO_GPA)
    state = integrator.start(argon(repeat, temperature_K=200))
    walked = list(walk(state, integrator, potential, steps, 130, every=5))[200:]
    pressure = np.array([pressure_eV_A3(*pair, 0.005) for pair in walked])
    assert abs(pressure.mean() - asked) < 4 * block_error(pressure) + 0.02 * asked
    kelvin = np.array([half_step_temperature_K(*pair, 0.005) for pair in walked])
    assert abs(kelvin.mean() - 130) < 4 * block_error(kelvin)


def test_nve_equals_ase():
    start = argon()
    atoms = _ase_atoms(start)
    VelocityVerlet(atoms, timestep=4 * units.fs).run(100)
    state = last(walk(start, NVE(0.004), LennardJones(cutoff_A=5.5), 100, 80))
    # The codes' conversion of eV, u and Å to fs differs by 1e-8 (CODATA 2014 and 2022).
    np.testing.assert_allclose(state.positions_A, atoms.positions, atol=1e-6)


def test_nose_hoover_chain_equals_ase():
    """With our chain where ASE has it, half a step at both ends, the trajectories are the same.

    ASE counts 3n degrees of freedom; for one atom less it agrees with us.
    """
    start = NoseHooverNVT(0.004, 0.1).start(argon())
    atoms = _ase_atoms(start)
    md = NoseHooverChainNVT(
        atoms, timestep=4 * units.fs, temperature_K=120, tdamp=100 * units.fs, tchain=3, tloop=1
    )
    thermostat = md._thermostat
    thermostat._num_atoms_global = len(atoms) - 1
    thermostat._Q[0] *= (len(atoms) - 1) / len(atoms)
    md.run(100)
    half, potential, state = NoseHooverNVT(0.002, 0.1), LennardJones(cutoff_A=5.5), start
    forces = potential.compute(state.positions_A, state.cell_A)
    for _ in range(100):
        moved, kick = verlet(half._move_chain(state, 120), forces, 0.004)
        forces = potential.compute(moved.positions_A, moved.cell_A)
        state = half._move_chain(kick(forces), 120)
    assert np.abs(state.positions_A - start.positions_A).max() > 0.1
    np.testing.assert_allclose(state.positions_A, atoms.positions, atol=1e-5)


class _AseLennardJones(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        found = LennardJones(cutoff_A=5.5).compute(atoms.positions, atoms.cell[:])
        self.results = {"energy": found.energy_eV, "forces": found.forces_eV_A}


def _ase_atoms(state):
    atoms = Atoms(state.numbers, state.positions_A, cell=state.cell_A, pbc=True)
    atoms.set_velocities(state.velocities_A_ps / (1000 * units.fs))
    atoms.calc = _AseLennardJones()
    return atoms


def block_error(values, blocks=20):
    """One standard error of the mean of a correlated series."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return np.std(means, ddof=1) / np.sqrt(blocks)


def _assert_canonical_kinetic(kinetic_eV, degrees, temperature_K):
    exact = stats.gamma(degrees / 2, scale=BOLTZMANN_eV_K * temperature_K)
    assert stats.kstest(kinetic_eV, exact.cdf).pvalue > 1e-3
    wrong = stats.gamma((degrees + 3) / 2, scale=BOLTZMANN_eV_K * temperature_K)
    if degrees < 30:  # the test can tell 3n - 3 from 3n
        assert stats.kstest(kinetic_eV, wrong.cdf).pvalue < 1e-6


@pytest.mark.physics
@pytest.mark.parametrize("kind", [BussiNVT, NoseHooverNVT])
def test_thermostat_leaves_diffusion_alone(kind):
    """A liquid of 32 atoms diffuses in NVT as in NVE, whose energies are those of that NVT."""
    diffusion = {kind: [], NVE: []}
    potential = LennardJones(cutoff_A=5.5)
    for seed in range(6):
        start = argon(lattice_A=5.8, temperature_K=400, seed=seed)
        warm = last(walk(start, BussiNVT(0.004, 0.1), potential, 2000, 150))
        for integrator in (kind(0.004, 0.1), NVE(0.004)):
            walked = walk(integrator.start(warm), integrator, potential, 10_000, 150, every=25)
            positions = np.array([state.positions_A for state, _ in walked])
            diffusion[type(integrator)].append(_diffusion(positions, 0.1))
    with_bath, without = (np.array(values) for values in diffusion.values())
    difference = with_bath - without
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / np.sqrt(len(difference))
    assert difference.std(ddof=1) / np.sqrt(len(difference)) < 0.12 * without.mean()


def _diffusion(positions_A, interval_ps):
    """Slope of the mean squared displacement between 1 and 4 ps, over six (Å²/ps)."""
    lags = np.arange(10, 41, 5)
    msd = [((positions_A[lag:] - positions_A[:-lag]) ** 2).sum(-1).mean() for lag in lags]
    return np.polyfit(lags * interval_ps, msd, 1)[0] / 6
