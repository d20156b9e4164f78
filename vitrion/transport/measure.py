"""What is measured of a trajectory: each function returns numbers, none of them knows of tables."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from ase import Atoms

from vitrion.base.units import conductivity_mS_cm
from vitrion.config import Transport
from vitrion.structure.compositions import shell_pairs
from vitrion.structure.rdf import Rdf, first_shell_cutoffs, radial_distributions
from vitrion.structure.scattering import (
    StructureFactor,
    displaced_supercell,
    powder,
    structure_factor,
)
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.blocks import BLOCKS, evenly_spaced
from vitrion.transport.clusters import Clusters, bonded_pairs, clusters
from vitrion.transport.collective import (
    Correlations,
    Onsager,
    conduction_window,
    correlations,
    onsager,
)
from vitrion.transport.contacts import ContactIntervals, ContactRecorder, follow_by_cutoff
from vitrion.transport.diffusion import Diffusion, diffusion
from vitrion.transport.environments import (
    EnvironmentCounter,
    Environments,
    EnvironmentSpells,
    environment_name,
    follow_environments,
)
from vitrion.transport.frames_of_reference import drift_A, drift_weights, relative_to
from vitrion.transport.jumps import Jumps, jumps
from vitrion.transport.msd import Displacements, displacements
from vitrion.transport.network import Network, network
from vitrion.transport.residence import (
    Intermittent,
    Survival,
    intermittent,
    residence,
)
from vitrion.transport.roles import Roles
from vitrion.transport.van_hove import DistinctVanHove, distinct_van_hove

logger = logging.getLogger("vitrion")

RDF_FRAMES = 200
SCATTERING_FRAMES = 16
# Of a crystal with displaced atoms.
CRYSTAL_FRAMES = 20
# Parts from the start that are analysed as trajectories of their own, and the shortest of them.
CONVERGENCE_PARTS = (1 / 8, 1 / 4, 1 / 2)
LEAST_FRAMES = 2 * BLOCKS
# Changes of all cutoffs that show how the cluster Nernst-Einstein conductivity depends on them.
CUTOFF_SHIFTS_A = (-0.3, -0.15, 0.15, 0.3)
# Centres with which the residence of mobile ions is measured by other cutoffs as well, and the most
# frames of it.
SENSITIVITY_CENTERS = 32
SENSITIVITY_FRAMES = 20_000


@dataclass(frozen=True)
class SelfDiffusion:
    """Displacements and tracer diffusion by element."""

    moments: dict[str, Displacements]
    diffusion: dict[str, Diffusion]


@dataclass(frozen=True)
class Phase:
    """A crystal that a measured sample holds beside the glass.

    Attributes:
        weight: its share of the sample's mass.
        scattering: its powder pattern.
        rdf: its radial distribution functions.
        counts, volume_A3: atoms of each element, and the volume of their cell.
    """

    weight: float
    scattering: StructureFactor
    rdf: Rdf
    counts: dict[str, int]
    volume_A3: float


@dataclass(frozen=True)
class Structure:
    """Time-averaged structure.

    Attributes:
        rdf: radial distribution functions.
        cutoffs_A: first-shell cutoffs by pair of elements, NaN where there is no first minimum;
            empty without a central cation.
        network: fragments, where the cutoffs of all ligands are known.
        scattering: correlations in reciprocal space.
        counts, volume_A3: atoms of each element, and the volume of their cell.
        crystals: what a measured sample holds beside it.
    """

    rdf: Rdf
    cutoffs_A: dict[tuple[str, str], float]
    network: Network | None
    scattering: StructureFactor
    counts: dict[str, int]
    volume_A3: float
    crystals: tuple[Phase, ...] = ()

    def shells_known(self, centers: Sequence[str], neighbors: Sequence[str]) -> bool:
        """Whether the first shells of some elements with all of some neighbours are known."""
        return bool(centers and neighbors) and all(
            np.isfinite(self.cutoffs_A.get(pair, np.nan)) for pair in product(centers, neighbors)
        )


@dataclass(frozen=True)
class ClusterDefinition:
    """Which pairs of elements bond.

    Attributes:
        bonds_A: longest bond by pair of elements.
        cutoff_shift_A: by how much they differ from the first-shell cutoffs.
    """

    bonds_A: dict[tuple[str, str], float]
    cutoff_shift_A: float = 0.0


@dataclass(frozen=True)
class Conduction:
    """Collective transport.

    Attributes:
        correlations: of the collective displacements.
        window: lags of the fits, indices into the lag grid.
        fit_start_ps, fit_stop_ps: the first and the last of them.
        onsager: Onsager coefficients.
        mobile: places of the mobile ions among the species.
        self_diffusive: whether a mobile ion diffuses.
        collective_diffusive: whether the collective displacement of all charges does as well.
        haven_diffusive: by mobile ion, whether it diffuses and so does the sum of its ions.
        not_diffusive: elements that do not; without the mobile ions where none of them does.
        scale_mS_cm: conductivity of one e² Å²/ps in this cell.
        clusters: cluster conductivities by definition of a bond, the default first.
    """

    correlations: Correlations
    window: slice
    fit_start_ps: float
    fit_stop_ps: float
    onsager: Onsager
    mobile: tuple[int, ...]
    self_diffusive: bool
    collective_diffusive: bool
    haven_diffusive: tuple[bool, ...]
    not_diffusive: tuple[str, ...]
    scale_mS_cm: float
    clusters: list[tuple[ClusterDefinition, Clusters]]


@dataclass(frozen=True)
class FrameTransport:
    """Transport coefficients in one frame of reference."""

    self_diffusion: SelfDiffusion
    conduction: Conduction


@dataclass(frozen=True)
class Stays:
    """How long the ions of one mobile element stay with one element's central cations.

    Attributes:
        intervals: contacts between them.
        residence: by environment, then over all.
        intermittent: the intermittent correlation of the same, in the same order, where asked for.
        by_cutoff: residence over all environments by the change of the cutoff in Å, at
            `SENSITIVITY_CENTERS` centres, where asked for.
    """

    intervals: ContactIntervals
    residence: list[Survival]
    intermittent: list[Intermittent] = field(default_factory=list)
    by_cutoff: dict[float, Survival] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """Environments of one element's central cations, and how long mobile ions stay with them.

    Attributes:
        environments: how often each environment occurs.
        stays: by mobile ion; without those whose cutoff is unknown.
        lifetimes: of the environments themselves, then over all, where asked for.
    """

    environments: Environments
    stays: dict[str, Stays]
    lifetimes: list[Survival] = field(default_factory=list)


@dataclass(frozen=True)
class Hopping:
    """How mobile ions move from place to place.

    Attributes:
        jumps: between resting places, by mobile ion.
        distinct: where other ions of the same element are a time later, by mobile ion.
        clusters: lifetimes of clusters of central cations with their ligands, by kind, then over
            all; empty where bonds are not known.
    """

    jumps: dict[str, Jumps]
    distinct: dict[str, DistinctVanHove]
    clusters: list[Survival]


@dataclass(frozen=True)
class Measured:
    """Everything that is measured of one trajectory.

    Attributes:
        n_atoms, volume_A3, density_g_cm3: of the cell, averaged over time.
        length_ps: time between the first and the last frame.
        frame_interval_ps: time between frames.
        reference_frame: whose drift was removed.
        drift_A: that drift.
        moments: displacements by element, in that frame.
        transport: by frame of reference, the headline's first.
        structure: None where only transport was asked for.
        surroundings: by element of the central cation; without those whose ligands' shells are not
            known.
        hopping: None where only transport was asked for.
    """

    n_atoms: int
    volume_A3: float
    density_g_cm3: float
    length_ps: float
    frame_interval_ps: float
    reference_frame: str
    drift_A: float
    moments: dict[str, Displacements]
    transport: dict[str, FrameTransport]
    structure: Structure | None = None
    surroundings: dict[str, Surroundings] = field(default_factory=dict)
    hopping: Hopping | None = None


def measure(
    trajectory: Trajectory,
    roles: Roles,
    settings: Transport,
    *,
    temperature_K: float,
    structure: Structure | None = None,
    surroundings: Mapping[str, Surroundings] | None = None,
    vary_clusters: bool = False,
) -> Measured:
    """Self-diffusion and collective transport, with what is known of structure already.

    Args:
        trajectory: the frames.
        roles: which element does what.
        settings: the configuration's section.
        temperature_K: of the run.
        structure: first shells, which define clusters; without them there are no clusters.
        surroundings: taken over as they are.
        vary_clusters: whether clusters by other cutoffs and bonds are measured as well.
    """
    moments = {s: displacements(trajectory, s) for s in trajectory.species}
    definitions = cluster_definitions(structure, roles, vary=vary_clusters) if structure else []
    return Measured(
        n_atoms=trajectory.n_atoms,
        volume_A3=trajectory.volume_A3,
        density_g_cm3=trajectory.density_g_cm3,
        length_ps=trajectory.length_ps,
        frame_interval_ps=trajectory.frame_interval_ps,
        reference_frame=trajectory.reference_frame,
        drift_A=trajectory.drift_A,
        moments=moments,
        transport=measure_transport(
            trajectory,
            moments,
            settings,
            mobile=roles.mobile,
            temperature_K=temperature_K,
            definitions=definitions,
        ),
        structure=structure,
        surroundings=dict(surroundings or {}),
    )


def measure_shorter(
    trajectory: Trajectory,
    whole: Measured,
    roles: Roles,
    settings: Transport,
    *,
    temperature_K: float,
) -> list[Measured]:
    """What parts from the trajectory's start give on their own, for `CONVERGENCE_PARTS`.

    First shells are those of the whole trajectory. Parts shorter than `LEAST_FRAMES` are left out.
    """
    found = []
    for part in CONVERGENCE_PARTS:
        n_frames = round(part * len(trajectory))
        if n_frames < LEAST_FRAMES:
            continue
        surroundings = {
            center: _first_surroundings(of, n_frames, roles, settings, trajectory.frame_interval_ps)
            for center, of in whole.surroundings.items()
            if of.stays
        }
        found.append(
            measure(
                trajectory.first(n_frames),
                roles,
                settings,
                temperature_K=temperature_K,
                structure=whole.structure,
                surroundings=surroundings,
            )
        )
    return found


def measure_transport(
    trajectory: Trajectory,
    moments: Mapping[str, Displacements],
    settings: Transport,
    *,
    mobile: Sequence[str],
    temperature_K: float,
    definitions: Sequence[ClusterDefinition] = (),
) -> dict[str, FrameTransport]:
    """Transport coefficients in each frame of reference, that of the network first.

    Args:
        trajectory: the frames.
        moments: displacements of each element.
        settings: the configuration's section. With `reference_frame: none` the positions as they
            are make a third frame.
        mobile: the mobile ions.
        temperature_K: of the run.
        definitions: of the bonds that make clusters; all are used in the first frame, the first one
            in the others.
    """
    drifts_A = {
        frame: drift_A(moments, weights)
        for frame, weights in drift_weights(moments, mobile).items()
    }
    if trajectory.reference_frame == "none":
        drifts_A["none"] = np.zeros((trajectory.n_frames, 3))
    motion = {
        frame: measure_self_diffusion(
            relative_to(moments, drift) if drift.any() else moments,
            settings,
            frame_interval_ps=trajectory.frame_interval_ps,
        )
        for frame, drift in drifts_A.items()
    }
    scale_mS_cm = conductivity_mS_cm(1.0, trajectory.volume_A3, temperature_K)
    conduction: dict[str, Conduction] = {}
    for frame, found in motion.items():
        # All frames share the headline's lags: a conductivity does not depend on the frame.
        first = next(iter(conduction.values()), None)
        conduction[frame] = measure_conduction(
            found,
            settings,
            mobile=mobile,
            frame_interval_ps=trajectory.frame_interval_ps,
            scale_mS_cm=scale_mS_cm,
            window=first.window if first else None,
        )
    by_frame: list[list[Clusters]] = [[] for _ in motion]
    if definitions:
        lags = moments[mobile[0]].lags[next(iter(conduction.values())).window]
        by_frame = clusters(
            trajectory,
            *(definition.bonds_A for definition in definitions),
            charges=settings.charges,
            fit_start=int(lags[0]),
            fit_stop=int(lags[-1]),
            drifts_A=list(drifts_A.values()),
        )
    return {
        frame: FrameTransport(
            self_diffusion=motion[frame],
            conduction=replace(
                conduction[frame], clusters=list(zip(definitions, by_definition, strict=False))
            ),
        )
        for frame, by_definition in zip(motion, by_frame, strict=True)
    }


def measure_self_diffusion(
    moments: Mapping[str, Displacements], settings: Transport, *, frame_interval_ps: float
) -> SelfDiffusion:
    """Tracer diffusion of every element."""
    return SelfDiffusion(
        moments=dict(moments),
        diffusion={
            s: diffusion(
                m,
                frame_interval_ps=frame_interval_ps,
                tolerance=settings.diffusive_tolerance,
                least_displacement_A=settings.least_displacement_A,
            )
            for s, m in moments.items()
        },
    )


def measure_conduction(
    self_diffusion: SelfDiffusion,
    settings: Transport,
    *,
    mobile: Sequence[str],
    frame_interval_ps: float,
    scale_mS_cm: float,
    window: slice | None = None,
) -> Conduction:
    """Onsager coefficients, without clusters.

    Args:
        self_diffusion: of all elements.
        settings: the configuration's section.
        mobile: the mobile ions.
        frame_interval_ps: time between frames.
        scale_mS_cm: conductivity of one e² Å²/ps.
        window: lags of the fit; by default `conduction_window`, the latest of the mobile ions'.
    """
    data = correlations(self_diffusion.moments)
    by_element = self_diffusion.diffusion
    places = tuple(data.species.index(ion) for ion in mobile)
    charges = [settings.charges[s] for s in data.species]
    every = list(by_element.values())
    diffusive = [bool(by_element[ion].diffusive) for ion in mobile]
    if window is None:
        # Those that do not diffuse have no say, unless none does.
        deciding = [a for a, one in zip(places, diffusive, strict=True) if one] or places
        windows = [conduction_window(data, charges, every, a) for a in deciding]
        window = max(windows, key=lambda one: one.start)
    found = onsager(data, charges, frame_interval_ps, every, window)
    lags_ps = self_diffusion.moments[mobile[0]].lags[window] * frame_interval_ps
    return Conduction(
        correlations=data,
        window=window,
        fit_start_ps=float(lags_ps[0]),
        fit_stop_ps=float(lags_ps[-1]),
        onsager=found,
        mobile=places,
        self_diffusive=any(diffusive),
        collective_diffusive=any(diffusive) and bool(found.linear[-1]),
        haven_diffusive=tuple(
            one and bool(found.linear[a]) for a, one in zip(places, diffusive, strict=True)
        ),
        not_diffusive=tuple(
            s
            for s, one in by_element.items()
            if not one.diffusive and (any(diffusive) or s not in mobile)
        ),
        scale_mS_cm=scale_mS_cm,
        clusters=[],
    )


def measure_structure(trajectory: Trajectory, roles: Roles, settings: Transport) -> Structure:
    """g(r), first-shell cutoffs, fragments and scattering."""
    rdf = radial_distributions(
        _snapshots(trajectory, RDF_FRAMES), trajectory.symbols, cutoff_A=settings.rdf_cutoff_A
    )
    found = Structure(
        rdf=rdf,
        cutoffs_A={},
        network=None,
        scattering=structure_factor(_snapshots(trajectory, SCATTERING_FRAMES), trajectory.symbols),
        counts=trajectory.counts(),
        volume_A3=trajectory.volume_A3,
    )
    centers = roles.center
    if not centers:
        return found
    pairs = shell_pairs(roles.mobile, centers, roles.ligands)
    cutoffs_A = first_shell_cutoffs(rdf, pairs, settings.cutoffs_A)
    for (a, b), cutoff_A in cutoffs_A.items():
        if np.isnan(cutoff_A):
            logger.warning("g(r) of %s-%s has no first minimum; give cutoffs_A", a, b)
    found = replace(found, cutoffs_A=cutoffs_A)
    if not found.shells_known(centers, roles.ligands):
        return found
    lengths_A = bonded_pairs(centers, roles.ligands, cutoffs_A)
    return replace(found, network=network(trajectory, lengths_A, roles.joining))


def measure_crystal(crystal: Atoms, weight: float, settings: Transport) -> Phase:
    """Powder pattern and g(r) of a crystal, as those of the glass beside it.

    Args:
        crystal: a cell of it, periodic in all directions.
        weight: its share of the sample's mass.
        settings: the configuration's section.
    """
    cell = crystal.positions, crystal.cell.array, crystal.get_chemical_symbols()
    symbols, frames = displaced_supercell(*cell, n_frames=CRYSTAL_FRAMES)
    return Phase(
        weight=weight,
        scattering=powder(*cell),
        rdf=radial_distributions(frames, symbols, cutoff_A=settings.rdf_cutoff_A),
        counts=dict(Counter(cell[2])),
        volume_A3=crystal.cell.volume,
    )


def measure_hopping(
    trajectory: Trajectory, measured: Measured, roles: Roles, settings: Transport
) -> Hopping:
    """Jumps and distinct van Hove functions of the mobile ions, and lifetimes of clusters.

    Args:
        trajectory: the frames.
        measured: gives the lags of the van Hove function, and the network.
        roles: which element does what.
        settings: the configuration's section.
    """
    network = measured.structure.network if measured.structure else None
    return Hopping(
        jumps={
            ion: jumps(
                trajectory,
                ion,
                length_A=settings.jump_length_A,
                window_ps=settings.residence_tolerance_ps,
            )
            for ion in roles.mobile
        },
        distinct={
            ion: distinct_van_hove(
                trajectory,
                ion,
                measured.moments[ion].van_hove_lags,
                cutoff_A=settings.rdf_cutoff_A,
            )
            for ion in roles.mobile
        },
        clusters=cluster_lifetimes(network, trajectory.frame_interval_ps) if network else [],
    )


def measure_surroundings(
    trajectory: Trajectory, structure: Structure, roles: Roles, settings: Transport
) -> dict[str, Surroundings]:
    """Environments and residence from every frame, by element of the central cation.

    Without the elements for which the ligands' shells are not known.
    """
    return {
        center: _surroundings(trajectory, structure, center, roles, settings)
        for center in roles.center
        if structure.shells_known([center], roles.ligands)
    }


def _surroundings(
    trajectory: Trajectory, structure: Structure, center: str, roles: Roles, settings: Transport
) -> Surroundings:
    """Environments of one element's centres, and the residence of mobile ions at them."""
    counts, cutoffs_A = trajectory.counts(), structure.cutoffs_A
    near = [ion for ion in roles.mobile if structure.shells_known([center], [ion])]
    recorders = {
        ion: ContactRecorder(counts[center], counts[ion], trajectory.n_frames) for ion in near
    }
    counter = EnvironmentCounter(counts[center], roles.ligands)
    spells = EnvironmentSpells(counts[center], trajectory.n_frames)
    for codes, contacts in follow_environments(
        trajectory,
        center,
        {s: cutoffs_A[center, s] for s in roles.ligands},
        {ion: cutoffs_A[center, ion] for ion in near},
    ):
        counter.add(codes)
        spells.add(codes)
        for ion, recorder in recorders.items():
            recorder.add(contacts[ion], codes)
    interval_ps = trajectory.frame_interval_ps
    kept = spells.result()
    found = Surroundings(
        environments=counter.result(),
        stays={},
        lifetimes=_residence(
            kept, roles, settings, interval_ps, members=kept.pair // kept.n_mobile
        ),
    )
    for ion in near:
        intervals = recorders.pop(ion).result()
        times = _residence(intervals, roles, settings, interval_ps)
        found.stays[ion] = Stays(
            intervals=intervals,
            residence=times,
            intermittent=_intermittent(intervals, times, roles, interval_ps),
            by_cutoff=_by_cutoff(trajectory, center, ion, cutoffs_A[center, ion], roles, settings),
        )
    return found


def _first_surroundings(
    whole: Surroundings, n_frames: int, roles: Roles, settings: Transport, frame_interval_ps: float
) -> Surroundings:
    """Environments at the origins of contact intervals, and residence, of the first frames."""
    stays = {}
    for ion, of in whole.stays.items():
        intervals = of.intervals.first(n_frames)
        stays[ion] = Stays(intervals, _residence(intervals, roles, settings, frame_interval_ps))
    # Of all mobile ions codes are the same.
    codes = next(iter(stays.values())).intervals.codes
    counter = EnvironmentCounter(len(codes), roles.ligands)
    counter.add(codes)
    return Surroundings(environments=counter.result(), stays=stays)


def _residence(
    intervals: ContactIntervals,
    roles: Roles,
    settings: Transport,
    frame_interval_ps: float,
    members: np.ndarray | None = None,
) -> list[Survival]:
    return residence(
        intervals,
        _names(intervals, roles),
        tolerance_ps=settings.residence_tolerance_ps,
        frame_interval_ps=frame_interval_ps,
        members=members,
    )


def cluster_lifetimes(found: Network, frame_interval_ps: float) -> list[Survival]:
    """How long a cluster of central cations stays the same ions, by its kind and over all.

    Args:
        found: the network.
        frame_interval_ps: time between frames.
    """
    spells = found.spells
    return residence(
        spells,
        found.cluster_names,
        tolerance_ps=0.0,
        frame_interval_ps=found.every_frames * frame_interval_ps,
        members=spells.pair // spells.n_mobile,
    )


def _names(intervals: ContactIntervals, roles: Roles) -> dict[int, str]:
    """Names of the environments that occur, by code."""
    return {
        code: environment_name(code, roles.ligands) for code in np.unique(intervals.codes).tolist()
    }


def _intermittent(
    intervals: ContactIntervals, times: Sequence[Survival], roles: Roles, frame_interval_ps: float
) -> list[Intermittent]:
    """Intermittent correlations, in the order of the residence times."""
    if not times:
        return []
    found = intermittent(intervals, times[0].lags, frame_interval_ps=frame_interval_ps)
    names = _names(intervals, roles)
    by_name = {"all" if code is None else names[code]: c for code, c in found.items()}
    return [by_name[r.environment] for r in times]


def _by_cutoff(
    trajectory: Trajectory,
    center: str,
    ion: str,
    cutoff_A: float,
    roles: Roles,
    settings: Transport,
) -> dict[float, Survival]:
    """Residence over all environments by the change of the cutoff, at the first few centres."""
    trajectory = trajectory.first(min(len(trajectory), SENSITIVITY_FRAMES))
    centers = trajectory.slices[center]
    centers = slice(centers.start, min(centers.stop, centers.start + SENSITIVITY_CENTERS))
    shifts_A = [s for s in sorted([0.0, *CUTOFF_SHIFTS_A]) if cutoff_A + s > 0]
    n_centers, n_mobile = centers.stop - centers.start, trajectory.counts()[ion]
    recorders = [ContactRecorder(n_centers, n_mobile, trajectory.n_frames) for _ in shifts_A]
    cutoffs_A = [cutoff_A + shift_A for shift_A in shifts_A]
    for several in follow_by_cutoff(trajectory, centers, ion, cutoffs_A):
        for recorder, contacts in zip(recorders, several, strict=True):
            no_codes = np.zeros((n_centers, contacts.inside.shape[1]), dtype=np.int64)
            recorder.add(contacts, no_codes)
    found = {}
    for shift_A, recorder in zip(shifts_A, recorders, strict=True):
        times = _residence(recorder.result(), roles, settings, trajectory.frame_interval_ps)
        if times:
            found[shift_A] = times[-1]
    return found


def cluster_definitions(
    structure: Structure, roles: Roles, *, vary: bool
) -> list[ClusterDefinition]:
    """Definitions of a bond, the default (centres with their ligands) first.

    Args:
        structure: first-shell cutoffs.
        roles: which element does what.
        vary: whether to add shifted cutoffs, and bonds of the mobile ion with the ligands.
    """
    cutoffs_A = structure.cutoffs_A
    if not structure.shells_known(roles.center, roles.ligands):
        return []
    bonds_A = bonded_pairs(roles.center, roles.ligands, cutoffs_A)
    found = [ClusterDefinition(bonds_A)]
    if vary:
        for shift_A in CUTOFF_SHIFTS_A:
            shifted_A = {pair: cutoff_A + shift_A for pair, cutoff_A in bonds_A.items()}
            found.append(ClusterDefinition(shifted_A, shift_A))
        if structure.shells_known(roles.mobile, roles.ligands):
            linked_A = bonded_pairs(roles.mobile, roles.ligands, cutoffs_A)
            found.append(ClusterDefinition({**bonds_A, **linked_A}))
    return found


def _snapshots(trajectory: Trajectory, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (atoms, 3) and cells (3, 3) of at most so many frames, evenly spaced in time."""
    for _, positions_A, cell_A in trajectory.snapshots(evenly_spaced(len(trajectory), most)):
        yield positions_A, cell_A
