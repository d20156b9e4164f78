from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vitrion.campaign.doctor import Finding, examine
from vitrion.cli import main
from vitrion.potential import kernels

TOY = Path(__file__).parents[1] / "toy/config.yaml"


def verdicts(folder: Path, *configs: Path) -> dict[str, Finding]:
    findings = examine([TOY, *configs], folder, kernels.available)
    return {finding.subject: finding for finding in findings}


def say(folder: Path, program: str, text: str) -> None:
    """A SLURM command that answers with a real cluster's words."""
    path = folder / program
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_this_environment_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--configfile", str(TOY), "--directory", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    for subject in ("torch", "device", "configuration", "disk", "SLURM", "GPAW"):
        assert subject in page


def test_bad_configuration_is_a_finding(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("productoin: {length_ps: 3}")
    found = verdicts(tmp_path, mine)["configuration"]
    assert found.verdict == "missing"
    assert "did you mean production" in found.found


def test_full_disk_is_told(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("formula_units: 5000\nreplicas: 400")
    found = verdicts(tmp_path, mine)["disk"]
    assert found.verdict == "note"
    assert found.remedy


def test_lock_of_a_killed_snakemake_is_told(tmp_path: Path) -> None:
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    assert "--unlock" in verdicts(tmp_path)["folder lock"].remedy


@pytest.mark.parametrize(
    ("storage", "age_s", "verdict", "remedy"),
    [
        ("accounting_storage/slurmdbd", 300, "ok", ""),
        ("accounting_storage/none", 300, "note", "squeue"),
        ("accounting_storage/none", 30, "missing", "checks: 10"),
    ],
)
def test_status_command_that_fits_the_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storage: str,
    age_s: int,
    verdict: str,
    remedy: str,
) -> None:
    say(tmp_path, "sinfo", "cpu infinite (null)\ngpu 1-00:00:00 gpu:a100:4")
    say(tmp_path, "scontrol", f"AccountingStorageType   = {storage}\nMinJobAge  = {age_s} sec")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = verdicts(tmp_path)
    assert "gpu (limit 1-00:00:00, gpu:a100:4)" in found["SLURM"].found
    assert found["accounting"].verdict == verdict
    assert remedy in found["accounting"].remedy
