"""The same frames in every format that `vitrion analyze` reads, with times and steps as each has.

Files are written by ASE, MDAnalysis, h5py or by hand after the manual of the program, never by the
code that reads them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.io import write


@dataclass(frozen=True)
class Run:
    """A run to be written: elements grouped by species, folded positions, cells and times."""

    symbols: tuple[str, ...]
    positions_A: np.ndarray  # (frames, atoms, 3)
    cells_A: np.ndarray  # (frames, 3, 3)
    interval_ps: float = 0.1
    steps_per_frame: int = 100
    first: int = 0  # number of the first frame

    def __getitem__(self, frames: slice | np.ndarray) -> Run:
        first = frames.start or 0 if isinstance(frames, slice) else 0
        return Run(
            self.symbols,
            self.positions_A[frames],
            self.cells_A[frames],
            self.interval_ps,
            self.steps_per_frame,
            self.first + first,
        )

    def __len__(self) -> int:
        return len(self.positions_A)

    @property
    def numbers(self) -> np.ndarray:
        return self.first + np.arange(len(self))

    @property
    def steps(self) -> np.ndarray:
        return self.numbers * self.steps_per_frame

    @property
    def times_ps(self) -> np.ndarray:
        return self.numbers * self.interval_ps

    @property
    def atoms(self) -> list[Atoms]:
        pairs = zip(self.positions_A, self.cells_A, strict=True)
        return [Atoms(self.symbols, positions=p, cell=c, pbc=True) for p, c in pairs]


def walk(
    n_frames: int, *, cell_A: np.ndarray | None = None, seed: int = 0, ions: int = 8, D: float = 0.1
) -> tuple[Run, np.ndarray]:
    """Li that diffuse (D in Å²/ps) and Cl that rattle: folded, and the true paths."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 12.0 if cell_A is None else np.asarray(cell_A)
    true = np.repeat(rng.random((1, 2 * ions, 3)) @ cell, n_frames, axis=0)
    true[1:, :ions] += np.cumsum(rng.normal(0, np.sqrt(2 * D * 0.1), (n_frames - 1, ions, 3)), 0)
    true[:, ions:] += rng.normal(0, 0.08, (n_frames, ions, 3))
    fractional = true @ np.linalg.inv(cell)
    folded = (fractional - np.floor(fractional)) @ cell
    cells = np.repeat(cell[None], n_frames, axis=0)
    return Run(("Li",) * ions + ("Cl",) * ions, folded, cells), true


def write_h5md(
    path: Path,
    symbols: Sequence[str],
    positions_A: np.ndarray,
    cells_A: np.ndarray,
    *,
    first_step: int = 0,
    interval_ps: float = 0.1,
    units: tuple[str, str] = ("", ""),
    group: str = "all",
) -> None:
    """Write H5MD as another program would, with folded positions (frames, atoms, 3)."""
    with h5py.File(path, "w") as file:
        group_ = file.create_group(f"particles/{group}")
        group_["species"] = Atoms(symbols).numbers
        steps = first_step + np.arange(len(positions_A))
        group_.create_dataset(
            "position/value", data=positions_A, chunks=(7, *positions_A.shape[1:])
        )
        group_["position/step"], group_["position/time"] = steps, steps * interval_ps
        group_["box/edges/value"] = np.broadcast_to(cells_A, (len(positions_A), 3, 3))
        for name, unit in (("position/value", 0), ("box/edges/value", 0), ("position/time", 1)):
            if units[unit]:
                group_[name].attrs["unit"] = units[unit]


def write_dump(path: Path, run: Run, *, columns: str = "id element x y z", mode: str = "w") -> None:
    """A LAMMPS text dump with any of its columns; atoms in another order in every frame."""
    rng = np.random.default_rng(1)
    types = {symbol: n + 1 for n, symbol in enumerate(dict.fromkeys(run.symbols))}
    names = columns.split()
    with path.open(mode) as file:
        for step, x, cell in zip(run.steps, run.positions_A, run.cells_A, strict=True):
            file.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(x)}\n")
            file.write(_bounds(cell) + f"ITEM: ATOMS {columns}\n")
            scaled = x @ np.linalg.inv(cell)
            order = rng.permutation(len(x)) if "id" in names else range(len(x))
            for n in order:
                value = {"id": n + 1, "element": run.symbols[n], "type": types[run.symbols[n]]}
                value |= {"mass": Atoms(run.symbols[n]).get_masses()[0]}
                value |= {"q": {"Li": 1.0, "Cl": -1.0}.get(run.symbols[n], 0.0)}
                for axis, name in enumerate("xyz"):
                    value |= {name: x[n, axis], f"{name}s": scaled[n, axis]}
                file.write(" ".join(_word(value[name]) for name in names) + "\n")


def _word(value: object) -> str:
    return f"{value:.7f}" if isinstance(value, float) else str(value)


def _bounds(cell: np.ndarray) -> str:
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    if not any((xy, xz, yz)):
        return "ITEM: BOX BOUNDS pp pp pp\n" + "".join(f"0 {length}\n" for length in (lx, ly, lz))
    x = (min(0.0, xy, xz, xy + xz), lx + max(0.0, xy, xz, xy + xz))
    y = (min(0.0, yz), ly + max(0.0, yz))
    rows = ((*x, xy), (*y, xz), (0.0, lz, yz))
    lines = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    return "ITEM: BOX BOUNDS xy xz yz pp pp pp\n" + lines


def write_extxyz(path: Path, run: Run, key: str = "time_ps", factor: float = 1.0) -> None:
    frames = run.atoms
    for atoms, time in zip(frames, run.times_ps, strict=True):
        atoms.info[key] = float(time) * factor
    write(path, frames, format="extxyz")


def write_xdatcar(path: Path, run: Run, *, species: str = "Li Cl", first: int = 1) -> None:
    counts = [run.symbols.count(symbol) for symbol in dict.fromkeys(run.symbols)]
    cell = run.cells_A[0]
    head = "LiCl\n1.0\n" + "".join("{:.10f} {:.10f} {:.10f}\n".format(*row) for row in cell)
    lines = [head + f"{species}\n{' '.join(map(str, counts))}\n"]
    for number, x in enumerate(run.positions_A @ np.linalg.inv(cell)):
        lines.append(f"Direct configuration={number + first:6d}\n")
        lines.extend("{:12.8f}{:12.8f}{:12.8f}\n".format(*row) for row in x)
    path.write_text("".join(lines))


def write_vasprun(
    path: Path, run: Run, *, learned: Callable[[int], bool] = lambda n: False
) -> None:
    """A vasprun.xml; the frames of a learned force field lie outside the calculations."""
    atoms = "".join(f"<rc><c>{s} </c><c> 1</c></rc>" for s in run.symbols)
    parts = [
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<incar><i name="POTIM"> '
        f'{run.interval_ps * 1000:.6f}</i></incar>\n<parameters><i type="int" name="IBRION"> 0</i>'
        f'</parameters>\n<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>\n',
        _structure(run, 0, ' name="initialpos"'),
    ]
    for n in range(len(run)):
        structure = _structure(run, n)
        parts.append(structure if learned(n) else f"<calculation>\n{structure}</calculation>\n")
    parts.append(_structure(run, len(run) - 1, ' name="finalpos"') + "</modeling>\n")
    path.write_text("".join(parts))


def _structure(run: Run, n: int, name: str = "") -> str:
    cell = run.cells_A[n]
    vectors, positions = (
        "".join("<v>{:.8f} {:.8f} {:.8f}</v>\n".format(*row) for row in rows)
        for rows in (cell, run.positions_A[n] @ np.linalg.inv(cell))
    )
    return (
        f'<structure{name}><crystal><varray name="basis">{vectors}</varray></crystal>'
        f'<varray name="positions">{positions}</varray></structure>\n'
    )


def write_vaspout(path: Path, run: Run) -> None:
    names = list(dict.fromkeys(run.symbols))
    with h5py.File(path, "w") as file:
        file["input/incar/POTIM"] = run.interval_ps * 1000
        file["results/positions/ion_types"] = np.array(names, dtype="S")
        file["results/positions/number_ion_types"] = [run.symbols.count(name) for name in names]
        file["results/positions/scale"] = 1.0
        scaled = run.positions_A @ np.linalg.inv(run.cells_A)
        file["intermediate/ion_dynamics/position_ions"] = scaled
        file["intermediate/ion_dynamics/lattice_vectors"] = run.cells_A


def write_cp2k(path: Path, run: Run, mode: str = "w") -> None:
    """`NAME-pos-1.xyz`, and `NAME-1.cell` beside it."""
    cells = path.with_name(path.name.replace("-pos-1.xyz", "-1.cell"))
    with path.open(mode) as file, cells.open(mode) as beside:
        beside.write("#   Step   Time [fs]   Ax Ay Az   Bx By Bz   Cx Cy Cz   Volume [A^3]\n")
        rows = zip(run.steps, run.times_ps * 1000, run.positions_A, run.cells_A, strict=True)
        for step, time_fs, x, cell in rows:
            file.write(f"{len(x)}\n i = {step:8d}, time = {time_fs:12.3f}, E = -17.1\n")
            for symbol, row in zip(run.symbols, x, strict=True):
                file.write(f"{symbol:>3} " + " ".join(f"{v:16.10f}" for v in row) + "\n")
            numbers = " ".join(f"{v:.10f}" for v in (*cell.ravel(), abs(np.linalg.det(cell))))
            beside.write(f"{step} {time_fs:.3f} {numbers}\n")


def write_gro(path: Path, run: Run, digits: int = 5) -> None:
    """Frames of a gro file with more digits than three, as trjconv -ndec writes them."""
    lines = []
    for time, step, x, cell in zip(
        run.times_ps, run.steps, run.positions_A / 10, run.cells_A / 10, strict=True
    ):
        lines.append(f"walk t= {time:9.5f} step= {step}\n{len(x):5d}\n")
        for n, (symbol, row) in enumerate(zip(run.symbols, x, strict=True)):
            name = symbol.upper()
            numbers = "".join(f"{v:{digits + 5}.{digits}f}" for v in row)
            lines.append(f"{n + 1:5d}{name:<5}{name:>5}{n + 1:5d}{numbers}\n")
        order = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
        is_box = not (cell - np.diag(np.diag(cell))).any()
        lines.append(" ".join(f"{cell[at]:.6f}" for at in order[: 3 if is_box else 9]) + "\n")
    path.write_text("".join(lines))


def write_pdb(path: Path, run: Run) -> None:
    write(path, run.atoms, format="proteindatabank")


def write_xtc(path: Path, run: Run) -> None:
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    with XTCFile(str(path), "w") as file:
        rows = zip(run.positions_A, run.cells_A, run.steps, run.times_ps, strict=True)
        for x, cell, step, time in rows:
            file.write(
                (x / 10).astype(np.float32), (cell / 10).astype(np.float32), int(step), time, 1e5
            )


def write_trr(path: Path, run: Run) -> None:
    from MDAnalysis.lib.formats.libmdaxdr import TRRFile

    with TRRFile(str(path), "w") as file:
        rows = zip(run.positions_A, run.cells_A, run.steps, run.times_ps, strict=True)
        for x, cell, step, time in rows:
            nm, box = (x / 10).astype(np.float32), (cell / 10).astype(np.float32)
            file.write(nm, None, None, box, int(step), time, 0.0, len(x))


def write_dcd(path: Path, run: Run) -> None:
    from ase.geometry import cell_to_cellpar
    from MDAnalysis.lib.formats.libdcd import DCDFile

    with DCDFile(str(path), "w") as file:
        file.write_header(
            "walk", len(run.symbols), int(run.steps[0]), run.steps_per_frame,
            run.interval_ps / run.steps_per_frame / 0.04888821, 1,
        )  # fmt: skip
        for x, cell in zip(run.positions_A, run.cells_A, strict=True):
            a, b, c, alpha, beta, gamma = cell_to_cellpar(cell)
            file.write(x.astype(np.float32), np.array([a, gamma, b, beta, alpha, c]))


def write_netcdf(path: Path, run: Run) -> None:
    from ase.geometry import cell_to_cellpar
    from scipy.io import netcdf_file

    with warnings.catch_warnings(), netcdf_file(path, "w", version=2) as file:
        warnings.simplefilter("ignore")
        file.Conventions, file.program = "AMBER", "walk"
        for name, length in (
            ("frame", None), ("spatial", 3), ("atom", len(run.symbols)),
            ("cell_spatial", 3), ("cell_angular", 3),
        ):  # fmt: skip
            file.createDimension(name, length)
        cells = np.array([cell_to_cellpar(cell) for cell in run.cells_A])
        for name, dimensions, kind, unit, values in (
            ("coordinates", ("frame", "atom", "spatial"), "f4", "angstrom", run.positions_A),
            ("time", ("frame",), "f4", "picosecond", run.times_ps),
            ("cell_lengths", ("frame", "cell_spatial"), "f8", "angstrom", cells[:, :3]),
            ("cell_angles", ("frame", "cell_angular"), "f8", "degree", cells[:, 3:]),
        ):
            variable = file.createVariable(name, kind, dimensions)
            variable.units = unit
            variable[:] = values


@dataclass(frozen=True)
class Example:
    """A format: its file, how it is written, and what `read_files` needs besides."""

    name: str
    write: Callable[[Path, Run], None]
    options: tuple[tuple[str, object], ...] = ()
    knows_interval: bool = True
    atol_A: float = 1e-5
    has_orthogonal_cells: bool = False

    def make(self, folder: Path, run: Run) -> tuple[Path, dict[str, object]]:
        """Write the file and what it needs beside it; path and options."""
        path = folder / self.name
        self.write(path, run)
        options = dict(self.options)
        if options.get("topology"):
            options["topology"] = folder / str(options["topology"])
            write_gro(folder / "conf.gro", run[:1])
        if options.get("cell_file"):
            options["cell_file"] = folder / str(options["cell_file"])
        if not self.knows_interval:
            options["frame_interval_ps"] = run.interval_ps
        return path, options


def _h5md(path: Path, run: Run) -> None:
    write_h5md(
        path,
        run.symbols,
        run.positions_A / 10,
        run.cells_A / 10,
        first_step=run.first,
        interval_ps=run.interval_ps * 1000,
        units=("nm", "fs"),
    )


def _ase(path: Path, run: Run) -> None:
    write(path, run.atoms)


_TOPOLOGY = (("topology", "conf.gro"),)
EXAMPLES = {
    example.name: example
    for example in (
        Example("run.extxyz", write_extxyz),
        Example("run.traj", _ase, knows_interval=False),
        Example("XDATCAR", write_xdatcar, knows_interval=False),
        Example("vasprun.xml", write_vasprun),
        Example("vaspout.h5", write_vaspout),
        Example(
            "run.lammpstrj",
            partial(write_dump, columns="id type x y z"),
            (("elements", {"1": "Li", "2": "Cl"}),),
            knows_interval=False,
        ),
        Example("run-pos-1.xyz", write_cp2k, (("cell_file", "run-1.cell"),)),
        Example("traj.xtc", write_xtc, _TOPOLOGY, atol_A=2e-4),
        Example("traj.trr", write_trr, _TOPOLOGY),
        Example("run.gro", write_gro, atol_A=2e-4),
        Example("run.dcd", write_dcd, _TOPOLOGY),
        Example("run.nc", write_netcdf, _TOPOLOGY),
        Example("run.pdb", write_pdb, knows_interval=False, atol_A=2e-3),
        Example("run.h5", _h5md),
        Example("run.xsf", _ase, knows_interval=False),
    )
}
