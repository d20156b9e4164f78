"""Jobs side by side on a machine with several GPUs (none is needed: nothing computes on them)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitrion.runtime.gpus import own_gpu, visible_gpus

JOB = textwrap.dedent(
    """
    import os, sys
    from vitrion.runtime.job import job_log
    with job_log(sys.argv[1], "job", gpus=int(sys.argv[2])):
        print(os.environ.get("CUDA_VISIBLE_DEVICES"), file=sys.__stdout__, flush=True)
        sys.stdin.read()
    """
)
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start jobs; each prints the GPU it sees and then waits for the end of its input."""
    jobs: list[subprocess.Popen] = []

    def start(*, gpus: int = 1, **environment: str) -> subprocess.Popen:
        log = tmp_path / f"{len(jobs)}.log"
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB, str(log), str(gpus)],
                env=clean() | {"TMPDIR": str(tmp_path)} | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return jobs[-1]

    yield start
    for job in jobs:
        with job:
            job.kill()


def clean() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name != "CUDA_VISIBLE_DEVICES" and not name.startswith("SLURM_")
    }


def sees(job: subprocess.Popen) -> str:
    return job.stdout.readline().strip()


@pytest.mark.parametrize("gpus", ["0,1,2", "GPU-7f3a,GPU-11bc,MIG-90"])
def test_jobs_side_by_side_see_different_gpus(start: Start, gpus: str) -> None:
    jobs = [start(CUDA_VISIBLE_DEVICES=gpus) for _ in range(3)]
    assert sorted(map(sees, jobs)) == sorted(gpus.split(","))


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_gpu_of_a_job_that_ended_is_free(start: Start, end: signal.Signals | None) -> None:
    first = start(CUDA_VISIBLE_DEVICES="0,1")
    second = start(CUDA_VISIBLE_DEVICES="0,1")
    taken = sees(first)
    assert {taken, sees(second)} == {"0", "1"}
    third = start(CUDA_VISIBLE_DEVICES="0,1")
    assert "waiting for one of the GPUs 0, 1" in third.stderr.readline()
    if end is None:
        first.stdin.close()
    else:
        first.send_signal(end)
    assert sees(third) == taken


def test_job_without_gpus_takes_none(start: Start) -> None:
    assert sees(start(gpus=0, CUDA_VISIBLE_DEVICES="0")) == "0"
    assert sees(start(CUDA_VISIBLE_DEVICES="0")) == "0"


def test_choice_of_slurm_stands(start: Start) -> None:
    jobs = [start(CUDA_VISIBLE_DEVICES="1", SLURM_JOB_ID="7") for _ in range(2)]
    assert list(map(sees, jobs)) == ["1", "1"]


def test_gpus_of_a_whole_node_are_shared_out_inside_its_slurm_job(start: Start) -> None:
    """Snakemake itself as a job of a node; another job's GPUs may have the same numbers."""
    jobs = [start(CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="7") for _ in range(2)]
    assert sorted(map(sees, jobs)) == ["0", "1"]
    assert sees(start(CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="8")) == "0"


def test_machine_without_a_gpu(start: Start, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert sees(start(PATH=f"{tmp_path}:{os.environ['PATH']}")) == "None"
    assert sees(start(CUDA_VISIBLE_DEVICES="")) == ""


def test_gpus_are_named_as_nvidia_smi_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-3d2c1c5a-9d0f)\n"
        "  MIG 1g.10gb     Device  0: (UUID: MIG-aa)\n"
        "GPU 1: NVIDIA RTX A6000 (UUID: GPU-0b9e8d7c-1a2b)\n"
    )
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
    smi.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["GPU-3d2c1c5a-9d0f", "GPU-0b9e8d7c-1a2b"]


def test_environment_is_as_before_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with own_gpu() as gpu:
        assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"
