"""Every exact system of the analysis over many seeds: no bias, and error bars that hold.

Run with `-s` to see the figures; `benchmarks/analyze_error_bars.txt` keeps those of the release.
`VITRION_SEEDS=0.2` runs a fifth of the seeds, `VITRION_FIRST_SEED=1000` others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from exact_systems import (
    Ions,
    analyze,
    bound,
    calibrate,
    disagreements,
    estimates,
    exact_walkers,
    fractional,
    generators,
    keep_figures,
    rigid_clusters,
    rotating_tetrahedra,
    tracer_correlation,
    transport_of,
    vacancy_gas,
    walkers,
)
from scipy import stats

from vitrion.base.units import A2_PS_TO_CM2_S, conductivity_mS_cm
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


def seeds_of(number: int) -> int:
    return max(round(number * float(os.environ.get("VITRION_SEEDS", "1"))), 10)


def check(
    name: str,
    found: pd.DataFrame,
    seeds: int = SEEDS,
    *,
    refused: float = 0.1,
    bound: bool = False,
) -> None:
    """Print the figures of a system, and fail where they contradict right errors."""
    keep_figures(f"{name}\n{found.to_string(float_format='%.3g')}\n")
    assert not disagreements(found, seeds, refused=refused, bound=bound)


@pytest.mark.parametrize("frames", [1000, 4000])
@pytest.mark.parametrize("name", WALKERS)
def test_walkers(name, frames):
    """Systems 1 to 3."""
    ions = WALKERS[name]
    charges = {kind.element: kind.charge for kind in ions}
    seeds = seeds_of(SEEDS)
    found = calibrate(
        lambda rng: estimates(
            transport_of(walkers(ions, frames=frames, rng=rng), charges, Roles(("Li",)))
        ),
        exact_walkers(ions, temperature_K=600),
        seeds,
    )
    check(f"{name}, {frames} frames", found, seeds)


def test_walkers_that_rattle():
    """An offset of the mean squared displacement changes nothing."""
    ions = WALKERS["common mode"]
    seeds = seeds_of(SEEDS)
    found = calibrate(
        lambda rng: estimates(
            transport_of(
                walkers(ions, frames=1000, rng=rng, rattle_A=0.5),
                {"Li": 1, "Cl": -1},
                Roles(("Li",)),
            )
        ),
        exact_walkers(ions, temperature_K=600),
        seeds,
    )
    check("rattling", found, seeds)


def test_rigid_clusters():
    """Systems 4 and 11: ions that move as groups, with different charges."""
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
        "D:Li": 0.01 * A2_PS_TO_CM2_S,
        "D:Cl": (4 * 4 * 0.004 + 6 * 7 * 0.006) / 58 * A2_PS_TO_CM2_S,
        "sigma:einstein": carried * scale,
        "sigma:cluster_nernst_einstein": carried * scale,
        "sigma:nernst_einstein": single * scale,
        "t:einstein": 0.1 / carried,
        "t:cluster_nernst_einstein": 0.1 / carried,
        "t:nernst_einstein": 0.1 / single,
        "haven": 1.0,
    }
    seeds = seeds_of(SEEDS)
    found = calibrate(
        lambda rng: estimates(
            analyze(
                rigid_clusters(kinds, frames=300, rng=rng),
                {"Li": 1, "Al": 3, "Cl": -1},
                Roles(("Li",), ("Al",), ("Cl",)),
                cutoffs_A={"Al-Cl": 2.6, "Al-Li": 4.0},
                rdf_cutoff_A=3.0,
            )
        ),
        exact,
        seeds,
    )
    check("rigid clusters", found, seeds)


def moments_of(positions_A: np.ndarray, interval_ps: float = 1.0) -> Displacements:
    """Displacements of (frames, ions, 3)."""
    symbols = ["Li"] * positions_A.shape[1]
    source = Source.of_arrays(symbols, positions_A, np.eye(3) * 50, interval_ps)
    with Trajectory.read(source, reference_frame="none") as trajectory:
        return displacements(trajectory, "Li")


def diffusion_of(positions_A: np.ndarray, interval_ps: float = 1.0) -> Diffusion:
    return diffusion(
        moments_of(positions_A, interval_ps),
        frame_interval_ps=interval_ps,
        tolerance=0.1,
        least_displacement_A=1.0,
    )


def brownian(rng: np.random.Generator, frames: int, ions: int, D_A2_ps: float) -> np.ndarray:
    return np.cumsum(rng.normal(0, np.sqrt(2 * D_A2_ps), (frames, ions, 3)), axis=0)


Relaxation = tuple[float, float]


def relaxing(
    rng: np.random.Generator, frames: int, ions: int, D_A2_ps: float, *cages: Relaxation
) -> np.ndarray:
    """6Dt + Σ A (1 − exp(−t/τ)), with cages (A in Å², τ in frames) and frames of 1 ps."""
    paths_A = brownian(rng, frames, ions, D_A2_ps)
    for amplitude_A2, relaxation in cages:
        paths_A += bound(
            ions, frames=frames, rng=rng, relaxation=relaxation, amplitude_A2=amplitude_A2
        )
    return paths_A


def slopes(
    name: str,
    paths: Callable[[np.random.Generator], np.ndarray],
    D_A2_ps: float,
    seeds: int = SEEDS,
    *,
    interval_ps: float = 1.0,
    refused: float | None = 0.1,
) -> list[Diffusion]:
    """Hold D to the truth.

    Args:
        name: of the system.
        paths: makes (frames, ions, 3).
        D_A2_ps: the truth.
        seeds: number of runs.
        interval_ps: time between frames.
        refused: largest share of seeds without D. None where the relaxation is hardly over: slopes
            are held to the truth whether or not there is a D.
    """
    every = []

    def run(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        found = diffusion_of(paths(rng), interval_ps)
        every.append(found)
        if refused is None:
            return {"slope/6": (found.slope_A2_ps, found.slope_err_A2_ps)}
        return {"D": (found.D_A2_ps, found.D_err_A2_ps)}

    found = calibrate(run, {"D" if refused is not None else "slope/6": D_A2_ps}, seeds)
    text = f"relative error {found['reported'].iloc[0] / D_A2_ps:.3f}, "
    text += f"{np.mean([not one.diffusive for one in every]):.2f} without D"
    check(f"{name}: {text}", found, seeds, refused=1.0 if refused is None else refused)
    return every


@pytest.mark.parametrize(("frames", "seeds"), [(2000, 100), (8000, 100), (80000, 30)])
def test_diffusion_over_a_relaxing_cage(frames, seeds):
    """System 8: errors fall as the root of the length once 80 relaxation times have passed."""
    seeds = seeds_of(seeds)
    every = slopes(
        f"cage, {frames} frames",
        lambda rng: relaxing(rng, frames, 48, 0.01, (1.8, 100)),
        0.01,
        seeds,
        refused=None if frames == 2000 else 0.1,
    )
    if frames == 80000:
        errors = [one.slope_err_A2_ps / 0.01 for one in every]
        assert np.sqrt(np.mean(np.square(errors))) < 0.05


def test_a_production_run():
    """System 8: 10 ns, a cage of 3 Å² that relaxes in 50 ps, D = 0.05 Å²/ps."""
    # Frames of 0.5 ps: those of 0.1 ps between them say no more about 50 ps.
    slopes(
        "production: 10 ns, cage of 50 ps",
        lambda rng: relaxing(rng, 20000, 48, 0.025, (3.0, 100)),
        0.05,
        seeds_of(SEEDS),
        interval_ps=0.5,
    )


NEVER = {
    **{
        f"bound, relaxation {relaxation}": partial(
            bound, 48, frames=2000, relaxation=relaxation, amplitude_A2=6.0
        )
        for relaxation in (200, 400, 1000)
    },
    **{
        f"exponent {exponent}": partial(
            fractional, 48, frames=2000, exponent=exponent, amplitude_A2=0.06
        )
        for exponent in (0.5, 0.7, 0.85)
    },
}


@pytest.mark.parametrize("name", NEVER)
def test_what_never_diffuses_has_no_diffusion_coefficient(name):
    """System 9."""
    seeds = seeds_of(150)
    found = [diffusion_of(NEVER[name](rng=rng)) for rng in generators(seeds)]
    given = sum(one.diffusive for one in found)
    keep_figures(f"{name}: {given} of {seeds} seeds with D\n")
    # Not more than 5 %, with the noise of so many seeds (binomial, 99.9 %).
    assert stats.binom.sf(given - 1, seeds, 0.05) > 0.001


@pytest.mark.parametrize("vacancies", [1, 2])
def test_lattice_gas(vacancies):
    """System 10: the vacancies' walk has no memory, that of the ions has; H_R is exact.

    Whatever the sites that are taken, the next hop has no mean: ions that can hop to the right are
    as many as those to the left. So σ_E is that of independent hops, a share of which is blocked.
    """
    edge, hops, hop_A = 4, 20, 3.0
    f, n = tracer_correlation(edge, vacancies), edge**3 - vacancies
    A2_ps = hops * (1 - (vacancies - 1) / (edge**3 - 1)) * hop_A**2 / 6
    sigma = conductivity_mS_cm(A2_ps, (edge * hop_A) ** 3, 600)
    exact = {
        "D:Li": f * A2_ps / n * A2_PS_TO_CM2_S,
        "sigma:einstein": sigma,
        "sigma:nernst_einstein": f * sigma,
        "haven": f,
    }
    seeds = seeds_of(SEEDS)
    found = calibrate(
        lambda rng: estimates(
            transport_of(
                vacancy_gas(
                    frames=4000, rng=rng, vacancies=vacancies, edge=edge, hops=hops, hop_A=hop_A
                ),
                {"Li": 1},
                Roles(("Li",)),
            )
        ),
        exact,
        seeds,
    )
    check(f"lattice gas, vacancies: {vacancies}", found, seeds)


@pytest.mark.parametrize("group", [2, 4])
def test_ions_that_move_together(group):
    """System 11."""
    slopes(
        f"groups of {group}",
        lambda rng: np.repeat(brownian(rng, 2000, 48 // group, 0.01), group, axis=1),
        0.01,
        seeds_of(100),
    )


def test_rotating_tetrahedra():
    """System 12: ligands that turn about fixed centres carry no current."""
    sigma_mS_cm = conductivity_mS_cm(27 * 0.01, 15.0**3, 600)
    exact = {"sigma:nernst_einstein": sigma_mS_cm, "t:nernst_einstein": 1.0}

    def run(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        source = rotating_tetrahedra(frames=1000, rng=rng, step_rad=0.25)
        tables = transport_of(source, {"Li": 1, "Al": 3, "Cl": -1}, Roles(("Li",)))
        row = next(tables["conductivity"].itertuples())
        assert row.not_diffusive == "Al,Cl"
        return {
            "sigma:nernst_einstein": (row.sigma_mS_cm, row.sigma_err_mS_cm),
            "t:nernst_einstein": (row.t_mobile, row.t_mobile_err),
        }

    seeds = seeds_of(SEEDS)
    found = calibrate(run, exact, seeds)
    # The error holds all of the ligands' slope, which is a bound.
    check("rotating tetrahedra", found, seeds, bound=True)
    assert found.loc["sigma:nernst_einstein", "reported"] < 0.25 * sigma_mS_cm


def test_both_frames_of_reference():
    """System 13, with a network that moves as well."""
    ions = WALKERS["common mode"]
    exact = {
        f"{quantity} in {frame}": value
        for frame in ("network", "center_of_mass")
        for quantity, value in exact_walkers(ions, temperature_K=600, frame=frame).items()
        # With two elements, t is a ratio of masses in these frames, without an error, and the
        # network's own displacement is zero in its frame.
        if quantity != "t:einstein" and abs(value) > 1e-12
    }

    def run(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        source = walkers(ions, frames=1000, rng=rng)
        tables = transport_of(source, {"Li": 1, "Cl": -1}, Roles(("Li",)))
        return {
            f"{quantity} in {frame}": value
            for frame in ("network", "center_of_mass")
            for quantity, value in estimates(tables, frame).items()
        }

    seeds = seeds_of(SEEDS)
    check("frames of reference", calibrate(run, exact, seeds), seeds)


# Systems on which nothing was chosen: frames, ions, D in Å²/ps, cages (Å², frames).
OTHERS = {
    "two relaxations": (10000, 40, 0.02, (3.0, 15), (1.5, 120)),
    "large cage, little diffusion": (10000, 40, 0.001, (4.0, 60)),
    "weak slow relaxation after a fast one": (10000, 64, 0.05, (2.0, 8), (1.5, 125)),
    "few ions": (12000, 10, 0.02, (2.0, 60)),
    "many ions": (6000, 200, 0.03, (2.5, 25)),
    "short": (400, 60, 0.05, (1.0, 3)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_systems_that_nothing_was_chosen_on(name):
    frames, ions, D, *cages = OTHERS[name]
    seeds = seeds_of(SEEDS)
    slopes(f"others: {name}", lambda rng: relaxing(rng, frames, ions, D, *cages), D, seeds)


def cages_of_many_times(rng: np.random.Generator) -> np.ndarray:
    """40 ions, D = 0.01, each in a cage of 2 Å² with a time of its own, log-normal about 20."""
    relaxations = 20 * np.exp(0.7 * rng.normal(size=40))
    cages_A = [
        bound(1, frames=6000, rng=rng, relaxation=relaxation, amplitude_A2=2.0)
        for relaxation in relaxations
    ]
    return brownian(rng, 6000, 40, 0.01) + np.concatenate(cages_A, axis=1)


def two_populations(rng: np.random.Generator) -> np.ndarray:
    """Half of 48 ions with D = 0.03, half with 0.01, over a cage."""
    paths_A = [relaxing(rng, 4000, 24, D_A2_ps, (1.0, 15)) for D_A2_ps in (0.03, 0.01)]
    return np.concatenate(paths_A, axis=1)


def hops_that_go_back(rng: np.random.Generator) -> np.ndarray:
    """60 ions rattle in cages and hop 3 Å along an axis every 50 frames, half of the hops back.

    The others go in any direction, so ⟨cos θ⟩ = −1/2 and
    D = (1/50) (9/6) (1 + ⟨cos θ⟩)/(1 − ⟨cos θ⟩) = 0.01 Å²/ps.
    """
    frames, ions = 6000, 60
    hop = rng.random((frames, ions)) < 1 / 50
    steps = np.concatenate([np.eye(3), -np.eye(3)])
    moves_A = np.zeros((frames, ions, 3))
    last_A = 3.0 * steps[rng.integers(6, size=ions)]
    for frame in range(frames):
        now = hop[frame]
        chosen_A = 3.0 * steps[rng.integers(6, size=ions)]
        back = rng.random(ions) < 0.5
        last_A[now] = np.where(back[:, None], -last_A, chosen_A)[now]
        moves_A[frame, now] = last_A[now]
    return np.cumsum(moves_A, axis=0) + bound(
        ions, frames=frames, rng=rng, relaxation=5, amplitude_A2=1.0
    )


@pytest.mark.parametrize(
    ("paths", "D_A2_ps"),
    [(cages_of_many_times, 0.01), (two_populations, 0.02), (hops_that_go_back, 0.01)],
)
def test_motion_of_other_kinds(paths, D_A2_ps):
    slopes(f"others: {paths.__name__.replace('_', ' ')}", paths, D_A2_ps, seeds_of(SEEDS))
