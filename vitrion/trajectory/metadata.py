"""What a segment or checkpoint file says about itself."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vitrion import __version__
from vitrion.trajectory.checks import Measurement


@dataclass(frozen=True)
class TrajectoryKey:
    """Which trajectory of a campaign.

    Attributes:
        composition: name of the composition.
        temperature_K: production temperature.
        replica: number of the glass.
    """

    composition: str
    temperature_K: float
    replica: int

    def __str__(self) -> str:
        return f"{self.composition} at {self.temperature_K:g} K, replica {self.replica}"


@dataclass(frozen=True, kw_only=True)
class SegmentMetadata:
    """Where a segment or checkpoint comes from, and what was measured of it.

    Attributes:
        temperature_K: temperature asked for.
        timestep_fs: time step.
        model_hash: hash of the potential's weights.
        seed: seed that velocities and noise derive from.
        ensemble: nve, nvt or npt.
        composition: name of the composition; empty outside a campaign.
        replica: number of the glass; None outside a campaign.
        glass: what the file of the glass says about itself.
        equilibrate_ps: length of each stage of the equilibration; None where there was none.
        start: fingerprint of the first state of `vitrion md`; empty in a campaign.
        dynamics: the configuration's section.
        frame_interval_ps: time between frames; None in a checkpoint without frames.
        position_precision_A: precision of stored positions; None in a checkpoint without frames.
        mean_temperature_K: mean kinetic temperature of the frames; NaN without frames.
        measurements: what the checks judge.
        wall_s: wall time.
        steps_per_s: MD steps per second of wall time.
        n_frames: number of frames that the segment was made with; 0 for a checkpoint.
        keep_every: the file holds the frames at multiples of so many frame intervals.
        code_version: version of Vitrion that wrote the file.
    """

    temperature_K: float
    timestep_fs: float
    model_hash: str
    seed: int
    ensemble: str = "nvt"
    composition: str = ""
    replica: int | None = None
    glass: Mapping[str, object] = field(default_factory=dict)
    equilibrate_ps: float | None = None
    start: str = ""
    dynamics: Mapping[str, object] = field(default_factory=dict)
    frame_interval_ps: float | None = None
    position_precision_A: float | None = None
    mean_temperature_K: float = math.nan
    measurements: tuple[Measurement, ...] = ()
    wall_s: float = 0.0
    steps_per_s: float = 0.0
    n_frames: int = 0
    keep_every: int = 1
    code_version: str = __version__

    @property
    def key(self) -> TrajectoryKey | None:
        """The trajectory of a campaign that the file belongs to; None outside a campaign."""
        if self.replica is None:
            return None
        return TrajectoryKey(self.composition, self.temperature_K, self.replica)

    @property
    def timestep_ps(self) -> float:
        """Time step in ps."""
        return self.timestep_fs / 1000

    @property
    def frame_interval_steps(self) -> int:
        """MD steps between frames as they were made.

        Raises:
            ValueError: the file has no frames.
        """
        if self.frame_interval_ps is None:
            raise ValueError("a checkpoint has no frames")
        return round(1000 * self.frame_interval_ps / self.timestep_fs)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> SegmentMetadata:
        """From the text that `to_json` gave.

        Raises:
            ValueError: not such a text, or one of another version of Vitrion.
        """
        values = json.loads(text)
        known = {item.name for item in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= known:
            version = values.get("code_version") if isinstance(values, dict) else None
            raise ValueError(f"its metadata is of version {version}, this is {__version__}")
        try:
            measured = tuple(Measurement(**item) for item in values.pop("measurements", ()))
            return cls(**values, measurements=measured)
        except TypeError as error:
            raise ValueError(f"its metadata lacks something ({error})") from error
