"""Finished glasses that a campaign starts from (`quench.from_library`) and does not make itself.

A library is a folder like the `quench/` of a campaign: for each composition and replica a folder
with the files of `quench_glass`. So the `quench/` of a finished campaign is one, or a copy of it.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.base.units import U_A3_TO_G_CM3
from vitrion.campaign import layout
from vitrion.campaign.model_card import read_card
from vitrion.campaign.opening import contents, locate
from vitrion.config import Config, Quench
from vitrion.structure.compositions import Composition

logger = logging.getLogger("vitrion")

KEY = "quench.from_library"
FILES = tuple(Path(path).name for path in layout.RULES["take_glass"].outputs.values())
GLASS = Path(layout.RULES["take_glass"].outputs["glass"]).name
# What the comment of a glass must say of its origin.
ORIGIN = ("composition", "seed", "model_hash", "density_g_cm3", "protocol")
TABLES = tuple(Path(name).stem for name in FILES if name.endswith(".parquet"))
DENSITY_TOLERANCE = 1e-3  # the comment has it with five digits


def library_folder(library: str, composition: str, replica: int | str) -> Path:
    """Folder of one glass of a library, which is looked for as `locate` does."""
    glass = layout.fill(layout.LIBRARY_GLASS, composition=composition, replica=replica)
    return locate(library) / glass


def library_contents(library: str, composition: str, replica: int | str) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of one glass, wherever the library lies."""
    folder = library_folder(library, composition, replica)
    return contents(folder / name for name in FILES)


def check_library(config: Config, compositions: Mapping[str, Composition]) -> None:
    """Refuse a library without a fitting glass for each composition and replica of the campaign.

    Glasses of another model than the campaign's are warned of, where its hash is known already, and
    so are settings of a protocol, which makes no glass here.

    Raises:
        InputError: names the glass, what is wrong with it and the remedy.
    """
    library = config.quench.from_library
    if library is None:
        return
    own = layout.results(config.campaign) / layout.QUENCH
    if locate(library).resolve() == own.resolve():
        raise InputError(
            KEY, library, "are this campaign's own glasses; give it another name (campaign)"
        )
    model = config.finetune.model
    model_hash = str(read_card(model).get("model_hash", "")) if model != "train" else ""
    others: dict[str, list[str]] = {}
    for name, composition in compositions.items():
        folders: dict[object, Path] = {}
        for replica in range(config.replicas):
            origin = _origin(library, composition, replica, config.formula_units)
            folder = library_folder(library, name, replica)
            if twin := folders.get(origin["seed"]):
                raise InputError(
                    KEY,
                    str(folder),
                    f"has the seed of {twin} ({origin['seed']}), so the two are no independent "
                    f"glasses; make it with vitrion quench {name} --replica {replica}, or ask for "
                    "fewer (replicas)",
                )
            folders[origin["seed"]] = folder
            if model_hash and origin["model_hash"] != model_hash:
                others.setdefault(str(origin["model_hash"]), []).append(f"{name} r{replica}")
    for other, glasses in others.items():
        warn_of_other_model(", ".join(glasses), other, model_hash)
    _warn_of_protocol(config)


def _warn_of_protocol(config: Config) -> None:
    """Warn of settings that would make other glasses than the default ones, and make none."""
    default = Quench()
    changed = {
        key: value
        for key in (*default.protocol, "attempts")
        if (value := getattr(config.quench, key)) != getattr(default, key)
    }
    if config.finetune.model == "train":
        changed.pop("melt_timestep_fs", None)  # the stability test uses it
    if changed:
        logger.warning(
            "%s: the glasses come from %s, so %s no glass; take %s out of the configuration",
            KEY,
            config.quench.from_library,
            ", ".join(f"quench.{key} = {value}" for key, value in changed.items())
            + (" makes" if len(changed) == 1 else " make"),
            "it" if len(changed) == 1 else "them",
        )


def take_glass(
    library: str,
    composition: Composition,
    replica: int,
    out: Path,
    *,
    formula_units: int,
    model_hash: str,
) -> None:
    """Copy the files of one glass, as they are, to where the campaign looks for its own.

    Args:
        library: folder of the library.
        composition: what the glass is made of.
        replica: its number, in the library and in the campaign.
        out: folder to write.
        formula_units: size that it must have.
        model_hash: of the campaign's model; a glass of another one is warned of.

    Raises:
        InputError: no such glass, or one that does not fit.
    """
    origin = _origin(library, composition, replica, formula_units)
    if origin["model_hash"] != model_hash:
        warn_of_other_model(
            f"{composition.composition} r{replica}", str(origin["model_hash"]), model_hash
        )
    source = library_folder(library, composition.composition, replica)
    for name in FILES:
        with whole_file(out / name) as partial:
            shutil.copyfile(source / name, partial)
    logger.info("taken from %s: seed %s, protocol %s", source, origin["seed"], origin["protocol"])


def warn_of_other_model(glasses: str, theirs: str, ours: str) -> None:
    """Warn of glasses that another model made than the one that production runs with."""
    logger.warning(
        "%s: made with the model %s, while the campaign's is %s: %s. Equilibration changes their "
        "density, hardly their network",
        KEY,
        theirs,
        ours,
        glasses,
    )


def _origin(
    library: str, composition: Composition, replica: int, formula_units: int
) -> dict[str, object]:
    """What the comment of a glass says, when its files are there and it fits the campaign."""
    # They import scipy and pandas, which a campaign without library does without.
    from vitrion.structure.files import comment_word, read_structure

    folder = library_folder(library, composition.composition, replica)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            KEY,
            library,
            f"has no {' and no '.join(missing)} in {folder}; make the glass with vitrion quench "
            f"{composition.composition} --replica {replica} --model MODEL --configfile FILE "
            f"--out {folder}, where FILE has formula_units: {formula_units} and the protocol "
            "(quench), or leave it out (compositions, replicas)",
        )
    path = folder / GLASS
    glass = read_structure(path, KEY)
    n_lines = len(path.read_text().splitlines())
    if n_lines != len(glass) + 2:
        raise InputError(
            KEY, str(path), f"has {n_lines} lines, one structure of {len(glass)} atoms has two more"
        )
    unknown = [key for key in ORIGIN if key not in glass.info]
    if unknown:
        raise InputError(
            KEY,
            str(path),
            f"does not say its {', '.join(unknown)}; glasses of vitrion quench do, those made "
            "before this key was there need it added to their comment",
        )
    if glass.info["composition"] != composition.composition:
        raise InputError(
            KEY, str(path), f"is {glass.info['composition']}, not {composition.composition}"
        )
    wanted, found = composition.counts(formula_units), Counter(map(str, glass.symbols))
    if found != wanted:
        raise InputError(
            KEY,
            str(path),
            f"is {glass.symbols}, but formula_units = {formula_units} asks for "
            f"{''.join(f'{element}{count}' for element, count in wanted.items())}",
        )
    density_g_cm3 = glass.get_masses().sum() * U_A3_TO_G_CM3 / glass.get_volume()
    said_g_cm3 = glass.info["density_g_cm3"]
    if not math.isclose(density_g_cm3, said_g_cm3, rel_tol=DENSITY_TOLERANCE):
        raise InputError(
            KEY,
            str(path),
            f"says {said_g_cm3} g/cm³, but its cell gives {density_g_cm3:.4g}; one of the two was "
            "changed, take the file as vitrion quench wrote it",
        )
    for table in TABLES:
        _check_table(folder / f"{table}.parquet", table, glass.info["seed"])
    return {**glass.info, "model_hash": comment_word(path, "model_hash")}


def _check_table(path: Path, name: str, seed: object) -> None:
    """Refuse a table that is damaged, another one, or of another glass."""
    from vitrion.tables.io import read_table

    try:
        attrs = read_table(path).attrs
    except InputError as error:
        raise InputError(KEY, str(path), str(error)) from None
    if attrs.get("table") != name:
        raise InputError(KEY, str(path), f"is a table {attrs.get('table')}, not {name}")
    if attrs.get("seed") != seed:
        raise InputError(
            KEY,
            str(path),
            f"is of the seed {attrs.get('seed')}, but the glass beside it of {seed}; copy the "
            "files of one glass together",
        )
