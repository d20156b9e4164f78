"""Molecular dynamics: explicit states, exact restarts, and the protocols of a campaign."""

from __future__ import annotations

from vitrion.dynamics.protocols import equilibrate, produce_segment, quench_glass, simulate

__all__ = ["equilibrate", "produce_segment", "quench_glass", "simulate"]
