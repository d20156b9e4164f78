"""Progress and time left of long work: a bar in a terminal, lines at intervals in a log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

logger = logging.getLogger("vitrion")


class Progress:
    """Counts steps of known total and shows rate and time left.

    Use as a context manager and call `update` as work gets done.

    Args:
        total: number of steps.
        title: what is being done, in a few words.
        unit: name of one step.
        interval_s: least time between two lines in a log.
        done: steps that an earlier run has done.
    """

    def __init__(
        self,
        total: int,
        title: str,
        *,
        unit: str = "step",
        interval_s: float = 30.0,
        done: int = 0,
    ) -> None:
        self.total, self.title, self.unit, self.interval_s = total, title, unit, interval_s
        self.done = self._before = done
        self._bar = (
            tqdm(total=total, initial=done, desc=title, unit=unit) if sys.stderr.isatty() else None
        )
        self._start = self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif exception[0] is None:
            self._log()

    def update(self, steps: int = 1, note: str = "") -> None:
        """Add finished steps; `note` is shown beside them (a temperature, an error)."""
        self.done += steps
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._logged >= self.interval_s:
            self._log(note)

    def _log(self, note: str = "") -> None:
        self._logged = time.monotonic()
        elapsed_s = self._logged - self._start
        rate = (self.done - self._before) / elapsed_s if elapsed_s > 0 else 0.0
        left = tqdm.format_interval((self.total - self.done) / rate) if rate > 0 else "?"
        logger.info(
            "%s: %d/%d %s, %.3g %s/s, %s left%s",
            self.title,
            self.done,
            self.total,
            self.unit,
            rate,
            self.unit,
            left,
            f", {note}" if note else "",
        )
