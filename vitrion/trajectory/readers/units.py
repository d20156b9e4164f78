"""Units that files name for lengths and times."""

from __future__ import annotations

from vitrion.trajectory.readers.frames import Damaged

_LENGTHS_A = {
    1.0: ("angstrom", "angstroms", "angström", "ångström", "å", "a", "ang"),
    10.0: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
    1e-2: ("pm", "picometer", "picometre"),
    1e4: ("um", "µm", "micrometer", "micrometre"),
    1e10: ("m", "meter", "metre"),
    0.529177210544: ("bohr", "a0", "atomic unit", "atomic_unit"),
}
_TIMES_PS = {
    1.0: ("ps", "picosecond", "picoseconds"),
    1e-3: ("fs", "femtosecond", "femtoseconds"),
    1e3: ("ns", "nanosecond", "nanoseconds"),
    1e6: ("us", "µs", "microsecond", "microseconds"),
    1e-6: ("as", "attosecond", "attoseconds"),
    1e12: ("s", "second", "seconds"),
    2.4188843265864e-05: ("hbar/hartree", "atomic unit", "atomic_unit"),
}
_LENGTH = {name: factor for factor, names in _LENGTHS_A.items() for name in names}
_TIME = {name: factor for factor, names in _TIMES_PS.items() for name in names}


def length_A(unit: str) -> float:
    """Å per unit of length.

    Raises:
        Damaged: names an unknown unit and the known ones.
    """
    return _factor(_LENGTH, unit, "length")


def time_ps(unit: str) -> float:
    """ps per unit of time.

    Raises:
        Damaged: names an unknown unit and the known ones.
    """
    return _factor(_TIME, unit, "time")


def _factor(known: dict[str, float], unit: str, kind: str) -> float:
    name = unit.strip("\0 ").lower()
    if name not in known:
        raise Damaged(f"the unit of {kind} {unit!r} is unknown; known are {', '.join(known)}")
    return known[name]
