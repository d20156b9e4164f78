"""The workflow as batch jobs of a real SLURM, undisturbed and disturbed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cluster import ACCOUNT, PROFILE, QOS, Cluster, start_cluster, why_not
from small_campaign import (
    RESULTS,
    SEGMENT,
    SEGMENT_LOG,
    assert_same_segment,
    attempts,
    blocks,
    copy_before_production,
    kill_session,
    run_here,
    wait_for,
    write_configs,
)

from vitrion.runtime.job import attempts_path
from vitrion.tables import SUMMARY_TABLES

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(why_not()), reason=f"SLURM: {why_not()}"),
]
MODEL = str(RESULTS / "finetune/model.safetensors")  # of a job that takes seconds
SUMMARY = tuple(str(RESULTS / f"summary/{table}.parquet") for table in SUMMARY_TABLES)


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


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign run without SLURM: what every other way must give."""
    folder = tmp_path_factory.mktemp("reference")
    ended = run_here(folder, write_configs(folder), *SUMMARY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.fixture
def unfinished(reference: Path, tmp_path: Path) -> Path:
    """The same campaign before its production."""
    copy_before_production(reference, tmp_path)
    return tmp_path


def finish(process: subprocess.Popen, folder: Path, seconds: float = 900) -> str:
    """Wait for a good end; returns what Snakemake printed."""
    try:
        code = process.wait(seconds)
    finally:
        if process.poll() is None:
            kill_session(process)
    printed = (folder / "snakemake.log").read_text()
    assert code == 0, printed
    return printed


def test_campaign_as_batch_jobs_gives_the_same_tables(
    cluster: Cluster, reference: Path, tmp_path: Path
) -> None:
    process = cluster.snakemake(tmp_path, write_configs(tmp_path), targets=SUMMARY)
    printed = finish(process, tmp_path)
    submitted = len(re.findall("has been submitted with SLURM jobid", printed))
    assert submitted == 1 + 1 + 3 + 6 + 3 + 1
    starts = [path.read_text() for path in (tmp_path / RESULTS / "logs").rglob(".*.attempts")]
    assert len(starts) == submitted
    assert all("SLURM job" in start for start in starts)
    for name in set(SUMMARY_TABLES) - {"trajectories"}:
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / RESULTS / f"summary/{name}.parquet"),
            pd.read_parquet(reference / RESULTS / f"summary/{name}.parquet"),
        )


def test_dynamics_asks_for_one_gpu_on_the_gpu_partition(cluster: Cluster, unfinished: Path) -> None:
    configs = write_configs(unfinished)
    overlay = yaml.safe_load(configs[-1].read_text())
    overlay["dynamics"]["device"] = "auto"
    configs[-1].write_text(yaml.safe_dump(overlay))
    process = cluster.snakemake(unfinished, configs, targets=(str(SEGMENT),))
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


@pytest.mark.parametrize("fault", ["scancel", "kill", "preempt"])
def test_disturbed_job_goes_on_where_it_was(
    cluster: Cluster, reference: Path, unfinished: Path, fault: str
) -> None:
    process = cluster.snakemake(unfinished, write_configs(unfinished), targets=(str(SEGMENT),))
    wait_for(lambda: blocks(unfinished), "restart data", seconds=300)
    (job,) = cluster.jobs("RUNNING")
    if fault == "scancel":
        cluster.ask("scancel", job)
    elif fault == "kill":
        os.kill(running_process(unfinished), signal.SIGKILL)
    else:
        urgent = ("--partition", "urgent", "--exclusive", "--mem", "0", "--output", "/dev/null")
        cluster.ask("sbatch", *urgent, "--wrap", "sleep 1")
    finish(process, unfinished)
    assert attempts(unfinished) == 2
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)


def running_process(folder: Path) -> int:
    """Process that holds the segment's lock."""
    inode = attempts_path(folder / SEGMENT_LOG).stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
            return int(fields[4])
    raise LookupError(folder)


def test_killed_snakemake_leaves_an_orphan_that_its_successor_waits_for(
    cluster: Cluster, reference: Path, unfinished: Path
) -> None:
    """The orphan is held until its successor has come, however fast the machine."""
    configs = write_configs(unfinished)
    process = cluster.snakemake(unfinished, configs, targets=(str(SEGMENT),))
    wait_for(lambda: blocks(unfinished), "restart data", seconds=300)
    held = running_process(unfinished)
    os.kill(held, signal.SIGSTOP)
    (orphan,) = cluster.jobs("RUNNING")
    kill_session(process)
    cluster.snakemake(unfinished, configs, "--unlock").wait(120)
    assert orphan in cluster.jobs("RUNNING")
    process = cluster.snakemake(unfinished, configs, targets=(str(SEGMENT),))
    logs = unfinished / ".snakemake/slurm_logs"
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
    assert attempts(unfinished) == 2
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)


def test_time_limit_saves_the_state_and_the_retry_goes_on(
    cluster: Cluster, reference: Path, unfinished: Path
) -> None:
    """A limit of one minute; the job is held until shortly before it, however fast the machine."""
    limit = ("--set-resources", "produce_segment:runtime=attempt")
    configs = write_configs(unfinished)
    process = cluster.snakemake(unfinished, configs, *limit, targets=(str(SEGMENT),))
    wait_for(lambda: blocks(unfinished), "restart data", seconds=300)
    held = running_process(unfinished)
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
    assert attempts(unfinished) == 2
    assert_same_segment(unfinished / SEGMENT, reference / SEGMENT)


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
    process = accounting.snakemake(
        tmp_path,
        write_configs(tmp_path),
        targets=(MODEL,),
        profile=own_profile(tmp_path, slurm_account=ACCOUNT, qos=QOS),
    )
    finish(process, tmp_path, seconds=100)
    charged = accounting.ask("sacct", "-n", "-X", "-P", "-o", "account,qos,state")
    assert charged.splitlines() == [f"{ACCOUNT}|{QOS}|COMPLETED"]
