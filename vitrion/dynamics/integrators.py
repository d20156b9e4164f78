"""Integrators: small classes with one `step`, which keep nothing between steps but the state.

A step needs the forces at its new positions. It therefore has two parts: `step` moves the atoms and
returns a function that completes the step with the forces there. Whoever drives the steps (see
`vitrion.dynamics.run`) evaluates the forces, of one trajectory or of several at once.

Each integrator keeps the total momentum at zero and counts 3n - 3 degrees of freedom. Each has a
conserved quantity, whose drift shows whether the time step is short enough.

Thermostats act in the middle of the drift, between the two half steps of the positions (the middle
scheme of Zhang et al., J. Chem. Phys. 147, 034109 (2017)), so that the kinetic energy at half steps
is canonical. For oscillators that makes the positions canonical too, whatever the time step. The
kinetic energy at full steps is too low by (ω dt / 2)²: a thermostat that acts there makes the
positions too hot by as much (benchmarks/timestep.md). Temperature and pressure are therefore those
of the kinetic energy at half steps (`half_step_kinetic_eV`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from vitrion.base.units import BOLTZMANN_eV_K, U_A2_PS2_eV
from vitrion.trajectory.state import State, noise, without_drift


class Forces(Protocol):
    """What a potential gives for one configuration."""

    @property
    def energy_eV(self) -> float:
        """Potential energy of the cell."""

    @property
    def forces_eV_A(self) -> np.ndarray:
        """(n, 3) forces."""

    @property
    def stress_eV_A3(self) -> np.ndarray | None:
        """(3, 3) stress; None when it was not asked for."""


# Completes a step with the forces at its new positions.
Completion = Callable[[Forces], State]


class Integrator(Protocol):
    """One way to advance a state by a time step."""

    needs_stress: ClassVar[bool]

    @property
    def timestep_ps(self) -> float:
        """Time of one step."""

    def start(self, state: State) -> State:
        """Prepare a state that another integrator has left."""

    def step(self, state: State, forces: Forces, temperature_K: float) -> tuple[State, Completion]:
        """Begin one step.

        Args:
            state: where to start.
            forces: those of `state`.
            temperature_K: temperature asked for.

        Returns:
            The state with new positions and cell, whose forces are needed next, and what completes
            the step with them.
        """

    def conserved_eV(self, state: State, forces: Forces, temperature_K: float) -> float:
        """The quantity that exact dynamics at this temperature would conserve."""


def advance(
    integrator: Integrator,
    state: State,
    forces: Forces,
    evaluate: Callable[[State], Forces],
    temperature_K: float,
) -> tuple[State, Forces]:
    """One whole step with a given potential.

    Args:
        integrator: what advances the state.
        state: where to start.
        forces: those of `state`.
        evaluate: the potential.
        temperature_K: temperature asked for.

    Returns:
        The new state and its forces.
    """
    moved, complete = integrator.step(state, forces, temperature_K)
    forces = evaluate(moved)
    return complete(forces), forces


def _stress_trace_eV_A3(forces: Forces) -> float:
    stress_eV_A3 = forces.stress_eV_A3
    if stress_eV_A3 is None:
        raise ValueError("the potential was not asked for the stress")
    return float(np.trace(stress_eV_A3))


def half_step_kinetic_eV(state: State, forces: Forces, timestep_ps: float) -> float:
    """Mean of the kinetic energies half a step before and after a state.

    Args:
        state: between two steps; its velocities are those at the full step.
        forces: those of `state`.
        timestep_ps: time step.
    """
    square = float((forces.forces_eV_A**2 / state.masses_u[:, None]).sum()) / U_A2_PS2_eV
    return state.kinetic_eV + timestep_ps**2 / 8 * square


def half_step_temperature_K(state: State, forces: Forces, timestep_ps: float) -> float:
    """Temperature of `half_step_kinetic_eV`, with 3n - 3 degrees of freedom."""
    twice_eV = 2 * half_step_kinetic_eV(state, forces, timestep_ps)
    return twice_eV / (state.degrees_of_freedom * BOLTZMANN_eV_K)


def pressure_eV_A3(state: State, forces: Forces, timestep_ps: float) -> float:
    """Instantaneous pressure; the ideal part is n k_B T / V with T at half steps."""
    thermal_eV = BOLTZMANN_eV_K * half_step_temperature_K(state, forces, timestep_ps)
    ideal = len(state.numbers) * thermal_eV / state.volume_A3
    return ideal - _stress_trace_eV_A3(forces) / 3


def _kick(state: State, forces: Forces, time_ps: float) -> np.ndarray:
    """Velocities after forces have acted for a time, without total momentum.

    Rounding leaves a little momentum in every step, and thermostats that rescale velocities let
    it grow exponentially (the flying ice cube), so it is taken out each time.
    """
    acceleration = forces.forces_eV_A / state.masses_u[:, None] / U_A2_PS2_eV
    return without_drift(state.velocities_A_ps + time_ps * acceleration, state.masses_u)


def verlet(
    state: State,
    forces: Forces,
    timestep_ps: float,
    middle: Callable[[State], State] = lambda halfway: halfway,
) -> tuple[State, Completion]:
    """Begin one velocity-Verlet step (see `Integrator.step`).

    Args:
        state: where to start.
        forces: those of `state`.
        timestep_ps: time step.
        middle: changes the state in the middle of the drift, half a step from its start.
    """

    def drift(state: State) -> State:
        return replace(
            state, positions_A=state.positions_A + timestep_ps / 2 * state.velocities_A_ps
        )

    kicked = replace(state, velocities_A_ps=_kick(state, forces, timestep_ps / 2))
    moved = replace(drift(middle(drift(kicked))), step=state.step + 1)

    def complete(forces: Forces) -> State:
        return replace(moved, velocities_A_ps=_kick(moved, forces, timestep_ps / 2))

    return moved, complete


def rescale_velocities(
    state: State, temperature_K: float, timestep_ps: float, tau_ps: float
) -> State:
    """Stochastic velocity rescaling: the kinetic energy relaxes towards its canonical distribution.

    Exact for any time step: Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007),
    equation A7, with the sign of Bussi and Parrinello, Comput. Phys. Commun. 179, 26 (2008).
    """
    random = noise(state)
    dof, kinetic = state.degrees_of_freedom, state.kinetic_eV
    decay = math.exp(-timestep_ps / tau_ps)
    fresh = (1 - decay) * BOLTZMANN_eV_K * temperature_K / (2 * kinetic)
    along = random.standard_normal()
    others = 2 * random.standard_gamma((dof - 1) / 2)
    factor = decay + fresh * (along**2 + others) + 2 * along * math.sqrt(decay * fresh)
    scale = math.copysign(math.sqrt(factor), along + math.sqrt(decay / fresh))
    return replace(
        state,
        velocities_A_ps=state.velocities_A_ps * scale,
        heat_eV=state.heat_eV + (factor - 1) * kinetic,
    )


@dataclass(frozen=True)
class NVE:
    """Velocity Verlet at constant energy."""

    timestep_ps: float
    needs_stress: ClassVar[bool] = False

    def start(self, state: State) -> State:
        """Nothing to prepare but the heat account."""
        return replace(state, heat_eV=0.0, chain=np.zeros((2, 0)))

    def step(self, state: State, forces: Forces, temperature_K: float) -> tuple[State, Completion]:
        """Begin one step; the temperature is not used."""
        return verlet(state, forces, self.timestep_ps)

    def conserved_eV(self, state: State, forces: Forces, temperature_K: float) -> float:
        """Total energy."""
        return state.kinetic_eV + forces.energy_eV


@dataclass(frozen=True)
class BussiNVT:
    """Velocity Verlet with stochastic velocity rescaling."""

    timestep_ps: float
    tau_ps: float
    needs_stress: ClassVar[bool] = False

    def start(self, state: State) -> State:
        """Nothing to prepare but the heat account."""
        return replace(state, heat_eV=0.0, chain=np.zeros((2, 0)))

    def step(self, state: State, forces: Forces, temperature_K: float) -> tuple[State, Completion]:
        """Begin one step."""

        def middle(state: State) -> State:
            return rescale_velocities(state, temperature_K, self.timestep_ps, self.tau_ps)

        return verlet(state, forces, self.timestep_ps, middle)

    def conserved_eV(self, state: State, forces: Forces, temperature_K: float) -> float:
        """Total energy less the heat from the thermostat."""
        return state.kinetic_eV + forces.energy_eV - state.heat_eV


# Weights of the fourth-order splitting of Suzuki and Yoshida.
_YOSHIDA = 1 / (2 - 2 ** (1 / 3))
_SPLITTING = (_YOSHIDA, 1 - 2 * _YOSHIDA, _YOSHIDA)


@dataclass(frozen=True)
class NoseHooverNVT:
    """Velocity Verlet with a Nosé-Hoover chain, for a constant temperature.

    Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992); propagated as in Martyna,
    Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996).
    """

    timestep_ps: float
    tau_ps: float
    length: int = 3
    needs_stress: ClassVar[bool] = False

    def start(self, state: State) -> State:
        """A chain at rest."""
        return replace(state, heat_eV=0.0, chain=np.zeros((2, self.length)))

    def step(self, state: State, forces: Forces, temperature_K: float) -> tuple[State, Completion]:
        """Begin one step."""

        def middle(state: State) -> State:
            return self._move_chain(state, temperature_K)

        return verlet(state, forces, self.timestep_ps, middle)

    def conserved_eV(self, state: State, forces: Forces, temperature_K: float) -> float:
        """Energy of atoms and chain."""
        position, velocity = state.chain
        weights = self._energies_eV(state, temperature_K)
        chain = 0.5 * self.tau_ps**2 * weights @ velocity**2 + weights @ position
        return state.kinetic_eV + forces.energy_eV + float(chain)

    def _energies_eV(self, state: State, temperature_K: float) -> np.ndarray:
        """k_B T times the degrees of freedom that each link thermostats."""
        energies = np.full(self.length, BOLTZMANN_eV_K * temperature_K)
        energies[0] *= state.degrees_of_freedom
        return energies

    def _move_chain(self, state: State, temperature_K: float) -> State:
        """Chain and velocities over a time step."""
        position, velocity = state.chain.copy()
        energies = self._energies_eV(state, temperature_K)
        masses = energies * self.tau_ps**2
        # What drives link k: twice the kinetic energy of the link before it.
        driving = np.empty(self.length)
        driving[0] = 2 * state.kinetic_eV
        scale = 1.0

        def push(k: int, time_ps: float) -> None:
            if k > 0:
                driving[k] = masses[k - 1] * velocity[k - 1] ** 2
            friction = math.exp(-velocity[k + 1] * time_ps / 2) if k + 1 < self.length else 1.0
            velocity[k] *= friction
            velocity[k] += time_ps * (driving[k] - energies[k]) / masses[k]
            velocity[k] *= friction

        for weight in _SPLITTING:
            time_ps = weight * self.timestep_ps
            for k in reversed(range(self.length)):
                push(k, time_ps / 2)
            factor = math.exp(-velocity[0] * time_ps)
            scale *= factor
            driving[0] *= factor**2
            position += time_ps * velocity
            for k in range(self.length):
                push(k, time_ps / 2)
        return replace(
            state,
            velocities_A_ps=state.velocities_A_ps * scale,
            chain=np.stack([position, velocity]),
        )


@dataclass(frozen=True)
class RescaleNPT:
    """Stochastic cell rescaling (isotropic) with stochastic velocity rescaling.

    Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), equation 7: ln V diffuses in the
    pressure difference, which gives the volume its exact distribution whatever compressibility is
    assumed; that only sets how fast it relaxes.

    Attributes:
        timestep_ps: time step.
        tau_ps: relaxation time of the temperature.
        pressure_eV_A3: pressure asked for.
        barostat_tau_ps: relaxation time of the pressure in a body of the assumed compressibility.
        compressibility_A3_eV: assumed compressibility.
    """

    timestep_ps: float
    tau_ps: float
    pressure_eV_A3: float
    barostat_tau_ps: float
    compressibility_A3_eV: float
    needs_stress: ClassVar[bool] = True

    def start(self, state: State) -> State:
        """Nothing to prepare but the heat account."""
        return replace(state, heat_eV=0.0, chain=np.zeros((2, 0)))

    def step(self, state: State, forces: Forces, temperature_K: float) -> tuple[State, Completion]:
        """Begin one step."""
        thermal = BOLTZMANN_eV_K * temperature_K
        volume, excess = state.volume_A3, self._excess_eV_A3(state, forces)
        rate = self.compressibility_A3_eV * self.timestep_ps / self.barostat_tau_ps
        # 2 K / 3 V lacks the centre of mass, which is at rest but free to be anywhere in V: it
        # adds k_B T / V.
        strain = (
            rate * (excess + thermal / volume)
            + math.sqrt(2 * thermal * rate / volume) * noise(state, stream=1).standard_normal()
        )

        def middle(state: State) -> State:
            scale = math.exp(strain / 3)
            scaled = replace(
                state,
                positions_A=state.positions_A * scale,
                velocities_A_ps=state.velocities_A_ps / scale,
                cell_A=state.cell_A * scale,
            )
            return rescale_velocities(scaled, temperature_K, self.timestep_ps, self.tau_ps)

        moved, kick = verlet(state, forces, self.timestep_ps, middle)

        def complete(forces: Forces) -> State:
            kicked = kick(forces)
            # Energy and p V changed by minus the integral of the excess pressure (trapezoidal
            # rule).
            mean_excess = (excess + self._excess_eV_A3(kicked, forces)) / 2
            heat_eV = kicked.heat_eV - mean_excess * (kicked.volume_A3 - volume)
            return replace(kicked, heat_eV=heat_eV)

        return moved, complete

    def conserved_eV(self, state: State, forces: Forces, temperature_K: float) -> float:
        """Enthalpy less the energy from thermostat and barostat."""
        work = self.pressure_eV_A3 * state.volume_A3
        return state.kinetic_eV + forces.energy_eV + work - state.heat_eV

    def _excess_eV_A3(self, state: State, forces: Forces) -> float:
        """Minus the volume derivative of kinetic energy, potential energy and p V."""
        kinetic = 2 * half_step_kinetic_eV(state, forces, self.timestep_ps) / (3 * state.volume_A3)
        return kinetic - _stress_trace_eV_A3(forces) / 3 - self.pressure_eV_A3
