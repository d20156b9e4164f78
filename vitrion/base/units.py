"""Physical constants and the few conversions, each in one place.

Inside the library: Å, ps, eV, K, u (atomic mass) and e. Tables: cm²/s, mS/cm, g/cm³.
"""

from __future__ import annotations

from scipy import constants

BOLTZMANN_eV_K = constants.value("Boltzmann constant in eV/K")
# m v² in u Å²/ps² times this is an energy in eV.
U_A2_PS2_eV = constants.atomic_mass * 1e4 / constants.elementary_charge
A2_PS_TO_CM2_S = 1e-4
U_A3_TO_G_CM3 = constants.atomic_mass * 1e3 / 1e-24
EV_A3_TO_GPA = constants.elementary_charge * 1e21


def conductivity_mS_cm(charge2_A2_ps: float, volume_A3: float, temperature_K: float) -> float:
    """Conductivity of a charge-weighted diffusion sum, e²/(V k_B T) Σ z² D.

    Args:
        charge2_A2_ps: sum of z² D, z in elementary charges and D in Å²/ps (scalar or array).
        volume_A3: cell volume.
        temperature_K: temperature.

    Returns:
        Conductivity in mS/cm.
    """
    # e / (k_B T / e) in S/m for 1 Å²/ps in 1 Å³ (1e-8 m²/s over 1e-30 m³), then 10 mS/cm a S/m.
    per_unit = constants.elementary_charge * 1e22 * 10 / (BOLTZMANN_eV_K * temperature_K)
    return charge2_A2_ps / volume_A3 * per_unit
