"""The paper's claims on campaigns whose truth is known, and the tests of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_campaign import Law, judged, transport_tables, with_summary

from vitrion.paper.verdict import CLAIMS, Errors, Estimate, _estimate, decide, more_glasses
from vitrion.statistics.differences import (
    by_composition,
    differences,
    holm,
    outliers,
    spread_between,
)
from vitrion.statistics.glasses import glass_means
from vitrion.statistics.summary import arrhenius_table, pooled_table
from vitrion.structure.compositions import read_compositions

ROOT = Path(__file__).parents[2]
PAPER = list(read_compositions("shipped").values())
TOY = list(read_compositions(ROOT / "tests/toy/compositions.tsv").values())


def outcomes(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    return tables["verdict"].set_index("claim")["outcome"].to_dict()


def test_a_world_as_the_paper_says_confirms_every_claim():
    found = judged(PAPER)["verdict"].set_index("claim")
    assert set(found["outcome"]) == {"confirmed"}, found[["outcome", "value", "err", "reason"]]
    assert found["more_ns"].isna().all()
    assert found.loc["oxygen_slows_1", "value"] == pytest.approx(1.6, rel=0.01)
    assert found.loc["activation_energy", "value"] == pytest.approx(0.3, abs=0.005)
    assert found.loc["conducting", "value"] == pytest.approx(5.0, rel=0.1)
    assert found.loc["fragments", "value"] == pytest.approx(0.2 + 0.4 + 1.2 + 2.1)
    assert found.loc["nernst_einstein_misses", "value"] == pytest.approx(0.5, abs=0.01)
    assert found.loc["cross_terms", "value"] == pytest.approx(0.4, abs=0.01)
    assert found.loc["haven", "n_glasses"] == 81


def test_the_opposite_world_refutes_every_claim():
    law = Law(
        Ea_eV=0.6, residence_Ea_eV=0.3, oxygen=0.6, sigma_mS_cm=0.01, haven=0.3, fourfold=0.1,
        fragments={1: 1.0}, factors={"Li": 8.0, "K": 0.05}, alone=0.9,
        t={"nernst_einstein": 0.9, "cluster_nernst_einstein": 0.5, "einstein": 0.9},
    )  # fmt: skip
    found = judged(PAPER, law=law)
    assert set(outcomes(found).values()) == {"refuted"}, found["verdict"][["claim", "outcome"]]


def test_large_errors_decide_nothing():
    law = replace(Law(), noise=1.5, fourfold=0.5, fragments={1: 0.5, 3: 0.5})
    assert "refuted" not in outcomes(judged(PAPER[:3], law=law, replicas=1)).values()
    equal = [c for c in CLAIMS if c.name in ("haven", "same_activation_energy")]
    for claim in equal:
        wide = Estimate(claim.low / 2 + claim.high / 2, 1.0, -2.0, 2.0, 27)
        assert decide(wide, claim.low, claim.high)[0] == "not decided"


def glasses(n: int, value: float, scatter: float, *, is_ratio: bool = False) -> Estimate:
    """The estimate from n glasses of one composition, with n - 1 degrees of freedom."""
    err = scatter / np.sqrt(n)
    width = stats.t.ppf(0.975, n - 1) * err
    ends = (value - width, value + width)
    if is_ratio:
        ends = (value / np.exp(width), value * np.exp(width))
        err *= value
    errors = Errors(within=scatter / np.sqrt(n), between=0.0, freedom=n - 1, n_compositions=1)
    return Estimate(value, err, *ends, n, errors=errors, is_ratio=is_ratio)


@pytest.mark.parametrize("is_ratio", [False, True])
@pytest.mark.parametrize("value", [0.9, 1.35, 1.6])
def test_as_many_glasses_more_as_it_says_decide(value, is_ratio):
    """With so many the claim is decided, and not with nine tenths of them."""
    limits, few = (1.0, 2.0), glasses(10, value, 1.0, is_ratio=is_ratio)
    assert decide(few, *limits)[0] == "not decided"
    total = 10 + int(more_glasses(few, *limits))
    enough, fewer = (glasses(n, value, 1.0, is_ratio=is_ratio) for n in (total, round(0.9 * total)))
    assert decide(enough, *limits)[0] == ("confirmed" if value > 1 else "refuted")
    assert decide(fewer, *limits)[0] == "not decided"


def haven_ratios(rng, *, means: Sequence[float], replicas: int, scatter: float) -> Estimate:
    """Mean over compositions of these means, whose glasses scatter."""
    x = np.repeat(means, replicas) + scatter * rng.normal(size=len(means) * replicas)
    which = np.repeat(np.arange(len(means)), replicas)
    found = glass_means(which, x, np.full(len(x), scatter / 5))
    return _estimate(found.mean, found.err, found.freedom, len(x))


@pytest.mark.parametrize("replicas", [3, 10, 50])
def test_glasses_of_compositions_that_differ_decide_nothing(replicas):
    """They differ by 0.2 and their glasses by 0.01: it takes other compositions."""
    rng = np.random.default_rng(replicas)
    found = haven_ratios(rng, means=[0.75, 1.0, 1.15], replicas=replicas, scatter=0.01)
    assert decide(found, 0.8, 1.25)[0] == "not decided"
    assert more_glasses(found, 0.8, 1.25) == np.inf


def test_glasses_of_equal_compositions_decide_as_many_as_it_says():
    """Also where their spread happens to be the larger part."""
    rng, decided = np.random.default_rng(0), []
    for _ in range(60):
        found = haven_ratios(rng, means=[1.0] * 4, replicas=3, scatter=0.4)
        more = more_glasses(found, 0.8, 1.25)
        if decide(found, 0.8, 1.25)[0] == "not decided" and np.isfinite(more):
            replicas = 3 + int(np.ceil(more / 4))
            again = haven_ratios(rng, means=[found.value] * 4, replicas=replicas, scatter=0.4)
            decided.append(decide(again, 0.8, 1.25)[0] != "not decided")
    # The estimate moves again, so about half of those at the edge are decided.
    assert len(decided) > 20
    assert 0.3 < np.mean(decided) < 0.95


def test_one_glass_of_each_composition_is_judged_by_their_spread():
    rng = np.random.default_rng(1)
    for _ in range(50):
        found = haven_ratios(rng, means=[1.0] * 27, replicas=1, scatter=0.03)
        assert decide(found, 0.8, 1.25)[0] == "confirmed"
        # Nothing tells the scatter of glasses from that of compositions.
        assert np.isnan(more_glasses(found, 0.8, 1.25))
    covered = [
        found.low < 1.0 < found.high
        for found in (
            haven_ratios(rng, means=[1.0] * 5, replicas=1, scatter=0.03) for _ in range(400)
        )
    ]
    assert np.mean(covered) > 0.92
    equal = haven_ratios(rng, means=[1.0] * 3, replicas=1, scatter=0.0)
    assert decide(equal, 0.8, 1.25)[0] == "confirmed"


def test_what_is_still_needed_is_told_where_it_can_be():
    found = judged(PAPER[:1], replicas=2)["verdict"].set_index("claim")
    assert found.loc["haven", "more_glasses"] == 1
    assert found.loc["haven", "more_ns"] == 40  # four temperatures of 10 ns
    # Nothing between compositions follows from one.
    assert found.loc["independent_D", ["more_glasses", "more_ns"]].isna().all()
    assert more_glasses(glasses(5, 1.0, 1.0), 1.0, 2.0) == np.inf


def test_flagged_trajectories_decide_nothing():
    found = judged(PAPER, flags="density_drift")
    assert set(outcomes(found).values()) == {"not decided"}
    assert (found["verdict"]["reason"] != "").all()
    assert len(found["arrhenius"])  # they are shown, and not judged by


def test_two_glasses_are_too_few():
    found = judged(PAPER[:1], replicas=2)["verdict"]
    assert set(found["outcome"]) == {"not decided"}
    assert found["reason"].str.contains("2 glasses|composition").all()


def test_an_empty_campaign_is_judged():
    tables = transport_tables(TOY, np.random.default_rng(0))
    tables = {n: t if n == "trajectories" else t.iloc[:0] for n, t in tables.items()}
    found = with_summary(tables)
    assert set(found["verdict"]["outcome"]) == {"not decided"}
    assert found["differences"]["p"].isna().all()


def values(rng, *, effect: float = 0.0, between: float = 0.0, err: float = 0.1) -> pd.DataFrame:
    x = [effect * (c.mobile == ("Li",)) for c in PAPER]
    x = np.array(x) + np.hypot(between, err) * rng.normal(size=len(PAPER))
    return pd.DataFrame(
        {
            "composition": [c.composition for c in PAPER],
            **{key: [getattr(c, key) for c in PAPER] for key in ("mobile", "center", "ligands")},
            "compared": "D", "at": "800 K", "x": x, "x_err": err, "freedom": 10_000,
        }
    )  # fmt: skip


@pytest.mark.parametrize("between", [0.0, 0.3])
def test_without_a_difference_few_are_found(between):
    """Wrong alarms of any factor in a table: at most 5 %, with unexplained scatter or without."""
    rng = np.random.default_rng(0)
    tables = [differences(values(rng, between=between)) for _ in range(300)]
    alarms = [t[t["factor"] != "any"]["significant"].any() for t in tables]
    assert np.mean(alarms) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    p = np.array([t.set_index("factor").loc["mobile", "p"].iloc[0] for t in tables])
    if between:
        assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.09)


def test_a_difference_is_found_where_it_is():
    found = differences(values(np.random.default_rng(1), effect=0.8, between=0.1))
    found = found[found["compared"] == "D"].set_index("factor")
    assert found["significant"].to_dict() == {
        "any": True,
        "mobile": True,
        "center": False,
        "ligands": False,
    }
    assert found.loc["mobile", "spread"] == pytest.approx(0.8, abs=0.2)


def test_three_glasses_that_differ_in_everything_tell_nothing_apart():
    """The toy's: Li, Na, K go with Al, Ga, In and Cl, Br, I."""
    found = judged(TOY)["differences"]
    factors = found[found["factor"] != "any"]
    assert not factors["significant"].any()
    assert (factors["reason"] == "these compositions do not separate the three roles").all()


def equal_glasses(rng, *, replicas: int = 3) -> pd.DataFrame:
    """`quantities` of 27 equal compositions whose glasses differ by 30 % and in Ea by 0.02 eV."""
    parts = []
    T_K = np.array([600.0, 700, 800, 900])
    for composition in PAPER:
        for replica in range(replicas):
            own = np.exp(0.3 * rng.normal() - (0.3 + 0.02 * rng.normal()) / (8.617e-5 * T_K))
            key = {**composition.key, "temperature_K": T_K, "replica": replica}
            noise = 0.1 * own
            part = {"value": own + noise * rng.normal(size=4), "err": noise, "weight": 1.0}
            parts.append(pd.DataFrame({**key, **part, "quantity": "D_mobile"}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("replicas", "noise"), [(3, 0.1), (3, 1.0)])
def test_equal_compositions_of_a_few_glasses_do_not_differ(replicas, noise):
    """System 15: of 27 equal compositions of three glasses, 67 to 87 % of campaigns had alarms.

    Glasses differ by 0.3, and each has an error of `noise` times that.
    """
    rng = np.random.default_rng(5)
    which = np.repeat(np.arange(27), replicas)
    err = np.full(len(which), 0.3 * noise)
    alarms, odd, covered, campaigns = 0, 0, 0, 100
    for _ in range(campaigns):
        x = 0.3 * rng.normal(size=len(which)) + err * rng.normal(size=len(which))
        means = glass_means(which, x, err)
        assert means.freedom == 27 * (replicas - 1)
        compared = values(rng).assign(x=means.mean, x_err=means.err, freedom=means.freedom)
        alarms += differences(compared)["significant"].any()
        odd += outliers(means.mean, means.err, means.freedom).any()
        covered += spread_between(means.mean, means.err, means.freedom)[1] == 0
    # 5 %, and 95 % of the intervals, with the binomial noise of 100 campaigns (99.9 %).
    most = stats.binom.isf(0.001, campaigns, 0.05)
    assert alarms <= most
    assert odd <= most
    assert covered >= campaigns - most


def test_differences_know_the_glasses():
    """The same from tables to table: errors have the degrees of freedom of all glasses."""
    found = equal_glasses(np.random.default_rng(5))
    compared = by_composition(pooled_table(found), arrhenius_table(found))
    freedom = compared.groupby("compared")["freedom"].first()
    assert freedom["D"] == freedom["Ea"] == 54
    assert compared.loc[compared["compared"] == "Ea", "err"].mean() < 0.02
    assert not differences(compared)["significant"].any()


def test_one_glass_of_each_composition_tells_nothing_apart():
    found = equal_glasses(np.random.default_rng(0), replicas=1)
    compared = differences(by_composition(pooled_table(found), arrhenius_table(found)))
    assert not compared["significant"].any()
    assert compared["reason"].str.contains("one glass|compositions have a value").all()


def test_holm_is_that_of_its_paper():
    assert holm([0.01, 0.04, 0.03, np.nan, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True
    )


def test_outliers():
    rng = np.random.default_rng(2)
    wrong = [
        outliers(0.1 * rng.normal(size=27), np.full(27, 0.1), 10_000).any() for _ in range(300)
    ]
    assert np.mean(wrong) < 0.09
    x = np.zeros(27)
    x[5] = 1.0
    assert outliers(x, np.full(27, 0.1), 10_000).nonzero()[0].tolist() == [5]


@pytest.mark.parametrize("between", [0.0, 0.1, 0.5])
def test_interval_of_the_spread_holds(between):
    rng = np.random.default_rng(3)
    err = rng.uniform(0.05, 0.2, size=27)
    found = [
        spread_between(rng.normal(size=27) * np.hypot(between, err), err, 10_000)
        for _ in range(400)
    ]
    covered = np.mean([low <= between <= high for _, low, high in found])
    assert 0.92 < covered <= 1.0
    if between == 0.5:
        assert np.median([middle for middle, _, _ in found]) == pytest.approx(between, rel=0.05)
