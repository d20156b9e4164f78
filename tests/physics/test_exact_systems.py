"""Every exact system of the analysis over 60 seeds: no bias, and error bars that hold.

Run with `-s` to see the figures; `benchmarks/analyze_error_bars.txt` keeps those of the release.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exact_systems import (
    Ions,
    analyze,
    bound,
    calibrate,
    estimates,
    exact_walkers,
    fractional,
    rigid_clusters,
    rotating_tetrahedra,
    walkers,
)

from vitrion.base.units import conductivity_mS_cm
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.diffusion import Diffusion, diffusion
from vitrion.transport.msd import Displacements, displacements
from vitrion.transport.roles import Roles

pytestmark = pytest.mark.physics
SEEDS = 60

WALKERS = {
    "independent": [Ions("Li", 32, 1, 0.05), Ions("Cl", 32, -1, 0.02)],
    "correlated": [Ions("Li", 24, 1, 0.05, shared=0.5), Ions("Cl", 24, -1, 0.02)],
    "anticorrelated": [Ions("Li", 24, 1, 0.05, repulsion=0.8), Ions("Cl", 24, -1, 0.02)],
    "common mode": [Ions("Li", 24, 1, 0.05, shared=0.4), Ions("Cl", 24, -1, 0.03, shared=0.5)],
}


def check(name: str, found: pd.DataFrame, *, few_refused: float = 0.15) -> None:
    """Bias below 3.5 standard errors of the mean; reported over true spread 0.75 to 1.35.

    With 60 seeds a true ratio of 1 is measured to 9 %, and 68 % and 95 % to 6 % and 3 %; the limits
    leave three such widths. The seeds that are refused by chance are mostly those of low values,
    so the spread of the others is some 10 % less than that of all.
    """
    text = f"{name}\n{found.to_string(float_format='%.3g')}\n"
    print("\n" + text)
    if "VITRION_ERROR_BARS" in os.environ:
        with Path(os.environ["VITRION_ERROR_BARS"]).open("a") as file:
            file.write(text + "\n")
    assert (found["refused"] <= few_refused).all()
    assert (found["bias"].abs() < 3.5).all()
    # Where an element is refused by chance, sums over elements have a wider bound for it.
    of_sums = found.index.str.endswith(":nernst_einstein")
    assert found["ratio"].between(0.75, np.where(of_sums, 1.55, 1.35)).all()
    assert found["within_1"].between(0.5, 0.87).all()
    assert (found["within_2"] > 0.86).all()


@pytest.mark.parametrize("name", WALKERS)
def test_walkers(name):
    ions = WALKERS[name]
    charges = {kind.element: kind.charge for kind in ions}
    found = calibrate(
        lambda rng: estimates(analyze(walkers(ions, frames=1000, rng=rng), charges, Roles("Li"))),
        exact_walkers(ions, temperature_K=600),
        SEEDS,
    )
    check(name, found)


def test_walkers_that_rattle():
    """An offset of the mean squared displacement changes nothing."""
    ions = WALKERS["common mode"]
    found = calibrate(
        lambda rng: estimates(
            analyze(
                walkers(ions, frames=1000, rng=rng, rattle_A=0.5), {"Li": 1, "Cl": -1}, Roles("Li")
            )
        ),
        exact_walkers(ions, temperature_K=600),
        SEEDS,
    )
    check("rattling", found)


def test_rigid_clusters():
    kinds = {"Li": (10, 0.01), "AlCl4": (4, 0.004), "Al2Cl7": (6, 0.006)}
    volume_A3 = abs(
        np.linalg.det(
            rigid_clusters(kinds, frames=2, rng=np.random.default_rng(0)).chunks[0].cells_A[0]
        )
    )
    scale = conductivity_mS_cm(1.0, volume_A3, 600)
    carried = 10 * 0.01 + 4 * 0.004 + 6 * 0.006
    single = 10 * 0.01 + 4 * 0.004 * (9 + 4) + 6 * 0.006 * (18 + 7)
    exact = {
        "sigma:einstein": carried * scale,
        "sigma:cluster_nernst_einstein": carried * scale,
        "sigma:nernst_einstein": single * scale,
        "t:einstein": 0.1 / carried,
        "t:cluster_nernst_einstein": 0.1 / carried,
        "t:nernst_einstein": 0.1 / single,
        "haven": 1.0,
    }
    found = calibrate(
        lambda rng: estimates(
            analyze(
                rigid_clusters(kinds, frames=300, rng=rng),
                {"Li": 1, "Al": 3, "Cl": -1},
                Roles("Li", "Al", ("Cl",)),
                cutoffs_A={"Al-Cl": 2.6, "Al-Li": 4.0},
                rdf_cutoff_A=3.0,
            )
        ),
        exact,
        SEEDS,
    )
    check("rigid clusters", found)


def moments_of(positions_A: np.ndarray) -> Displacements:
    """Displacements of (frames, ions, 3), frames of 1 ps."""
    symbols = ["Li"] * positions_A.shape[1]
    source = Source.of_arrays(symbols, positions_A, np.eye(3) * 50, 1.0)
    with Trajectory.read(source, reference_frame="none") as trajectory:
        return displacements(trajectory, "Li")


def diffusion_of(positions_A: np.ndarray) -> Diffusion:
    return diffusion(
        moments_of(positions_A), frame_interval_ps=1.0, tolerance=0.1, least_displacement_A=1.0
    )


def brownian(rng: np.random.Generator, frames: int, ions: int, D_A2_ps: float) -> np.ndarray:
    return np.cumsum(rng.normal(0, np.sqrt(2 * D_A2_ps), (frames, ions, 3)), axis=0)


def slopes(
    name: str, paths: Callable[[np.random.Generator], np.ndarray], D_A2_ps: float
) -> list[Diffusion]:
    """Hold the slopes of all seeds, also of those without a diffusion coefficient, to the truth."""
    every = []

    def run(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        every.append(diffusion_of(paths(rng)))
        return {"D": (every[-1].slope_A2_ps, every[-1].slope_err_A2_ps)}

    check(name, calibrate(run, {"D": D_A2_ps}, SEEDS))
    return every


@pytest.mark.parametrize("frames", [2000, 8000])
def test_diffusion_over_a_relaxing_cage(frames):
    """System 8. After 20 relaxation times most seeds are refused, after 80 about one in eight."""

    def paths(rng: np.random.Generator) -> np.ndarray:
        cage_A = bound(48, frames=frames, rng=rng, relaxation=100, amplitude_A2=1.8)
        return brownian(rng, frames, 48, 0.01) + cage_A

    every = slopes(f"cage, {frames} frames", paths, 0.01)
    refused = np.mean([not found.diffusive for found in every])
    assert refused < (0.2 if frames == 8000 else 0.8)


@pytest.mark.parametrize(
    "paths",
    [
        *[
            pytest.param(
                partial(bound, 48, frames=2000, relaxation=relaxation, amplitude_A2=6.0),
                id=f"bound, relaxation {relaxation}",
            )
            for relaxation in (200, 400, 1000)
        ],
        *[
            pytest.param(
                partial(fractional, 48, frames=2000, exponent=exponent, amplitude_A2=0.06),
                id=f"exponent {exponent}",
            )
            for exponent in (0.5, 0.7, 0.85)
        ],
    ],
)
def test_what_never_diffuses_has_no_diffusion_coefficient(paths):
    """System 9."""
    found = [diffusion_of(paths(rng=np.random.default_rng(seed))) for seed in range(SEEDS)]
    assert np.mean([not one.diffusive for one in found]) >= 0.95


@pytest.mark.parametrize("group", [2, 4])
def test_ions_that_move_together(group):
    """System 11."""

    def paths(rng: np.random.Generator) -> np.ndarray:
        return np.repeat(brownian(rng, 2000, 48 // group, 0.01), group, axis=1)

    slopes(f"groups of {group}", paths, 0.01)


def test_rotating_tetrahedra():
    """System 12: ligands that turn about fixed centres carry no current."""
    sigma_mS_cm = conductivity_mS_cm(27 * 0.01, 15.0**3, 600)
    exact = {"sigma:nernst_einstein": sigma_mS_cm, "t:nernst_einstein": 1.0}
    found = calibrate(
        lambda rng: estimates(
            analyze(
                rotating_tetrahedra(frames=2000, rng=rng, step_rad=0.2),
                {"Li": 1, "Al": 3, "Cl": -1},
                Roles("Li"),
                rdf_cutoff_A=3.0,
            )
        ),
        exact,
        SEEDS,
    )
    print(found.to_string(float_format="%.3g"))
    # The bound on the ligands' part is no standard error: it may be too large.
    assert (found["bias"].abs() < 3.5).all()
    assert (found["within_2"] > 0.9).all()
    assert (found["refused"] <= 0.15).all()
    assert found.loc["sigma:nernst_einstein", "reported"] < 0.5 * sigma_mS_cm


@pytest.mark.parametrize("frame", ["network", "center_of_mass"])
def test_both_frames_of_reference(frame):
    """System 13, with a network that moves as well."""
    ions = WALKERS["common mode"]
    exact = exact_walkers(ions, temperature_K=600, frame=frame)
    # With two elements, t is a ratio of masses in these frames, without an error.
    exact = {quantity: value for quantity, value in exact.items() if quantity != "t:einstein"}
    found = calibrate(
        lambda rng: estimates(
            analyze(walkers(ions, frames=1000, rng=rng), {"Li": 1, "Cl": -1}, Roles("Li")), frame
        ),
        exact,
        SEEDS,
    )
    check(f"frame of reference: {frame}", found)
