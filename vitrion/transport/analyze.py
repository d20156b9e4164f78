"""The whole analysis of one trajectory: from frames to tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from vitrion.base.errors import InputError
from vitrion.base.progress import Progress
from vitrion.base.units import A2_PS_TO_CM2_S, conductivity_mS_cm
from vitrion.config import Transport
from vitrion.structure.compositions import Composition
from vitrion.structure.rdf import Rdf, first_shell_cutoffs, radial_distributions
from vitrion.tables import TABLES, TRAJECTORY_KEY
from vitrion.tables.io import write_table
from vitrion.trajectory.sources import read_segments
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.blocks import BLOCKS, evenly_spaced
from vitrion.transport.clusters import Clusters, bonded_pairs, clusters
from vitrion.transport.collective import Correlations, Onsager, correlations, onsager
from vitrion.transport.contacts import ContactRecorder, Encounters
from vitrion.transport.diffusion import (
    Diffusion,
    Window,
    diffusion,
    settled_window,
)
from vitrion.transport.environments import (
    EnvironmentCounter,
    environment_name,
    follow_environments,
)
from vitrion.transport.msd import Displacements, displacements, relative_covariance
from vitrion.transport.network import network
from vitrion.transport.quantities import quantities
from vitrion.transport.residence import residence

logger = logging.getLogger("vitrion")

MS_CM_TO_S_CM = 1e-3
# Parts from the start that are analysed as if the trajectory had ended there.
CONVERGENCE_PARTS = (1 / 8, 1 / 4, 1 / 2, 1)
# Fewer frames than this are no trajectory.
RDF_FRAMES = 200
LEAST_FRAMES = 2 * BLOCKS
# Changes of all cutoffs that show what the cluster Nernst-Einstein conductivity owes to them.
CUTOFF_SHIFTS_A = (-0.3, -0.15, 0.15, 0.3)

# Tables that need a centre and its ligands; written without rows where no shell was found.
WITH_LIGANDS = (
    *("clusters", "cluster_sensitivity", "coordination", "cutoffs", "network"),
    *("residence", "residence_curve"),
)


@dataclass(frozen=True)
class Roles:
    """Which element does what.

    Attributes:
        mobile: the ion whose transport is asked for.
        center: centre of the polyhedra, if there are any.
        ligands: elements of its first shell.
        bridges: ligands that join centres to fragments; by default oxygen, or every ligand where
            oxygen is none.
    """

    mobile: str
    center: str | None = None
    ligands: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()

    @property
    def joining(self) -> tuple[str, ...]:
        """`bridges`, or their default."""
        return self.bridges or (("O",) if "O" in self.ligands else self.ligands)

    def check(self, symbols: Sequence[str], charges: Mapping[str, float]) -> None:
        """Refuse roles or charges that do not fit the atoms.

        Raises:
            InputError: names the element and the remedy.
        """
        present = sorted(set(symbols))
        for key, element in (
            ("mobile", self.mobile),
            *((("center", self.center),) if self.center else ()),
            *(("ligands", ligand) for ligand in self.ligands),
        ):
            if element not in present:
                raise InputError(key, element, f"not in the trajectory; it has {present}")
        unknown = set(self.bridges) - set(self.ligands)
        if unknown:
            raise InputError("bridges", sorted(unknown), "must be among the ligands")
        if self.center == self.mobile or {self.mobile, self.center} & set(self.ligands):
            raise InputError(
                "ligands",
                list(self.ligands),
                "mobile, center and ligands must be different elements",
            )
        missing = [element for element in present if element not in charges]
        if missing:
            raise InputError("charges", dict(charges), f"add the charge of {', '.join(missing)}")
        net = sum(charges[element] for element in symbols)
        if abs(net) > 1e-6:
            raise InputError(
                "charges", dict(charges), f"the cell has a net charge of {net:+g} e; correct them"
            )
        if charges[self.mobile] == 0:
            raise InputError("charges", dict(charges), f"{self.mobile} must have a charge")


def analyze_trajectory(
    segments: Sequence[Path],
    out: Path,
    *,
    composition: Composition,
    temperature_K: int,
    replica: int,
    settings: Transport,
    metadata: Mapping[str, object] | None = None,
    flags: Sequence[str] = (),
    mean_temperature_K: float = float("nan"),
    wall_hours: float = float("nan"),
    steps_per_s: float = float("nan"),
) -> None:
    """Analyse one trajectory of a campaign and write its tables into a folder.

    Args:
        segments: H5MD segments in order.
        out: folder of the tables.
        composition: what the trajectory is of; gives mobile ion, centre, ligands, own charges.
        temperature_K, replica: the rest of the trajectory's key.
        settings: the configuration's section.
        metadata: goes into every table's file metadata.
        flags: checks that the run failed.
        mean_temperature_K, wall_hours, steps_per_s: of the run, NaN when unknown.

    Raises:
        InputError: segments that are missing, damaged, or do not follow each other.
    """
    run = {
        "mean_temperature_K": mean_temperature_K,
        "wall_hours": wall_hours,
        "steps_per_s": steps_per_s,
    }
    roles = Roles(mobile=composition.mobile, center=composition.center, ligands=composition.ligands)
    analyze_source(
        read_segments(segments),
        out,
        roles=roles,
        key=_key(composition, temperature_K, replica),
        settings=_with_charges(settings, composition),
        metadata=metadata,
        flags=flags,
        run=run,
    )


def _key(composition: Composition, temperature_K: int, replica: int) -> dict[str, object]:
    return {
        **composition.key,
        "temperature_K": temperature_K,
        "replica": replica,
    }


def _with_charges(settings: Transport, composition: Composition) -> Transport:
    return settings.model_copy(update={"charges": composition.all_charges(settings.charges)})


def transport_so_far(
    segments: Sequence[Path],
    *,
    composition: Composition,
    temperature_K: int,
    replica: int,
    settings: Transport,
    scratch: Path | None = None,
) -> pd.DataFrame:
    """Diffusion and conductivity of a trajectory that may go on, without structure and residence.

    Args:
        segments: H5MD segments in order.
        composition: what the trajectory is of.
        temperature_K, replica: the rest of the trajectory's key.
        settings: the configuration's section.
        scratch: folder of the scratch file.

    Returns:
        What `quantities` gives: the values and errors that `analyze_trajectory` would write.

    Raises:
        InputError: segments that are missing, damaged, or do not follow each other.
    """
    source, roles = read_segments(segments), Roles(mobile=composition.mobile)
    settings = _with_charges(settings, composition)
    roles.check(source.symbols, settings.charges)
    with Trajectory.read(
        source,
        discard_ps=settings.discard_ps,
        reference_frame=settings.reference_frame,
        mobile=roles.mobile,
        scratch=scratch,
    ) as trajectory:
        key = _key(composition, temperature_K, replica)
        analysis = _Analysis(trajectory, roles, key, settings)
        analysis.self_diffusion()
        analysis.collective()
    return quantities(analysis.tables)


def analyze_source(
    source: Source,
    out: Path,
    *,
    roles: Roles,
    key: Mapping[str, object],
    settings: Transport,
    metadata: Mapping[str, object] | None = None,
    flags: Sequence[str] = (),
    run: Mapping[str, float] | None = None,
) -> None:
    """Analyse any trajectory and write its tables into a folder.

    Args:
        source: frames, from `vitrion.trajectory.sources`.
        out: folder of the tables, and of the scratch file meanwhile.
        roles: which element does what; tables that need a centre or ligands are left out without.
        key: values of the trajectory key columns; `temperature_K` is used.
        settings: the configuration's section.
        metadata: goes into every table's file metadata.
        flags: checks that the run failed.
        run: mean_temperature_K, wall_hours and steps_per_s where known.

    Raises:
        InputError: roles or charges that do not fit, or frames that cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables = transport_tables(
        source, roles=roles, key=key, settings=settings, scratch=out, flags=flags, run=run
    )
    described = {
        **(metadata or {}),
        "reference_frame": settings.reference_frame,
        "transport": settings.model_dump(mode="json"),
        "roles": asdict(roles),
    }
    for name, frame in tables.items():
        write_table(out / f"{name}.parquet", name, frame, {**described, **frame.attrs})


def transport_tables(
    source: Source,
    *,
    roles: Roles,
    key: Mapping[str, object],
    settings: Transport,
    scratch: Path | None = None,
    flags: Sequence[str] = (),
    run: Mapping[str, float] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables of `analyze_source` by name; what belongs into their metadata is in `attrs`."""
    roles.check(source.symbols, settings.charges)
    with Trajectory.read(
        source,
        discard_ps=settings.discard_ps,
        reference_frame=settings.reference_frame,
        mobile=roles.mobile,
        scratch=scratch,
    ) as trajectory:
        analysis = _Analysis(trajectory, roles, key, settings)
        parts = (
            analysis.self_diffusion,
            analysis.structure,
            analysis.collective,
            analysis.encounters,
            analysis.converge,
            lambda: analysis.summary(flags, run or {}),
        )
        with Progress(len(parts), f"analysis of {source.name}", unit="part") as progress:
            for part in parts:
                part()
                progress.update()
    return analysis.tables


def _snapshots(trajectory: Trajectory, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions and cells of at most so many frames."""
    for _, positions_A, cell_A in trajectory.snapshots(evenly_spaced(len(trajectory), most)):
        yield positions_A, cell_A


class _Analysis:
    """The steps of the analysis, in order; each adds tables."""

    def __init__(
        self,
        trajectory: Trajectory,
        roles: Roles,
        key: Mapping[str, object],
        settings: Transport,
    ) -> None:
        self.trajectory, self.roles, self.settings = trajectory, roles, settings
        # The key holds whole kelvins; conductivities use what was given.
        self.temperature_K = float(key["temperature_K"])
        self.key = {**key, "temperature_K": round(self.temperature_K)}
        self.interval_ps = trajectory.frame_interval_ps
        self.cutoffs_A: dict[tuple[str, str], float] = {}
        self.met: Encounters | None = None
        self.tables: dict[str, pd.DataFrame] = {}

    def add(self, name: str, columns: Mapping[str, object] | list, **notes: object) -> None:
        """Add a table; rows or columns without the key."""
        frame = pd.DataFrame(columns, columns=[c for c in TABLES[name] if c not in TRAJECTORY_KEY])
        for position, column in enumerate(TRAJECTORY_KEY):
            frame.insert(position, column, self.key[column])
        frame.attrs = notes
        self.tables[name] = frame

    def self_diffusion(self) -> None:
        """Mean squared displacements and tracer diffusion."""
        self.moments: dict[str, Displacements] = {
            s: displacements(self.trajectory, s) for s in self.trajectory.species
        }
        self.diffusion: dict[str, Diffusion] = {
            s: diffusion(
                m,
                frame_interval_ps=self.interval_ps,
                tolerance=self.settings.diffusive_tolerance,
                least_displacement_A=self.settings.least_displacement_A,
            )
            for s, m in self.moments.items()
        }
        rows = []
        for s, found in self.diffusion.items():
            rows.append(
                {
                    "species": s,
                    "D_cm2_s": found.D_A2_ps * A2_PS_TO_CM2_S,
                    "D_err_cm2_s": found.D_err_A2_ps * A2_PS_TO_CM2_S,
                    "fit_start_ps": found.fit_start_ps,
                    "fit_stop_ps": found.fit_stop_ps,
                    "loglog_slope": found.window.loglog_slope,
                    "diffusive": found.window.diffusive,
                }
            )
        self.add("diffusion", rows)
        msd, alpha, van_hove = [], [], []
        for s, m in self.moments.items():
            lag_ps = m.lags * self.interval_ps
            msd.append(
                pd.DataFrame(
                    {"species": s, "lag_ps": lag_ps, "msd_A2": m.msd_A2, "msd_err_A2": m.msd_err_A2}
                )
            )
            alpha.append(pd.DataFrame({"species": s, "lag_ps": lag_ps, "alpha2": m.non_gaussian}))
            middles_A = (m.van_hove_r_A[1:] + m.van_hove_r_A[:-1]) / 2
            van_hove.append(
                pd.DataFrame(
                    {
                        "species": s,
                        "lag_ps": np.repeat(m.van_hove_lags * self.interval_ps, len(middles_A)),
                        "r_A": np.tile(middles_A, len(m.van_hove_lags)),
                        "density": m.van_hove.ravel(),
                    }
                )
            )
        self.add("msd", pd.concat(msd))
        self.add("non_gaussian", pd.concat(alpha))
        self.add("van_hove", pd.concat(van_hove))

    def structure(self) -> None:
        """g(r), cutoffs and the network."""
        rdf = radial_distributions(
            _snapshots(self.trajectory, RDF_FRAMES),
            self.trajectory.symbols,
            cutoff_A=self.settings.rdf_cutoff_A,
        )
        self.add(
            "rdf",
            pd.concat(
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
            ),
            n_frames=rdf.n_frames,
        )
        if self.roles.center:
            self._find_cutoffs(rdf)
        if self._shells_known(self.roles.ligands):
            bridges = self.roles.joining
            found = network(
                self.trajectory,
                self.roles.center,
                bridges,
                {b: self.cutoffs_A[self.roles.center, b] for b in bridges},
            )
            self.add(
                "network",
                {"fragment_size": found.sizes, "fraction": found.fraction},
                bridges=bridges,
                bridging_oxygen_fraction=found.bridging_fraction,
                mean_fragment_size=found.mean_fragment_size,
                n_frames=found.n_frames,
            )

    def _find_cutoffs(self, rdf: Rdf) -> None:
        roles = self.roles
        pairs = [(roles.center, s) for s in (*roles.ligands, roles.mobile)]
        pairs += [(roles.mobile, s) for s in roles.ligands]
        self.cutoffs_A = first_shell_cutoffs(rdf, pairs, self.settings.cutoffs_A)
        given = self.settings.cutoffs_A
        rows = []
        for (a, b), cutoff_A in self.cutoffs_A.items():
            origin = "given" if {f"{a}-{b}", f"{b}-{a}"} & set(given) else "g(r)"
            rows.append({"species": a, "neighbor": b, "cutoff_A": cutoff_A, "origin": origin})
            if np.isnan(cutoff_A):
                logger.warning("g(r) of %s-%s has no first minimum; give cutoffs_A", a, b)
        self.add("cutoffs", rows)

    def _shells_known(self, neighbors: Sequence[str], *, of: str | None = None) -> bool:
        center = of or self.roles.center
        return bool(center and neighbors) and all(
            np.isfinite(self.cutoffs_A[center, s]) for s in neighbors
        )

    def collective(self, *, vary_clusters: bool = True) -> None:
        """Onsager coefficients, conductivities, transference numbers, Haven ratio.

        Args:
            vary_clusters: whether to see what other cutoffs would give.
        """
        data = correlations(self.moments)
        self._add_correlation(data)
        window = self._collective_window(data)
        fit = self.moments[self.roles.mobile].lags[window.select]
        notes = {
            "fit_start_ps": float(fit[0]) * self.interval_ps,
            "fit_stop_ps": float(fit[-1]) * self.interval_ps,
            "diffusive": window.diffusive,
        }
        # Slopes from lags at which ions do not diffuse are no transport coefficients.
        usable = 1.0 if window.diffusive else np.nan
        scale = usable * self._mS_cm(1.0)
        found = onsager(data, self._charges(data), window.select, self.interval_ps)
        self._add_onsager(found, scale * MS_CM_TO_S_CM, notes)
        self._add_haven(found, usable, notes)
        rows = {
            "nernst_einstein": _conduction(
                found.joint.combination(found.nernst_einstein),
                found.transference_nernst_einstein(self._mobile(found)),
                scale,
            ),
            "einstein": _conduction(
                found.joint.combination(found.einstein),
                found.transference(self._mobile(found)),
                scale,
            ),
        }
        if self._shells_known(self.roles.ligands):
            definitions = self._cluster_definitions(vary=vary_clusters)
            by_definition = clusters(
                self.trajectory,
                *(cutoffs_A for _, _, cutoffs_A in definitions),
                charges=self.settings.charges,
                mobile=self.roles.mobile,
                fit_start=int(fit[0]),
                fit_stop=int(fit[-1]),
            )
            self._add_clusters(by_definition[0], usable, notes)
            by_cluster = [
                _conduction(c.nernst_einstein, c.transference, scale) for c in by_definition
            ]
            rows["cluster_nernst_einstein"] = by_cluster[0]
            self.add(
                "cluster_sensitivity",
                [
                    {
                        "bonds": bonds,
                        "cutoff_shift_A": shift_A,
                        "n_clusters": float(c.mean_count.sum()),
                        "largest_share": c.largest_share,
                        **row,
                    }
                    for (bonds, shift_A, _), c, row in zip(
                        definitions, by_definition, by_cluster, strict=True
                    )
                ],
                **notes,
            )
        self.add("conductivity", [{"method": m, **row} for m, row in rows.items()], **notes)

    def _mobile(self, found: Onsager) -> int:
        return found.species.index(self.roles.mobile)

    def _cluster_definitions(
        self, *, vary: bool
    ) -> list[tuple[str, float, dict[tuple[str, str], float]]]:
        """Which bonds make a cluster, changes of their cutoffs, and the cutoffs; default first."""
        roles = self.roles
        bonds = bonded_pairs(roles.center, roles.ligands, self.cutoffs_A)
        found = [(_names(bonds), 0.0, bonds)]
        if vary:
            for shift_A in CUTOFF_SHIFTS_A:
                found.append((_names(bonds), shift_A, {k: v + shift_A for k, v in bonds.items()}))
            if self._shells_known(roles.ligands, of=roles.mobile):
                linked = {**bonds, **bonded_pairs(roles.mobile, roles.ligands, self.cutoffs_A)}
                found.append((_names(linked), 0.0, linked))
        return found

    def _collective_window(self, data: Correlations) -> Window:
        """The mobile ion's window, from where the other ions' rattling no longer adds a slope."""
        window = self.diffusion[self.roles.mobile].window
        if not window.diffusive:
            return window
        first = self.moments[self.roles.mobile]
        charges = self._charges(data)
        return settled_window(
            first.lags,
            sum(
                z**2 * m.n_atoms * m.msd_A2
                for z, m in zip(charges, self.moments.values(), strict=True)
            ),
            first.n_frames,
            window,
            samples=first.n_atoms,
            tolerance=self.settings.diffusive_tolerance,
        )

    def _charges(self, data: Correlations) -> list[float]:
        return [self.settings.charges[s] for s in data.species]

    def _mS_cm(self, charge2_A2_ps: float) -> float:
        return conductivity_mS_cm(charge2_A2_ps, self.trajectory.volume_A3, self.temperature_K)

    def _add_haven(self, found: Onsager, usable: float, notes: Mapping[str, object]) -> None:
        ratio, error = found.haven(self._mobile(found))
        row = {"haven_ratio": ratio * usable, "haven_ratio_err": error * usable}
        self.add("haven", [row], **notes)

    def _add_onsager(self, found: Onsager, scale: float, notes: Mapping[str, object]) -> None:
        rows = []
        for (i, a), (j, b) in product(enumerate(found.species), repeat=2):
            L, L_err = found.joint.combination(found.L(i, j))
            own = found.joint.combination(found.own(i))[0] if i == j else 0.0
            rows.append(
                {
                    "species_i": a,
                    "species_j": b,
                    "L": L * scale,
                    "L_err": L_err * scale,
                    "L_self": own * scale,
                    "L_distinct": (L - own) * scale,
                }
            )
        self.add("onsager", rows, **notes)

    def _add_correlation(self, data: Correlations) -> None:
        total, own = data.mean()
        first = self.moments[self.roles.mobile]
        variance = np.diag(relative_covariance(first.lags, first.n_frames)) / 2
        parts = []
        for (i, a), (j, b) in product(enumerate(data.species), repeat=2):
            alone = own[:, i] if i == j else np.zeros(len(total))
            both = total[:, i, i] * total[:, j, j] + total[:, i, j] ** 2
            parts.append(
                {
                    "species_i": a,
                    "species_j": b,
                    "lag_ps": first.lags * self.interval_ps,
                    "total_A2": total[:, i, j],
                    "self_A2": alone,
                    "distinct_A2": total[:, i, j] - alone,
                    "total_err_A2": np.sqrt(variance * both),
                }
            )
        self.add("correlation", pd.concat(map(pd.DataFrame, parts)))

    def _add_clusters(self, found: Clusters, usable: float, notes: Mapping[str, object]) -> None:
        positive = np.array([self.settings.charges[s] > 0 for s in found.species])
        self.add(
            "clusters",
            {
                "cluster": [found.formula(row) for row in range(len(found.counts))],
                "n_cations": found.counts[:, positive].sum(axis=1),
                "n_anions": found.counts[:, ~positive].sum(axis=1),
                "charge": found.charge,
                "mean_count": found.mean_count,
                "D_cm2_s": found.D_A2_ps * A2_PS_TO_CM2_S * usable,
            },
            **notes,
        )

    def encounters(self) -> None:
        """Environments and residence, from every frame."""
        roles = self.roles
        if not self._shells_known(roles.ligands):
            return
        center, counts = roles.center, self.trajectory.counts()
        with_mobile = self._shells_known([roles.mobile])
        recorder = ContactRecorder(counts[center], counts[roles.mobile], self.trajectory.n_frames)
        counter = EnvironmentCounter(counts[center], roles.ligands)
        for codes, contacts in follow_environments(
            self.trajectory,
            center,
            {s: self.cutoffs_A[center, s] for s in roles.ligands},
            {roles.mobile: self.cutoffs_A[center, roles.mobile]} if with_mobile else {},
        ):
            counter.add(codes)
            if with_mobile:
                recorder.add(contacts[roles.mobile], codes)
        self._add_coordination(counter)
        if with_mobile:
            self.met = recorder.result()
            self._add_residence(self.met)

    def _add_coordination(self, counter: EnvironmentCounter) -> None:
        found = counter.result()
        self.add(
            "coordination",
            {
                "environment": found.names,
                "fraction": found.fraction,
                "fraction_err": found.fraction_err,
            },
        )

    def _add_residence(self, encounters: Encounters) -> None:
        names = {
            int(code): environment_name(int(code), self.roles.ligands)
            for code in np.unique(encounters.codes)
        }
        results = residence(
            encounters,
            names,
            tolerance_ps=self.settings.residence_tolerance_ps,
            frame_interval_ps=self.interval_ps,
        )
        self.add(
            "residence",
            [
                {column: getattr(r, column) for column in TABLES["residence"] if hasattr(r, column)}
                for r in results
            ],
        )
        curves = [
            {
                "environment": r.environment,
                "lag_ps": r.lags * self.interval_ps,
                "P": r.survival,
                "P_err": r.survival_err,
                "C": r.intermittent,
                "C_err": r.intermittent_err,
            }
            for r in results
        ]
        if curves:
            self.add("residence_curve", pd.concat(map(pd.DataFrame, curves)))

    def converge(self) -> None:
        """What the trajectory would have said had it been shorter."""
        parts = []
        for part in CONVERGENCE_PARTS:
            analysis = self if part == 1 else self._ended_after(round(part * len(self.trajectory)))
            if analysis is not None:
                found = quantities(analysis.tables)[["quantity", "value", "err"]]
                parts.append(found.assign(length_ps=analysis.trajectory.length_ps))
        self.add("convergence", pd.concat(parts))

    def _ended_after(self, n_frames: int) -> _Analysis | None:
        if n_frames < LEAST_FRAMES:
            return None
        shorter = _Analysis(self.trajectory.first(n_frames), self.roles, self.key, self.settings)
        shorter.cutoffs_A, shorter.temperature_K = self.cutoffs_A, self.temperature_K
        shorter.self_diffusion()
        shorter.collective(vary_clusters=False)
        if self.met is not None:
            met = self.met.first(n_frames)
            counter = EnvironmentCounter(len(met.codes), self.roles.ligands)
            counter.add(met.codes)
            shorter._add_coordination(counter)
            shorter._add_residence(met)
        return shorter

    def summary(self, flags: Sequence[str], run: Mapping[str, float]) -> None:
        """The trajectory's own row."""
        t = self.trajectory
        row = {
            "n_atoms": t.n_atoms,
            "volume_A3": t.volume_A3,
            "density_g_cm3": t.density_g_cm3,
            "length_ps": t.length_ps,
            "frame_interval_ps": t.frame_interval_ps,
            "discard_ps": self.settings.discard_ps,
            "mean_temperature_K": run.get("mean_temperature_K", np.nan),
            "drift_removed": t.reference_frame,
            "flags": ",".join(flags),
            "wall_hours": run.get("wall_hours", np.nan),
            "steps_per_s": run.get("steps_per_s", np.nan),
        }
        self.add("trajectories", [row], drift_A=t.drift_A)
        for name in WITH_LIGANDS if self.roles.ligands else ():
            if name not in self.tables:
                self.add(name, [])


def _conduction(
    charge2_A2_ps: tuple[float, float], transference: tuple[float, float], scale: float
) -> dict[str, float]:
    """Columns of Σ z² D and a transference number, each with its error; NaN where `scale` is."""
    usable = scale / scale
    return {
        "sigma_mS_cm": charge2_A2_ps[0] * scale,
        "sigma_err_mS_cm": charge2_A2_ps[1] * scale,
        "t_mobile": transference[0] * usable,
        "t_mobile_err": transference[1] * usable,
    }


def _names(bonds: Mapping[tuple[str, str], float]) -> str:
    return " ".join(f"{a}-{b}" for a, b in bonds)
