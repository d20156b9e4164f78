"""A library of glasses for tests: packings, with the files that `vitrion quench` writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import ase.io

from vitrion.campaign import layout
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import random_packing
from vitrion.tables.io import write_table
from vitrion.trajectory.checks import Measurement, measurements_table
from vitrion.trajectory.samples import Samples

MODEL_HASH = "0123456789abcdef"


def make_library(
    folder: Path, compositions: Iterable[Composition], *, formula_units: int, replicas: int = 1
) -> Path:
    """Write a library whose glasses were made with the model `MODEL_HASH`.

    Args:
        folder: where to.
        compositions: of the glasses.
        formula_units: their size.
        replicas: how many of each.
    """
    for composition in compositions:
        for replica in range(replicas):
            name = composition.composition
            glass = folder / layout.fill(layout.LIBRARY_GLASS, composition=name, replica=replica)
            glass.mkdir(parents=True)
            counts = composition.counts(formula_units)
            volume_A3 = composition.volume_A3(formula_units, composition.density_guess_g_cm3)
            atoms = random_packing(counts, volume_A3, replica)
            atoms.info = {
                "composition": name,
                "seed": replica,
                "model_hash": MODEL_HASH,
                "density_g_cm3": composition.density_guess_g_cm3,
                "protocol": {"melt_ps": 100.0},
            }
            ase.io.write(glass / "glass.extxyz", atoms, format="extxyz")
            thermo = Samples.none(0).thermo(masses_u=atoms.get_masses(), timestep_ps=0.002)
            origin = {"seed": replica}
            write_table(glass / "thermo.parquet", "thermo", thermo, origin)
            measurements = measurements_table([Measurement("density", 2.0, "g/cm³")])
            path = glass / "glass_measurements.parquet"
            write_table(path, "glass_measurements", measurements, origin)
    return folder
