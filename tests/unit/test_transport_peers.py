"""Trajectories of simulations, analysed with other codes as well.

The data are in kinisi's wheel: a VASP run of Li6PS5Cl at constant volume (140 frames) and a
triclinic run of a Li-P-S glass (200 frames). Displacements are of lithium in the framework's frame.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from vitrion.trajectory.sources import read_files
from vitrion.trajectory.unwrapping import Trajectory
from vitrion.transport.collective import correlations, onsager
from vitrion.transport.msd import displacements

kinisi = pytest.importorskip("kinisi")
INPUTS = Path(kinisi.__file__).parent / "tests/inputs"
LAGS = np.array([10, 20, 40])
INTERVAL_PS = 0.1


@dataclass(frozen=True)
class Run:
    """A trajectory as a file, as ASE reads it, and its displacements by numpy alone.

    Attributes:
        path: the file.
        frames: as they are there, folded.
        displacements_A: (frames, atoms, 3), unwrapped, without the drift of all but lithium.
    """

    path: Path
    frames: list[Atoms]
    displacements_A: np.ndarray

    @property
    def lithium_A(self) -> np.ndarray:
        return self.displacements_A[:, self.frames[0].numbers == 3]

    def open(self) -> Trajectory:
        source = read_files([self.path], frame_interval_ps=INTERVAL_PS)
        return Trajectory.read(source, reference_frame="framework", mobile=["Li"])


def run_of(path: Path, **options: str) -> Run:
    frames = read(path, index=":", **options)
    fractional = np.array([atoms.get_scaled_positions(wrap=False) for atoms in frames])
    displacements_A = np.unwrap(fractional, axis=0, period=1) @ frames[0].cell.array
    displacements_A -= displacements_A[:1]
    framework = frames[0].numbers != 3
    return Run(
        path, frames, displacements_A - displacements_A[:, framework].mean(axis=1, keepdims=True)
    )


@pytest.fixture(scope="module")
def vasp_run(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("vasp") / "XDATCAR"
    path.write_bytes(gzip.decompress((INPUTS / "example_XDATCAR.gz").read_bytes()))
    return run_of(path, format="vasp-xdatcar")


@pytest.fixture(scope="module")
def triclinic_run() -> Run:
    return run_of(INPUTS / "LiPS.exyz", format="extxyz")


@pytest.mark.parametrize(
    ("name", "msd_A2", "collective_A2"),
    [
        ("vasp_run", [1.60282, 2.46998, 4.18557], [1.68111, 2.10562, 2.40768]),
        pytest.param("triclinic_run", [0.29257, 0.40792, 0.53430], None, marks=pytest.mark.physics),
    ],
)
def test_displacements_equal_kinisis(request, name, msd_A2, collective_A2):
    """Kinisi's own unwrapping, drift and averages, and the figures it gave when first asked.

    Its ASEParser counts the first frame twice, so one window is a step short; hence the parser
    beneath it.
    """
    import scipp as sc
    from kinisi.displacement import calculate_msd, calculate_mstd
    from kinisi.parser import Parser

    run = request.getfixturevalue(name)
    lithium = run.frames[0].numbers == 3
    parsed = Parser(
        coords=sc.array(
            dims=["time", "particle", "dimension"],
            values=np.array([atoms.get_scaled_positions() for atoms in run.frames]),
        ),
        latt=sc.array(
            dims=["time", "dimension1", "dimension2"],
            values=np.array([atoms.cell.array for atoms in run.frames]),
            unit="angstrom",
        ),
        time_step=INTERVAL_PS * sc.Unit("ps"),
        step_skip=1 * sc.units.dimensionless,
        dt=sc.array(dims=["time interval"], values=LAGS * INTERVAL_PS, unit="ps"),
        specie_indices=sc.array(dims=["particle"], values=np.flatnonzero(lithium)),
        drift_indices=sc.array(dims=["particle"], values=np.flatnonzero(~lithium)),
    )
    with run.open() as trajectory:
        found = displacements(trajectory, "Li", LAGS)
    theirs = calculate_msd(parsed, progress=False)["da"].values
    collective = calculate_mstd(parsed, progress=False)["da"].values
    assert found.msd_A2 == pytest.approx(theirs, rel=1e-6)
    assert found.collective_msd_A2 / found.n_atoms == pytest.approx(collective, rel=1e-5)
    assert found.msd_A2 == pytest.approx(msd_A2, abs=6e-6)
    if collective_A2:
        assert found.collective_msd_A2 / found.n_atoms == pytest.approx(collective_A2, abs=6e-6)


@pytest.mark.parametrize(
    "name", ["vasp_run", pytest.param("triclinic_run", marks=pytest.mark.physics)]
)
def test_displacements_equal_mdanalysis_and_tidynamics(request, name):
    mda = pytest.importorskip("MDAnalysis")
    tidynamics = pytest.importorskip("tidynamics")
    from MDAnalysis.analysis.msd import EinsteinMSD

    run = request.getfixturevalue(name)
    with run.open() as trajectory:
        found = displacements(trajectory, "Li")
    paths_A = run.lithium_A
    every = [tidynamics.msd(np.ascontiguousarray(path_A)) for path_A in paths_A.swapaxes(0, 1)]
    assert found.msd_A2 == pytest.approx(np.mean(every, axis=0)[found.lags], rel=1e-5)
    collective = tidynamics.msd(paths_A.sum(axis=1))[found.lags]
    assert found.collective_msd_A2 == pytest.approx(collective, rel=1e-4)

    universe = mda.Universe.empty(paths_A.shape[1], trajectory=True)
    universe.load_new(paths_A.astype(np.float32), order="fac")
    theirs = EinsteinMSD(universe, select="all", fft=False).run().results.timeseries
    assert found.msd_A2 == pytest.approx(theirs[found.lags], rel=1e-5)


def test_haven_ratio_is_that_of_pymatgen_analysis_diffusion(vasp_run):
    """Its definition: D of the tracer over the charge diffusivity d⟨|Σ Δr|²⟩/6N dτ.

    The two codes weigh the points of a line differently. So displacements are compared, their
    ratio of slopes with the same weights, and ours between two lags, where there is one line.
    """
    pytest.importorskip("pymatgen.analysis.diffusion")
    from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
    from pymatgen.io.ase import AseAtomsAdaptor

    theirs = DiffusionAnalyzer(
        AseAtomsAdaptor.get_structure(vasp_run.frames[0]),
        vasp_run.displacements_A.swapaxes(0, 1),
        "Li",
        temperature=600,
        time_step=1,  # fs
        step_skip=1000,
        smoothed="max",
        min_obs=4 * len(vasp_run.lithium_A[0]),
    )
    lags = (theirs.dt / 1000).astype(int)
    assert lags[-1] > 30
    with vasp_run.open() as trajectory:
        data = correlations({s: displacements(trajectory, s, lags) for s in trajectory.species})
    lithium = data.moments["Li"]
    per_ion_A2 = lithium.collective_msd_A2 / lithium.n_atoms
    assert lithium.msd_A2 == pytest.approx(theirs.msd, rel=1e-5)
    assert per_ion_A2 == pytest.approx(theirs.mscd, rel=1e-4)

    slopes = [np.polyfit(lags, y, 1, w=lags**-0.5)[0] for y in (lithium.msd_A2, per_ion_A2)]
    assert slopes[0] / slopes[1] == pytest.approx(theirs.haven_ratio, rel=1e-3)
    charges = [{"Li": 1, "P": 5, "S": -2, "Cl": -1}[s] for s in data.species]
    ours, _ = onsager(data, charges, INTERVAL_PS, window=slice(8, 10)).haven(
        data.species.index("Li")
    )
    assert ours == pytest.approx(
        (np.diff(theirs.msd[8:10]) / np.diff(theirs.mscd[8:10]))[0], rel=1e-3
    )
