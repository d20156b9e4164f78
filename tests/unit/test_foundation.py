"""Units, seeds, progress, logs and the command line's manners."""

import logging
import subprocess
import sys
from pathlib import Path

import ase.units
import numpy as np
import pytest
from scipy import constants

from vitrion.base import units
from vitrion.base.errors import InputError
from vitrion.base.progress import Progress
from vitrion.base.seeds import derive_seed
from vitrion.cli import build_parser, main
from vitrion.runtime.job import job_log


def test_constants_agree_with_ase() -> None:
    assert pytest.approx(ase.units.kB, rel=1e-5) == units.BOLTZMANN_eV_K
    assert pytest.approx(ase.units.GPa, rel=1e-5) == 1 / units.EV_A3_TO_GPA
    # v in Å/ps is v · 1e-3 / ase.units.fs⁻¹ in ASE's units.
    assert pytest.approx((1e-3 / ase.units.fs) ** 2, rel=1e-5) == units.U_A2_PS2_eV
    assert pytest.approx(ase.units._amu * 1e3 / 1e-24, rel=1e-6) == units.U_A3_TO_G_CM3


def test_constants_are_those_of_codata() -> None:
    assert units.BOLTZMANN_eV_K == pytest.approx(
        constants.value("Boltzmann constant in eV/K"), rel=1e-9
    )
    assert pytest.approx(constants.atomic_mass * 1e27, rel=1e-9) == units.U_A3_TO_G_CM3
    assert pytest.approx(constants.elementary_charge * 1e21, rel=1e-9) == units.EV_A3_TO_GPA


def test_conductivity_of_one_molar_walkers() -> None:
    # n e² D / k_B T with n = 1e27/m³, D = 1e-8 m²/s and T = 300 K:
    # 1e27 · (1.602177e-19)² · 1e-8 / (1.380649e-23 · 300) S/m = 61.975 S/m.
    assert units.conductivity_mS_cm(1.0, 1000.0, 300.0) == pytest.approx(619.75, rel=1e-4)


def test_seeds_differ_by_job_and_are_stable() -> None:
    seeds = {derive_seed(1, "quench", name, r) for name in ("LiAlCl", "KInI") for r in range(50)}
    assert len(seeds) == 100
    assert derive_seed(20260106, "quench", "LiAlCl", 0) == derive_seed(
        20260106, "quench", "LiAlCl", "0"
    )
    code = "from vitrion.base.seeds import derive_seed; print(derive_seed(7, 'a', 1))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == derive_seed(7, "a", 1)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_progress_tells_time_left(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vitrion"), Progress(4, "melt", interval_s=0.0) as progress:
        progress.update(2, "1500 K")
    assert "melt: 2/4 step" in caplog.text
    assert "left, 1500 K" in caplog.text


def test_job_log_keeps_the_traceback_and_exits(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log = tmp_path / "logs" / "job.log"
    with pytest.raises(SystemExit) as ended, job_log(log, "a job"):
        print("said by a library")
        raise RuntimeError("broke")
    assert ended.value.code == 1
    assert "Traceback" in log.read_text()
    assert "said by a library" in log.read_text()
    shown = capsys.readouterr().err
    assert "a job: broke; see" in shown
    assert "Traceback" not in shown


def test_job_log_tells_bad_input_in_one_message(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, job_log(log, "a job"):
        raise InputError("dt", 3, "make it 2")
    assert ended.value.code == 2
    assert "dt = 3: make it 2" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture) -> None:
    commands = build_parser()._subparsers._group_actions[0].choices
    assert commands
    for name in commands:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"example:\n  vitrion {name}" in capsys.readouterr().out


def test_unknown_option_is_one_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["no-such-command"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_numbers_are_numpy_safe() -> None:
    two = units.conductivity_mS_cm(np.array([1.0, 2.0]), 1000.0, 300.0)
    assert two[1] == pytest.approx(2 * two[0])


def test_two_processes_never_run_the_same_job(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    code = (
        "import sys, time; from vitrion.runtime.job import job_log\n"
        f"with job_log({str(log)!r}, 'a job'):\n"
        "    print('start'); time.sleep(1.0); print('stop')"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(job.communicate(timeout=60)[1] for job in jobs)
    lines = [line for line in log.read_text().splitlines() if not line.startswith("attempt ")]
    assert lines == ["start", "stop", "start", "stop"]
    assert said.count("waiting for the process that still runs it") == 1
