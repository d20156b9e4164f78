"""Molecular dynamics: explicit states, exact restarts, and the protocols of a campaign."""

from __future__ import annotations

from vitrion.dynamics.checks import failed_checks
from vitrion.dynamics.frames import summarize_segments
from vitrion.dynamics.protocols import equilibrate, produce_segment, quench_glass, simulate

__all__ = [
    "equilibrate",
    "failed_checks",
    "produce_segment",
    "quench_glass",
    "simulate",
    "summarize_segments",
]
