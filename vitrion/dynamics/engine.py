"""A potential and settings, ready to run stages of dynamics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vitrion.base.units import EV_A3_TO_GPA
from vitrion.config import Dynamics
from vitrion.dynamics.batch import BatchPotential
from vitrion.dynamics.checkpoint import CheckpointLog
from vitrion.dynamics.integrators import NVE, BussiNVT, Integrator, NoseHooverNVT, RescaleNPT
from vitrion.dynamics.measurements import chosen_frames
from vitrion.dynamics.run import (
    BlowUp,
    Intervals,
    Stage,
    Stepping,
    StopFlag,
    drive,
    run_stages,
    stop_signals,
)
from vitrion.structure.files import write_structure
from vitrion.trajectory.checks import OUTSIDE_TRAINING, Measurement
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

if TYPE_CHECKING:
    from vitrion.potential import CHGNetPotential

NOVELTY_FRAMES = 20
Ensemble = Literal["nve", "nvt", "npt"]


@dataclass(frozen=True)
class Engine:
    """Potential and settings of a run.

    Attributes:
        model: what `vitrion.potential.load_model` takes.
        dynamics: settings of the dynamics.
    """

    model: str
    dynamics: Dynamics

    @cached_property
    def model_hash(self) -> str:
        """Hash of the weights."""
        from vitrion.potential import model_hash  # imports chgnet, which takes seconds

        return model_hash(self.model)

    def measure_novelty(self, frames: Samples, numbers: np.ndarray) -> list[Measurement]:
        """Mean share of atoms outside the model's training set, over at most `NOVELTY_FRAMES`.

        Nothing where the model does not know its training set.
        """
        from vitrion.potential import load_training_set

        training_set = load_training_set(self.model)
        if training_set is None or not len(frames):
            return []
        potential = self.potential(numbers)
        shares = [
            training_set.share_outside(
                numbers,
                potential.atom_features(frames.positions_A[i].astype(np.float64), frames.cell_A[i]),
            )
            for i in chosen_frames(len(frames), NOVELTY_FRAMES)
        ]
        return [Measurement(OUTSIDE_TRAINING, float(np.mean(shares)))]

    @property
    def timestep_ps(self) -> float:
        """Time of one step."""
        return self.dynamics.timestep_ps

    def steps(self, time_ps: float) -> int:
        """Steps in a time, at least one."""
        return self.dynamics.steps(time_ps)

    def potential(self, numbers: np.ndarray) -> CHGNetPotential:
        """The potential of a system, on the device and threads of the settings."""
        import torch

        from vitrion.potential import CHGNetPotential

        torch.set_num_threads(self.dynamics.threads)
        return CHGNetPotential(self.model, numbers, device=self.dynamics.device)

    def batch_potential(self, numbers: Sequence[np.ndarray]) -> BatchPotential:
        """The potentials of systems that step together."""
        import torch

        from vitrion.potential import CHGNetBatch

        torch.set_num_threads(self.dynamics.threads)
        return CHGNetBatch(self.model, numbers, device=self.dynamics.device)

    def integrator(self, ensemble: Ensemble) -> Integrator:
        """The integrator of an ensemble."""
        tau_ps = self.dynamics.thermostat_tau_fs / 1000
        if ensemble == "nve":
            return NVE(self.timestep_ps)
        if ensemble == "npt":
            return RescaleNPT(
                self.timestep_ps,
                tau_ps,
                pressure_eV_A3=self.dynamics.pressure_GPa / EV_A3_TO_GPA,
                barostat_tau_ps=self.dynamics.barostat_tau_fs / 1000,
                compressibility_A3_eV=self.dynamics.compressibility_1_GPa * EV_A3_TO_GPA,
            )
        if self.dynamics.thermostat == "nose_hoover":
            return NoseHooverNVT(self.timestep_ps, tau_ps)
        return BussiNVT(self.timestep_ps, tau_ps)

    def checkpoint_log(
        self, out: Path, inputs: Mapping[str, object], *, keep_others: bool = False
    ) -> CheckpointLog:
        """The checkpoint log of a run, keyed by all that determines its trajectory."""
        settings = self.dynamics.values("physics")
        inputs = {**inputs, "model": self.model_hash, "dynamics": settings}
        return CheckpointLog(out, inputs, keep_others=keep_others)

    def run(
        self,
        state: State,
        stages: Sequence[Stage],
        checkpoints: CheckpointLog,
        *,
        title: str,
        sample_ps: float | None = None,
        out: Path | None = None,
    ) -> State:
        """Run one trajectory to its end; arguments as for `stepping`, signals stop it."""
        with stop_signals() as stop:
            stepping = self.stepping(
                state, stages, checkpoints, stop, title=title, sample_ps=sample_ps, out=out
            )
            return drive(stepping, self.potential(state.numbers))

    def stepping(
        self,
        state: State,
        stages: Sequence[Stage],
        checkpoints: CheckpointLog,
        stop: StopFlag,
        *,
        title: str,
        sample_ps: float | None = None,
        out: Path | None = None,
    ) -> Stepping[State]:
        """A run that stops at each force evaluation (see `vitrion.dynamics.run.run_stages`).

        An error closes the checkpoint log.

        Args:
            state: where to start when the checkpoint log is empty.
            stages: the whole run.
            checkpoints: where samples and states are kept.
            stop: asks to save the state and stop.
            title: name of the run in its progress.
            sample_ps: time between samples; the settings' by default.
            out: output of the run; after a blow-up the last good frame is written beside it.
        """
        intervals = Intervals(
            sample=self.steps(sample_ps or self.dynamics.sample_interval_ps),
            checkpoint=self.steps(self.dynamics.checkpoint_interval_ps),
            checkpoint_wall_s=60 * self.dynamics.checkpoint_wall_minutes,
        )
        try:
            return (yield from run_stages(state, stages, checkpoints, intervals, stop, title))
        except BlowUp as blow_up:
            checkpoints.close()
            if out is None:
                raise
            frame = out.with_name(f"{out.stem}.last_good.extxyz")
            write_structure(frame, blow_up.state.to_atoms())
            raise BlowUp(f"{blow_up}; the last good frame is {frame}", blow_up.state) from None
        except BaseException:
            checkpoints.close()
            raise
