"""One way to open a campaign, for the workflow and every command: files, compositions, seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.base.files import sha256
from vitrion.base.seeds import derive_seed
from vitrion.config import Config, load_config
from vitrion.structure.compositions import Composition, check_charges, read_compositions, table_path

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
            or a number of formula units that does not give whole atoms.
    """
    path, charges = path or compositions_path(config), config.transport.charges
    compositions = read_compositions(path)
    for composition in compositions.values():
        check_charges(composition, charges, path)
        composition.counts(config.formula_units)
    return {
        name: replace(composition, charges=composition.all_charges(charges))
        for name, composition in compositions.items()
    }


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
    """Refuse a configuration that names data sets or models that are not there.

    Raises:
        InputError: names the key and the file.
    """
    for source in config.dataset.sources:
        if not locate(source).exists():
            raise InputError("dataset.sources", source, "no such file or folder")
    for key, model in config.select("finetune.model", "finetune.start").items():
        if model.endswith(".safetensors") and not Path(model).is_file():
            raise InputError(key, model, "no such file")


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
