from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from vitrion.campaign.jobs import Job, campaign_jobs
from vitrion.campaign.opening import open_campaign
from vitrion.campaign.plan import START_S, make_plan
from vitrion.campaign.status import Status, compare, read_status
from vitrion.cli import main
from vitrion.config import Config
from vitrion.dynamics.checkpoint import CheckpointLog, Record
from vitrion.runtime.job import job_log
from vitrion.trajectory.samples import Samples
from vitrion.trajectory.state import State

TOY = Path(__file__).parents[1] / "toy/config.yaml"


class Campaign:
    """A results folder in which jobs are brought into states by the code that the real ones use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.compositions = open_campaign([TOY])
        self.jobs = list(campaign_jobs(self.config, self.compositions))
        self.results = folder / "results" / self.config.campaign

    def job(self, rule: str, name: str = "") -> Job:
        return next(job for job in self.jobs if job.rule == rule and name in job.name)

    def finish(self, job: Job, seconds: float) -> None:
        with job_log(self.results / job.log, job.name):
            for output in job.outputs:
                path = self.results / output
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        benchmark = self.results / job.benchmark
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t1.0\n")

    def save(self, job: Job, step: int) -> None:
        """Restart data of an unfinished job."""
        atoms = Atoms("LiCl", [[0, 0, 0], [1, 1, 1]], cell=np.eye(3) * 4, pbc=True)
        state = State.from_atoms(atoms, temperature_K=300, seed=1)
        checkpoints = CheckpointLog(self.results / job.outputs[0], {"inputs": 1})
        checkpoints.append(Record(0, replace(state, step=step), Samples.none(2), 1.0))
        checkpoints.close()

    def status(self) -> Status:
        return read_status(self.config, self.compositions, self.folder)

    def state(self, job: Job) -> str:
        return next(status.state for status in self.status().jobs if status.job == job)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def test_nothing_has_begun(campaign: Campaign) -> None:
    status = campaign.status()
    assert status.count("waiting") == len(status.jobs) == len(campaign.jobs)
    assert status.hours_left() is None
    assert "unknown" in status.to_text()


def test_states_of_jobs(campaign: Campaign) -> None:
    done = campaign.job("quench_glass", "LiAlCl")
    failed = campaign.job("quench_glass", "NaGaBr")
    stopped = campaign.job("quench_glass", "KInI")
    campaign.finish(done, 10)
    with pytest.raises(SystemExit), job_log(campaign.results / failed.log, "quench"):
        raise RuntimeError("the melt flew apart")
    with job_log(campaign.results / stopped.log, "quench"):
        pass  # no output: as after SIGKILL
    assert campaign.state(done) == "done"
    assert campaign.state(failed) == "failed"
    assert campaign.state(stopped) == "stopped"
    assert "the melt flew apart" in campaign.status().to_text()
    # A later attempt that was cut off is what counts.
    with job_log(campaign.results / failed.log, "quench"):
        pass
    assert campaign.state(failed) == "stopped"


def test_running_job_holds_its_lock(campaign: Campaign) -> None:
    job = campaign.job("produce_segment")
    program = (
        "import sys\n"
        "from vitrion.runtime.job import job_log\n"
        "with job_log(sys.argv[1], 'title'):\n"
        "    sys.__stdout__.write('go\\n'); sys.__stdout__.flush()\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(campaign.results / job.log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"go\n"
    assert campaign.state(job) == "running"
    assert campaign.status().to_dict()["by_composition"][job.composition]["running"] == 1
    process.kill()
    process.communicate()
    assert campaign.state(job) == "stopped"


def test_one_missing_output_is_not_done(campaign: Campaign) -> None:
    job = campaign.job("quench_glass")
    campaign.finish(job, 10)
    (campaign.results / job.outputs[1]).unlink()
    assert campaign.state(job) == "stopped"


@pytest.mark.parametrize("number", [0, 1])
def test_saved_part_of_a_segment_is_not_left(campaign: Campaign, number: int) -> None:
    """Steps count from the start of the trajectory, the share from the start of the segment."""
    job = campaign.job("produce_segment", f"-{number:04d}")
    campaign.save(job, job.first_step + job.md_steps // 4)
    (status,) = (status for status in campaign.status().jobs if status.job == job)
    assert status.share == pytest.approx(0.25, abs=1e-3)


def test_hours_left_follow_steps(campaign: Campaign) -> None:
    """One finished glass at 0.01 s per step gives the speed of all other dynamics."""
    quench = campaign.job("quench_glass", "LiAlCl")
    campaign.finish(quench, 0.01 * quench.md_steps)
    left = sum(job.md_steps for job in campaign.jobs) - quench.md_steps
    assert campaign.status().hours_left() == pytest.approx(0.01 * left / 3600)
    segment = campaign.job("produce_segment")
    campaign.save(segment, segment.md_steps // 2)
    saved = segment.md_steps // 2
    assert campaign.status().hours_left() == pytest.approx(0.01 * (left - saved) / 3600)


def test_plan_is_compared_with_what_jobs_took(campaign: Campaign) -> None:
    for job in campaign.jobs:
        if job.rule == "quench_glass":
            campaign.finish(job, 0.02 * job.md_steps)
    plan = make_plan(campaign.config, campaign.compositions, steps_per_s=50.0, on_gpu=False)
    heading, line = compare(plan, campaign.status())
    assert heading.startswith("rule")
    rule, jobs, planned_s, took_s = line.split()
    assert (rule, jobs) == ("quench_glass", "3")
    assert float(planned_s) == pytest.approx(float(took_s) + START_S, rel=0.01)


def test_resumed_jobs_do_not_shorten_the_times(campaign: Campaign) -> None:
    """Snakemake's benchmark is of the last attempt alone."""
    whole = campaign.job("quench_glass", "LiAlCl")
    resumed = campaign.job("quench_glass", "KInI")
    campaign.finish(resumed, 1.0)
    campaign.finish(resumed, 1.0)
    left = sum(job.md_steps for job in campaign.jobs) - resumed.md_steps
    assert campaign.status().hours_left() == pytest.approx(left / resumed.md_steps / 3600)
    campaign.finish(whole, 0.01 * whole.md_steps)
    left -= whole.md_steps
    assert campaign.status().hours_left() == pytest.approx(0.01 * left / 3600)
    plan = make_plan(campaign.config, campaign.compositions, steps_per_s=50.0, on_gpu=False)
    assert compare(plan, campaign.status())[1].split()[:2] == ["quench_glass", "1"]


def test_command(campaign: Campaign, capsys: pytest.CaptureFixture) -> None:
    campaign.finish(campaign.job("quench_glass"), 5)
    path = campaign.folder / "status.json"
    arguments = ["--configfile", str(TOY), "--directory", str(campaign.folder)]
    assert main(["status", *arguments, "--json", str(path)]) == 0
    status = json.loads(path.read_text())
    assert status["done"] == 1
    assert status["by_stage"]["quench"] == {
        **dict.fromkeys(("running", "failed", "stopped"), 0),
        "done": 1,
        "waiting": 5,
    }
    assert "1 of" in capsys.readouterr().out


def test_full_campaign_is_read_quickly(tmp_path: Path) -> None:
    config, compositions = open_campaign([])
    assert isinstance(config, Config)
    assert len(read_status(config, compositions, tmp_path).jobs) > 3900
