"""From what was measured of a trajectory to the rows of its tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement as pairs
from itertools import product

import numpy as np
import pandas as pd
from ase.data import atomic_masses, atomic_numbers

from vitrion.base.errors import InputError
from vitrion.base.units import A2_PS_TO_CM2_S
from vitrion.config import Transport
from vitrion.structure.rdf import Rdf
from vitrion.structure.scattering import (
    RADIATIONS,
    Radiation,
    mixture,
    mixture_pdf,
    scattering_amplitude,
    total_pdf,
)
from vitrion.tables import TABLES, TRAJECTORY_KEY
from vitrion.transport.clusters import Clusters
from vitrion.transport.collective import Correlations, onsager_curve
from vitrion.transport.diffusion import diffusion_curve
from vitrion.transport.measure import (
    ClusterDefinition,
    Conduction,
    Hopping,
    Measured,
    SelfDiffusion,
    Stays,
    Structure,
    Surroundings,
)
from vitrion.transport.msd import Displacements, relative_covariance
from vitrion.transport.network import Network
from vitrion.transport.quantities import quantities
from vitrion.transport.residence import Survival
from vitrion.transport.roles import Roles

logger = logging.getLogger("vitrion")

MS_CM_TO_S_CM = 1e-3
# Tables that need a central cation and its ligands; without rows where no shell was found.
WITH_LIGANDS = [
    "angles",
    "cluster_lifetimes",
    "clusters",
    "cluster_sensitivity",
    "coordination",
    "cutoffs",
    "environment_lifetimes",
    "ligand_bonding",
    "network",
    "percolation",
    "qn",
    "residence",
    "residence_curve",
    "residence_sensitivity",
]

# Tables that need a charge of the mobile ion.
WITH_CHARGE = (
    "cluster_sensitivity",
    "clusters",
    "conductivity",
    "conductivity_curve",
    "haven",
    "onsager",
    "transference",
)

Rows = list[dict[str, object]]
Moments = Mapping[str, Displacements]


def transport_rows(measured: Measured, key: Mapping[str, object]) -> dict[str, pd.DataFrame]:
    """The tables of self-diffusion and collective transport, and of residence where it is known.

    Args:
        measured: of the trajectory.
        key: values of the trajectory key columns.

    Returns:
        Tables by name; notes that belong into a table's file metadata are in its `attrs`.
    """
    headline = next(iter(measured.transport.values())).conduction
    notes = {
        "fit_start_ps": headline.fit_start_ps,
        "fit_stop_ps": headline.fit_stop_ps,
        "diffusive": headline.collective_diffusive,
    }
    tables = ("diffusion", "onsager", "haven", "conductivity", "transference")
    rows: dict[str, Rows] = {name: [] for name in tables}
    for frame, of in measured.transport.items():
        in_frame = {
            "diffusion": diffusion_rows(of.self_diffusion),
            "onsager": onsager_rows(of.conduction),
            "haven": haven_rows(of.conduction),
            "conductivity": conductivity_rows(of.conduction),
            "transference": transference_rows(of.conduction),
        }
        for name, found_rows in in_frame.items():
            rows[name] += [{"frame": frame, **row} for row in found_rows]
    found = {name: _table(name, key, found_rows, notes) for name, found_rows in rows.items()}
    if measured.surroundings:
        environments = coordination_rows(measured.surroundings)
        found["coordination"] = _table("coordination", key, environments)
        stays = _stays(measured.surroundings)
        if stays:
            times = [row for site, of in stays for row in residence_rows(site, of)]
            found["residence"] = _table("residence", key, times)
    return found


def _stays(surroundings: Mapping[str, Surroundings]) -> list[tuple[dict[str, object], Stays]]:
    """Stays of each mobile ion at each element's centres, with the columns that name both."""
    return [
        ({"species": ion, "center_element": center}, stays)
        for center, of in surroundings.items()
        for ion, stays in of.stays.items()
    ]


def all_rows(
    measured: Measured,
    shorter: Sequence[Measured],
    key: Mapping[str, object],
    *,
    roles: Roles,
    settings: Transport,
    flags: Sequence[str] = (),
    run: Mapping[str, float] | None = None,
) -> dict[str, pd.DataFrame]:
    """All tables of one trajectory by name, with notes for their file metadata in `attrs`.

    Args:
        measured: of the whole trajectory.
        shorter: of parts from its start.
        key: values of the trajectory key columns.
        roles: which element does what.
        settings: the configuration's section.
        flags: checks that the run failed.
        run: mean_temperature_K, wall_hours and steps_per_s where known.
    """
    interval_ps = measured.frame_interval_ps
    motion, conduction = measured.moments, next(iter(measured.transport.values())).conduction
    found = transport_rows(measured, key)
    found["msd"] = _table("msd", key, msd_rows(motion, interval_ps))
    z = [settings.charges[s] for s in motion]
    curves: dict[str, list[pd.DataFrame]] = {"diffusion_curve": [], "conductivity_curve": []}
    for frame, of in measured.transport.items():
        D_curve = diffusion_curve_rows(of.self_diffusion.moments, interval_ps)
        curves["diffusion_curve"].append(D_curve.assign(frame=frame))
        sigma_curve = pd.DataFrame(conductivity_curve_rows(of.conduction, interval_ps, z))
        curves["conductivity_curve"].append(sigma_curve.assign(frame=frame))
    for name, parts in curves.items():
        found[name] = _table(name, key, pd.concat(parts), found["conductivity"].attrs)
    found["non_gaussian"] = _table("non_gaussian", key, non_gaussian_rows(motion, interval_ps))
    found["van_hove"] = _table("van_hove", key, van_hove_rows(motion, interval_ps))
    correlation = correlation_rows(conduction.correlations, interval_ps)
    found["correlation"] = _table("correlation", key, correlation)
    if conduction.clusters:
        notes = found["conductivity"].attrs
        clusters = cluster_rows(conduction)
        found["clusters"] = _table("clusters", key, clusters, notes)
        sensitivity = sensitivity_rows(conduction)
        found["cluster_sensitivity"] = _table("cluster_sensitivity", key, sensitivity, notes)
    if measured.hopping is not None:
        for name, rows in hopping_rows(measured.hopping, interval_ps).items():
            found[name] = _table(name, key, rows)
        if measured.hopping.clusters and measured.structure and measured.structure.network:
            lifetimes = pd.DataFrame(survival_rows(measured.hopping.clusters))
            found["cluster_lifetimes"] = _table(
                "cluster_lifetimes",
                key,
                lifetimes.rename(columns={"environment": "cluster"}),
                {"resolution_ps": measured.structure.network.every_frames * interval_ps},
            )
    structure = measured.structure
    if structure is not None:
        rdf = structure.rdf
        found["rdf"] = _table("rdf", key, rdf_rows(rdf), {"n_frames": rdf.n_frames})
        factors, n_frames = structure_factor_rows(structure), structure.scattering.n_frames
        found["structure_factor"] = _table("structure_factor", key, factors, {"n_frames": n_frames})
        found["total_pdf"] = _table("total_pdf", key, total_pdf_rows(structure))
        if structure.cutoffs_A:
            cutoffs = cutoff_rows(structure, given=settings.cutoffs_A)
            found["cutoffs"] = _table("cutoffs", key, cutoffs)
        if structure.network is not None:
            found["network"] = _table(
                "network",
                key,
                network_rows(structure.network),
                {
                    "bridges": roles.joining,
                    "bridging_oxygen_fraction": structure.network.bridging_fraction,
                    "mean_fragment_size": structure.network.mean_fragment_size,
                    "n_frames": structure.network.n_frames,
                },
            )
            for name, rows in bonding_rows(structure.network).items():
                found[name] = _table(name, key, rows, {"bridges": roles.joining})
    if measured.surroundings:
        lifetimes = [
            {"center_element": center, **row}
            for center, of in measured.surroundings.items()
            for row in survival_rows(of.lifetimes)
        ]
        found["environment_lifetimes"] = _table("environment_lifetimes", key, lifetimes)
    stays = [(site, of) for site, of in _stays(measured.surroundings) if of.residence]
    if stays:
        curves = pd.concat(residence_curve_rows(site, of, interval_ps) for site, of in stays)
        found["residence_curve"] = _table("residence_curve", key, curves)
        by_cutoff = [row for site, of in stays for row in residence_sensitivity_rows(site, of)]
        found["residence_sensitivity"] = _table("residence_sensitivity", key, by_cutoff)
    convergence = convergence_rows([*shorter, measured], key)
    found["convergence"] = _table("convergence", key, convergence)
    row = trajectory_row(measured, discard_ps=settings.discard_ps, flags=flags, run=run or {})
    found["trajectories"] = _table("trajectories", key, [row], {"drift_A": measured.drift_A})
    for name in WITH_LIGANDS if roles.ligands else []:
        found.setdefault(name, _table(name, key, []))
    return found


def without_charge(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of a trajectory whose mobile species has no charge: none of conductivities."""
    kept = {name: frame for name, frame in tables.items() if name not in WITH_CHARGE}
    convergence = kept["convergence"]
    of_charge = convergence["quantity"].str.startswith(("sigma_", "t_", "haven_"))
    return {**kept, "convergence": convergence[~of_charge]}


def _table(
    name: str,
    key: Mapping[str, object],
    rows: Rows | pd.DataFrame,
    notes: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """A table with its columns in order, the trajectory key first."""
    frame = pd.DataFrame(rows, columns=[c for c in TABLES[name] if c not in TRAJECTORY_KEY])
    for position, column in enumerate(TRAJECTORY_KEY):
        frame.insert(position, column, key[column])
    frame.attrs = dict(notes or {})
    return frame


def diffusion_rows(motion: SelfDiffusion) -> Rows:
    """One row per element."""
    return [
        {
            "species": s,
            "D_cm2_s": found.D_A2_ps * A2_PS_TO_CM2_S,
            "D_err_cm2_s": found.D_err_A2_ps * A2_PS_TO_CM2_S,
            "fit_start_ps": found.fit_start_ps,
            "fit_stop_ps": found.fit_stop_ps,
            "loglog_slope": found.loglog_slope,
            "diffusive": found.diffusive,
        }
        for s, found in motion.diffusion.items()
    ]


def msd_rows(moments: Moments, interval_ps: float) -> pd.DataFrame:
    """One row per element and lag."""
    return pd.concat(
        pd.DataFrame(
            {
                "species": s,
                "lag_ps": m.lags * interval_ps,
                "msd_A2": m.msd_A2,
                "msd_err_A2": m.msd_err_A2,
            }
        )
        for s, m in moments.items()
    )


def diffusion_curve_rows(moments: Moments, interval_ps: float) -> pd.DataFrame:
    """One row per element and lag."""
    parts = []
    for s, m in moments.items():
        lag_ps, D_A2_ps, err_A2_ps = diffusion_curve(m, interval_ps)
        parts.append(
            pd.DataFrame(
                {
                    "species": s,
                    "lag_ps": lag_ps,
                    "D_cm2_s": D_A2_ps * A2_PS_TO_CM2_S,
                    "D_err_cm2_s": err_A2_ps * A2_PS_TO_CM2_S,
                }
            )
        )
    return pd.concat(parts)


def conductivity_curve_rows(conduction: Conduction, interval_ps: float, z: Sequence[float]) -> Rows:
    """One row per definition of the conductivity and lag.

    Args:
        conduction: the correlations.
        interval_ps: time between frames.
        z: formal charge of each element in e.
    """
    rows: Rows = []
    mobile = conduction.mobile
    for lag_ps, found in zip(*onsager_curve(conduction.correlations, z, interval_ps), strict=True):
        for method, factors, share in (
            (
                "nernst_einstein",
                found.nernst_einstein,
                found.transference_nernst_einstein(*mobile),
            ),
            ("einstein", found.einstein, found.transference(*mobile)),
        ):
            sigma = found.joint.combination(factors)
            columns = _conductivity(conduction, sigma, share, usable=True)
            rows.append({"method": method, "lag_ps": lag_ps, **columns})
    return rows


def non_gaussian_rows(moments: Moments, interval_ps: float) -> pd.DataFrame:
    """One row per element and lag."""
    return pd.concat(
        pd.DataFrame({"species": s, "lag_ps": m.lags * interval_ps, "alpha2": m.non_gaussian})
        for s, m in moments.items()
    )


def van_hove_rows(moments: Moments, interval_ps: float) -> pd.DataFrame:
    """One row per element, lag and distance."""
    parts = []
    for s, m in moments.items():
        middles_A = (m.van_hove_r_A[1:] + m.van_hove_r_A[:-1]) / 2
        parts.append(
            pd.DataFrame(
                {
                    "species": s,
                    "lag_ps": np.repeat(m.van_hove_lags * interval_ps, len(middles_A)),
                    "r_A": np.tile(middles_A, len(m.van_hove_lags)),
                    "density": m.van_hove.ravel(),
                }
            )
        )
    return pd.concat(parts)


def onsager_rows(conduction: Conduction) -> Rows:
    """One row per ordered pair of elements, in S/cm."""
    found = conduction.onsager
    scale = conduction.scale_mS_cm * MS_CM_TO_S_CM
    usable = _or_nan(conduction.collective_diffusive)
    rows: Rows = []
    for (i, a), (j, b) in product(enumerate(found.species), repeat=2):
        L, L_err = found.joint.combination(found.L(i, j))
        L_self, L_self_err = 0.0, 0.0
        if i == j:
            known = _or_nan(conduction.self_diffusive)
            L_self, L_self_err = (x * known for x in found.joint.combination(found.own(i)))
        _, L_distinct_err = found.joint.combination(found.distinct(i, j))
        rows.append(
            {
                "species_i": a,
                "species_j": b,
                "L": L * usable * scale,
                "L_err": L_err * usable * scale,
                "L_self": L_self * scale,
                "L_self_err": L_self_err * scale,
                "L_distinct": (L * usable - L_self) * scale,
                "L_distinct_err": (L_distinct_err * usable + 0 * L_self) * scale,
            }
        )
    return rows


def haven_rows(conduction: Conduction) -> Rows:
    """One row per mobile ion."""
    rows: Rows = []
    for a, diffusive in zip(conduction.mobile, conduction.haven_diffusive, strict=True):
        ratio, error = (x * _or_nan(diffusive) for x in conduction.onsager.haven(a))
        species = conduction.onsager.species[a]
        rows.append({"species": species, "haven_ratio": ratio, "haven_ratio_err": error})
    return rows


def conductivity_rows(conduction: Conduction) -> Rows:
    """One row per definition of the conductivity."""
    found, mobile = conduction.onsager, conduction.mobile
    rows: Rows = [
        {
            "method": "nernst_einstein",
            **_conductivity(
                conduction,
                found.joint.combination(found.nernst_einstein),
                found.transference_nernst_einstein(*mobile),
                usable=conduction.self_diffusive,
            ),
            "not_diffusive": ",".join(conduction.not_diffusive),
        },
        {
            "method": "einstein",
            **_conductivity(
                conduction,
                found.joint.combination(found.einstein),
                found.transference(*mobile),
                usable=conduction.collective_diffusive,
            ),
            "not_diffusive": "",
        },
    ]
    if conduction.clusters:
        rows.append(
            {
                "method": "cluster_nernst_einstein",
                **_cluster_conductivity(conduction, conduction.clusters[0][1]),
                "not_diffusive": "",
            }
        )
    return rows


def transference_rows(conduction: Conduction) -> Rows:
    """One row per definition of the conductivity and element."""
    found = conduction.onsager
    methods = [
        ("nernst_einstein", found.transference_nernst_einstein, conduction.self_diffusive),
        ("einstein", found.transference, conduction.collective_diffusive),
    ]
    if conduction.clusters:
        by_default = conduction.clusters[0][1]
        methods.append(
            ("cluster_nernst_einstein", by_default.transference, conduction.self_diffusive)
        )
    rows: Rows = []
    for method, transference, usable in methods:
        for a, species in enumerate(found.species):
            t, t_err = (x * _or_nan(usable) for x in transference(a))
            rows.append({"method": method, "species": species, "t": t, "t_err": t_err})
    return rows


def _conductivity(
    conduction: Conduction,
    charge2_A2_ps: tuple[float, float],
    transference: tuple[float, float],
    *,
    usable: bool,
) -> dict[str, object]:
    """Σ z² D in e² Å²/ps and a transference number, each with its error, as columns."""
    scale = conduction.scale_mS_cm * _or_nan(usable)
    return {
        "sigma_mS_cm": charge2_A2_ps[0] * scale,
        "sigma_err_mS_cm": charge2_A2_ps[1] * scale,
        "t_mobile": transference[0] * _or_nan(usable),
        "t_mobile_err": transference[1] * _or_nan(usable),
    }


def _cluster_conductivity(conduction: Conduction, found: Clusters) -> dict[str, object]:
    return _conductivity(
        conduction,
        found.nernst_einstein,
        found.transference(*conduction.mobile),
        usable=conduction.self_diffusive,
    )


def _or_nan(usable: bool) -> float:
    """One, or NaN: slopes from lags at which ions do not diffuse are no coefficients."""
    return 1.0 if usable else float("nan")


def cluster_rows(conduction: Conduction) -> pd.DataFrame:
    """One row per kind of cluster by the default bonds, the most frequent first."""
    _, found = conduction.clusters[0]
    positive = found.charges > 0
    return pd.DataFrame(
        {
            "cluster": [found.formula(row) for row in range(len(found.counts))],
            "n_cations": found.counts[:, positive].sum(axis=1),
            "n_anions": found.counts[:, ~positive].sum(axis=1),
            "charge": found.charge,
            "mean_count": found.mean_count,
            "D_cm2_s": found.D_A2_ps * A2_PS_TO_CM2_S * _or_nan(conduction.self_diffusive),
        }
    )


def sensitivity_rows(conduction: Conduction) -> Rows:
    """One row per definition of a bond."""
    return [
        {
            "bonds": _bonds(definition),
            "cutoff_shift_A": definition.cutoff_shift_A,
            "n_clusters": float(found.mean_count.sum()),
            "largest_share": found.largest_share,
            **_cluster_conductivity(conduction, found),
        }
        for definition, found in conduction.clusters
    ]


def _bonds(definition: ClusterDefinition) -> str:
    return " ".join(f"{a}-{b}" for a, b in definition.bonds_A)


def correlation_rows(data: Correlations, interval_ps: float) -> pd.DataFrame:
    """One row per ordered pair of elements and lag."""
    total, own = data.mean()
    first = next(iter(data.moments.values()))
    variance = np.diag(relative_covariance(first.lags, first.n_frames)) / 2
    parts = []
    for (i, a), (j, b) in product(enumerate(data.species), repeat=2):
        self_A2 = own[:, i] if i == j else np.zeros(len(total))
        both_A4 = total[:, i, i] * total[:, j, j] + total[:, i, j] ** 2
        parts.append(
            pd.DataFrame(
                {
                    "species_i": a,
                    "species_j": b,
                    "lag_ps": first.lags * interval_ps,
                    "total_A2": total[:, i, j],
                    "self_A2": self_A2,
                    "distinct_A2": total[:, i, j] - self_A2,
                    "total_err_A2": np.sqrt(variance * both_A4),
                }
            )
        )
    return pd.concat(parts)


def rdf_rows(rdf: Rdf) -> pd.DataFrame:
    """One row per ordered pair of elements and distance."""
    return pd.concat(
        pd.DataFrame(
            {
                "species": a,
                "neighbor": b,
                "r_A": rdf.r_A,
                "g": rdf.g[a, b],
                "coordination": rdf.coordination[a, b],
            }
        )
        for a, b in rdf.g
    )


def structure_factor_rows(structure: Structure) -> pd.DataFrame:
    """One row per pair of elements or radiation, and q."""
    found = structure.scattering
    every = {f"{a}-{b}": found.partial(a, b) for a, b in pairs(found.species, 2)}
    phases = [
        (1 - sum(one.weight for one in structure.crystals), found),
        *((one.weight, one.scattering) for one in structure.crystals),
    ]
    for radiation in _known(structure):
        every[radiation] = found.total(radiation)
        if structure.crystals:
            S = mixture(phases, _masses_u(structure), radiation, found.q_1_A)
            every[f"{radiation}, mixture"] = S, np.full(len(S), np.nan)
    return pd.concat(
        pd.DataFrame({"of": of, "q_1_A": found.q_1_A, "S": S, "S_err": S_err})
        for of, (S, S_err) in every.items()
    )


def total_pdf_rows(structure: Structure) -> pd.DataFrame:
    """One row per radiation and distance."""
    parts = [pd.DataFrame()]
    for radiation in _known(structure):
        found = total_pdf(structure.rdf, structure.counts, structure.volume_A3, radiation)
        columns = {"radiation": radiation, "r_A": found.r_A, "g": found.g, "G_1_A2": found.G_1_A2}
        parts.append(pd.DataFrame(columns))
        if structure.crystals:
            phases = [(1 - sum(one.weight for one in structure.crystals), found)]
            for one in structure.crystals:
                pdf = total_pdf(one.rdf, one.counts, one.volume_A3, radiation)
                phases.append((one.weight, pdf))
            counts = [structure.counts, *(one.counts for one in structure.crystals)]
            G = mixture_pdf(phases, counts, _masses_u(structure), radiation)
            name = f"{radiation}, mixture"
            parts.append(pd.DataFrame({**columns, "radiation": name, "g": np.nan, "G_1_A2": G}))
    return pd.concat(parts)


def _masses_u(structure: Structure) -> dict[str, float]:
    """Mass of each element."""
    return {s: float(atomic_masses[atomic_numbers[s]]) for s in _scatterers(structure)}


def _scatterers(structure: Structure) -> list[str]:
    """Elements of the glass and of the crystals beside it."""
    return list(
        dict.fromkeys([*structure.counts, *(s for c in structure.crystals for s in c.counts)])
    )


def _known(structure: Structure) -> Iterator[Radiation]:
    """Radiations whose scattering by every element is tabulated; the others are warned of."""
    for radiation in RADIATIONS:
        try:
            for element in _scatterers(structure):
                scattering_amplitude(element, np.zeros(1), radiation)
        except InputError as error:
            logger.warning("no total S(q) and PDF: %s", error)
        else:
            yield radiation


def hopping_rows(hopping: Hopping, interval_ps: float) -> dict[str, Rows | pd.DataFrame]:
    """Rows of `jumps`, `jump_lengths` and `van_hove_distinct`."""
    return {
        "jumps": [
            {
                "species": ion,
                "n_jumps": found.n_jumps,
                "window_ps": found.window_ps,
                "rate_1_ps": found.rate_1_ps,
                "rate_err_1_ps": found.rate_err_1_ps,
                "length_A": found.length_A,
                "back_fraction": found.back_fraction,
                "back_fraction_err": found.back_fraction_err,
                "cosine": found.cosine,
                "cosine_err": found.cosine_err,
                "D_jump_cm2_s": found.D_A2_ps * A2_PS_TO_CM2_S,
            }
            for ion, found in hopping.jumps.items()
        ],
        "jump_lengths": pd.concat(
            pd.DataFrame(
                {
                    "species": ion,
                    "length_A": (found.edges_A[1:] + found.edges_A[:-1]) / 2,
                    "density": found.density_1_A,
                }
            )
            for ion, found in hopping.jumps.items()
        ),
        "van_hove_distinct": pd.concat(
            pd.DataFrame({"species": ion, "lag_ps": lag * interval_ps, "r_A": later.r_A, "g": g})
            for ion, later in hopping.distinct.items()
            for lag, g in zip(later.lags, later.g, strict=True)
        ),
    }


def cutoff_rows(structure: Structure, given: Mapping[str, float]) -> Rows:
    """One row per pair of elements with a first shell.

    Args:
        structure: the cutoffs.
        given: those that the configuration gives, by `Al-Cl` or `Cl-Al`.
    """
    return [
        {
            "species": a,
            "neighbor": b,
            "cutoff_A": cutoff_A,
            "origin": "given" if {f"{a}-{b}", f"{b}-{a}"} & set(given) else "g(r)",
        }
        for (a, b), cutoff_A in structure.cutoffs_A.items()
    ]


def network_rows(network: Network) -> pd.DataFrame:
    """One row per size of a fragment."""
    return pd.DataFrame({"fragment_size": network.sizes, "fraction": network.fraction})


def bonding_rows(network: Network) -> dict[str, pd.DataFrame]:
    """Rows of `qn`, `ligand_bonding`, `percolation` and `angles`."""
    bonding = [
        pd.DataFrame(
            {
                "ligand": ligand,
                "n_centers": shares.numbers,
                "fraction": shares.fraction,
                "fraction_err": shares.fraction_err,
            }
        )
        for ligand, shares in network.centers.items()
    ]
    angles = [
        pd.DataFrame({"atoms": atoms, "angle_deg": network.angle_deg, "density": density})
        for atoms, density in network.angles.items()
    ]
    return {
        "qn": pd.DataFrame(
            {
                "n_bridges": network.bridges.numbers,
                "fraction": network.bridges.fraction,
                "fraction_err": network.bridges.fraction_err,
            }
        ),
        "ligand_bonding": pd.concat(bonding),
        "percolation": pd.DataFrame({"directions": range(4), "fraction": network.percolation}),
        "angles": pd.concat(angles) if angles else pd.DataFrame(),
    }


def coordination_rows(surroundings: Mapping[str, Surroundings]) -> pd.DataFrame:
    """One row per element of the central cation and environment."""
    return pd.concat(
        pd.DataFrame(
            {
                "center_element": center,
                "environment": of.environments.names,
                "fraction": of.environments.fraction,
                "fraction_err": of.environments.fraction_err,
            }
        )
        for center, of in surroundings.items()
    )


def survival_rows(found: Sequence[Survival]) -> Rows:
    """One row per environment."""
    return [
        {
            "environment": r.environment,
            "tau_ps": r.tau_ps,
            "tau_err_ps": r.tau_err_ps,
            "tail_start_ps": r.tail_start_ps,
            "tail_share": r.tail_share,
            "open_share": r.open_share,
            "dwell_ps": r.dwell_ps,
            "dwell_err_ps": r.dwell_err_ps,
            "leaving_rate_1_ps": r.leaving_rate_1_ps,
            "leaving_rate_err_1_ps": r.leaving_rate_err_1_ps,
            "n_events": r.n_events,
            "model": r.model,
        }
        for r in found
    ]


def residence_rows(site: Mapping[str, object], stays: Stays) -> Rows:
    """One row per environment; without the intermittent time where it was not measured.

    Args:
        site: columns that name the mobile ion and the element of the central cations.
        stays: of the one at the other.
    """
    found = stays.residence
    times = [(c.tau_ps, c.tau_err_ps) for c in stays.intermittent]
    times = times or [(np.nan, np.nan)] * len(found)
    return [
        {**site, **row, "tau_intermittent_ps": tau_ps, "tau_intermittent_err_ps": tau_err_ps}
        for row, (tau_ps, tau_err_ps) in zip(survival_rows(found), times, strict=True)
    ]


def residence_sensitivity_rows(site: Mapping[str, object], stays: Stays) -> Rows:
    """One row per change of the cutoff; arguments as `residence_rows`."""
    return [
        {
            **site,
            "cutoff_shift_A": shift_A,
            "tau_ps": r.tau_ps,
            "tau_err_ps": r.tau_err_ps,
            "dwell_ps": r.dwell_ps,
            "dwell_err_ps": r.dwell_err_ps,
            "n_events": r.n_events,
        }
        for shift_A, r in stays.by_cutoff.items()
    ]


def residence_curve_rows(
    site: Mapping[str, object], stays: Stays, interval_ps: float
) -> pd.DataFrame:
    """One row per environment and lag; arguments as `residence_rows`."""
    return pd.concat(
        pd.DataFrame(
            {
                **site,
                "environment": r.environment,
                "lag_ps": r.lags * interval_ps,
                "P": r.survival,
                "P_err": r.survival_err,
                "C": c.correlation,
                "C_err": c.correlation_err,
            }
        )
        for r, c in zip(stays.residence, stays.intermittent, strict=True)
    )


def convergence_rows(parts: Sequence[Measured], key: Mapping[str, object]) -> pd.DataFrame:
    """One row per quantity and length of a part of the trajectory."""
    return pd.concat(
        quantities(transport_rows(part, key))[["quantity", "value", "err"]].assign(
            length_ps=part.length_ps
        )
        for part in parts
    )


def trajectory_row(
    measured: Measured, *, discard_ps: float, flags: Sequence[str], run: Mapping[str, float]
) -> dict[str, object]:
    """The trajectory's own row.

    Args:
        measured: of the trajectory.
        discard_ps: left out at its start.
        flags: checks that the run failed.
        run: mean_temperature_K, wall_hours and steps_per_s where known.
    """
    return {
        "n_atoms": measured.n_atoms,
        "volume_A3": measured.volume_A3,
        "density_g_cm3": measured.density_g_cm3,
        "length_ps": measured.length_ps,
        "frame_interval_ps": measured.frame_interval_ps,
        "discard_ps": discard_ps,
        "mean_temperature_K": run.get("mean_temperature_K", np.nan),
        "drift_removed": measured.reference_frame,
        "flags": ",".join(flags),
        "wall_hours": run.get("wall_hours", np.nan),
        "steps_per_s": run.get("steps_per_s", np.nan),
    }
