import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from vitrion.base.errors import InputError
from vitrion.config import Dataset, Split
from vitrion.dataset import prepare_dataset
from vitrion.dataset.align import fit_alignment, fitted_frames, is_determined
from vitrion.dataset.frame import write_frames
from vitrion.dataset.split import assign_splits, check_splits
from vitrion.potential import CHGNetCalculator

GLASSES = [
    [a] * 4 + [m] * 4 + [x] * 10 + ["O"] * 3
    for a in ("Li", "Na", "K")
    for m in ("Al", "Ga", "In")
    for x in ("Cl", "Br", "I")
]
SHIFTS = dict(Li=-1.0, Na=2.0, K=0.3, Al=-4.0, Ga=1.1, In=0.0, Cl=7.0, Br=-2.0, I=0.5, O=3.0)


def test_alignment_removes_what_the_compositions_determine():
    residual = [np.mean([SHIFTS[s] for s in glass]) for glass in GLASSES]
    alignment = fit_alignment(GLASSES, residual)
    # 10 elements, but all glasses have the same shares of mobile, central, halide and oxide ions.
    assert alignment.rank == 7
    assert alignment.residual_max_eV_atom < 1e-12
    for glass, value in zip(GLASSES, residual, strict=True):
        assert alignment.total_shift_eV(glass) / len(glass) == pytest.approx(value, abs=1e-12)
    norm = np.linalg.norm(list(alignment.shift_eV.values()))
    assert norm < np.linalg.norm(list(SHIFTS.values()))


def test_alignment_reports_what_is_left():
    residual = [0.5 + 0.01 * (-1) ** i for i in range(10)]
    alignment = fit_alignment([GLASSES[0]] * 10, residual)
    assert alignment.rank == 1
    assert alignment.residual_rms_eV_atom == pytest.approx(0.01)
    assert alignment.total_shift_eV(GLASSES[0]) == pytest.approx(0.5 * 21)


def test_other_frames_determine_only_what_the_first_leave_open():
    glasses = [np.mean([SHIFTS[s] for s in glass]) for glass in GLASSES]
    crystals = [["Li", "Cl"], ["Li", "Li", "O"], ["Al", "Cl", "Cl", "Cl"], ["Li", "Al", "O", "O"]]
    # A potential that is off by 0.1 eV/atom for crystals.
    off = [0.1 + np.mean([SHIFTS[s] for s in crystal]) for crystal in crystals]
    first = [True] * len(glasses) + [False] * len(crystals)
    alignment = fit_alignment(GLASSES + crystals, glasses + off, first)
    assert alignment.rank == 9  # of 10 elements; every cell is neutral
    for glass, value in zip(GLASSES, glasses, strict=True):
        assert alignment.total_shift_eV(glass) / len(glass) == pytest.approx(value, abs=1e-9)
    alike = fit_alignment(GLASSES + crystals, glasses + off)
    assert abs(alike.total_shift_eV(GLASSES[0]) / len(GLASSES[0]) - glasses[0]) > 1e-3


def test_alignment_finds_the_shifts_of_free_compositions():
    rng = np.random.default_rng(1)
    cells = [rng.choice(list(SHIFTS), size=20).tolist() for _ in range(60)]
    alignment = fit_alignment(cells, [np.mean([SHIFTS[s] for s in cell]) for cell in cells])
    assert alignment.shift_eV == pytest.approx(SHIFTS, abs=1e-9)


def test_what_compositions_determine():
    by_name = {glass[0] + glass[4] + glass[8]: glass for glass in GLASSES}
    three = [by_name[name] for name in ("LiAlCl", "NaAlCl", "LiGaBr")]
    assert is_determined(by_name["NaGaBr"], three)  # swap Na for Li in LiGaBr
    assert not is_determined(by_name["LiAlBr"], three)  # Ga and Br only come together
    assert not is_determined(by_name["KAlCl"], three)
    assert not is_determined(by_name["LiAlCl"], [])
    assert all(is_determined(glass, GLASSES[:-1]) for glass in GLASSES)


def test_held_out_frames_are_fitted_only_where_the_others_leave_their_shift_open():
    names = [glass[0] + glass[4] + glass[8] for glass in GLASSES]
    assert fitted_frames(names, GLASSES, [False] * 27) == list(range(27))
    held_out = [name in ("LiAlCl", "KInI") for name in names]
    assert fitted_frames(names, GLASSES, held_out) == list(range(1, 26))
    # Nothing else with iodine, so its glasses are fitted too, after the others.
    held_out = [name.endswith("I") or name == "LiAlCl" for name in names]
    chosen = fitted_frames(names, GLASSES, held_out)
    assert [names[i][-1] == "I" for i in chosen] == [False] * 17 + [True] * 9
    assert fitted_frames(names, GLASSES, [True] * 27) == list(range(27))


def campaign(n_trajectories=8, frames_each=3):
    keys = [
        (composition, f"{composition}-p{trajectory}")
        for composition in ("LiAlCl", "NaGaBr", "KInI")
        for trajectory in range(n_trajectories)
        for _ in range(frames_each)
    ]
    return [c for c, _ in keys], [t for _, t in keys]


def test_no_trajectory_is_on_two_sides_and_held_out_compositions_only_test():
    compositions, trajectories = campaign()
    split = assign_splits(compositions, trajectories, settings=Split(held_out=("KInI",)), seed=5)
    sides = {}
    for composition, trajectory, side in zip(compositions, trajectories, split, strict=True):
        assert sides.setdefault(trajectory, side) == side
        assert (side == "test") == (composition == "KInI")
    for composition in ("LiAlCl", "NaGaBr"):
        here = [s for c, s in zip(compositions, split, strict=True) if c == composition]
        assert here.count("val") == 3  # one trajectory of 3 is nearest to 15 % of 24
    assert split != assign_splits(
        compositions, trajectories, settings=Split(held_out=("KInI",)), seed=6
    )


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_share_is_met_as_well_as_whole_trajectories_allow(fraction):
    compositions, trajectories = campaign(n_trajectories=10, frames_each=2)
    split = assign_splits(
        compositions, trajectories, settings=Split(validation_fraction=fraction), seed=1
    )
    assert split.count("val") == pytest.approx(fraction * len(split), abs=3)


def test_split_depends_on_the_seed_alone_not_on_the_order():
    compositions, trajectories = campaign()
    order = np.random.default_rng(0).permutation(len(compositions))
    split = assign_splits(compositions, trajectories, settings=Split(), seed=9)
    shuffled = assign_splits(
        [compositions[i] for i in order],
        [trajectories[i] for i in order],
        settings=Split(),
        seed=9,
    )
    assert [split[i] for i in order] == shuffled


def test_trajectories_may_be_numbered(tmp_path):
    """`trajectory=3` in an extxyz file is a number."""
    frames = []
    for number in range(6):
        atoms = bulk("Cu", a=3.6 + 0.01 * number, cubic=True)
        atoms.rattle(0.05, seed=number)
        atoms.calc = CHGNetCalculator("0.3.0")
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info["trajectory"] = number % 2
        frames.append(atoms)
    write_frames(tmp_path / "a.extxyz", frames)
    table = prepare_dataset(
        [tmp_path / "a.extxyz"],
        tmp_path / "out",
        settings=Dataset(functional="PBE"),
        model="0.3.0",
        seed=1,
    )
    assert table["split"].value_counts().to_dict() == {"train": 3, "val": 3}


def test_nothing_to_train_or_validate_on_is_refused():
    compositions, trajectories = campaign(n_trajectories=1)
    held_out = Split(held_out=("LiAlCl", "NaGaBr", "KInI"))
    for settings, key in ((Split(), "validation_fraction"), (held_out, "held_out")):
        assigned = assign_splits(compositions, trajectories, settings=settings, seed=0)
        with pytest.raises(InputError, match=key):
            check_splits(assigned, settings)
