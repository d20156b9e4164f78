"""The length of a trajectory: fixed, or up to its stop criterion (`production.stop_when`)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vitrion.base.errors import InputError
from vitrion.base.files import read_json, write_json
from vitrion.campaign import layout
from vitrion.config import Production, StopWhen

if TYPE_CHECKING:  # the rules import this module to name files; they need no pandas
    import pandas as pd


@dataclass(frozen=True)
class Decision:
    """Whether a trajectory ends after the segments that it has.

    Attributes:
        length_ps: simulated so far.
        converged: whether it ends here.
        relative_errors: standard error over value by quantity; None where there is no value.
        stop_when: the stop criterion.
    """

    length_ps: float
    converged: bool
    relative_errors: dict[str, float | None]
    stop_when: dict[str, object]

    @classmethod
    def of(cls, found: pd.DataFrame, stop_when: StopWhen, *, length_ps: float) -> Decision:
        """Decide from the transport quantities of the trajectory so far.

        Args:
            found: columns `quantity`, `value` and `err` of one trajectory; NaN where nothing has
                diffused yet.
            stop_when: the stop criterion.
            length_ps: simulated so far.
        """
        rows = found.set_index("quantity")[["value", "err"]]
        errors: dict[str, float | None] = {}
        for quantity in stop_when.quantities:
            # Several mobile ions have one each: D_mobile:Li, D_mobile:Na.
            names = [name for name in rows.index if name.startswith(f"{quantity}:")]
            for name in names or [quantity]:
                value, err = rows.loc[name]
                known = math.isfinite(err) and abs(value) > 0
                errors[name] = float(err / abs(value)) if known else None
        return cls(
            length_ps=length_ps,
            converged=all(e is not None and e <= stop_when.relative_error for e in errors.values()),
            relative_errors=errors,
            stop_when=stop_when.model_dump(mode="json"),
        )

    @classmethod
    def read(cls, path: Path | str) -> Decision:
        """A decision that was written.

        Raises:
            InputError: a damaged file, or one of an earlier version.
        """
        values = read_json(Path(path), "decision")
        if values.keys() != cls.__dataclass_fields__.keys():
            raise InputError("decision", str(path), "is of another version; remove it")
        return cls(**values)

    def is_by(self, stop_when: StopWhen | None) -> bool:
        """Whether it was made by this criterion; from where on it is applied does not matter."""
        asked = {} if stop_when is None else stop_when.model_dump(mode="json")
        return {**self.stop_when, "least_ps": None} == {**asked, "least_ps": None}

    def write(self, path: Path) -> None:
        """Write it as JSON; the file appears whole or not at all."""
        write_json(path, asdict(self))

    def __str__(self) -> str:
        errors = ", ".join(
            f"{name} {'unknown' if error is None else f'{error:.2g}'}"
            for name, error in self.relative_errors.items()
        )
        verdict = "long enough" if self.converged else "continues"
        return f"{self.length_ps:g} ps: {verdict} (relative errors: {errors})"


def decision_name(segments: int) -> str:
    """File name of the decision after so many segments."""
    return PurePosixPath(layout.fill(layout.DECISION, segment=segments - 1)).name


def decided_segments(folder: Path, production: Production) -> int | None:
    """Segments of a trajectory by the decisions in its folder; None while it is undecided.

    A decision by another stop criterion is made again, so it counts as none.
    """
    for count in range(production.least_segments, production.segments):
        path = folder / decision_name(count)
        decision = Decision.read(path) if path.exists() else None
        if decision is None or not decision.is_by(production.stop_when):
            return None
        if decision.converged:
            return count
    return production.segments
