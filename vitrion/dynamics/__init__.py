"""Molecular dynamics: explicit states, exact restarts, and the protocols of a campaign."""

from __future__ import annotations

from vitrion.dynamics.production import equilibrate, produce_segment, produce_segments, simulate
from vitrion.dynamics.quench import quench_glass

__all__ = ["equilibrate", "produce_segment", "produce_segments", "quench_glass", "simulate"]
