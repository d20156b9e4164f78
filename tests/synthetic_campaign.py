"""Tables of a whole campaign from known laws, without any dynamics."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms

from vitrion.base.units import BOLTZMANN_eV_K
from vitrion.paper.verdict import verdict_table
from vitrion.statistics.summary import campaign_tables, without_flagged
from vitrion.structure.compositions import Composition
from vitrion.tables import COMPOSITION_KEY, TABLES, TRANSPORT_TABLES
from vitrion.tables.io import typed, write_table


@dataclass(frozen=True)
class Law:
    """What is true of every composition; by default all the paper's claims.

    Attributes:
        D0_cm2_s, Ea_eV: of the mobile ion's diffusion.
        residence_Ea_eV: of 1/τ.
        oxygen: factor of τ for each oxygen on the tetrahedron.
        sigma_mS_cm: Einstein conductivity at 300 K.
        t: transference number by each method.
        haven: Haven ratio.
        fourfold: share of tetrahedra.
        fragments: fraction of the central cations by the size of their fragment.
        factors: of D and σ, by element.
        spread: standard deviation of ln D between compositions, beside that.
        noise: relative error of every number of one trajectory.
        alone: t of the mobile ion without cross terms.
    """

    D0_cm2_s: float = 3e-4
    Ea_eV: float = 0.3
    residence_Ea_eV: float = 0.3
    oxygen: float = 1.6
    sigma_mS_cm: float = 5.0
    t: dict[str, float] = field(
        default_factory=lambda: {
            "nernst_einstein": 0.4,
            "cluster_nernst_einstein": 0.7,
            "einstein": 0.9,
        }
    )
    haven: float = 1.0
    fourfold: float = 0.95
    fragments: dict[int, float] = field(default_factory=lambda: {1: 0.2, 2: 0.2, 4: 0.3, 7: 0.3})
    factors: dict[str, float] = field(default_factory=dict)
    spread: float = 0.05
    noise: float = 0.03
    alone: float = 0.5


TEMPERATURES_K = (500, 600, 700, 800)
LAGS_PS = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
R_A = np.arange(0.05, 8, 0.1)


def transport_tables(
    compositions: Sequence[Composition],
    rng: np.random.Generator,
    law: Law | None = None,
    *,
    temperatures_K: Sequence[int] = TEMPERATURES_K,
    replicas: int = 3,
    flags: str = "",
    flagged_replicas: Sequence[int] | None = None,
    curves: bool = True,
) -> dict[str, pd.DataFrame]:
    """All tables of all trajectories.

    Args:
        compositions, rng, law, temperatures_K, replicas: what is simulated.
        flags: of the trajectories of `flagged_replicas`, or of all.
        curves: whether to write what has a lag or a distance.
    """
    law = law or Law()
    rows: dict[str, list[dict]] = {name: [] for name in TRANSPORT_TABLES}
    for composition in compositions:
        key = composition.key
        elements = (*composition.mobile, *composition.center, *composition.ligands)
        better = np.exp(law.spread * rng.normal())
        better *= np.prod([law.factors.get(element, 1.0) for element in elements])
        for T, replica in itertools.product(temperatures_K, range(replicas)):
            run = {**key, "temperature_K": T, "replica": replica}

            def add(table: str, run: dict = run, **values: object) -> None:
                if curves or not {"lag_ps", "r_A", "q_1_A"} & set(values):
                    rows[table].append({**run, **values})

            flagged = flagged_replicas is None or replica in flagged_replicas
            _trajectory(add, law, composition, T, better, rng, flags if flagged else "")
    return {
        name: pd.DataFrame(found, columns=list(TABLES[name])).astype(
            {key: column.dtype for key, column in TABLES[name].items()}
        )
        for name, found in rows.items()
    }


def _trajectory(add, law, composition, T, better, rng, flags) -> None:
    elements = (*composition.mobile, *composition.center, *composition.ligands)
    (mobile, *_), (center, *_) = composition.mobile, composition.center
    halogen = composition.ligands[0]
    noise = law.noise

    def around(value: float) -> tuple[float, float]:
        return value * (1 + noise * rng.normal()), abs(value) * noise

    cold = 1 / (BOLTZMANN_eV_K * T)
    D = law.D0_cm2_s * better * np.exp(-law.Ea_eV * cold)
    room = 1 / (BOLTZMANN_eV_K * 300)
    sigma = law.sigma_mS_cm * better * 300 / T * np.exp(law.Ea_eV * (room - cold))
    add(
        "trajectories", n_atoms=1302, volume_A3=3e4, density_g_cm3=2.2, length_ps=1e4,
        frame_interval_ps=0.1, discard_ps=50, mean_temperature_K=T, drift_removed="center_of_mass",
        flags=flags, wall_hours=10, steps_per_s=140,
    )  # fmt: skip
    for element in elements:
        own = D if element in composition.mobile else D / 50
        value, err = around(own)
        add("diffusion", frame="network", species=element, D_cm2_s=value, D_err_cm2_s=err,
            fit_start_ps=10, fit_stop_ps=100, loglog_slope=1.0, diffusive=True)  # fmt: skip
        for lag in LAGS_PS:
            msd = 6e4 * own * lag + 0.5
            add("msd", species=element, lag_ps=lag, msd_A2=msd, msd_err_A2=noise * msd)
            add("non_gaussian", species=element, lag_ps=lag, alpha2=np.exp(-lag / 20))
            local = own * (1 + 2 * np.exp(-lag / 3))
            add("diffusion_curve", frame="network", species=element, lag_ps=lag, D_cm2_s=local,
                D_err_cm2_s=0.02 * np.sqrt(lag / 10) * local)  # fmt: skip
    for method, t in law.t.items():
        value, err = around(sigma * (1.2 if method == "nernst_einstein" else 1))
        share, share_err = around(t)
        add("conductivity", frame="network", method=method, sigma_mS_cm=value,
            sigma_err_mS_cm=err, t_mobile=share, t_mobile_err=share_err,
            not_diffusive="")  # fmt: skip
        for lag in LAGS_PS if method != "cluster_nernst_einstein" else ():
            local = sigma * (1 + 2 * np.exp(-lag / 3))
            local *= 1.2 if method == "nernst_einstein" else 1
            add("conductivity_curve", frame="network", method=method, lag_ps=lag,
                sigma_mS_cm=local, sigma_err_mS_cm=0.1 * np.sqrt(lag / 10) * local, t_mobile=t,
                t_mobile_err=0.02 * np.sqrt(lag / 10))  # fmt: skip
    for ion in composition.mobile:
        value, err = around(law.haven)
        add("haven", frame="network", species=ion, haven_ratio=value, haven_ratio_err=err)
    for (method, t), element in itertools.product(law.t.items(), elements):
        ions, others = len(composition.mobile), len(elements) - len(composition.mobile)
        share = t / ions if element in composition.mobile else (1 - t) / others
        add("transference", frame="network", method=method, species=element, t=share,
            t_err=noise * share)  # fmt: skip
    own_mobile, rest = law.alone * sigma / 1000, (1 - law.alone) * sigma / 1000
    for i, j in itertools.product(elements, elements):
        L = (own_mobile if i in composition.mobile else rest / 3) if i == j else 1e-3 * sigma / 1000
        L_self = L * law.haven if i == j else 0.0
        value, err = around(L)
        add("onsager", frame="network", species_i=i, species_j=j, L=value, L_err=err, L_self=L_self,
            L_self_err=noise * L_self, L_distinct=value - L_self, L_distinct_err=err)  # fmt: skip
    shares = {f"{halogen}{4 - n}" + (f"O{n}" if n else ""): law.fourfold / 3 for n in range(3)}
    if "O" not in elements:
        shares = {f"{halogen}4": law.fourfold}
    counted = {**shares, f"{halogen}3": 1 - law.fourfold}
    for cation, (environment, fraction) in itertools.product(composition.center, counted.items()):
        add("coordination", center_element=cation, environment=environment, fraction=fraction,
            fraction_err=0.01)  # fmt: skip
    for size, fraction in law.fragments.items():
        add("network", fragment_size=size, fraction=fraction)
    for n, fraction in enumerate((0.1, 0.5, 0.4)):
        add("qn", n_bridges=n, fraction=fraction, fraction_err=0.02)
    bridge = "O" if "O" in elements else halogen
    for ligand, terminal in {halogen: 0.98, bridge: 0.1}.items():
        for n, fraction in ((1, terminal), (2, 1 - terminal)):
            add("ligand_bonding", ligand=ligand, n_centers=n, fraction=fraction, fraction_err=0.02)
    for directions, fraction in enumerate((0.7, 0.2, 0.1, 0.0)):
        add("percolation", directions=directions, fraction=fraction)
    for atoms, angle in (
        (f"{halogen}-{center}-{halogen}", 109), (f"{halogen}-{center}-{bridge}", 110),
        (f"{center}-{bridge}-{center}", 135),
    ):  # fmt: skip
        for degrees in range(1, 180, 2):
            density = np.exp(-((degrees - angle) ** 2) / 200) / 25
            add("angles", atoms=atoms, angle_deg=degrees, density=density)
    for n, environment in enumerate([*shares, "all"]):
        tau = 0.05 * np.exp(law.residence_Ea_eV * cold) * law.oxygen ** (n if n < 3 else 1)
        value, err = around(tau)
        survival = {
            "environment": environment, "tau_ps": value, "tau_err_ps": err, "tail_start_ps": tau,
            "tail_share": 0.2, "open_share": 0.1, "dwell_ps": tau / 2, "dwell_err_ps": 0.02 * tau,
            "leaving_rate_1_ps": 2 / tau, "leaving_rate_err_1_ps": 0.08 / tau, "n_events": 500,
            "model": "exponential",
        }  # fmt: skip
        for cation in composition.center:
            lived = {**survival, "tau_ps": 20 * tau, "tau_err_ps": 2 * tau}
            add("environment_lifetimes", center_element=cation, **lived)
        for ion, cation in itertools.product(composition.mobile, composition.center):
            site = {"species": ion, "center_element": cation}
            add("residence", **site, **survival, tau_intermittent_ps=2 * tau,
                tau_intermittent_err_ps=0.1 * tau)  # fmt: skip
            for lag in LAGS_PS:
                P = np.exp(-lag / tau)
                add("residence_curve", **site, environment=environment, lag_ps=lag, P=P,
                    P_err=0.02 * P, C=np.sqrt(P), C_err=0.02)  # fmt: skip
    for ion in composition.mobile:
        add("jumps", species=ion, n_jumps=5000, window_ps=0.5, rate_1_ps=0.6 * D * 1e4,
            rate_err_1_ps=0.02 * D * 1e4, length_A=3.0, back_fraction=0.5, back_fraction_err=0.02,
            cosine=-0.4, cosine_err=0.02, D_jump_cm2_s=2 * D)  # fmt: skip
    for kind, lived in ((f"{center}{halogen}4", 300), (f"{center}2{halogen}6O", 900), ("all", 500)):
        add("cluster_lifetimes", cluster=kind, tau_ps=lived, tau_err_ps=20, tail_start_ps=100,
            tail_share=0.2, open_share=0.1, dwell_ps=100, dwell_err_ps=5, leaving_rate_1_ps=0.01,
            leaving_rate_err_1_ps=0.001, n_events=50, model="exponential")  # fmt: skip
    for shift, ion, cation in itertools.product(
        (-0.3, -0.15, 0.0, 0.15, 0.3), composition.mobile, composition.center
    ):
        add("residence_sensitivity", species=ion, center_element=cation, cutoff_shift_A=shift,
            tau_ps=10 + 20 * shift, tau_err_ps=1.0, dwell_ps=5 + 10 * shift, dwell_err_ps=0.5,
            n_events=500)  # fmt: skip
    for origin, neighbor in itertools.product(elements, elements):
        peak = np.exp(-((R_A - 2.4) ** 2) / 0.05)
        g = 1 / (1 + np.exp(-(R_A - 3.2) / 0.2)) + 3 * peak
        for r, height, coordination in zip(R_A, g, 0.02 * np.cumsum(g * R_A**2), strict=True):
            add(
                "rdf", species=origin, neighbor=neighbor, r_A=r, g=height, coordination=coordination
            )
        add("cutoffs", species=origin, neighbor=neighbor, cutoff_A=2.9, origin="g(r)")
    for radiation in ("neutron", "x-ray"):
        for q in np.arange(0.5, 15, 0.2):
            S = 1 + np.sin(2.4 * q) / q * np.exp(-q / 5)
            add("structure_factor", of=radiation, q_1_A=q, S=S, S_err=0.02)
        for r in R_A:
            for ion in composition.mobile if radiation == "neutron" else ():
                add("jump_lengths", species=ion, length_A=r, density=np.exp(-((r - 3) ** 2)))
                for lag in (0.1, 1.0, 100.0):
                    filled = np.exp(-((r / 0.8) ** 2) - 10 / lag)
                    g = 1 / (1 + np.exp(-(r - 2.6) / 0.2)) + filled
                    add("van_hove_distinct", species=ion, lag_ps=lag, r_A=r, g=g)
            add("total_pdf", radiation=radiation, r_A=r, g=1.0, G_1_A2=np.sin(4 * r) / r)
    for i, j in itertools.combinations_with_replacement(elements, 2):
        for lag in LAGS_PS:
            total = 6e4 * D * lag * (1 if i == j else 0.1)
            own = total if i == j else 0.0
            add("correlation", species_i=i, species_j=j, lag_ps=lag, total_A2=total, self_A2=own,
                distinct_A2=total - own, total_err_A2=noise * total)  # fmt: skip
    several = len(composition.mobile) > 1
    ions = [f":{ion}" if several else "" for ion in composition.mobile]
    cations = [f"{cation}:" if len(composition.center) > 1 else "" for cation in composition.center]
    at = itertools.product([f"{ion}:" if several else "" for ion in composition.mobile], cations)
    converging = [
        ("sigma_einstein", sigma), ("sigma_nernst_einstein", 1.2 * sigma),
        ("t_mobile_einstein", law.t["einstein"]), *((f"D_mobile{ion}", D) for ion in ions),
        *((f"haven_ratio{ion}", law.haven) for ion in ions),
        *((f"residence:{ion}{cation}all", 10.0) for ion, cation in at),
    ]  # fmt: skip
    for length in (1250, 2500, 5000, 10000):
        for quantity, value in converging:
            err = abs(value) * noise * np.sqrt(1e4 / length)
            add("convergence", quantity=quantity, length_ps=length,
                value=value + err * rng.normal(), err=err)  # fmt: skip
    add("clusters", cluster=f"{center}{halogen}4", n_cations=1, n_anions=4, charge=-1,
        mean_count=50.0, D_cm2_s=D / 50)  # fmt: skip
    add("cluster_sensitivity", bonds=f"{center}-{halogen}", cutoff_shift_A=0.0, n_clusters=60.0,
        largest_share=0.2, sigma_mS_cm=sigma, sigma_err_mS_cm=0.1 * sigma, t_mobile=0.7,
        t_mobile_err=0.02)  # fmt: skip
    add("van_hove", species=mobile, lag_ps=1.0, r_A=1.0, density=0.3)


def judged(
    compositions: Sequence[Composition], seed: int = 0, law: Law | None = None, **options: object
) -> dict[str, pd.DataFrame]:
    """All tables of a campaign."""
    rng = np.random.default_rng(seed)
    tables = transport_tables(compositions, rng, law, curves=False, **options)
    return with_summary(tables)


def with_summary(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of trajectories with those over the campaign and the verdict."""
    tables = tables | campaign_tables(tables)
    glasses = tables["trajectories"][[*COMPOSITION_KEY, "replica"]].drop_duplicates()
    transition = glasses.rename(columns={"replica": "glass"}).assign(
        quantity="energy", Tg_K=700.0, Tg_err_K=20.0, slope_below=1e-4, slope_above=2e-4, p=1e-6
    )
    tables["glass_transition"] = typed("glass_transition", transition)
    return tables | {"verdict": verdict_table(without_flagged(tables))}


def write_campaign(
    results: Path, compositions: Sequence[Composition], *, empty: bool = False, **options: object
) -> None:
    """A results folder as the report needs it; with `empty`, nothing moved in its trajectories."""
    tables = transport_tables(compositions, np.random.default_rng(1), **options)
    if empty:
        tables = {n: t if n == "trajectories" else t.iloc[:0] for n, t in tables.items()}
    tables = with_summary(tables)
    for name, frame in tables.items():
        write_table(
            results / f"summary/{name}.parquet",
            name,
            frame,
            {"campaign": "test", "campaign_seed": 7, "config_hash": "c0ffee", "model_hash": "beef"},
        )
    _write_potential(results / "finetune", compositions)
    rng = np.random.default_rng(2)
    replicas = sorted(tables["trajectories"]["replica"].unique())
    for composition, replica in itertools.product(compositions, replicas):
        folder = results / f"quench/{composition.composition}/r{replica}"
        _write_glass(folder, composition, rng)


def _write_potential(folder: Path, compositions: Sequence[Composition]) -> None:
    rng = np.random.default_rng(3)
    parity = []
    for model, slope in (("pretrained", 0.8), ("fine-tuned", 0.99)):
        for split, quantity in itertools.product(("train", "val", "test"), ("force", "energy")):
            for x in rng.normal(size=60):
                parity.append(
                    {
                        "model": model, "split": split, "composition": "LiAlCl", "frame_id": "f",
                        "quantity": quantity, "element": "Li" if quantity == "force" else "",
                        "reference": x, "predicted": slope * x + 0.1 * rng.normal(),
                    }
                )  # fmt: skip
    parity = pd.DataFrame(parity)
    write_table(folder / "parity.parquet", "parity", parity)
    metrics = parity[["model", "split"]].drop_duplicates().assign(composition="all", n_frames=1)
    for column in set(TABLES["model_metrics"]) - set(metrics):
        metrics[column] = 1.0
    write_table(
        folder / "model_metrics.parquet", "model_metrics", metrics, {"dataset_hash": "da7a"}
    )
    learning = pd.DataFrame({"epoch": range(6)})
    for column in set(TABLES["learning"]) - set(learning):
        learning[column] = 100.0 * 0.8 ** learning["epoch"]
    write_table(folder / "learning.parquet", "learning", learning)


def _write_glass(folder: Path, composition: Composition, rng: np.random.Generator) -> None:
    """Corner-sharing pairs of tetrahedra on a grid, and the history of a quench."""
    time = np.linspace(0, 100, 60)
    thermo = pd.DataFrame({"stage": ["melt"] * 30 + ["quench"] * 30, "time_ps": time})
    thermo["temperature_K"] = np.linspace(1500, 300, 60) + 10 * rng.normal(size=60)
    thermo["target_temperature_K"] = T = np.linspace(1500, 300, 60)
    energy = -4 + 1.3e-4 * T + 2e-4 * np.maximum(T - 600, 0) + 1e-3 * rng.normal(size=60)
    thermo["potential_energy_eV_atom"] = energy
    for column in set(TABLES["thermo"]) - set(thermo):
        thermo[column] = 2 + 0.05 * rng.normal(size=60)
    write_table(folder / "thermo.parquet", "thermo", thermo)
    melted = [
        f"melt displacement of {element}"
        for element in (composition.mobile[0], composition.center[0])
    ]
    checks = pd.DataFrame(
        {
            "check": [*melted, "least distance of two atoms", "relative density drift"],
            "value": [4.0, 4.0, 1.5, 0.1], "limit_low": [3.0, 3.0, 1.2, -0.05],
            "limit_high": [np.inf, np.inf, np.inf, 0.05], "unit": ["Å", "Å", "Å", ""],
            "passed": [True, True, True, False],
        }
    )  # fmt: skip
    write_table(folder / "glass_checks.parquet", "glass_checks", checks)
    ase.io.write(folder / "glass.extxyz", glass(composition))


def glass(composition: Composition) -> Atoms:
    """Eight pairs of tetrahedra that share an oxygen, each with two alkalis; one crosses a face."""
    A, M, X = composition.mobile[0], composition.center[0], composition.ligands[0]
    pair = [(M, (-1.7, 0, 0)), ("O", (0, 0, 0)), (M, (1.7, 0, 0))]
    pair += [
        (X, (side * 2.4, y, z)) for side in (-1, 1) for y, z in ((2, 0), (-1, 1.7), (-1, -1.7))
    ]
    pair += [(A, (side * 4.2, 0, 0)) for side in (-1, 1)]
    atoms = Atoms(cell=[22, 22, 22], pbc=True)
    for corner in itertools.product((0, 11), repeat=3):
        atoms += Atoms([e for e, _ in pair], np.array([r for _, r in pair]) + corner)
    atoms.wrap()
    return atoms
