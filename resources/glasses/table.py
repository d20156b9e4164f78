"""Print the table of the README: one row for each glass of this folder.

    python resources/glasses/table.py

Density and coordination are means over the second half of the anneal at 300 K and zero pressure.
"""

from __future__ import annotations

from pathlib import Path

from vitrion.structure.compositions import SHIPPED, read_compositions
from vitrion.tables.io import read_table
from vitrion.trajectory.checks import COORDINATION, DENSITY

LIBRARY = Path(__file__).parent
HEADER = """\
| glass | seed | density, g/cm³ | of mixture | four ligands, % | five or more | failed checks |
| --- | --: | --: | --: | --: | --: | --- |"""


def rows() -> list[str]:
    """The rows, in the order of the table of compositions."""
    found = []
    for name, composition in read_compositions(SHIPPED).items():
        for path in sorted((LIBRARY / name).glob("r*/glass_checks.parquet")):
            folder = path.parent
            table = read_table(folder / "glass_measurements.parquet")
            measured = table.set_index("quantity")["value"]
            checks = read_table(path)
            four = measured.get(COORDINATION.format(4), 0.0)
            more = sum(measured.get(COORDINATION.format(n), 0.0) for n in range(5, 13))
            found.append(
                f"| {name}/{folder.name} | {table.attrs['seed']} | {measured[DENSITY]:.2f} "
                f"| {measured[DENSITY] / composition.density_guess_g_cm3:.2f} "
                f"| {100 * four:.0f} | {100 * more:.0f} "
                f"| {', '.join(checks['check'][~checks['passed']]) or 'none'} |"
            )
    return found


if __name__ == "__main__":
    print("\n".join([HEADER, *rows()]))
