"""The workflow as batch jobs of a real SLURM, undisturbed and disturbed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster import ACCOUNT, PROFILE, QOS, Cluster, start_cluster, why_not
from small_campaign import (
    RESULTS,
    SEGMENT,
    SEGMENT_LOG,
    TABLES,
    assert_same_analysis,
    assert_same_segment,
    attempts,
    copy_before_production,
    copy_stages,
    kill_session,
    records,
    small_campaign,
    wait_for,
)
from workflow import Workflow

from vitrion.runtime.job import attempts_path

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(why_not()), reason=f"SLURM: {why_not()}"),
]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """SLURM, for all tests of this file. The path of munge's socket must be short."""
    with start_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """SLURM with slurmdbd, where jobs need an account and a quality of service."""
    if reason := why_not(accounting=True):
        pytest.skip(f"SLURM accounting: {reason}")
    with start_cluster(tmp_path_factory.mktemp("dbd"), accounting=True) as running:
        yield running


@pytest.fixture
def unfinished(checkout: Path, tmp_path: Path) -> Workflow:
    """The campaign before its production."""
    copy_before_production(checkout, tmp_path)
    return small_campaign(tmp_path)


def finish(process: subprocess.Popen, campaign: Workflow, seconds: float = 900) -> str:
    """Wait for a good end; returns what Snakemake printed."""
    try:
        code = process.wait(seconds)
    finally:
        if process.poll() is None:
            kill_session(process)
    printed = (campaign.folder / "snakemake.log").read_text()
    assert code == 0, printed
    return printed


def test_campaign_as_batch_jobs_gives_the_same_tables(
    cluster: Cluster, checkout: Path, tmp_path: Path
) -> None:
    """Quench, equilibration, two segments and the analysis."""
    copy_stages(checkout, tmp_path, "finetune")
    campaign = small_campaign(tmp_path)
    printed = finish(cluster.snakemake(campaign, targets=TABLES), campaign)
    submitted = len(re.findall("has been submitted with SLURM jobid", printed))
    assert submitted == 1 + 1 + 2 + 1
    starts = [path.read_text() for path in (tmp_path / RESULTS / "logs").rglob(".*.attempts")]
    assert len(starts) == submitted
    assert all("SLURM job" in start for start in starts)
    assert_same_analysis(tmp_path, checkout)


def test_dynamics_asks_for_one_gpu_on_the_gpu_partition(
    cluster: Cluster, unfinished: Workflow
) -> None:
    campaign = small_campaign(unfinished.folder, dynamics={"device": "auto"})
    process = cluster.snakemake(campaign, targets=[SEGMENT])
    try:
        wait_for(lambda: cluster.jobs("RUNNING"), "a running job", seconds=300)
        (job,) = cluster.jobs("RUNNING")
        shown = cluster.ask("scontrol", "show", "job", job)
    finally:
        kill_session(process)
        cluster.ask("scancel", *cluster.jobs("PENDING,RUNNING"))
    assert "Partition=gpu" in shown
    assert "TresPerJob=gres:gpu:1" in shown
    assert "NumTasks=1" in shown
    wait_for(lambda: not cluster.jobs("RUNNING,COMPLETING"), "cancelled jobs", seconds=60)


@pytest.mark.parametrize(
    "fault",
    [
        "kill",
        pytest.param("scancel", marks=pytest.mark.faults),
        pytest.param("scancel --signal=TERM --full", marks=pytest.mark.faults, id="terminate"),
        pytest.param("preempt", marks=pytest.mark.faults),
    ],
)
def test_disturbed_job_goes_on_where_it_was(
    cluster: Cluster, checkout: Path, unfinished: Workflow, fault: str
) -> None:
    folder = unfinished.folder
    process = cluster.snakemake(unfinished, targets=[SEGMENT])
    wait_for(lambda: records(folder), "restart data", seconds=300)
    (job,) = cluster.jobs("RUNNING")
    if fault.startswith("scancel"):
        cluster.ask(*fault.split(), job)
    elif fault == "kill":
        os.kill(running_process(folder), signal.SIGKILL)
    else:
        urgent = ("--partition", "urgent", "--exclusive", "--mem", "0", "--output", "/dev/null")
        cluster.ask("sbatch", *urgent, "--wrap", "sleep 1")
    finish(process, unfinished)
    assert attempts(folder) == 2
    assert_same_segment(folder / SEGMENT, checkout / SEGMENT)


def running_process(folder: Path) -> int:
    """Process that holds the segment's lock."""
    inode = attempts_path(folder / SEGMENT_LOG).stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
            return int(fields[4])
    raise LookupError(folder)


@pytest.mark.faults
def test_killed_snakemake_leaves_an_orphan_that_its_successor_waits_for(
    cluster: Cluster, checkout: Path, unfinished: Workflow
) -> None:
    """The orphan is held until its successor has come, however fast the machine."""
    folder = unfinished.folder
    process = cluster.snakemake(unfinished, targets=[SEGMENT])
    wait_for(lambda: records(folder), "restart data", seconds=300)
    held = running_process(folder)
    os.kill(held, signal.SIGSTOP)
    (orphan,) = cluster.jobs("RUNNING")
    kill_session(process)
    cluster.snakemake(unfinished, "--unlock").wait(120)
    assert orphan in cluster.jobs("RUNNING")
    process = cluster.snakemake(unfinished, targets=[SEGMENT])
    logs = folder / ".snakemake/slurm_logs"
    waiting = "waiting for the process that still runs it"
    wait_for(
        lambda: any(waiting in path.read_text() for path in logs.rglob("*.log")),
        "a successor that waits",
        seconds=300,
    )
    os.kill(held, signal.SIGCONT)
    finish(process, unfinished)
    wait_for(
        lambda: orphan not in cluster.jobs("RUNNING,COMPLETING"), "the orphan's end", seconds=60
    )
    assert orphan in cluster.jobs("COMPLETED")
    assert attempts(folder) == 2
    assert_same_segment(folder / SEGMENT, checkout / SEGMENT)


def test_time_limit_saves_the_state_and_the_retry_goes_on(
    cluster: Cluster, checkout: Path, unfinished: Workflow
) -> None:
    """A limit of one minute; the job is held until shortly before it, however fast the machine."""
    limit = ("--set-resources", "produce_segment:runtime=attempt")
    folder = unfinished.folder
    process = cluster.snakemake(unfinished, *limit, targets=[SEGMENT])
    wait_for(lambda: records(folder), "restart data", seconds=300)
    held = running_process(folder)
    os.kill(held, signal.SIGSTOP)
    (job,) = cluster.jobs("RUNNING")

    def seconds_left() -> int:
        minutes, seconds = cluster.ask("squeue", "-h", "-j", job, "-o", "%L").split(":")
        return 60 * int(minutes) + int(seconds)

    wait_for(lambda: seconds_left() < 12, "the end of the job's minute", seconds=90)
    os.kill(held, signal.SIGCONT)
    printed = finish(process, unfinished)
    stopped = re.search(r"stopped at step (\d+)", printed)
    assert stopped, printed
    assert 0 < int(stopped[1]) < 200
    assert "returned non-zero exit status 75" in printed
    assert attempts(folder) == 2
    assert_same_segment(folder / SEGMENT, checkout / SEGMENT)


def own_profile(folder: Path, **resources: str) -> Path:
    """The shipped profile with what a user sets."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert profile["slurm-status-command"] == "sacct"
    profile["default-resources"] |= resources
    (folder / "profile").mkdir()
    (folder / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    return folder / "profile"


def test_with_accounting_jobs_are_followed_by_sacct_and_charged(
    accounting: Cluster, tmp_path: Path
) -> None:
    campaign = small_campaign(tmp_path, finetune={"model": "pretrained"})
    process = accounting.snakemake(
        campaign,
        targets=[RESULTS / "finetune/model.safetensors"],  # of a job that takes seconds
        profile=own_profile(tmp_path, slurm_account=ACCOUNT, qos=QOS),
    )
    finish(process, campaign, seconds=100)
    charged = accounting.ask("sacct", "-n", "-X", "-P", "-o", "account,qos,state")
    assert charged.splitlines() == [f"{ACCOUNT}|{QOS}|COMPLETED"]


# Its first attempt would take minutes.
ONE_RULE = """
rule a:
    output: "done.txt"
    resources: runtime=10, mem_mb=100
    shell: "echo x >> tries; if [ $(wc -l < tries) = 1 ]; then sleep 600; fi; touch {output}"
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("status", "cancel", "goes_on"),
    [
        ("sacct", "scancel --signal=TERM --full", True),
        ("squeue", "scancel", True),
        # sacct says "CANCELLED by 0", which the plugin (2.8.0) takes for a state of a running job.
        # When this fails, the plugin has been mended: docs/slurm.md and faults.md can say so.
        ("sacct", "scancel", False),
    ],
    ids=["terminate", "squeue", "sacct"],
)
def test_cancelled_job_on_a_cluster_with_accounting(
    accounting: Cluster, tmp_path: Path, status: str, cancel: str, goes_on: bool
) -> None:
    (tmp_path / "Snakefile").write_text(ONE_RULE)
    command = [
        *(sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "1"),
        *("--retries", "1", "--latency-wait", "10", "--slurm-status-command", status),
        *("--slurm-init-seconds-before-status-checks", "1"),
        *("--max-status-checks-per-second", "2", "--default-resources"),
        *("slurm_partition=cpu", f"slurm_account={ACCOUNT}", f"qos={QOS}"),
    ]
    with (tmp_path / "snakemake.log").open("w") as log:
        process = subprocess.Popen(
            command, env=accounting.environment, cwd=tmp_path, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for((tmp_path / "tries").exists, "the job", seconds=120)
        (job,) = accounting.jobs("RUNNING")
        accounting.ask(*cancel.split(), job)
        wait_for(lambda: job not in accounting.jobs("RUNNING,COMPLETING"), "its end", seconds=60)
        state = accounting.ask("sacct", "-n", "-X", "-P", "-j", job, "-o", "state").strip()
        if goes_on:
            assert process.wait(180) == 0, (tmp_path / "snakemake.log").read_text()
            assert (tmp_path / "done.txt").exists()
        else:
            assert state == f"CANCELLED by {os.getuid()}"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(45)
    finally:
        if process.poll() is None:
            kill_session(process)
        accounting.ask("scancel", *accounting.jobs("PENDING,RUNNING"))


# The second rule ends only when it is started again.
TWO_RULES = """
rule all:
    default_target: True
    input: "a.txt", "b.txt"
rule a:
    output: "a.txt"
    shell: "touch {output}"
rule b:
    output: "b.txt"
    shell: "if [ -e seen ]; then touch {output}; else touch seen; sleep 600; fi"
"""


@pytest.mark.faults
def test_snakemake_as_a_job_ends_before_its_limit_and_goes_on_when_submitted_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    """`campaign.sh` as it is, with the signal that SLURM sends ahead of the limit."""
    (tmp_path / "Snakefile").write_text(TWO_RULES)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    profile = tmp_path / "profiles/mycluster"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "executor": "slurm", "jobs": 5, "latency-wait": 10,
                "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 5,
                "default-resources": {"slurm_partition": "cpu", "mem_mb": 100, "runtime": 10},
            }
        )
    )  # fmt: skip
    script = str(PROFILE / "campaign.sh")

    def submit() -> str:
        return cluster.ask("sbatch", "--parsable", "--chdir", str(tmp_path), script).strip()

    def alone() -> bool:
        return not cluster.jobs("PENDING,RUNNING,COMPLETING")

    try:
        job = submit()
        wait_for((tmp_path / "seen").exists, "the second rule", seconds=180)
        cluster.ask("scancel", "--signal=INT", "--batch", job)
        wait_for(alone, "the end of Snakemake and of its job", seconds=120)
        assert not (tmp_path / "b.txt").exists()
        job = submit()
        wait_for(alone, "the end of the campaign", seconds=240)
        printed = (tmp_path / f"vitrion-{job}.log").read_text()
        assert (tmp_path / "b.txt").exists(), printed
        assert "(100%) done" in printed
    finally:
        cluster.ask("scancel", *cluster.jobs("PENDING,RUNNING"))
