"""Compositions: counts, charges, densities, and tables that are wrong."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition as Formula

from vitrion.base.errors import InputError
from vitrion.campaign.opening import campaign_compositions
from vitrion.config import Config
from vitrion.potential import load_model
from vitrion.structure.compositions import (
    HEAVIEST,
    Composition,
    parse_formula,
    read_compositions,
)

ROOT = Path(__file__).parents[2]
# A row of another family, and of the paper's as its table has it.
OTHER = {
    "composition": "LiYClO",
    "formula": "Li3YCl4O",
    "density_guess_g_cm3": "2.5",
    "mobile": "Li",
    "center": "Y",
    "ligands": "Cl,O",
    "charges": "Li=1,Y=3,Cl=-1,O=-2",
    "coordination": "5-7",
}
PAPER = {
    "composition": "LiAlCl",
    "mobile": "Li",
    "center": "Al",
    "ligands": "Cl,O",
    "formula": "LiAlCl2.5O0.75",
    "density_guess_g_cm3": "2.5",
}


def table(tmp_path: Path, *rows: dict[str, str]) -> Path:
    """A file with these rows and the columns that they have."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    path = tmp_path / "compositions.tsv"
    path.write_text("".join("\t".join(cells) + "\n" for cells in lines))
    return path


def read(tmp_path: Path, *rows: dict[str, str], formula_units: int = 4) -> dict[str, Composition]:
    """The rows as a campaign reads them."""
    return campaign_compositions(Config(formula_units=formula_units), table(tmp_path, *rows))


def test_paper_glass_has_1302_atoms() -> None:
    composition = read_compositions("shipped")["LiAlCl"]
    assert composition.counts(248) == {"Li": 248, "Al": 248, "Cl": 620, "O": 186}
    assert sum(composition.counts(4).values()) == 21


def test_all_are_neutral_and_complete() -> None:
    compositions = read_compositions("shipped")
    charges = {
        "Li": 1,
        "Na": 1,
        "K": 1,
        "Al": 3,
        "Ga": 3,
        "In": 3,
        "Cl": -1,
        "Br": -1,
        "I": -1,
        "O": -2,
    }
    assert len({(c.mobile, c.center, c.ligands) for c in compositions.values()}) == 27
    assert all(c.net_charge(charges) == 0 for c in compositions.values())


def test_volume_gives_the_density() -> None:
    composition = read_compositions("shipped")["LiAlCl"]
    # Molar mass of LiAlCl2.5O0.75: 6.94 + 26.982 + 2.5·35.45 + 0.75·15.999 = 134.546 g/mol.
    expected_A3 = 4 * 134.546 / 6.02214076e23 / 2.0 * 1e24
    assert composition.volume_A3(4, 2.0) == pytest.approx(expected_A3, rel=1e-4)


def test_broken_number_of_formula_units() -> None:
    composition = read_compositions("shipped")["LiAlCl"]
    with pytest.raises(InputError, match="multiple of 4"):
        composition.counts(6)


symbols = st.sampled_from(["H", "Li", "O", "Cl", "C", "Al", "P", "S", "Co", "Y", "Pu"])
amounts = st.sampled_from(["", "1", "2", "12", "0.5", "2.5", "0.333", ".25", "3."])
flat_formulas = st.lists(st.builds(str.__add__, symbols, amounts), min_size=1).map("".join)
formulas = st.lists(
    flat_formulas | st.builds("({}){}".format, flat_formulas, amounts), min_size=1, max_size=4
).map("".join)


@given(formulas)
def test_formulas_are_read_as_pymatgen_reads_them(formula: str) -> None:
    expected = Formula(formula).as_dict()
    found = parse_formula(formula)
    assert {element: float(amount) for element, amount in found.items()} == pytest.approx(expected)
    assert all(isinstance(amount, Fraction) for amount in found.values())


@given(st.text("HCO2.5()0 -+", max_size=8))
def test_what_is_not_a_formula_is_refused(text: str) -> None:
    """Either pymatgen reads the same in it, or it is refused."""
    try:
        found = parse_formula(text)
    except ValueError:
        return
    assert {e: float(amount) for e, amount in found.items()} == pytest.approx(
        Formula(text).as_dict(), abs=1e-12
    )


@pytest.mark.parametrize(
    "text", ["", "Li0", "li2o", "Li-1", "Li3(YCl4", "LiCl)", "()2Li", "Li 2", "2Li", "Li2(", "Li+"]
)
def test_broken_formulas(text: str) -> None:
    with pytest.raises(ValueError, match="not a formula"):
        parse_formula(text)


def test_another_family(tmp_path: Path) -> None:
    found = read(tmp_path, OTHER)["LiYClO"]
    assert (found.mobile, found.center, found.ligands) == (("Li",), ("Y",), ("Cl", "O"))
    assert (found.mobile, found.center) == (("Li",), ("Y",))
    assert found.coordination == (5, 7)
    assert found.counts(4) == {"Li": 12, "Y": 4, "Cl": 16, "O": 4}
    assert found.net_charge({}) == 0


MIXED = {
    **PAPER,
    "composition": "LiNaAlGaClIO",
    "formula": "Li0.5Na0.5Al0.5Ga0.5Cl2I0.5O0.75",
    "mobile": "Li,Na",
    "center": "Al,Ga",
    "ligands": "Cl,I,O",
}


def test_roles_take_lists(tmp_path: Path) -> None:
    found = read(tmp_path, MIXED)["LiNaAlGaClIO"]
    assert (found.mobile, found.center) == (("Li", "Na"), ("Al", "Ga"))
    assert found.key["center"] == "Al,Ga"
    counts = {"Li": 2, "Na": 2, "Al": 2, "Ga": 2, "Cl": 8, "I": 2, "O": 3}
    assert (found.smallest_cell, found.counts(4)) == (4, counts)
    for role, element in (("mobile", "Na"), ("center", "Ga")):
        names = ",".join(name for name in MIXED[role].split(",") if name != element)
        with pytest.raises(InputError, match=rf"= '{element}': {element}\+\d has no role"):
            read(tmp_path, {**MIXED, role: names})


def test_families_side_by_side_and_defaults(tmp_path: Path) -> None:
    """A cell that is empty takes the default; a row's charges go before the configuration's."""
    iron = {**OTHER, "composition": "Fe", "formula": "LiFeCl2O0.5", "center": "Fe"}
    iron |= {"charges": "Fe=2", "coordination": ""}
    found = read(tmp_path, PAPER, OTHER, iron)
    assert found["LiAlCl"].ligands == ("Cl", "O")
    assert found["LiAlCl"].coordination == found["Fe"].coordination == (4, 4)
    assert found["LiAlCl"].charges == {"Li": 1, "Al": 3, "Cl": -1, "O": -2}
    assert found["Fe"].charges == {"Li": 1, "Fe": 2, "Cl": -1, "O": -2}


@pytest.mark.parametrize(
    ("older", "newer"), [("alkali", "mobile"), ("metal", "center"), ("halogen", "ligands")]
)
def test_retired_columns_name_their_successor(tmp_path: Path, older: str, newer: str) -> None:
    row = {older if column == newer else column: cell for column, cell in PAPER.items()}
    with pytest.raises(InputError, match=f"{older}.*now called {newer}"):
        read(tmp_path, row)


def test_spreadsheets_files_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, OTHER)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert campaign_compositions(Config(formula_units=1), path)["LiYClO"].ligands == ("Cl", "O")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns of .*add, tab-separated: composition"),
        ("\t".join(OTHER) + "\n", "empty"),
        ("composition,formula\n", "columns of .*'composition,formula': unknown"),
        ("composition\tformula\tligand\n", "'ligand': unknown.*did you mean ligands"),
        ("composition\tformula\tformula\n", "'formula': appears twice"),
        ("composition\tformula\tdensity_guess_g_cm3\tcenter\n", "add.*: mobile, ligands$"),
        ("\t".join(PAPER) + "\n" + "\t".join(PAPER.values()) + "\tmore\n", "row 1 of .*more cells"),
    ],
)
def test_broken_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "compositions.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_compositions(path)


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "compositions.tsv"
    path.write_bytes("composition".encode("utf-16"))
    with pytest.raises(InputError, match="save it as UTF-8"):
        read_compositions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"composition": "Li/Y"}, "composition in .* = 'Li/Y': use letters and digits"),
        ({"composition": "1e3"}, "composition in .* = '1e3': reads as a number or a truth value"),
        ({"composition": "InF"}, "composition in .* = 'InF': reads as a number or a truth value"),
        ({"composition": "T"}, "composition in .* = 'T': reads as a number or a truth value"),
        ({"formula": "Li3(YCl4"}, "formula of LiYClO in .*not a formula"),
        ({"formula": ""}, "formula of LiYClO in .* = '': not a formula"),
        ({"formula": "Li3QCl4O"}, "formula of LiYClO in .* = 'Q': not an element"),
        ({"formula": "Li3CmCl4O"}, "formula of LiYClO in .* = 'Cm': CHGNet does not know"),
        ({"formula": "Li2YCl4O"}, r"formula of LiYClO .* = 'Li2YCl4O': not neutral .*\(-1 e\)"),
        ({"mobile": ""}, "mobile of LiYClO in .* = '': name one element"),
        ({"mobile": "Li,Na"}, "mobile of LiYClO in .* = 'Na': not in the formula"),
        ({"mobile": "Li,Li"}, "the mobile ion .* must differ"),
        ({"center": "Cl", "ligands": "O"}, r"center of LiYClO in .* = 'Y': Y\+3 has no role"),
        ({"mobile": "Na"}, "mobile of LiYClO in .* = 'Na': not in the formula Li3YCl4O; .*Li, Y"),
        ({"center": "Sc"}, "center of LiYClO in .* = 'Sc': not in the formula"),
        ({"center": "yttrium"}, "center of LiYClO in .* = 'yttrium': not an element"),
        ({"ligands": "Cl,S"}, "ligands of LiYClO in .* = 'S': not in the formula"),
        ({"ligands": ""}, "ligands of LiYClO in .* = '': name one element or more"),
        ({"ligands": "Cl,Li"}, "ligands of LiYClO in .* = 'Cl,Li': the mobile ion .* must differ"),
        ({"ligands": "Cl,Cl"}, "ligands of LiYClO in .* = 'Cl,Cl': .* each ligand must differ"),
        ({"center": "Li"}, "must differ"),
        ({"charges": ""}, "charges of LiYClO in .* = '': no charge of Y; add Y="),
        ({"charges": "Y"}, "charges of LiYClO in .* = 'Y': write each as NAME=number"),
        ({"charges": "Y=2.5"}, "not neutral with Li=\\+1,Y=\\+2.5"),
        ({"charges": "Y=3,Y=2"}, "names Y twice"),
        ({"charges": "Y=3,Sc=3"}, "charges of LiYClO in .* = 'Sc': not in the formula"),
        ({"charges": "Y=3,Li=0"}, "Li is a mobile ion, so its charge cannot be 0"),
        ({"charges": "Y=4"}, r"not neutral with Li=\+1,Y=\+4,Cl=-1,O=-2 \(\+1 e\)"),
        ({"density_guess_g_cm3": "dense"}, "density_guess_g_cm3 of LiYClO in .*in g/cm³"),
        ({"density_guess_g_cm3": "2500"}, "= '2500': give it in g/cm³, 0.1 to 20"),
        ({"coordination": "some"}, "coordination of LiYClO in .* = 'some': give a number, or"),
        ({"coordination": "7-5"}, "= '7-5': give a number"),
    ],
)  # fmt: skip
def test_wrong_row(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, {**OTHER, **change})


def test_listed_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"composition in .* = 'LiYClO': listed twice"):
        read(tmp_path, OTHER, OTHER)


def test_cell_without_whole_atoms(tmp_path: Path) -> None:
    """Halves, fifths and tenths together need ten formula units."""
    row = {**OTHER, "formula": "Li0.5Y0.2Cl0.1O0.5"}
    with pytest.raises(InputError, match=r"formula_units = 4: Li0.5.* of LiYClO .*multiple of 10"):
        read(tmp_path, row)
    assert read(tmp_path, row, formula_units=10)["LiYClO"].counts(10)["O"] == 5


def test_every_element_that_the_potential_knows() -> None:
    known = load_model("0.3.0").atom_embedding.embedding.num_embeddings
    assert known == HEAVIEST


def test_missing_file() -> None:
    with pytest.raises(InputError, match="no such file"):
        read_compositions("nowhere.tsv")
