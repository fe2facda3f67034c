"""A Slurm cluster of one node on loopback, with accounts and a munge key of its own.

Several can run beside each other. The accounts are made once and kept, like those of a computing centre; they can do
nothing but run jobs. Everything else lies in one folder. It takes root, as Slurm has to become the owners of jobs.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["COMPLETION_FILE", "HOMES", "SITES", "Cluster", "SiteBroken", "make_accounts", "until", "why_not"]

SITES: Mapping[str, tuple[str, ...]] = {
    name: tuple(f"nb{name}{number}" for number in range(1, 9)) for name in ("andes", "costa")
}
"""The sites and their accounts."""
HOMES = Path("/var/lib/nbfed-batch-homes")
COMPLETION_FILE = """\
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed-jobs"""
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged", "sshd", "sudo")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_WAIT_SECONDS = 30.0

_CONFIGURATION = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
{records}
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge={job_age_seconds}
KillWait=2
SchedulerParameters=bf_interval=1,sched_interval=1,defer_batch=0
MessageTimeout=3
SlurmctldTimeout=30
SlurmdTimeout=60
Prolog={folder}/prolog
PrologFlags=Alloc
NodeName={name}-node NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=32 RealMemory=64000 State=UNKNOWN
PartitionName=notebooks Nodes={name}-node Default=YES MaxTime=24:00:00 State=UP
PartitionName=short Nodes={name}-node MaxTime=01:00:00 State=UP
"""


class SiteBroken(Exception):
    """Something of a site did not come to be; the message has what its logs say."""


def why_not() -> str | None:
    """Why no site can be run here; None if one can."""
    if os.geteuid() != 0:
        return "Slurm needs root, to run jobs as their owners"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        return f"Slurm or OpenSSH is not installed ({', '.join(missing)}): `make run HPC=1` as root on Debian installs them"
    return None


def until(true: Callable[[], object], seconds: float = _WAIT_SECONDS, what: Callable[[], str] = str) -> None:
    """Wait until something is true; `what` says what was waited for.

    Raises
    ------
    SiteBroken
        If it does not come to be in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SiteBroken(f"not within {seconds:g} seconds: {what()}")
        time.sleep(0.1)


def make_accounts(names: Sequence[str]) -> None:
    """Make accounts that have a home, a shell, and no password; those that are there stay as they are."""
    HOMES.mkdir(mode=0o755, exist_ok=True)
    for name in names:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            continue
        home = HOMES / name
        subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", "/bin/bash", name], check=True)
        subprocess.run(["usermod", "--password", "*", name], check=True)  # a `!` would lock logins by key, too
        home.chmod(0o700)


class Cluster:
    """One cluster. Commands of `run` talk to it; the environment of a gate that belongs to it is `environment`.

    Parameters
    ----------
    folder
        For all that it writes; its name says which cluster it is to people who look at processes.
    ports
        Of the controller and of the node, both on loopback.
    job_age_seconds
        How long the controller remembers a job that ended.
    records
        Where the ends of jobs are recorded: lines of slurm.conf.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        accounts: tuple[str, ...],
        *,
        ports: tuple[int, int],
        job_age_seconds: int = 300,
        records: str = COMPLETION_FILE,
    ) -> None:
        self.name = name
        self.folder = folder
        self.accounts = accounts
        self.node = f"{name}-node"
        controller_port, node_port = ports
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "state").mkdir(parents=True)
        (folder / "munge").mkdir()
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                name=name, folder=folder, host=socket.gethostname().split(".")[0], job_age_seconds=job_age_seconds,
                controller_port=controller_port, node_port=node_port, records=records.format(folder=folder),
            )
        )  # fmt: skip
        self.set_prolog("exit 0")
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"SLURM_CONF": str(self.configuration)}

    def set_prolog(self, script: str) -> None:
        """What root runs on the node before each job."""
        prolog = self.folder / "prolog"
        prolog.write_text(f"#!/bin/sh\n{script}\n")
        prolog.chmod(0o755)

    # --- the daemons --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all of it, and wait until the node takes jobs."""
        self.start_munge()
        self.start_controller()
        self.run_daemon("slurmd", "-D", "-N", self.node, "-f", str(self.configuration))
        until(lambda: self.node_state() == "idle", _START_SECONDS, lambda: f"{self.name}'s node\n{self.logs()}")

    def start_munge(self) -> None:
        munge = self.folder / "munge"
        self.run_daemon(
            "munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={self.folder}/munge.socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        until((self.folder / "munge.socket").exists, what=lambda: f"munge of {self.name}")

    def start_controller(self) -> None:
        self.run_daemon("slurmctld", "-D", "-f", str(self.configuration))
        until(lambda: "is UP" in self.run("scontrol", "ping"), _START_SECONDS, lambda: f"{self.name}'s controller")

    def stop_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop_daemon("slurmctld", how)

    def stop(self) -> None:
        """End jobs and daemons."""
        if "slurmctld" in self._processes:
            for account in self.accounts:
                self.run("scancel", f"--user={account}")
            until(lambda: not self.run("squeue", "--noheader"), what=lambda: f"the end of {self.name}'s jobs")
        for name in ("slurmd", "slurmctld", *reversed(list(self._processes))):
            self.stop_daemon(name, signal.SIGTERM)

    def run_daemon(self, *argv: str, account: str | None = None) -> None:
        """Start a program of the site, as root or another account. A run of tests that is killed leaves none behind."""
        # Who becomes somebody else only later would not hear of our death.
        become = [f"--reuid={account}", f"--regid={account}", "--clear-groups"] if account else []
        with (self.folder / f"{argv[0]}.out").open("ab") as out:
            self._processes[argv[0]] = subprocess.Popen(
                ["setpriv", *become, "--pdeathsig", "TERM", *argv],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=self.folder,
                env={**os.environ, **self.environment},
            )  # fmt: skip

    def stop_daemon(self, name: str, how: signal.Signals) -> None:
        """End a program of the site, if it runs."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- as its administrator -----------------------------------------------------------------------------------

    def run(self, *argv: str) -> str:
        """The output of one of Slurm's commands, run by root."""
        done = subprocess.run(
            argv, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def node_state(self) -> str:
        return self.run("sinfo", "--noheader", "--format=%t", "--partition=notebooks").strip()

    def logs(self) -> str:
        """The end of what the daemons wrote."""
        files = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)
