"""Whether a model may be used for dynamics: its errors on frames, and a stability test.

Small force errors do not make a potential stable (Fu et al., Trans. Mach. Learn. Res., 2023), so a
small melt of every composition is run at constant energy as well.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vitrion.base.errors import InputError
from vitrion.base.seeds import derive_seed
from vitrion.config import Dynamics, Validation
from vitrion.dynamics.checkpoint import CheckpointLog
from vitrion.dynamics.integrators import NVE, BussiNVT
from vitrion.dynamics.measurements import slope
from vitrion.dynamics.quench import relax
from vitrion.dynamics.run import BlowUp, Intervals, Stage, run
from vitrion.potential import CHGNetPotential, load_model
from vitrion.structure.compositions import Composition
from vitrion.structure.neighbors import neighbor_distances
from vitrion.structure.packing import ionic_packing
from vitrion.tables import TABLES
from vitrion.tables.io import read_table, write_table
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

logger = logging.getLogger("vitrion")

FINE_TUNED = "fine-tuned"  # label of the validated model in model_metrics

MELT_DENSITY = 0.9  # over the composition's density guess
LEAST_ATOMS = 20
SAMPLE_STEPS = 10
LONGEST_PAIR_A = 4.0


def measure_stability(
    model: str,
    out: Path,
    *,
    compositions: Mapping[str, Composition],
    settings: Validation,
    dynamics: Dynamics,
    seed: int,
) -> None:
    """Run the stability test of every composition and write the table `stability`.

    Args:
        model: what `load_model` takes.
        out: the table to write; empty where `settings.stability_ps` is 0.
        compositions: those that will be run.
        settings: length and temperature of the test.
        dynamics: time step, thermostat and device of the test.
        seed: seed of packings and velocities.
    """
    rows = []
    if settings.stability_ps > 0:
        torch.set_num_threads(dynamics.threads)
        rows = [
            stability(
                model,
                composition,
                length_ps=settings.stability_ps,
                temperature_K=settings.stability_temperature_K,
                dynamics=dynamics,
                seed=derive_seed(seed, "stability", composition.composition),
            )
            for composition in compositions.values()
        ]
    table = pd.DataFrame(rows, columns=list(TABLES["stability"]))
    write_table(out, "stability", table, {"settings": settings.model_dump(mode="json")})


def validate_model(
    metrics: Path, stability: Path, *, settings: Validation, out: Path | None = None
) -> None:
    """Validate a model by its stored measurements; raise an error where a check fails.

    Force errors are those of the test split (held-out compositions), or where there is none of
    the validation split.

    Args:
        metrics: table `model_metrics` of the published model first, and of `fine-tuned`.
        stability: table `stability` of the model.
        settings: limits, and which checks may fail.
        out: table `validation` to write, whatever the outcome.

    Raises:
        InputError: a check fails that `settings.override` does not name.
    """
    split, checks = validation_checks(read_table(metrics), read_table(stability), settings)
    if out is not None:
        write_table(out, "validation", checks, {"split": split})
    failed = checks[~checks["passed"]]
    for row in failed[failed["overridden"]].itertuples():
        logger.warning("check failed and overridden: %s", _describe(row))
    refused = failed[~failed["overridden"]]
    if len(refused):
        raise InputError(
            "finetune.validation",
            "; ".join(map(_describe, refused.itertuples())),
            "label more frames like the worst ones in frame_errors.parquet, train longer "
            "(finetune.epochs), or name the checks that may fail in finetune.validation.override: "
            f"[{', '.join(refused['check'])}]",
        )


def validation_checks(
    metrics: pd.DataFrame, stability_rows: pd.DataFrame, settings: Validation
) -> tuple[str, pd.DataFrame]:
    """The split whose errors count, and the rows of the `validation` table.

    Args:
        metrics: rows of `model_metrics` of the published model and of `fine-tuned`.
        stability_rows: rows of `stability`, one per composition; empty where it was not run.
        settings: limits, and which checks may fail.
    """
    overall = metrics[(metrics["composition"] == "all") & (metrics["model"] == FINE_TUNED)]
    overall = overall.set_index("split")
    split = next((s for s in ("test", "val") if s in overall.index), "")
    found = overall.reindex([split]).iloc[0]
    nan = math.nan
    low, high = settings.force_parity_slope
    limits = [
        ("force_mae_ratio", "force_mae_ratio", nan, settings.force_mae_ratio, ""),
        ("force_parity_slope", "force_parity_slope", low, high, ""),
        ("force_mae", "force_mae_meV_A", nan, settings.force_mae_meV_A, "meV/Å"),
    ]
    rows = [
        (check, found[column], found.get(f"{column}_err", nan), *limit)
        for check, column, *limit in limits
        if None not in limit
    ]
    if settings.stability_ps > 0:
        length = settings.stability_ps * (1 - 1e-9)
        nearest = stability_rows["least_distance_A"].min(skipna=False)
        # As for a trajectory (`checks.check_energy`): three standard errors are no drift.
        errors = stability_rows["energy_drift_meV_atom_ps_err"]
        drifts = stability_rows["energy_drift_meV_atom_ps"].abs().where(errors.notna())
        drift = error = nan
        if len(stability_rows):
            worst = int((drifts - 3 * errors).fillna(math.inf).argmax())
            drift, error = float(drifts.iloc[worst]), float(errors.iloc[worst])
        most = settings.energy_drift_meV_atom_ps + 3 * error
        rows += [
            ("stability_length", stability_rows["length_ps"].min(), nan, length, nan, "ps"),
            ("stability_least_distance", nearest, nan, settings.least_distance_A, nan, "Å"),
            ("stability_energy_drift", drift, error, nan, most, "meV/atom/ps"),
        ]
    columns = [c for c in TABLES["validation"] if c not in ("passed", "overridden")]
    checks = pd.DataFrame(rows, columns=columns)
    # NaN limits do not bind, a NaN value passes nothing.
    above = checks["limit_low"].isna() | (checks["value"] >= checks["limit_low"])
    below = checks["limit_high"].isna() | (checks["value"] <= checks["limit_high"])
    checks["passed"] = above & below & checks["value"].notna()
    checks["overridden"] = checks["check"].isin(settings.override)
    return split, checks


def stability(
    model: str,
    composition: Composition,
    *,
    length_ps: float,
    temperature_K: float,
    dynamics: Dynamics,
    seed: int,
) -> dict[str, float | str]:
    """High-temperature stability test: melt a small packing (NVT), then run it as long in NVE.

    The melt has the time step of `dynamics`, the NVE run half of it. The integrator's own energy
    error is proportional to the square of the time step; at the full step it would look like a
    drift in so short a run (benchmarks/potential.md), and the test is of the potential.

    Returns:
        A row of the `stability` table. After a blow-up `length_ps` is the length until then.
    """
    smallest = composition.smallest_cell
    atoms_each = sum(composition.counts(smallest).values())
    units = smallest * math.ceil(LEAST_ATOMS / atoms_each)
    density = MELT_DENSITY * composition.density_guess_g_cm3
    atoms = ionic_packing(
        composition.counts(units),
        composition.volume_A3(units, density),
        seed,
        charges=composition.charges,
    )
    potential = CHGNetPotential(load_model(model), atoms.numbers, device=dynamics.device)
    relax(atoms, potential)
    state = State.from_atoms(atoms, temperature_K=temperature_K, seed=seed)
    timestep_ps = dynamics.timestep_fs / 1000
    nve_timestep_ps = timestep_ps / 2
    thermostat = BussiNVT(timestep_ps, dynamics.thermostat_tau_fs / 1000)
    stages = [
        Stage("melt", _steps(length_ps, timestep_ps), thermostat, temperature_K),
        Stage("nve", _steps(length_ps, nve_timestep_ps), NVE(nve_timestep_ps), temperature_K),
    ]
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointLog(Path(folder) / "stability", {})
        try:
            run(
                state,
                stages,
                potential,
                checkpoints,
                Intervals(sample=SAMPLE_STEPS, checkpoint=10 * SAMPLE_STEPS),
                title=f"stability test {composition.composition}",
            )
        except BlowUp as blow_up:
            logger.warning("stability test %s: %s", composition.composition, blow_up)
        samples = checkpoints.samples(len(atoms))
        checkpoints.close()
    nve = samples.where(samples.stage == "nve")
    drift, error = slope(nve.step * nve_timestep_ps, 1000 / len(atoms) * nve.conserved_eV)
    return {
        "composition": composition.composition,
        "n_atoms": len(atoms),
        "length_ps": len(nve) * SAMPLE_STEPS * nve_timestep_ps,
        "temperature_K": float(nve.temperature_K.mean()) if len(nve) else math.nan,
        **_nearest(nve, atoms.symbols),
        "energy_drift_meV_atom_ps": drift,
        "energy_drift_meV_atom_ps_err": error,
    }


def _steps(length_ps: float, timestep_ps: float) -> int:
    """Number of steps of at least this length, a whole multiple of the sampling interval."""
    return SAMPLE_STEPS * math.ceil(length_ps / timestep_ps / SAMPLE_STEPS)


def _nearest(samples: Samples, symbols: Sequence[str]) -> dict[str, float | str]:
    """The shortest distance of two atoms in any sample, and their elements."""
    least, pair = math.nan, ""
    for positions, cell in zip(samples.positions_A, samples.cell_A, strict=True):
        first, second, distances_A = neighbor_distances(
            positions.astype(np.float64), cell, LONGEST_PAIR_A
        )
        if len(distances_A) and not distances_A.min() >= least:
            nearest = distances_A.argmin()
            least = float(distances_A[nearest])
            pair = "-".join(sorted((symbols[first[nearest]], symbols[second[nearest]])))
    return {"least_distance_A": least, "nearest_pair": pair}


def _describe(row: Any) -> str:
    limits = {"at least": row.limit_low, "at most": row.limit_high}
    wanted = ", ".join(f"{word} {x:.3g}" for word, x in limits.items() if not math.isnan(x))
    error = "" if math.isnan(row.value_err) else f" ± {row.value_err:.2g}"
    return f"{row.check} is {row.value:.3g}{error} ({wanted} {row.unit}".rstrip() + ")"
