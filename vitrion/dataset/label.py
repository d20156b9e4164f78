"""Label frames with DFT: energy, forces and stress from GPAW, VASP or any ASE calculator."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion.base.errors import InputError
from vitrion.base.progress import Progress
from vitrion.config import AseCalculator, Gpaw, Label
from vitrion.dataset.frame import LabelError, read_frame, read_frames, write_frames
from vitrion.dataset.labels import FAILURE, LABEL_KEYS
from vitrion.dataset.vasp import run_vasp
from vitrion.runtime.processes import run_guarded, stop_guarded

logger = logging.getLogger("vitrion")

WORKER = Path(__file__).with_name("gpaw_worker.py")
# Threads gain nothing in cells this small; one calculation per core does.
SERIAL = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_THREAD = threading.local()  # one calculator per thread, because they keep state


def label_frame(source: Path, out: Path, *, settings: Label, index: int = 0) -> bool:
    """Label one frame and write it; a calculation that fails does not end the campaign.

    A failed calculation is tried once more with safer settings. If that fails too, the frame is
    written without label and with the reason in ``info["label_failure"]``. `check_frames` rejects
    it.

    Args:
        source: file of frames.
        out: labelled extxyz file; the calculation's own log or folder appears beside it.
        settings: engine and its settings.
        index: which frame of the file.

    Returns:
        Whether the frame has a label.

    Raises:
        InputError: no engine chosen, or it is not installed or not usable.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    atoms = read_frame(source, index)
    for key in LABEL_KEYS:
        atoms.info.pop(key, None)
    reasons = []
    for safer in (False, True):
        try:
            match settings.engine:
                case "gpaw":
                    _run_gpaw(source, index, out, safer, settings.gpaw)
                case "vasp":
                    folder = out.with_suffix(".vasp")
                    write_frames(out, [run_vasp(atoms, folder, settings.vasp, safer=safer)])
                case "ase":
                    write_frames(out, [_run_ase(atoms, settings.ase)])
                case _:
                    raise InputError(
                        "dataset.label.engine", settings.engine, "choose gpaw, vasp or ase"
                    )
        except LabelError as error:
            reasons.append(str(error))
            logger.warning("%s: %s", atoms.info.get("frame_id", source), error)
        else:
            return True
    atoms.calc = None
    atoms.info |= {"engine": settings.engine, FAILURE: "; then: ".join(reasons)}
    write_frames(out, [atoms])
    return False


def label_frames(
    sources: Sequence[Path],
    folder: Path,
    *,
    settings: Label,
    processes: int = 1,
    known: Collection[str] = (),
) -> tuple[int, int]:
    """Label every frame of some files, one output file per frame; existing ones are kept.

    The files take turns (the first frame of each, then the second), so that the frames labelled
    when the work is stopped are balanced.

    Args:
        sources: files of frames, each with a `frame_id` in its info.
        folder: where <frame_id>.extxyz are written; a frame that has its file is skipped, with a
            warning if its calculation failed.
        settings: engine and its settings.
        processes: calculations at the same time.
        known: names of frames that have labels elsewhere; they are skipped too.

    Returns:
        Number of frames labelled now, and of those that failed.

    Raises:
        InputError: a file that cannot be read; a frame without name, or with that of another; an
            engine that is not usable.
    """
    turns = _in_turns(sources)
    _warn_of_failures([folder / f"{name}.extxyz" for _, _, name in turns])
    jobs = [
        (source, index, folder / f"{name}.extxyz")
        for source, index, name in turns
        if name not in known and not (folder / f"{name}.extxyz").exists()
    ]

    def label(job: tuple[Path, int, Path]) -> bool:
        source, index, out = job
        return label_frame(source, out, index=index, settings=settings)

    failed = 0
    pool = ThreadPoolExecutor(processes)
    try:
        with Progress(len(jobs), f"label with {settings.engine}", unit="frame") as bar:
            for labelled in pool.map(label, jobs):
                failed += not labelled
                bar.update(note=f"{failed} failed" if failed else "")
    except KeyboardInterrupt:
        stop_guarded()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return len(jobs) - failed, failed


def _warn_of_failures(files: Sequence[Path]) -> None:
    """Say which frames are not labelled again although they have no label."""
    failed = [path for path in files if path.exists() and FAILURE in read_frame(path, 0).info]
    if failed:
        logger.warning(
            "%d frames failed before and are not labelled again; remove their files to try once "
            "more: %s",
            len(failed),
            ", ".join(map(str, failed)),
        )


def _in_turns(sources: Sequence[Path]) -> list[tuple[Path, int, str]]:
    """File, index and name of the first frame of each file, then of the second, and so on."""
    listed: list[list[tuple[Path, int, str]]] = []
    sources_of: dict[str, Path] = {}
    for source in sources:
        listed.append([])
        for index, atoms in enumerate(read_frames(source)):
            name = atoms.info.get("frame_id")
            if not isinstance(name, str) or Path(name).name != name:
                raise InputError(
                    f"frame_id in {source}", name, "give every frame one that can name a file"
                )
            if name in sources_of:
                raise InputError(
                    f"frame_id in {source}",
                    name,
                    f"is that of a frame of {sources_of[name]} too; give every frame its own",
                )
            sources_of[name] = source
            listed[-1].append((source, index, name))
    return [job for turn in zip_longest(*listed) for job in turn if job is not None]


def _run_gpaw(source: Path, index: int, out: Path, safer: bool, settings: Gpaw) -> None:
    """One calculation in its own process, which writes `out`."""
    python = settings.python or sys.executable
    if shutil.which(python) is None:
        raise InputError("dataset.label.gpaw.python", python, "no such interpreter")
    request = json.dumps(
        {**settings.model_dump(exclude={"python"}), "safer": safer, "left_out": LABEL_KEYS}
    )
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        code = run_guarded(
            [python, str(WORKER), str(source), str(index), str(out), request],
            output=output,
            env={**os.environ, **SERIAL},
        )
        output.seek(0)
        lines = output.read().strip().splitlines() or [f"GPAW ended with exit code {code}"]
    if code == 0:
        return
    if lines[-1].startswith(("ModuleNotFoundError", "ImportError")):
        raise InputError(
            "dataset.label.gpaw.python",
            python,
            f"has no GPAW ({lines[-1]}); install it there (CC=g++ pip install gpaw gpaw-data), or "
            "name an interpreter that has it",
        )
    raise LabelError(lines[-1])


def _run_ase(atoms: Atoms, settings: AseCalculator) -> Atoms:
    """Label with an ASE calculator; one without stress gives energy and forces alone."""
    calculator = _ase_calculator(settings)
    working = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    working.calc = calculator
    try:
        labels = {
            "energy": working.get_potential_energy(
                force_consistent="free_energy" in calculator.implemented_properties
            ),
            "forces": working.get_forces(),
        }
        if "stress" in calculator.implemented_properties:
            labels["stress"] = working.get_stress()
    except Exception as error:  # calculators raise anything; the frame has no label then
        raise LabelError(f"{type(error).__name__}: {error}") from error
    if not all(np.isfinite(value).all() for value in labels.values()):
        raise LabelError(f"{settings.calculator} gave a label that is not finite")
    labelled = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    labelled.info = {
        **atoms.info,
        "engine": "ase",
        "level": f"{settings.calculator} {json.dumps(settings.arguments, sort_keys=True)}",
        "label": {"ase": ase.__version__, **settings.model_dump()},
    }
    labelled.calc = SinglePointCalculator(labelled, **labels)
    return labelled


def _ase_calculator(settings: AseCalculator) -> BaseCalculator:
    """The calculator of this thread, made once, because loading a potential takes seconds."""
    if getattr(_THREAD, "settings", None) == settings:
        return _THREAD.calculator
    module, _, name = settings.calculator.partition(":")
    try:
        calculator = getattr(import_module(module), name)(**settings.arguments)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            "dataset.label.ase.calculator",
            settings.calculator,
            f"cannot be made ({error}); write module:Class, its keywords in "
            "dataset.label.ase.arguments",
        ) from error
    _THREAD.settings, _THREAD.calculator = settings, calculator
    return calculator
