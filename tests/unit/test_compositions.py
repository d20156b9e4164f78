"""Compositions: counts, charges, densities, and tables that are wrong."""

from pathlib import Path

import pytest

from vitrion.compositions import read_compositions
from vitrion.errors import InputError

ROOT = Path(__file__).parents[2]
HEAD = "composition\talkali\tmetal\thalogen\tformula\tdensity_guess_g_cm3\n"
GOOD = "LiAlCl\tLi\tAl\tCl\tLiAlCl2.5O0.75\t2.5\n"


def test_paper_glass_has_1302_atoms() -> None:
    composition = read_compositions(ROOT / "resources/compositions.tsv")["LiAlCl"]
    assert composition.counts(248) == {"Li": 248, "Al": 248, "Cl": 620, "O": 186}
    assert sum(composition.counts(4).values()) == 21


def test_all_are_neutral_and_complete() -> None:
    compositions = read_compositions(ROOT / "resources/compositions.tsv")
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
    assert len({(c.alkali, c.metal, c.halogen) for c in compositions.values()}) == 27
    assert all(c.charge(charges) == 0 for c in compositions.values())


def test_volume_gives_the_density() -> None:
    composition = read_compositions(ROOT / "resources/compositions.tsv")["LiAlCl"]
    # Molar mass of LiAlCl2.5O0.75: 6.94 + 26.982 + 2.5·35.45 + 0.75·15.999 = 134.546 g/mol.
    expected_A3 = 4 * 134.546 / 6.02214076e23 / 2.0 * 1e24
    assert composition.volume_A3(4, 2.0) == pytest.approx(expected_A3, rel=1e-4)


def test_broken_number_of_formula_units() -> None:
    composition = read_compositions(ROOT / "resources/compositions.tsv")["LiAlCl"]
    with pytest.raises(InputError, match="multiple of 4"):
        composition.counts(6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns"),
        (HEAD, "empty"),
        ("a,b\n", "columns"),
        (HEAD + GOOD + GOOD, "listed twice"),
        (HEAD + GOOD.replace("\tLi\t", "\tXx\t"), "not an element"),
        (HEAD + GOOD.replace("LiAlCl2.5O0.75", "NaAlCl2.5O0.75"), "the row's three elements"),
        (HEAD + GOOD.replace("LiAlCl2.5O0.75", "Li(Al"), "the row's three elements"),
        (HEAD + GOOD.replace("2.5\n", "dense\n"), "in g/cm³"),
        (HEAD + GOOD.replace("\t2.5\n", "\t2500\n"), "in g/cm³"),
        (HEAD + GOOD.replace("LiAlCl\t", "Li/Al\t", 1), "letters and digits"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "compositions.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_compositions(path)


def test_missing_file() -> None:
    with pytest.raises(InputError, match="no such file"):
        read_compositions("nowhere.tsv")
