"""The same frames in every format that `vitrion analyze` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.io import write

FORMATS = ("run.extxyz", "run.traj", "XDATCAR", "run.dump", "run.h5", "run.xtc")


def write_trajectory(path: Path, frames: Sequence[Atoms], interval_ps: float = 0.1) -> None:
    """Write frames in the format that the name says; an XTC gets `topology.pdb` beside it."""
    if path.name == "run.dump":
        path.write_text("".join(_dump_frame(step, atoms) for step, atoms in enumerate(frames)))
    elif path.suffix == ".h5":
        write_h5md(
            path,
            frames[0].get_chemical_symbols(),
            np.array([atoms.positions for atoms in frames]),
            np.array([atoms.cell.array for atoms in frames]),
            interval_ps=interval_ps,
        )
    elif path.suffix == ".xtc":
        _write_xtc(path, frames)
    else:
        write(path, frames, format="vasp-xdatcar" if path.name == "XDATCAR" else None)


def write_h5md(
    path: Path,
    symbols: Sequence[str],
    positions_A: np.ndarray,
    cells_A: np.ndarray,
    *,
    first_step: int = 0,
    interval_ps: float = 0.1,
) -> None:
    """Write H5MD as another program would, with folded positions (frames, atoms, 3)."""
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        group["species"] = Atoms(symbols).numbers
        steps = first_step + np.arange(len(positions_A))
        group.create_dataset("position/value", data=positions_A, chunks=(7, *positions_A.shape[1:]))
        group["position/step"], group["position/time"] = steps, steps * interval_ps
        group["box/edges/value"] = np.broadcast_to(cells_A, (len(positions_A), 3, 3))


def _dump_frame(step: int, atoms: Atoms) -> str:
    edges = "".join(f"0.0 {edge}\n" for edge in np.diag(atoms.cell.array))
    lines = "".join(
        f"{n + 1} {s} {x:.7f} {y:.7f} {z:.7f}\n"
        for n, (s, (x, y, z)) in enumerate(zip(atoms.symbols, atoms.positions, strict=True))
    )
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n"
        f"ITEM: BOX BOUNDS pp pp pp\n{edges}ITEM: ATOMS id element x y z\n{lines}"
    )


def _write_xtc(path: Path, frames: Sequence[Atoms]) -> None:
    import MDAnalysis

    symbols = frames[0].get_chemical_symbols()
    universe = MDAnalysis.Universe.empty(len(symbols), trajectory=True)
    for attribute in ("elements", "names"):
        universe.add_TopologyAttr(attribute, symbols)
    with MDAnalysis.Writer(str(path), len(symbols)) as writer:
        for atoms in frames:
            universe.dimensions = atoms.cell.cellpar()
            universe.atoms.positions = atoms.positions
            writer.write(universe.atoms)
    universe.atoms.write(path.with_name("topology.pdb"))
