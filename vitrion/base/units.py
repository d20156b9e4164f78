"""Physical constants and the few conversions, each in one place.

Inside the library: Å, ps, eV, K, u (atomic mass) and e. Tables: cm²/s, mS/cm, g/cm³.
"""

from __future__ import annotations

# CODATA 2022; written out because importing scipy costs every job a fraction of a second.
_ELEMENTARY_CHARGE_C = 1.602176634e-19
_ATOMIC_MASS_KG = 1.66053906892e-27
BOLTZMANN_eV_K = 8.617333262145179e-05

# m v² in u Å²/ps² times this is an energy in eV.
U_A2_PS2_eV = _ATOMIC_MASS_KG * 1e4 / _ELEMENTARY_CHARGE_C
A2_PS_TO_CM2_S = 1e-4
U_A3_TO_G_CM3 = _ATOMIC_MASS_KG * 1e3 / 1e-24
EV_A3_TO_GPA = _ELEMENTARY_CHARGE_C * 1e21


def conductivity_mS_cm(charge2_A2_ps: float, volume_A3: float, temperature_K: float) -> float:
    """Conductivity of a charge-weighted diffusion sum, e²/(V k_B T) Σ z² D.

    Args:
        charge2_A2_ps: sum of z² D, z in elementary charges and D in Å²/ps (scalar or array).
        volume_A3: cell volume.
        temperature_K: temperature.

    Returns:
        Conductivity in mS/cm.
    """
    # e / (k_B T / e) in S/m for 1 Å²/ps in 1 Å³ (1e-8 m²/s over 1e-30 m³), then 10 mS/cm per S/m.
    per_unit = _ELEMENTARY_CHARGE_C * 1e22 * 10 / (BOLTZMANN_eV_K * temperature_K)
    return charge2_A2_ps / volume_A3 * per_unit
