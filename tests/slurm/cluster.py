"""A real SLURM of one node with a fake GPU, from Debian's slurm-wlm and munge, for the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from small_campaign import wait_for
from workflow import ROOT, Workflow

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db")
PATH = os.environ["PATH"] + ":/usr/sbin"

PROFILE = ROOT / "profiles/slurm"

# The node claims more cores and memory than it may have: nothing here enforces them, and jobs must
# not wait for each other on a small machine. Without cgroups (containers) processes are followed by
# parent. A job's record is kept an hour, so that squeue can tell how it ended. A requeued job waits
# until its old credential has expired.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
{accounting}
JobCompType=jobcomp/none
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PropagateResourceLimits=NONE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MinJobAge=3600
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2
PartitionName=cpu Nodes={node} Default=YES DefaultTime=10
PartitionName=gpu Nodes={node} DefaultTime=10
PartitionName=urgent Nodes={node} DefaultTime=10 PriorityTier=10
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
# Jobs must name an account and a quality of service that their user may have.
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
PidFile={folder}/slurmdbd.pid
"""
ACCOUNT, QOS = "physics", "long"
KNOWN_CLUSTER = ("sacctmgr", "--noheader", "show", "cluster", "format=cluster")


def why_not(*, accounting: bool = False) -> str:
    """Why SLURM cannot be started here; empty when it can."""
    packages = f"slurm-wlm munge{' slurmdbd mariadb-server' if accounting else ''}"
    programs = (*PROGRAMS, *(ACCOUNTING_PROGRAMS if accounting else ()))
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install --no-install-recommends {packages}"
    if os.geteuid() != 0:
        return "starting slurmd needs root"
    try:
        import snakemake_executor_plugin_slurm  # noqa: F401
    except ImportError:
        return "no snakemake-executor-plugin-slurm: pip install 'vitrion[slurm]'"
    return ""


class Cluster:
    """A running SLURM.

    Attributes:
        environment: for processes that talk to it.
        accounting: whether it has slurmdbd.
    """

    def __init__(self, environment: dict[str, str], *, accounting: bool) -> None:
        self.environment, self.accounting = environment, accounting

    def ask(self, *command: str) -> str:
        """Output of one of SLURM's commands; empty when it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        ).stdout

    def jobs(self, state: str = "all") -> dict[str, str]:
        """Comments of jobs (rule and wildcards) by id, of one state or all."""
        lines = self.ask("squeue", "--noheader", "--states", state, "--format", "%i %k")
        return dict(line.split(maxsplit=1) for line in lines.splitlines())

    def snakemake(
        self,
        campaign: Workflow,
        *options: str,
        targets: Sequence[Path] = (),
        profile: Path = PROFILE,
    ) -> subprocess.Popen[str]:
        """Start Snakemake with a profile; its output goes to snakemake.log."""
        folder = campaign.folder
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--workflow-profile", str(profile), "--directory", str(folder)),
            *(() if self.accounting else ("--slurm-status-command", "squeue")),
            # Nobody wants to wait.
            *("--latency-wait", "10"),
            *("--slurm-init-seconds-before-status-checks", "1"),
            *("--max-status-checks-per-second", "2"),
            *("--configfile", *map(str, campaign.configs), *options, "--"),
            *map(str, targets),
        ]
        with (folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextmanager
def start_cluster(folder: Path, *, accounting: bool = False) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd, and end them, with all jobs, by their process ids.

    Args:
        folder: where all their files lie.
        accounting: start slurmdbd and its database too; jobs then need `ACCOUNT` and `QOS`.
    """
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    controller_port, node_port, accounting_port, database_port = _free_ports(4)
    node = f"node{node_port}"  # its own name, and so its own cgroup, beside another SLURM
    conf = folder / "slurm.conf"
    conf.write_text(
        SLURM_CONF.format(
            host=host,
            node=node,
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
            accounting=ACCOUNTING.format(folder=folder, port=accounting_port)
            if accounting
            else NO_ACCOUNTING,
            proctrack="cgroup" if Path("/sys/fs/cgroup/freezer").is_dir() else "linuxproc",
        )
    )
    # Device files that are everywhere; no job touches them.
    (folder / "gres.conf").write_text(
        "".join(f"NodeName={node} Name=gpu File=/dev/{file}\n" for file in ("null", "zero"))
    )
    (folder / "cgroup.conf").write_text(
        "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n"
    )
    # The plugin takes SLURM_CONF from the environment of its inner srun.
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun", path=PATH)} "$@"\n')
    srun.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM_")
    } | {"SLURM_CONF": str(conf), "PATH": f"{folder}/bin:{PATH}"}
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    folder.chmod(0o755)  # munged insists
    cluster = Cluster(environment, accounting=accounting)
    munge = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
    munge |= {"log-file": folder / "munged.log", "seed-file": folder / "munge.seed"}
    with ExitStack() as stack:

        def start(*command: str) -> None:
            with (folder / f"{command[0]}.log").open("w") as log:
                daemon = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            stack.callback(_end, daemon)

        start("munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in munge.items()))
        wait_for((folder / "munge.socket").exists, "munged", seconds=20)
        if accounting:
            password = os.urandom(8).hex()
            start(*_database(folder, database_port, password))
            wait_for((folder / "database.socket").exists, "mariadbd", seconds=60)
            settings = folder / "slurmdbd.conf"
            settings.touch(mode=0o600)
            settings.write_text(
                SLURMDBD_CONF.format(
                    folder=folder,
                    port=accounting_port,
                    database_port=database_port,
                    password=password,
                )
            )
            start("slurmdbd", "-D")
            add = ("sacctmgr", "--immediate", "add")
            wait_for(
                lambda: cluster.ask(*add, "cluster", "test") or cluster.ask(*KNOWN_CLUSTER).strip(),
                "slurmdbd",
                seconds=60,
            )
            cluster.ask(*add, "qos", QOS)
            cluster.ask(*add, "account", ACCOUNT, f"qos={QOS}")
            cluster.ask(*add, "user", "root", f"account={ACCOUNT}")
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-c", "-N", node)
        stack.callback(_cancel_all, cluster)
        ready = ("sinfo", "--noheader", "--format", "%T", "--partition", "cpu")
        wait_for(lambda: cluster.ask(*ready).strip() == "idle", f"slurmd ({folder})", seconds=60)
        yield cluster


def _database(folder: Path, port: int, password: str) -> tuple[str, ...]:
    """Make an empty database; returns the command that runs it."""
    data = folder / "database"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    install = ("mariadb-install-db", "--no-defaults", "--skip-test-db", f"--datadir={data}")
    subprocess.run((*install, "--user=root"), **quiet)
    setup = folder / "database.sql"
    setup.touch(mode=0o600)
    setup.write_text(
        "CREATE DATABASE slurm;\n"
        f"CREATE USER slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm.* TO slurm@'127.0.0.1';\n"
    )
    return (
        *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--port={port}"),
        *("--bind-address=127.0.0.1", "--skip-name-resolve", f"--init-file={setup}"),
        *(f"--socket={folder}/database.socket", f"--pid-file={folder}/database.pid"),
    )


def _cancel_all(cluster: Cluster) -> None:
    cluster.ask("scancel", *cluster.jobs("PENDING,RUNNING"))
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING,COMPLETING"), "scancel", seconds=30)


def _end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
