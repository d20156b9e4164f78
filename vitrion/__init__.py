"""Vitrion: from DFT data to transport numbers of amorphous alkali oxyhalides.

The names below are the Python interface; each is imported when it is first used, so that `import
vitrion` stays light. Everything else is in the packages (`vitrion.potential`, `vitrion.dynamics`,
`vitrion.transport`, ...). docs/python.ipynb shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrion.campaign.opening import campaign_compositions
    from vitrion.config import Config, Transport
    from vitrion.dynamics import quench_glass, simulate
    from vitrion.potential.calculator import CHGNetCalculator
    from vitrion.potential.weights import load_model
    from vitrion.tables.io import read_table
    from vitrion.trajectory.sources import read_files
    from vitrion.transport.analyze import Roles, transport_tables

import os
import sys

if "torch" not in sys.modules:
    # Threads that wait for work must sleep: on a shared machine those that spin take the processor
    # from the thread they wait for, which made two threads ten times slower than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = [
    "CHGNetCalculator",
    "Config",
    "Roles",
    "Transport",
    "campaign_compositions",
    "load_model",
    "quench_glass",
    "read_files",
    "read_table",
    "simulate",
    "transport_tables",
]

_MODULES = {
    "CHGNetCalculator": "potential.calculator",
    "Config": "config",
    "Roles": "transport.analyze",
    "Transport": "config",
    "campaign_compositions": "campaign.opening",
    "load_model": "potential.weights",
    "quench_glass": "dynamics",
    "read_files": "trajectory.sources",
    "read_table": "tables.io",
    "simulate": "dynamics",
    "transport_tables": "transport.analyze",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'vitrion' has no attribute {name!r}")
    return getattr(import_module(f"vitrion.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
