"""Numbers as a person writes them: an error in brackets, a time in the unit that suits it."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Up to these lengths in ps a time is given in the unit, which is so many ps.
_TIMES = ((0.1, "fs", 1e-3), (1e3, "ps", 1.0), (1e6, "ns", 1e3), (math.inf, "µs", 1e6))


def concise(value: float, err: float) -> str:
    """1.23(4) for 1.23 ± 0.04: two digits of the error where its first is 1, else one."""
    if not (math.isfinite(value) and math.isfinite(err) and err > 1e-6 * abs(value)):
        return f"{value:.3g}"
    digits = -math.floor(math.log10(err))
    if round(err * 10**digits) < 2:
        digits += 1
    if digits <= 0:
        return f"{value:.0f}({err:.0f})"
    return f"{value:.{digits}f}({round(err * 10**digits)})"


def measured(value: float, err: float) -> str:
    """As `concise`, with a power of ten for small and large numbers: 1.23(4) × 10⁻⁶."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return concise(value, err)
    power = math.floor(math.log10(abs(value)))
    text = concise(value / 10.0**power, err / 10.0**power)
    if abs(float(text.partition("(")[0])) >= 10:  # 9.8(23) is rounded to 10(2)
        power += 1
        text = concise(value / 10.0**power, err / 10.0**power)
    return f"{text} × 10{str(power).translate(_SUPERSCRIPTS)}"


def duration(time_ps: float) -> str:
    """A time with its unit, in two or three digits: 54 ps for 53.82, 1.5 ns for 1500."""
    _, unit, size = next(found for found in _TIMES if abs(time_ps) < found[0])
    number = float(f"{time_ps / size:.2g}")
    return f"{number if abs(number) < 100 else time_ps / size:.3g} {unit}"
