"""Frames of glasses and melts at zero pressure, for labelling.

Usage: python draw_frames.py WORK OUT

The shipped model runs two packings of each composition, of 21 and of 42 atoms: melted at constant
volume, then cooled step by step at zero pressure. Of the frames at zero pressure those are chosen
that are least like the composition's labelled ones (resources/dft), the temperatures taking turns,
as in the rounds of `finetune.iterate`. Continues where it was stopped: WORK has a file for each
packing and each composition that is done.
"""

from __future__ import annotations

import itertools
import lzma
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from vitrion.base.files import whole_file
from vitrion.base.seeds import derive_seed
from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign.opening import job_seed, open_campaign
from vitrion.dataset.frame import write_frames
from vitrion.dataset.read import import_frames
from vitrion.dataset.sample import farthest_points, standardise, structure_features
from vitrion.dynamics.engine import Engine
from vitrion.dynamics.integrators import BussiNVT
from vitrion.dynamics.quench import relax
from vitrion.dynamics.run import BlowUp, Stage
from vitrion.potential import load_model
from vitrion.structure.compositions import Composition
from vitrion.structure.packing import ionic_packing
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

ROOT = Path(__file__).parents[2]
MODEL = "shipped"
FORMULA_UNITS = (4, 8)
CHOSEN = 4  # of each composition and size
PACKING_DENSITY = 0.9  # over the density guess, as in `quench.packing_density`
MELT_K, MELT_PS = 1500.0, 0.6
TEMPERATURES_K, COOLING_PS = (1000.0, 800.0, 600.0, 300.0), 1.0
# Of each temperature the first half finds the density.
SETTLED = 0.5


def main(work: Path, out: Path) -> None:
    """Draw what is missing in WORK, then write OUT: one frame of each composition in turn."""
    config, compositions = open_campaign([])
    dynamics = config.dynamics.with_timestep_fs(4.0).model_copy(
        update={"device": "cpu", "threads": 1, "barostat_tau_fs": 200.0, "sample_interval_ps": 0.1}
    )
    engine = Engine(MODEL, dynamics)
    known: dict[str, list[Atoms]] = defaultdict(list)
    for frame in import_frames(ROOT / "resources/dft"):
        known[frame.atoms.info["composition"]].append(frame.atoms)
    drawn = {}
    # The cheapest to label first: aluminium has 3 valence electrons, gallium and indium have 13.
    for name in sorted(compositions, key=lambda name: _cost(compositions[name])):
        path = work / f"{name}.extxyz"
        if not path.exists():
            seed = job_seed(config, "sample", "zero pressure", name)
            write_frames(path, draw(compositions[name], engine, known[name], seed, work))
        drawn[name] = ase.io.read(path, ":")
    turns = [
        [frame for frame in frames if len(frame) == n_atoms]
        for n_atoms in sorted({len(frame) for frames in drawn.values() for frame in frames})
        for frames in drawn.values()
    ]
    ordered = [
        frame for turn in itertools.zip_longest(*turns) for frame in turn if frame is not None
    ]
    with whole_file(out) as partial, lzma.open(partial, "wt", preset=9) as file:
        ase.io.write(file, ordered, format="extxyz")
    print(len(ordered), "frames")


def _cost(composition: Composition) -> tuple[bool, float]:
    volume_A3 = composition.volume_A3(FORMULA_UNITS[0], composition.density_guess_g_cm3)
    return composition.center != ("Al",), volume_A3


def draw(
    composition: Composition, engine: Engine, known: Iterable[Atoms], seed: int, work: Path
) -> list[Atoms]:
    """Frames of one composition, those of each size in the order of choice.

    Args:
        composition: what to pack.
        engine: runs the dynamics.
        known: labelled frames of the composition.
        seed: of packings and dynamics.
        work: folder of the restart data.
    """
    candidates: list[Atoms] = []
    for number, formula_units in enumerate(FORMULA_UNITS):
        path = work / f"{composition.composition}-candidates-{number}.extxyz"
        if not path.exists():
            write_frames(path, _run(composition, engine, formula_units, seed, work))
        candidates += ase.io.read(path, ":")
    known = list(known)
    features = standardise(structure_features([*candidates, *known], load_model(MODEL)))
    sizes = np.array([len(frame) for frame in candidates] + [0] * len(known))
    temperatures_K = [frame.info["temperature_K"] for frame in candidates]
    chosen: list[int] = []
    for n_atoms in np.unique(sizes[: len(candidates)]):
        chosen += farthest_points(
            features,
            [*temperatures_K, *[None] * len(known)],
            CHOSEN,
            allowed=sizes == n_atoms,
            chosen=[*range(len(candidates), len(features)), *chosen],
        )
    return [candidates[index] for index in chosen]


def _run(
    composition: Composition, engine: Engine, formula_units: int, seed: int, work: Path
) -> list[Atoms]:
    """Candidates of one packing: every sample of the settled part of each temperature."""
    number = FORMULA_UNITS.index(formula_units)
    run_seed = derive_seed(seed, "packing", number)
    trajectory = f"{composition.composition}-{seed:08x}-zero-pressure-{number}"
    packing = ionic_packing(
        composition.counts(formula_units),
        composition.volume_A3(formula_units, PACKING_DENSITY * composition.density_guess_g_cm3),
        run_seed,
        charges=composition.charges,
    )
    relax(packing, engine.potential(packing.numbers))
    nvt = BussiNVT(engine.timestep_ps, engine.dynamics.thermostat_tau_fs / 1000)
    npt = engine.integrator("npt")
    stages = [
        Stage("melt", engine.steps(MELT_PS), nvt, MELT_K),
        *(Stage(f"{t:g}", engine.steps(COOLING_PS), npt, t) for t in TEMPERATURES_K),
    ]
    checkpoints = engine.checkpoint_log(work / trajectory, {"seed": run_seed})
    state = State.from_atoms(packing, temperature_K=MELT_K, seed=run_seed)
    try:
        engine.run(state, stages, checkpoints, title=trajectory)
    except BlowUp as blow_up:
        print(f"{trajectory}: {blow_up}; what was before is used")
    samples = checkpoints.samples(len(packing))
    checkpoints.discard()
    packing.info = {
        "composition": composition.composition,
        "trajectory": trajectory,
        "seed": seed,
    }
    return [
        frame
        for temperature_K in TEMPERATURES_K
        for frame in _settled(samples, packing, temperature_K)
    ]


def _settled(samples: Samples, packing: Atoms, temperature_K: float) -> list[Atoms]:
    """The frames of the last part of one temperature, with what they are in their info."""
    own = samples.where(samples.stage == f"{temperature_K:g}")
    frames = []
    for index in range(int(SETTLED * len(own)), len(own)):
        frame = Atoms(packing.symbols, own.positions_A[index], cell=own.cell_A[index], pbc=True)
        frame.wrap()
        density_g_cm3 = frame.get_masses().sum() * U_A3_TO_G_CM3 / frame.get_volume()
        frame.info = {
            "frame_id": f"{packing.info['trajectory']}-s{own.step[index]:05d}",
            **packing.info,
            "temperature_K": temperature_K,
            "density_g_cm3": round(float(density_g_cm3), 4),
            "step": int(own.step[index]),
        }
        frames.append(frame)
    return frames


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
