"""Trajectories with exactly known transport, and how the analysis does on many of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import atomic_masses, atomic_numbers
from scipy import stats
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from vitrion.base.units import A2_PS_TO_CM2_S, conductivity_mS_cm
from vitrion.config import Transport
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.analyze import transport_tables
from vitrion.transport.contacts import ContactIntervals, ContactRecorder, Contacts
from vitrion.transport.measure import measure
from vitrion.transport.roles import Roles
from vitrion.transport.rows import transport_rows

# Between clusters, and between centres: they never meet.
SPACING_A = 25.0
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


@dataclass(frozen=True)
class Ions:
    """Diffusing ions of one element.

    Attributes:
        element: symbol.
        number: how many.
        charge: formal charge in e.
        D_A2_ps: diffusion coefficient.
        shared: c in step = √(1 − c²) own + c common, with a common mode of the whole system; steps
            of ions of elements a and b are correlated by c_a c_b.
        repulsion: steps of the same element's ions are anticorrelated by −repulsion/(number − 1).
    """

    element: str
    number: int
    charge: int
    D_A2_ps: float
    shared: float = 0.0
    repulsion: float = 0.0


def walkers(
    ions: Sequence[Ions],
    *,
    frames: int,
    rng: np.random.Generator,
    interval_ps: float = 1.0,
    cell_A: float = 50.0,
    rattle_A: float = 0.0,
) -> Source:
    """Brownian walkers with a common mode, each rattling about its path.

    Args:
        ions: the elements.
        frames: length.
        rng: source of randomness.
        interval_ps: time between frames.
        cell_A: edge of the cubic cell.
        rattle_A: width of an independent displacement added to each coordinate.
    """
    common = rng.normal(size=(frames, 1, 3))
    positions_A = []
    for kind in ions:
        own = rng.normal(size=(frames, kind.number, 3))
        if kind.repulsion:
            mean = own.mean(axis=1, keepdims=True)
            rho = kind.repulsion / (kind.number - 1)
            own = np.sqrt(1 + rho) * (own - mean) + np.sqrt(1 - kind.repulsion) * mean
        step = np.sqrt(1 - kind.shared**2) * own + kind.shared * common
        step *= np.sqrt(2 * kind.D_A2_ps * interval_ps)
        positions_A.append(np.cumsum(step, axis=0))
    symbols = [kind.element for kind in ions for _ in range(kind.number)]
    everything_A = np.concatenate(positions_A, axis=1)
    everything_A += rattle_A * rng.normal(size=everything_A.shape)
    return Source.of_arrays(symbols, everything_A, np.eye(3) * cell_A, interval_ps)


def exact_walkers(
    ions: Sequence[Ions], *, temperature_K: float, cell_A: float = 50.0, frame: str = "none"
) -> dict[str, float]:
    """What the analysis of `walkers` should give, by quantity; the first element is mobile.

    Args:
        ions: the elements.
        temperature_K: of the analysis.
        cell_A: edge of the cubic cell.
        frame: of reference. R_a − N_a u with u = Σ_b w_b R_b makes the matrix of ⟨ΔR_a·ΔR_b⟩ a
            linear transform of that in the frame `none`.
    """
    z = np.array([kind.charge for kind in ions], dtype=float)
    n = np.array([kind.number for kind in ions], dtype=float)
    c = np.array([kind.shared for kind in ions])
    D = np.array([kind.D_A2_ps for kind in ions])
    root = n * c * np.sqrt(D)
    collective, own = np.outer(root, root), n * D
    repelled = own * (1 - np.array([kind.repulsion for kind in ions])) * (1 - c**2)
    np.fill_diagonal(collective, repelled + root**2)
    masses = [atomic_masses[atomic_numbers[kind.element]] for kind in ions]
    alike = {"none": 0 * n, "network": np.arange(len(ions)) > 0, "center_of_mass": masses}[frame]
    w = alike / max(np.sum(alike * n), 1e-9)
    own = own - 2 * collective @ w + n * (w @ collective @ w)
    moved = np.eye(len(ions)) - np.outer(n, w)
    L, L_self = np.outer(z, z) * (moved @ collective @ moved.T), z**2 * own
    scale = conductivity_mS_cm(1.0, cell_A**3, temperature_K)
    exact = {
        f"D:{kind.element}": one / kind.number * A2_PS_TO_CM2_S
        for kind, one in zip(ions, own, strict=True)
    }
    exact["sigma:nernst_einstein"] = L_self.sum() * scale
    exact["t:nernst_einstein"] = L_self[0] / L_self.sum()
    exact["sigma:einstein"] = L.sum() * scale
    exact["t:einstein"] = L[0].sum() / L.sum()
    exact["haven"] = L_self[0] / L[0, 0]
    for i, a in enumerate(ions):
        for j, b in enumerate(ions):
            exact[f"L:{a.element}-{b.element}"] = L[i, j] * scale * 1e-3
    return exact


def bound(
    ions: int, *, frames: int, rng: np.random.Generator, relaxation: float, amplitude_A2: float
) -> np.ndarray:
    """(frames, ions, 3) Ornstein-Uhlenbeck motion, MSD = amplitude (1 − exp(−t/relaxation)).

    Args:
        ions: number of independent ions.
        frames: length.
        rng: source of randomness.
        relaxation: time in frames.
        amplitude_A2: limit of the mean squared displacement.
    """
    decay = np.exp(-1 / relaxation)
    noise = rng.normal(size=(frames, ions, 3)) * np.sqrt(amplitude_A2 / 6)
    noise[1:] *= np.sqrt(1 - decay**2)
    return lfilter([1], [1, -decay], noise, axis=0)


def fractional(
    ions: int, *, frames: int, rng: np.random.Generator, exponent: float, amplitude_A2: float
) -> np.ndarray:
    """(frames, ions, 3) fractional Brownian motion, MSD = amplitude t^exponent, t in frames.

    Exact increments by circulant embedding (Davies and Harte, Biometrika 74, 95, 1987).
    """
    lag = np.arange(frames + 1.0)
    covariance = ((lag + 1) ** exponent - 2 * lag**exponent + np.abs(lag - 1) ** exponent) / 2
    power = np.fft.rfft(np.concatenate([covariance, covariance[-2:0:-1]])).real
    white = np.fft.rfft(rng.normal(size=(2 * frames, ions * 3)), axis=0)
    steps = np.fft.irfft(white * np.sqrt(np.maximum(power, 0))[:, None], axis=0)[:frames]
    return np.cumsum(steps, axis=0).reshape(frames, ions, 3) * np.sqrt(amplitude_A2 / 3)


def rotating_tetrahedra(
    *, frames: int, rng: np.random.Generator, step_rad: float = 0.1, D_A2_ps: float = 0.01
) -> Source:
    """27 AlCl4 that turn about fixed centres and rattle, and 27 Li that walk; frames of 1 ps.

    Args:
        frames: length.
        rng: source of randomness.
        step_rad: width of each rotation about a random axis, per frame and component.
        D_A2_ps: of lithium.
    """
    sites_A = 5.0 * np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), axis=1)
    turned = Rotation.random(27, rng=rng)
    positions_A = np.empty((frames, 27 * 6, 3))
    lithium_A = np.cumsum(rng.normal(0, np.sqrt(2 * D_A2_ps), (frames, 27, 3)), axis=0)
    positions_A[:, :27] = sites_A + 2.5 + lithium_A
    positions_A[:, 27:54] = sites_A + rng.normal(0, 0.1, (frames, 27, 3))
    for frame in range(frames):
        turned = Rotation.from_rotvec(rng.normal(0, step_rad, (27, 3))) * turned
        chlorine_A = np.stack([turned.apply(corner) for corner in 2.15 * TETRAHEDRON], axis=1)
        positions_A[frame, 54:] = (positions_A[frame, 27:54, None] + chlorine_A).reshape(-1, 3)
    positions_A[:, 54:] += rng.normal(0, 0.08, (frames, 108, 3))
    symbols = ["Li"] * 27 + ["Al"] * 27 + ["Cl"] * 108
    return Source.of_arrays(symbols, positions_A, np.eye(3) * 15.0, 1.0)


def vacancy_gas(
    *,
    frames: int,
    rng: np.random.Generator,
    vacancies: int = 1,
    edge: int = 4,
    hops: int = 20,
    hop_A: float = 3.0,
) -> Source:
    """Ions on a simple cubic lattice with few vacancies, frames of 1 ps.

    Args:
        frames: length.
        rng: source of randomness.
        vacancies: how many.
        edge: sites along the edge of the cubic cell.
        hops: attempts per frame, each of one vacancy to exchange with one of its six neighbours;
            nothing happens where that is a vacancy as well.
        hop_A: distance of two sites.
    """
    steps = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    ion_at = np.arange(edge**3).reshape((edge,) * 3) - vacancies
    vacant = [tuple(site) for site in np.argwhere(ion_at < 0).tolist()]
    ion_at[ion_at < 0] = -1
    sites = np.argwhere(ion_at >= 0)
    moved = np.zeros((len(sites), 3), dtype=int)
    positions = np.empty((frames, len(sites), 3), dtype=np.int32)
    directions = rng.integers(6, size=(frames, hops))
    which = rng.integers(vacancies, size=(frames, hops))
    all_steps = [tuple(step) for step in steps.tolist()]
    for frame in range(frames):
        for one, direction in zip(which[frame].tolist(), directions[frame].tolist(), strict=True):
            (i, j, k), (x, y, z) = vacant[one], all_steps[direction]
            neighbor = ((i + x) % edge, (j + y) % edge, (k + z) % edge)
            ion = ion_at[neighbor]
            if ion < 0:
                continue
            ion_at[vacant[one]], ion_at[neighbor] = ion, -1
            moved[ion] -= steps[direction]
            vacant[one] = neighbor
        positions[frame] = moved
    cell_A = np.eye(3) * edge * hop_A
    return Source.of_arrays(["Li"] * len(sites), hop_A * (sites + positions), cell_A, 1.0)


def tracer_correlation(edge: int, vacancies: int = 1) -> float:
    """Tracer correlation factor of few vacancies in a periodic simple cubic cell, exactly.

    The vacancies seen from a tracer are a Markov chain whose stationary distribution is uniform.
    With v the mean displacement of the tracer in the next attempt and g = Σ P^t v, the variance of
    its displacement grows by ⟨δ²⟩ + 2⟨δ g'⟩ an attempt, g' after it (martingale decomposition).
    """
    every = list(product(range(edge), repeat=3))
    states = list(combinations(every[1:], vacancies))
    number = {frozenset(state): index for index, state in enumerate(states)}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]

    def shifted(site: tuple[int, ...], by: tuple[int, ...]) -> tuple[int, ...]:
        return tuple((a + b) % edge for a, b in zip(site, by, strict=True))

    after = np.zeros((len(states), len(states)))
    exchanges = np.zeros((len(states), len(states)))
    chance, squares = 1 / (6 * vacancies), 0.0
    for index, state in enumerate(states):
        for vacancy in state:
            for step in steps:
                to = shifted(vacancy, step)
                others = set(state) - {vacancy}
                if to == every[0]:
                    # The tracer moves by −step, and all others by step, seen from it.
                    seen = number[frozenset(shifted(site, step) for site in {*others, every[0]})]
                    exchanges[index, seen] -= chance * step[0]
                    squares += chance * step[0] ** 2
                else:
                    seen = index if to in state else number[frozenset(others | {to})]
                after[index, seen] += chance
    mean = exchanges.sum(axis=1)
    # Any constant may be added to g, since mean displacements vanish.
    later = np.linalg.solve(np.eye(len(states)) - after + 1 / len(states), mean)
    return float(1 + 2 * (exchanges @ later).sum() / squares)


def rigid_clusters(
    kinds: Mapping[str, tuple[int, float]],
    *,
    frames: int,
    rng: np.random.Generator,
    interval_ps: float = 1.0,
) -> Source:
    """Clusters far apart from each other that diffuse without turning or breaking.

    Args:
        kinds: for `Li`, `AlCl4` and `Al2Cl7`, their number and D in Å²/ps.
        frames: length.
        rng: source of randomness.
        interval_ps: time between frames.
    """
    corner_A = 2.1 * TETRAHEDRON
    bridge_A = 2 * corner_A[0]
    shapes = {
        "Li": (["Li"], np.zeros((1, 3))),
        "AlCl4": (["Al", *["Cl"] * 4], np.concatenate([np.zeros((1, 3)), corner_A])),
        "Al2Cl7": (
            ["Al", "Al", *["Cl"] * 7],
            np.concatenate([np.zeros((1, 3)), [bridge_A], corner_A, bridge_A - corner_A[1:]]),
        ),
    }
    number = sum(count for count, _ in kinds.values())
    edge = int(np.ceil(number ** (1 / 3)))
    sites_A = SPACING_A * np.stack(np.unravel_index(np.arange(number), (edge,) * 3), axis=1)
    symbols: list[str] = []
    positions_A: list[np.ndarray] = []
    site = iter(sites_A)
    for name, (count, D_A2_ps) in kinds.items():
        own_symbols, shape_A = shapes[name]
        for _ in range(count):
            step_A = rng.normal(size=(frames, 3)) * np.sqrt(2 * D_A2_ps * interval_ps)
            step_A[0] = next(site)
            positions_A.append(np.cumsum(step_A, axis=0)[:, None] + shape_A)
            symbols += own_symbols
    cell_A = np.eye(3) * SPACING_A * edge
    return Source.of_arrays(symbols, np.concatenate(positions_A, axis=1), cell_A, interval_ps)


@dataclass(frozen=True)
class Visits:
    """Ions that come to one centre each and leave it, a two-state process in discrete time.

    Attributes:
        on_ps, off_ps: mean times at the centre and away from it.
        environment: code of the centre's environment.
        pairs: ions, with a centre each.
    """

    on_ps: float
    off_ps: float
    environment: int
    pairs: int


def visits(
    kinds: Sequence[Visits], *, frames: int, rng: np.random.Generator, interval_ps: float = 1.0
) -> ContactIntervals:
    """ContactIntervals of the pairs, recorded in stretches as the analysis does."""
    near = []
    for kind in kinds:
        leave, come = (1 - np.exp(-interval_ps / time) for time in (kind.on_ps, kind.off_ps))
        state = rng.random(kind.pairs) < come / (come + leave)
        history = np.empty((kind.pairs, frames), dtype=bool)
        for frame in range(frames):
            if frame:
                draw = rng.random(kind.pairs)
                state = np.where(state, draw >= leave, draw < come)
            history[:, frame] = state
        near.append(history)
    near = np.concatenate(near)
    codes = np.repeat([kind.environment for kind in kinds], [kind.pairs for kind in kinds])
    return recorded(near, codes)


def recorded(near: np.ndarray, codes: np.ndarray) -> ContactIntervals:
    """Intervals of contact (pairs, frames) of ions with a centre each, of one environment each."""
    n_pairs, n_frames = near.shape
    recorder, pair = ContactRecorder(n_pairs, n_pairs, n_frames), np.arange(n_pairs)
    for start in range(0, n_frames, 50):
        inside = near[:, start : start + 50]
        # Pairs without contact are not listed, as in the analysis of a trajectory.
        listed = inside.any(axis=1)
        recorder.add(
            Contacts(start, pair[listed], pair[listed], inside[listed]),
            np.repeat(codes[:, None], inside.shape[1], axis=1),
        )
    return recorder.result()


def keep_figures(text: str) -> None:
    """Print the figures of a system, and add them to the file that VITRION_ERROR_BARS names."""
    print("\n" + text)
    if "VITRION_ERROR_BARS" in os.environ:
        with Path(os.environ["VITRION_ERROR_BARS"]).open("a") as file:
            file.write(text + "\n")


def analyze(source: Source, charges: Mapping[str, int], roles: Roles, **settings: object) -> dict:
    """Tables of a source, at 600 K, without discard and in the frame as it is."""
    key = {
        "composition": "test",
        "mobile": ",".join(roles.mobile),
        "center": ",".join(roles.center),
        "ligands": "",
        "temperature_K": 600,
        "replica": 0,
    }
    chosen = {"discard_ps": 0.0, "reference_frame": "none", **settings}
    return transport_tables(
        source, roles=roles, key=key, settings=Transport(charges=dict(charges), **chosen)
    )


def transport_of(
    source: Source, charges: Mapping[str, int], roles: Roles, **settings: object
) -> dict[str, pd.DataFrame]:
    """The tables of `analyze` that hold transport coefficients, without structure and curves."""
    chosen = {"discard_ps": 0.0, "reference_frame": "none", **settings}
    key = {"composition": "test", "mobile": ",".join(roles.mobile), "center": "", "ligands": ""}
    with Trajectory.read(
        source, reference_frame=str(chosen["reference_frame"]), mobile=roles.mobile
    ) as trajectory:
        measured = measure(
            trajectory, roles, Transport(charges=dict(charges), **chosen), temperature_K=600
        )
    return transport_rows(measured, {**key, "temperature_K": 600, "replica": 0})


def estimates(
    tables: Mapping[str, pd.DataFrame], frame: str = "none"
) -> dict[str, tuple[float, float]]:
    """Value and error of each quantity of the tables in one frame of reference.

    Sums over elements of which some do not diffuse are left out: their errors are bounds.
    """
    names = ("diffusion", "conductivity", "onsager", "haven")
    tables = {name: tables[name][tables[name]["frame"] == frame] for name in names}
    found = {}
    for row in tables["diffusion"].itertuples():
        found[f"D:{row.species}"] = row.D_cm2_s, row.D_err_cm2_s
    for row in tables["conductivity"].itertuples():
        known = np.nan if row.not_diffusive else 1.0
        found[f"sigma:{row.method}"] = row.sigma_mS_cm * known, row.sigma_err_mS_cm
        found[f"t:{row.method}"] = row.t_mobile * known, row.t_mobile_err
    for row in tables["onsager"].itertuples():
        found[f"L:{row.species_i}-{row.species_j}"] = row.L, row.L_err
    for row in tables["haven"].itertuples():
        found["haven"] = row.haven_ratio, row.haven_ratio_err
    return found


def generators(seeds: int) -> Iterator[np.random.Generator]:
    """Random numbers of so many seeds, from `VITRION_FIRST_SEED` on (0)."""
    first = int(os.environ.get("VITRION_FIRST_SEED", "0"))
    return map(np.random.default_rng, range(first, first + seeds))


def calibrate(
    run: Callable[[np.random.Generator], Mapping[str, tuple[float, float]]],
    exact: Mapping[str, float],
    seeds: int,
) -> pd.DataFrame:
    """How estimates and their errors do over many seeds.

    Returns:
        By quantity: `exact`, `mean`, `spread` (true standard deviation), `reported` (root mean
        squared error bar), `ratio` of the two, `bias` in standard errors of the mean, and the
        shares of seeds `within_1` and `within_2` error bars of the exact value; all among the seeds
        that gave a value, while `refused` is the share that did not.
    """
    runs = [run(rng) for rng in generators(seeds)]
    rows = {}
    for quantity, true in exact.items():
        pairs = np.array([found[quantity] for found in runs])
        value, error = pairs[np.isfinite(pairs).all(axis=1)].T
        spread = value.std(ddof=1)
        off = np.abs(value - true)
        rows[quantity] = {
            "exact": true,
            "mean": value.mean(),
            "spread": spread,
            "reported": np.sqrt(np.mean(error**2)),
            "ratio": np.sqrt(np.mean(error**2)) / spread,
            "bias": (value.mean() - true) / (spread / np.sqrt(len(value))),
            "within_1": np.mean(off < error),
            "within_2": np.mean(off < 2 * error),
            "refused": 1 - len(value) / seeds,
        }
    return pd.DataFrame(rows).T


def disagreements(
    found: pd.DataFrame, seeds: int, *, refused: float = 0.1, bound: bool = False
) -> list[str]:
    """What of a calibration contradicts a right estimate with right errors, with 99.9 % confidence.

    Right is: no bias, reported over true spread from 0.8 to 1.25, 0.60 to 0.76 of the seeds within
    one error and 0.90 to 0.99 within two, at most `refused` of them without a value. Each figure of
    a finite number of seeds has its own noise, Student's t, chi-squared or binomial; only what
    lies outside by more than that is a contradiction.

    Args:
        found: from `calibrate`.
        seeds: number of runs.
        refused: largest share of runs without a value.
        bound: whether errors are bounds, which may be too large.
    """
    outside = 0.001
    wrong = []
    for name, row in found.iterrows():
        n = round(seeds * (1 - row["refused"]))
        if stats.binom.sf(round(seeds * row["refused"]) - 1, seeds, refused) < outside:
            wrong.append(f"{name}: {row['refused']:.2f} refused")
        if 2 * stats.t.sf(abs(row["bias"]), n - 1) < outside:
            wrong.append(f"{name}: bias of {row['bias']:.1f} standard errors")
        low, high = np.sqrt(stats.chi2.ppf([outside / 2, 1 - outside / 2], n - 1) / (n - 1))
        largest = np.inf if bound else 1.25
        if not (row["ratio"] * high >= 0.8 and row["ratio"] * low <= largest):
            wrong.append(f"{name}: reported over true spread {row['ratio']:.2f}")
        for column, least, most in (("within_1", 0.60, 0.76), ("within_2", 0.90, 0.99)):
            share = stats.binomtest(round(row[column] * n), n).proportion_ci(1 - outside)
            if share.high < least or (share.low > most and not bound):
                wrong.append(f"{name}: {row[column]:.2f} {column}")
    return wrong
