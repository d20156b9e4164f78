"""The stop criterion of trajectories, and what plan and status make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from vitrion.base.errors import InputError
from vitrion.campaign.jobs import campaign_jobs
from vitrion.campaign.opening import open_campaign
from vitrion.campaign.plan import make_plan
from vitrion.campaign.status import read_status
from vitrion.campaign.stopping import Decision, decided_segments, decision_name
from vitrion.config import Production, StopWhen, merge, validate_config

STOP_WHEN = StopWhen(relative_error=0.1, least_ps=2.0)
OPEN = {"production": {"stop_when": {"least_ps": 2000.0}}}


def found(D: float, D_err: float, sigma: float, sigma_err: float) -> pd.DataFrame:
    """The quantities of a trajectory, as the analysis finds them."""
    return pd.DataFrame(
        {
            "quantity": ["D_mobile", "D_Al", "sigma_einstein"],
            "value": [D, 1.0, sigma],
            "err": [D_err, 9.0, sigma_err],
        }
    )


@pytest.mark.parametrize(
    ("values", "converged"),
    [
        ((1e-6, 1e-7, 50.0, 5.0), True),
        ((1e-6, 1.1e-7, 50.0, 1.0), False),
        ((1e-6, 1e-8, 50.0, 6.0), False),
        ((1e-6, 1e-8, -50.0, 1.0), True),
        ((math.nan, math.nan, 50.0, 1.0), False),
        ((1e-6, math.nan, 50.0, 1.0), False),
        ((1e-6, 1e-8, 0.0, 0.0), False),
    ],
)
def test_every_quantity_must_be_that_certain(values: tuple[float, ...], converged: bool) -> None:
    assert Decision.of(found(*values), STOP_WHEN, length_ps=3.0).converged is converged


def test_quantities_are_chosen() -> None:
    stop_when = STOP_WHEN.model_copy(update={"quantities": ("D_mobile",)})
    assert Decision.of(found(1e-6, 1e-8, 1.0, math.nan), stop_when, length_ps=3.0).converged


def test_decision_is_kept_as_json(tmp_path: Path) -> None:
    decision = Decision.of(found(1e-6, 3e-7, 1.0, math.nan), STOP_WHEN, length_ps=3.0)
    path = tmp_path / decision_name(3)
    decision.write(path)
    assert path.name == "decision-0002.json"
    read = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read["relative_errors"] == {"D_mobile": pytest.approx(0.3), "sigma_einstein": None}
    assert Decision.read(path) == decision
    for content in (path.read_bytes()[:20], b"[]", b'{"until": {}}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"decision = .*remove it"):
            Decision.read(path)


def test_segments_follow_from_the_decisions(tmp_path: Path) -> None:
    production = Production(length_ps=4.0, segment_ps=1.0, stop_when=STOP_WHEN)
    assert (production.least_segments, production.segments) == (2, 4)
    assert decided_segments(tmp_path, production) is None
    write_decision(tmp_path, 2, converged=False)
    assert decided_segments(tmp_path, production) is None
    write_decision(tmp_path, 3, converged=True)
    assert decided_segments(tmp_path, production) == 3
    write_decision(tmp_path, 3, converged=False)
    assert decided_segments(tmp_path, production) == 4
    assert decided_segments(tmp_path, Production(length_ps=4.0, segment_ps=1.0)) == 4


def test_decisions_by_another_criterion_are_made_again(tmp_path: Path) -> None:
    write_decision(tmp_path, 2, converged=True)

    def decided(**changes: object) -> int | None:
        stop_when = STOP_WHEN.model_copy(update=changes)
        return decided_segments(
            tmp_path, Production(length_ps=4.0, segment_ps=1.0, stop_when=stop_when)
        )

    assert decided() == 2
    assert decided(relative_error=0.01) is None
    assert decided(quantities=("D_mobile",)) is None
    # Another shortest length only asks for decisions at other lengths.
    write_decision(tmp_path, 1, converged=False)
    assert decided(least_ps=1.0) == 2


def write_decision(folder: Path, segments: int, *, converged: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    criterion = STOP_WHEN.model_dump(mode="json")
    Decision(float(segments), converged, {}, criterion).write(folder / decision_name(segments))


@pytest.mark.parametrize(
    ("stop_when", "message"),
    [
        (
            {"least_ps": 2500.0},
            "production.stop_when.least_ps = 2500.0: make it a whole multiple of",
        ),
        ({"least_ps": 11_000.0}, "least_ps = 11000.0: at most production.length_ps (10000)"),
        ({"least_ps": 1000.0, "relative_eror": 0.1}, "unknown key; did you mean relative_error?"),
        ({"relative_error": 0.1}, "production.stop_when.least_ps"),
        ({"least_ps": 1000.0, "quantities": []}, "production.stop_when.quantities"),
    ],
)
def test_bad_stop_criterion_is_refused(stop_when: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate_config({"production": {"stop_when": stop_when}})
    assert message in str(caught.value)


def test_batch_of_trajectories_has_one_length() -> None:
    with pytest.raises(InputError, match=r"production.batch = 4: make it 1"):
        validate_config(merge(OPEN, {"production": {"batch": 4}}))


def test_what_is_discarded_must_leave_something_of_the_shortest() -> None:
    with pytest.raises(InputError, match=r"less than production.stop_when.least_ps \(2000\)"):
        validate_config(merge(OPEN, {"transport": {"discard_ps": 3000.0}}))


def test_plan_has_the_longest_and_the_shortest(tmp_path: Path) -> None:
    overlay = tmp_path / "stop_when.yaml"
    overlay.write_text(json.dumps(OPEN))
    config, compositions = open_campaign([overlay])
    plan = make_plan(config, compositions, steps_per_s=50.0, on_gpu=True)
    most = {rule.rule: rule for rule in plan.rules}
    least = {rule.rule: rule for rule in plan.least.rules}
    assert (most["produce_segment"].jobs, least["produce_segment"].jobs) == (3240, 648)
    assert (most["decide_length"].jobs, least["decide_length"].jobs) == (324 * 8, 324)
    fixed, _ = open_campaign([])
    same = make_plan(fixed, compositions, steps_per_s=50.0, on_gpu=True)
    assert plan.gpu_hours == pytest.approx(same.gpu_hours)
    assert plan.storage_GB == same.storage_GB
    assert plan.least.storage_GB["trajectories"] == pytest.approx(
        plan.storage_GB["trajectories"] / 5
    )
    assert plan.least.longest_chain_hours < 0.3 * plan.longest_chain_hours
    assert plan.to_dict()["least"]["jobs"] == plan.least.jobs
    assert "at least" in plan.to_text()
    assert same.least is None


def test_status_counts_what_the_decisions_ask_for(tmp_path: Path) -> None:
    overlay = tmp_path / "stop_when.yaml"
    overlay.write_text(json.dumps(OPEN))
    config, compositions = open_campaign([overlay])
    most = len(list(campaign_jobs(config, compositions)))
    assert len(read_status(config, compositions, tmp_path).jobs) == most
    trajectory = tmp_path / "results/paper/production/LiAlCl/T0500/r0"
    write_decision(trajectory, 2, converged=False)
    write_decision(trajectory, 3, converged=True)
    status = read_status(config, compositions, tmp_path)
    assert most - len(status.jobs) == 7 + 6  # segments 3 to 9, and decisions after 3 to 8
    assert status.lengths == {"converged": 1, "at the largest length": 0, "undecided": 323}
    assert "1 converged" in status.to_text()
