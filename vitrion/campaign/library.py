"""Finished glasses that a campaign starts from (`quench.from_library`) and does not make itself.

A library is a folder like the `quench/` of a campaign: for each composition and replica a folder
with the files of `quench_glass`. So the `quench/` of a finished campaign is one, or a copy of it.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vitrion.base.errors import InputError
from vitrion.base.files import whole_file
from vitrion.campaign import layout
from vitrion.campaign.model_card import read_card
from vitrion.campaign.opening import contents, locate
from vitrion.config import Config
from vitrion.structure.compositions import Composition

logger = logging.getLogger("vitrion")

KEY = "quench.from_library"
FILES = tuple(Path(path).name for path in layout.RULES["take_glass"].outputs.values())
GLASS = Path(layout.RULES["take_glass"].outputs["glass"]).name
# What the comment of a glass must say of its origin.
ORIGIN = ("composition", "seed", "model_hash", "protocol")


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

    Glasses of another model than the campaign's are warned of, where its hash is known already.

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
        for replica in range(config.replicas):
            origin = _origin(library, composition, replica, config.formula_units)
            if model_hash and origin["model_hash"] != model_hash:
                others.setdefault(str(origin["model_hash"]), []).append(f"{name} r{replica}")
    for other, glasses in others.items():
        warn_of_other_model(", ".join(glasses), other, model_hash)


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
    import ase.io  # imports scipy, which a campaign without library does without

    folder = library_folder(library, composition.composition, replica)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            KEY,
            library,
            f"has no {' and no '.join(missing)} in {folder}; make the glass with vitrion quench "
            f"{composition.composition} --replica {replica} --model MODEL --configfile FILE "
            f"--out {folder}, or leave it out (compositions, replicas)",
        )
    path = folder / GLASS
    try:
        (glass,) = ase.io.iread(path, index=":", format="extxyz")
    except Exception as error:  # ASE's readers raise many kinds of errors
        raise InputError(KEY, str(path), f"cannot be read as extxyz ({error})") from None
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
    return dict(glass.info)
