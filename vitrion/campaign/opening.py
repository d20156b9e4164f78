"""One way to open a campaign, for the workflow and every command: files, compositions, seeds."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.base.files import sha256
from vitrion.base.seeds import derive_seed
from vitrion.config import NAMED_MODELS, Config, Dataset, load_config
from vitrion.structure.compositions import (
    SHIPPED,
    Composition,
    check_charges,
    read_compositions,
    shell_pairs,
    table_path,
)

# More is a mistake: CHGNet holds about 8 MB per atom, and Snakemake some kB per job.
MOST_ATOMS, MOST_JOBS = 30_000, 200_000
WORKFLOW = Path(__file__).parents[2]  # the folder of the Snakefile


def open_campaign(configfiles: Sequence[Path | str]) -> tuple[Config, dict[str, Composition]]:
    """The configuration as the Snakefile reads it, and its compositions.

    Args:
        configfiles: each is laid over the one before, and all over the `config.yaml` beside the
            Snakefile (the defaults, where Vitrion is installed without one).

    Raises:
        InputError: anything wrong in them.
    """
    config = open_config(configfiles)
    return config, campaign_compositions(config)


def open_config(configfiles: Sequence[Path | str]) -> Config:
    """The configuration alone; see `open_campaign`."""
    base = WORKFLOW / "config.yaml"
    return load_config(*([base] if base.is_file() else []), *configfiles)


def unread_config(configfiles: Iterable[Path | str]) -> str:
    """A warning of a `config.yaml` in the working folder that is not named; else empty."""
    here, base = Path("config.yaml").resolve(), WORKFLOW / "config.yaml"
    if not here.is_file() or here in {Path(file).resolve() for file in (base, *configfiles)}:
        return ""
    return f"{here} is not read; lay it over {base} with --configfile config.yaml"


def campaign_compositions(config: Config, path: Path | None = None) -> dict[str, Composition]:
    """The compositions of a campaign by name, with the formal charges of all their elements.

    Charges that a row does not give are those of `transport.charges`.

    Args:
        config: the campaign.
        path: the table, when it is not the one that `compositions` names.

    Raises:
        InputError: a table that cannot be read, charges that are missing or do not add up to zero,
            a number of formula units that does not give whole atoms, a campaign that no computer
            could run, or a cutoff that no composition has a use for.
    """
    path, charges = path or compositions_path(config), config.transport.charges
    compositions = read_compositions(path)
    for composition in compositions.values():
        check_charges(composition, charges, path)
        composition.counts(config.formula_units)
    _check_size(config, compositions)
    _check_cutoffs(config, compositions)
    return {
        name: replace(composition, charges=composition.all_charges(charges))
        for name, composition in compositions.items()
    }


def _check_size(config: Config, compositions: Mapping[str, Composition]) -> None:
    for name, composition in compositions.items():
        atoms = sum(composition.counts(config.formula_units).values())
        if atoms > MOST_ATOMS:
            raise InputError(
                "formula_units",
                config.formula_units,
                f"makes {atoms} atoms of {name}; at most {MOST_ATOMS} fit on a large GPU",
            )
    trajectories = len(compositions) * config.replicas * len(config.temperatures_K)
    segments = trajectories * config.production.segments
    if segments > MOST_JOBS:
        raise InputError(
            "replicas",
            config.replicas,
            f"makes {trajectories} trajectories and {segments} segments; at most {MOST_JOBS} jobs "
            "are possible, so take fewer replicas or a longer production.segment_ps",
        )


def _check_cutoffs(config: Config, compositions: Mapping[str, Composition]) -> None:
    used = {
        frozenset(pair)
        for row in compositions.values()
        for pair in shell_pairs(row.mobile, row.center, row.ligands)
    }
    for pair, cutoff_A in config.transport.cutoffs_A.items():
        if frozenset(pair.split("-")) not in used:
            known = ", ".join(sorted("-".join(sorted(pair)) for pair in used))
            raise InputError(
                f"transport.cutoffs_A.{pair}", cutoff_A, f"no composition uses it; used are {known}"
            )


def compositions_path(config: Config) -> Path:
    """The table of compositions: the one that comes with Vitrion, or a file (see `locate`)."""
    return locate(table_path(config.compositions))


def choose(name: str, compositions: Mapping[str, Composition]) -> Composition:
    """A composition that was named on the command line.

    Raises:
        InputError: it is not in the table.
    """
    if name not in compositions:
        raise InputError("composition", name, f"use one of {', '.join(compositions)}")
    return compositions[name]


def locate(path: Path | str) -> Path:
    """A file that the configuration names: from the working folder, else beside the Snakefile."""
    beside = WORKFLOW / path
    return beside if beside.exists() and not Path(path).exists() else Path(path)


def check_files(config: Config) -> None:
    """Refuse a configuration that names data sets, models or a calculator that are not there.

    Raises:
        InputError: names the key and the file.
    """
    # A package that is installed without the workflow has no data either; it can still plan.
    is_alone = not (WORKFLOW / "Snakefile").is_file()
    absent = Dataset().sources if is_alone else ()
    for source in config.dataset.sources:
        if source not in absent and not locate(source).exists():
            raise InputError("dataset.sources", source, "no such file or folder")
    check_model("finetune.model", config.finetune.model, "train", "pretrained")
    check_model("finetune.start", config.finetune.start)
    label = config.dataset.label
    if label.engine == "ase":
        check_calculator("dataset.label.ase.calculator", label.ase.calculator)


def unlisted_held_out(config: Config, compositions: Mapping[str, Composition]) -> list[str]:
    """Held-out compositions that are neither the campaign's nor among the paper's 27."""
    listed = {*compositions, *read_compositions(SHIPPED)}
    return [name for name in config.dataset.split.held_out if name not in listed]


def check_model(key: str, model: str, *others: str) -> None:
    """Refuse a model that is neither one of those with a name nor a file.

    Args:
        key: the key or option that names it.
        model: the name or path.
        others: further names that the key takes.

    Raises:
        InputError: names the key, the model and the remedy.
    """
    known = (*others, *NAMED_MODELS)
    if model in known:
        return
    if not model.endswith(".safetensors"):
        raise InputError(key, model, f"use {', '.join(known)}, or a .safetensors file")
    if not Path(model).is_file():
        raise InputError(key, model, "no such file")


def check_calculator(key: str, path: str) -> None:
    """Refuse an import path whose module is not there.

    Raises:
        InputError: names the key, the path and the remedy.
    """
    module, _, name = path.partition(":")
    try:
        found = bool(module and name) and importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        remedy = "no such module; write it as ase.calculators.emt:EMT, and install its package"
        raise InputError(key, path, remedy)


def identify(model: str) -> str:
    """What a model is, wherever its file lies: the SHA-256 of the file, or the name of a model."""
    return sha256(Path(model).resolve()) if Path(model).is_file() else model


def contents(paths: Iterable[Path | str]) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file at some paths and in the folders among them.

    Names count from the parent of the path, so that they do not depend on where a folder lies.
    Compiled Python is left out, and so are hidden files such as editors write beside an open one.
    """
    found = []
    for path in map(Path, paths):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        found += [
            (p.relative_to(path.parent).as_posix(), sha256(p.resolve()))
            for p in files
            if p.is_file() and p.suffix != ".pyc" and not p.name.startswith(".")
        ]
    return found


def digest(paths: Iterable[Path | str]) -> str:
    """First 16 hexadecimal characters of one SHA-256 over the names and contents of files."""
    return hashlib.sha256(repr(contents(paths)).encode()).hexdigest()[:16]


def provenance(config: Config) -> dict[str, object]:
    """The origin of a table, for its file metadata."""
    return {
        "campaign": config.campaign,
        "campaign_seed": config.seed,
        "config_hash": config.hash(),
    }


def job_seed(config: Config, stage: str, *key: object) -> int:
    """Seed of a job, from the campaign's seed, its stage and what identifies it in the stage.

    Args:
        config: the campaign.
        stage: sample, dataset, finetune, validation, quench or equilibrate.
        key: values of the wildcards of its rule in the order of the paths: generation (left out
            when it is the first), composition, temperature with four digits, replica.
    """
    return derive_seed(config.seed, stage, *(value for value in key if value != ""))
