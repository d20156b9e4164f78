"""The whole analysis of one trajectory: from frames to tables.

`vitrion.transport.measure` measures, `vitrion.transport.rows` makes the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from ase import Atoms

from vitrion.base.progress import Progress
from vitrion.config import Transport
from vitrion.structure.compositions import Composition
from vitrion.tables.io import write_tables
from vitrion.trajectory.h5md import read_segments
from vitrion.trajectory.metadata import TrajectoryKey
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.measure import (
    measure,
    measure_crystal,
    measure_hopping,
    measure_shorter,
    measure_structure,
    measure_surroundings,
)
from vitrion.transport.quantities import quantities
from vitrion.transport.roles import Roles
from vitrion.transport.rows import all_rows, transport_rows, without_charge

logger = logging.getLogger("vitrion")


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
        composition: gives mobile ions, central cations, ligands and charges of its own.
        temperature_K, replica: the rest of the trajectory's key.
        settings: the configuration's section.
        metadata: goes into every table's file metadata.
        flags: checks that the run failed.
        mean_temperature_K, wall_hours, steps_per_s: of the run, NaN when unknown.

    Raises:
        InputError: segments that are missing, damaged, or do not follow each other.
    """
    analyze_source(
        read_segments(
            segments, expected=TrajectoryKey(composition.composition, temperature_K, replica)
        ),
        out,
        roles=Roles(
            mobile=composition.mobile, center=composition.center, ligands=composition.ligands
        ),
        key=_key(composition, temperature_K, replica),
        settings=_with_charges(settings, composition),
        metadata=metadata,
        flags=flags,
        run={
            "mean_temperature_K": mean_temperature_K,
            "wall_hours": wall_hours,
            "steps_per_s": steps_per_s,
        },
    )


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
    allow_net_charge: bool = False,
    crystals: Sequence[tuple[float, Atoms]] = (),
) -> None:
    """Analyse any trajectory and write its tables into a folder, in place of earlier ones.

    Args:
        source: frames, from `vitrion.trajectory.sources`.
        out: folder of the tables, and of the scratch file meanwhile.
        roles: which element does what; tables that need a central cation or ligands are left out
            where there is none, and so are those of conductivities where the mobile ions have no
            charge.
        key: values of the trajectory key columns; `temperature_K` may be a fraction.
        settings: the configuration's section.
        metadata: goes into every table's file metadata.
        flags: checks that the run failed.
        run: mean_temperature_K, wall_hours and steps_per_s where known.
        allow_net_charge: whether the cell may be charged.
        crystals: what a measured sample holds beside the glass: share of its mass, and a cell.

    Raises:
        InputError: roles or charges that do not fit, or frames that cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables = transport_tables(
        source,
        roles=roles,
        key=key,
        settings=settings,
        scratch=out,
        flags=flags,
        run=run,
        allow_net_charge=allow_net_charge,
        crystals=crystals,
    )
    described = {
        **(metadata or {}),
        "reference_frame": settings.reference_frame,
        "transport": settings.model_dump(mode="json"),
        "roles": asdict(roles),
    }
    write_tables(out, tables, described)


def transport_tables(
    source: Source,
    *,
    roles: Roles,
    key: Mapping[str, object],
    settings: Transport,
    scratch: Path | None = None,
    flags: Sequence[str] = (),
    run: Mapping[str, float] | None = None,
    allow_net_charge: bool = False,
    crystals: Sequence[tuple[float, Atoms]] = (),
) -> dict[str, pd.DataFrame]:
    """The tables of `analyze_source` by name, with notes for their file metadata in `attrs`."""
    roles.check(source.symbols, settings.charges, allow_net_charge=allow_net_charge)
    is_charged = settings.charges[roles.mobile[0]] != 0
    if not is_charged:
        # Charges only weigh the elements in sums of charge, which are left out below.
        logger.info("%s: no charge, no conductivity", ", ".join(roles.mobile))
        charges = {**settings.charges, **dict.fromkeys(roles.mobile, 1)}
        settings = settings.model_copy(update={"charges": charges})
    temperature_K, key = _temperature(key)
    with (
        Trajectory.read(
            source,
            discard_ps=settings.discard_ps,
            reference_frame=settings.reference_frame,
            mobile=roles.mobile,
            scratch=scratch,
        ) as trajectory,
        Progress(4, f"analysis of {source.name}", unit="part") as progress,
    ):
        structure = measure_structure(trajectory, roles, settings)
        progress.update()
        surroundings = measure_surroundings(trajectory, structure, roles, settings)
        progress.update()
        measured = measure(
            trajectory,
            roles,
            settings,
            temperature_K=temperature_K,
            structure=structure,
            surroundings=surroundings,
            vary_clusters=True,
        )
        hopping = measure_hopping(trajectory, measured, roles, settings)
        measured = replace(measured, hopping=hopping)
        progress.update()
        shorter = measure_shorter(
            trajectory, measured, roles, settings, temperature_K=temperature_K
        )
        progress.update()
    if crystals:
        phases = [measure_crystal(cell, weight, settings) for weight, cell in crystals]
        structure = replace(structure, crystals=tuple(phases))
        measured = replace(measured, structure=structure)
    tables = all_rows(measured, shorter, key, roles=roles, settings=settings, flags=flags, run=run)
    return tables if is_charged else without_charge(tables)


def transport_so_far(
    segments: Sequence[Path],
    *,
    composition: Composition,
    temperature_K: int,
    replica: int,
    settings: Transport,
    scratch: Path | None = None,
) -> pd.DataFrame:
    """Diffusion and conductivity of a trajectory that may continue, for the stop criterion.

    Structure, clusters and residence are not measured.

    Args:
        segments: H5MD segments in order.
        composition: gives mobile ion, central cation, ligands and charges of its own.
        temperature_K, replica: the rest of the trajectory's key.
        settings: the configuration's section.
        scratch: folder of the scratch file.

    Returns:
        As `quantities`: the values and errors that `analyze_trajectory` would write.

    Raises:
        InputError: segments that are missing, damaged, or do not follow each other.
    """
    expected = TrajectoryKey(composition.composition, temperature_K, replica)
    source = read_segments(segments, expected=expected)
    roles = Roles(mobile=composition.mobile)
    settings = _with_charges(settings, composition)
    roles.check(source.symbols, settings.charges)
    with Trajectory.read(
        source,
        discard_ps=settings.discard_ps,
        reference_frame=settings.reference_frame,
        mobile=roles.mobile,
        scratch=scratch,
    ) as trajectory:
        measured = measure(trajectory, roles, settings, temperature_K=temperature_K)
    return quantities(transport_rows(measured, _key(composition, temperature_K, replica)))


def _key(composition: Composition, temperature_K: int, replica: int) -> dict[str, object]:
    return {**composition.key, "temperature_K": temperature_K, "replica": replica}


def _temperature(key: Mapping[str, object]) -> tuple[float, dict[str, object]]:
    """Temperature as it was given, for conductivities, and the key, which holds whole kelvins."""
    temperature_K = float(str(key["temperature_K"]))
    return temperature_K, {**key, "temperature_K": round(temperature_K)}


def _with_charges(settings: Transport, composition: Composition) -> Transport:
    return settings.model_copy(update={"charges": composition.all_charges(settings.charges)})
