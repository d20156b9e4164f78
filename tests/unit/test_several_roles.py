"""Two mobile ions, two network formers, mixed halides: what each has, and what all have together.

Half of the ions of a glass are called by another name of the same charge. Nothing moves otherwise,
so that totals stay as they are and parts add up to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from exact_systems import Ions, exact_walkers, rigid_clusters, walkers

from vitrion.base.errors import InputError
from vitrion.bench.analysis import glass
from vitrion.campaign.stopping import Decision
from vitrion.config import StopWhen, Transport
from vitrion.tables.io import headline
from vitrion.trajectory.unwrapping import Source, Trajectory
from vitrion.transport.analyze import transport_tables
from vitrion.transport.measure import measure_structure, measure_surroundings
from vitrion.transport.quantities import quantities
from vitrion.transport.roles import Roles

CHARGES = {"Li": 1, "Na": 1, "Al": 3, "Ga": 3, "Cl": -1, "I": -1, "O": -2}
ONE = Roles(("Li",), ("Al",), ("Cl", "O"))
SEVERAL = Roles(("Li", "Na"), ("Al", "Ga"), ("Cl", "O"))
CUTOFFS_A = {
    f"{a}-{b}": 4.0 if b in SEVERAL.mobile else 2.7
    for a in SEVERAL.center
    for b in ("Cl", "I", "O", *SEVERAL.mobile)
}


def renamed(source: Source, names: Mapping[str, str]) -> Source:
    """Every second atom of some elements under another name."""
    symbols = np.array(source.symbols)
    for element, name in names.items():
        symbols[np.flatnonzero(symbols == element)[1::2]] = name
    return replace(source, symbols=tuple(symbols.tolist()))


def small_glass(**names: str) -> Source:
    return renamed(glass(16, frames=300, interval_ps=1.0, D_A2_ps=0.1), names)


def analyze(source: Source, roles: Roles, **settings: object) -> dict[str, pd.DataFrame]:
    key = {
        "composition": "test",
        "mobile": ",".join(roles.mobile),
        "center": ",".join(roles.center),
        "ligands": ",".join(roles.ligands),
        "temperature_K": 600,
        "replica": 0,
    }
    chosen = {"discard_ps": 0.0, "charges": CHARGES, "cutoffs_A": CUTOFFS_A, **settings}
    return transport_tables(source, roles=roles, key=key, settings=Transport.model_validate(chosen))


@pytest.fixture(scope="module")
def one() -> dict[str, pd.DataFrame]:
    return analyze(small_glass(), ONE)


@pytest.fixture(scope="module")
def several() -> dict[str, pd.DataFrame]:
    return analyze(small_glass(Li="Na", Al="Ga"), SEVERAL)


@pytest.mark.parametrize("name", ["network", "qn", "percolation", "ligand_bonding"])
def test_the_network_has_all_central_cations(name, one, several):
    shares = [t[name].filter(regex="fraction|size|n_|directions") for t in (one, several)]
    pd.testing.assert_frame_equal(*shares)
    assert several[name]["center"].unique().tolist() == ["Al,Ga"]


def test_angles_are_named_by_their_elements(one, several):
    found = set(several["angles"]["atoms"])
    assert {"Cl-Al-Cl", "Cl-Ga-O", "Al-Cl-Al", "Al-Cl-Ga", "Ga-Cl-Ga"} <= found
    assert set(one["angles"]["atoms"]) == {n for n in found if "Ga" not in n}


def test_environments_are_counted_for_each_centre(one, several):
    by_element = several["coordination"].pivot_table(
        index="environment", columns="center_element", values="fraction", fill_value=0.0
    )
    assert by_element.sum().to_dict() == pytest.approx({"Al": 1, "Ga": 1})
    together = one["coordination"].set_index("environment")["fraction"]
    assert by_element.mean(axis=1).to_dict() == pytest.approx(together.to_dict())


def test_stays_are_those_of_each_ion_at_each_centre(one, several):
    """Departures add up; each pair has what it has alone."""
    total = one["residence"].set_index("environment").loc["all", "n_events"]
    every = several["residence"].query("environment == 'all'")
    assert every.set_index(["species", "center_element"]).index.tolist() == [
        ("Li", "Al"), ("Na", "Al"), ("Li", "Ga"), ("Na", "Ga")
    ]  # fmt: skip
    assert every["n_events"].sum() == total
    settings = Transport(discard_ps=0.0, charges=CHARGES, cutoffs_A=CUTOFFS_A)
    columns = ["environment", "tau_ps", "tau_err_ps", "dwell_ps", "n_events"]
    with Trajectory.read(small_glass(Li="Na", Al="Ga")) as trajectory:
        for ion, center in (("Li", "Al"), ("Na", "Ga")):
            roles = Roles((ion,), (center,), ("Cl", "O"))
            structure = measure_structure(trajectory, roles, settings)
            alone = measure_surroundings(trajectory, structure, roles, settings)[center]
            rows = several["residence"].query(f"species == '{ion}' & center_element == '{center}'")
            found = [
                (r.environment, r.tau_ps, r.tau_err_ps, r.dwell_ps, r.n_events)
                for r in alone.stays[ion].residence
            ]
            pd.testing.assert_frame_equal(
                rows[columns].reset_index(drop=True),
                pd.DataFrame(found, columns=columns).astype(rows[columns].dtypes),
            )


def test_jumps_of_each_ion_add_up(one, several):
    found = several["jumps"].set_index("species")["n_jumps"]
    assert list(found.index) == ["Li", "Na"]
    assert found.min() > 0
    assert found.sum() == one["jumps"]["n_jumps"].iloc[0]


def test_shares_of_the_mobile_ions_add_up(several):
    for (frame, method), rows in several["transference"].groupby(["frame", "method"]):
        t = rows.set_index("species")["t"]
        assert t.sum() == pytest.approx(1)
        together = several["conductivity"].query(f"frame == '{frame}' & method == '{method}'")
        assert t["Li"] + t["Na"] == pytest.approx(together["t_mobile"].iloc[0])


def test_one_mobile_ion_has_the_names_that_it_had(one):
    names = set(quantities(one)["quantity"])
    assert {"D_mobile", "haven_ratio", "t_mobile_einstein", "residence:all"} <= names
    assert not [name for name in names if name.startswith(("D_mobile:", "t_mobile_einstein:"))]


def test_several_mobile_ions_have_a_name_each(several):
    found = quantities(several).set_index("quantity")["value"]
    for ion in ("Li", "Na"):
        own = headline(several["haven"]).set_index("species").loc[ion, "haven_ratio"]
        assert found[f"haven_ratio:{ion}"] == own
        assert np.isfinite(found[f"D_mobile:{ion}"])
        at = f"{ion}:Ga:all"
        assert found[f"D_tau:{at}"] == pytest.approx(
            found[f"D_mobile:{ion}"] * 1e4 * found[f"residence:{at}"]
        )
    assert found["t_mobile_einstein:Li"] + found["t_mobile_einstein:Na"] == pytest.approx(
        found["t_mobile_einstein"]
    )
    shares = found[found.index.str.startswith("environment:Al:")]
    assert shares.sum() == pytest.approx(1)


def test_a_trajectory_ends_when_every_mobile_ion_is_known(several):
    rows = quantities(several)
    errors = rows.set_index("quantity")[["value", "err"]]
    relative = (errors["err"] / errors["value"]).loc[["D_mobile:Li", "D_mobile:Na"]]
    between = StopWhen(least_ps=1.0, quantities=["D_mobile"], relative_error=float(relative.mean()))
    decided = Decision.of(rows, between, length_ps=300.0)
    assert decided.relative_errors == pytest.approx(relative.to_dict())
    assert not decided.converged
    enough = between.model_copy(update={"relative_error": float(relative.max())})
    assert Decision.of(rows, enough, length_ps=300.0).converged


def test_walkers_of_two_mobile_elements_have_their_own_coefficients():
    """D, t and H_R of each against the exact ones, in the frame of positions as they are."""
    ions = [
        Ions("Li", 40, 1, 0.05, shared=0.2),
        Ions("Na", 30, 1, 0.02, shared=0.1),
        Ions("Cl", 70, -1, 0.01),
    ]
    source = walkers(ions, frames=1000, rng=np.random.default_rng(3))
    roles = Roles(("Li", "Na"))
    tables = analyze(source, roles, cutoffs_A={}, reference_frame="none", rdf_cutoff_A=3.0)
    for place, kind in enumerate(ions[:2]):
        # The first element is the mobile one of `exact_walkers`.
        exact = exact_walkers(
            [kind, *(other for other in ions if other is not kind)], temperature_K=600
        )
        diffusion = tables["diffusion"].query(f"frame == 'none' & species == '{kind.element}'")
        D_A2_ps, err = diffusion[["D_cm2_s", "D_err_cm2_s"]].to_numpy()[0] * 1e4
        assert D_A2_ps == pytest.approx(kind.D_A2_ps, abs=4 * err)
        haven = tables["haven"].query(f"frame == 'none' & species == '{kind.element}'")
        assert haven["haven_ratio"].iloc[0] == pytest.approx(
            exact["haven"], abs=4 * haven["haven_ratio_err"].iloc[0]
        )
        for method in ("nernst_einstein", "einstein"):
            t = tables["transference"].query(
                f"frame == 'none' & species == '{kind.element}' & method == '{method}'"
            )
            assert t["t"].iloc[0] == pytest.approx(
                exact[f"t:{method}"], abs=4 * t["t_err"].iloc[0]
            ), (place, method)


def test_rigid_clusters_of_two_centres_conduct_as_those_of_one():
    kinds = {"Li": (8, 0.01), "AlCl4": (4, 0.004), "Al2Cl7": (4, 0.006)}
    settings = {"reference_frame": "none", "rdf_cutoff_A": 3.0}
    found = []
    for names, center in (({}, ("Al",)), ({"Al": "Ga"}, ("Al", "Ga"))):
        source = rigid_clusters(kinds, frames=200, rng=np.random.default_rng(0))
        roles = Roles(("Li",), center, ("Cl",))
        tables = analyze(renamed(source, names), roles, **settings)
        rows = tables["conductivity"].query("frame == 'none'").set_index("method")
        found.append(rows.loc["cluster_nernst_einstein", ["sigma_mS_cm", "t_mobile"]])
    assert found[1].to_dict() == pytest.approx(found[0].to_dict(), rel=1e-6)
    clusters = tables["clusters"].set_index("cluster")["mean_count"]
    assert clusters.to_dict() == {"Li": 8, "AlCl7Ga": 4, "AlCl4": 2, "Cl4Ga": 2}


def test_mixed_halides_have_environments_of_their_own():
    roles = replace(SEVERAL, ligands=("Cl", "I", "O"))
    tables = analyze(small_glass(Li="Na", Al="Ga", Cl="I"), roles)
    names = set(tables["coordination"]["environment"])
    assert {"Cl3I1", "Cl2I1O1"} & names
    assert "X" not in "".join(names)


def test_a_cation_without_a_role_is_refused_by_name():
    source = small_glass(Al="Ga")
    with pytest.raises(InputError, match=r"center = 'Ga': Ga\+3 has no role.*central cations"):
        analyze(source, ONE)


def test_neutral_and_charged_ions_are_not_mixed():
    roles = Roles(("Li", "Na"))
    symbols, charges = ["Li", "Na", "Cl"], {"Li": 1, "Na": 0, "Cl": -1}
    with pytest.raises(InputError, match="Na has no charge and the others have"):
        roles.check(symbols, charges)
    roles.check(symbols, {"Li": 0, "Na": 0, "Cl": 0})


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(()), "name one element or more"),
        (Roles(("Li", "Li")), "name each element once"),
        (Roles(("Li",), ("Al", "Al"), ("Cl",)), "name each element once"),
        (Roles(("Li", "Al"), ("Al",), ("Cl",)), "must be different elements"),
        (Roles(("Li", "Cs")), "not in the trajectory"),
    ],
)
def test_lists_of_roles_are_checked(roles, message):
    with pytest.raises(InputError, match=message):
        roles.check(["Li", "Al", "Cl"], {"Li": 1, "Al": 0, "Cl": -1})


def test_one_element_is_no_list_of_letters():
    assert Roles("Li", "Al", ("Cl",)) == Roles(("Li",), ("Al",), ("Cl",))
