"""What figures with one panel for each composition share: the panels, and the roles of elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrion.base.text import names
from vitrion.report.campaign_tables import CampaignTables
from vitrion.report.style import color, panels, say_nothing
from vitrion.transport.quantities import ion_of

NO_TRAJECTORY = "no trajectory at this temperature:\nnot made, or flagged and left out"
NOT_DIFFUSIVE = "the mobile ion is not diffusive\nin the time simulated"
_HALOGENS = {"F", "Cl", "Br", "I"}
_LINES = ("-", "--", ":", "-.")


def composition_panels(
    tables: CampaignTables,
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    empty: str | None = NO_TRAJECTORY,
) -> tuple[Figure, Iterator[tuple[str, Axes, pd.DataFrame]]]:
    """`panels` for the compositions of a campaign; those with flagged data say so.

    Args:
        tables: the campaign's.
        data: what is drawn, with a column `composition`.
        x, y: what the axes show.
        empty: written into the panel of a composition without rows; None for nothing.

    Returns:
        The figure, and each composition with its panel and its rows of the data.
    """
    figure, named = panels(tables.compositions(), x=x, y=y, flagged=tables.flagged_compositions())

    def with_rows() -> Iterator[tuple[str, Axes, pd.DataFrame]]:
        for composition, panel in named:
            rows = data[data["composition"] == composition]
            if rows.empty and empty is not None:
                say_nothing(panel, empty)
            yield composition, panel, rows

    return figure, with_rows()


@dataclass(frozen=True)
class Role:
    """What an element is in its glass, and how its curves are drawn in every figure.

    Attributes:
        name: mobile ion, central cation, halide (or ligand) or oxygen, numbered where there are
            several.
        short: A, M, X or O, numbered likewise.
        color, line: of its curves.
    """

    name: str
    short: str
    color: str
    line: str


def element_roles(row: pd.Series) -> dict[str, Role]:
    """The roles of the elements of a glass.

    Args:
        row: of a table that has `mobile`, `center` and `ligands`.

    Returns:
        Mobile ions, central cations, then ligands, oxygen last.
    """
    ligands = names(row["ligands"])
    others = [element for element in ligands if element != "O"]
    groups = (
        ("mobile ion", "A", names(row["mobile"])),
        ("central cation", "M", names(row["center"])),
        ("halide" if set(others) <= _HALOGENS else "ligand", "X", others),
        ("oxygen", "O", [element for element in ligands if element == "O"]),
    )
    found = {}
    for index, (name, short, elements) in enumerate(groups):
        for number, element in enumerate(elements, start=1):
            several = len(elements) > 1
            found[element] = Role(
                f"{name} {number}" if several else name,
                f"{short}{number}" if several else short,
                color(index),
                _LINES[(number - 1) % len(_LINES)],
            )
    return found


def by_ion(rows: pd.DataFrame) -> Iterator[tuple[Role, str, pd.DataFrame]]:
    """Rows of each mobile ion of one composition.

    Args:
        rows: of a table that names the ion in `species`, or in `quantity` (D_mobile:Li).

    Yields:
        Role, what its labels end with (nothing where it is the only one), and its rows.
    """
    if rows.empty:
        return
    roles = element_roles(rows.iloc[0])
    ions = names(rows["mobile"].iloc[0])
    for ion in ions:
        own = rows["species"] if "species" in rows else ion_of(rows["quantity"])
        chosen = rows if len(ions) == 1 else rows[own == ion]
        yield roles[ion], "" if len(ions) == 1 else f", {ion}", chosen
