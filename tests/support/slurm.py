"""Two real batch sites on this machine: each a Slurm cluster of one node, with accounts and a munge key of its own.

Controllers and nodes listen on loopback ports that were free. The accounts are made once and kept, like those of a
computing centre; they can do nothing but run jobs. Everything else lies in one folder and is gone afterwards. It takes
root, as Slurm has to become the owners of jobs.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.service import free_ports

__all__ = ["SITES", "SlurmSite", "make_accounts", "running_sites", "until", "why_not"]

SITES = {"andes": ("nbandes1", "nbandes2", "nbandes3"), "costa": ("nbcosta1", "nbcosta2", "nbcosta3")}
"""The sites and their accounts."""
HOMES = Path("/var/lib/nbfed-batch-homes")
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")
_START_SECONDS = 60
_STOP_SECONDS = 15

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
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed-jobs
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


def why_not() -> str | None:
    """Why no site can be run here; None if one can."""
    if os.geteuid() != 0:
        return "Slurm needs root, to run jobs as their owners"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)}): `make setup-test` as root on Debian"
    return None


def until(true: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or true}"
        time.sleep(0.1)


def make_accounts(names: tuple[str, ...]) -> None:
    """Make accounts that have a home, a shell, and no password."""
    HOMES.mkdir(mode=0o755, exist_ok=True)
    for name in names:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            continue
        home = HOMES / name
        subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", "/bin/bash", name], check=True)
        subprocess.run(["usermod", "--password", "*", name], check=True)  # a `!` would lock logins by key, too
        home.chmod(0o700)


class SlurmSite:
    """One cluster. Commands of `run` talk to it; the environment of a gate that belongs to it is `environment`."""

    def __init__(self, name: str, folder: Path, accounts: tuple[str, ...], *, job_age_seconds: int = 300) -> None:
        self.name = name
        self.folder = folder
        self.accounts = accounts
        self.node = f"{name}-node"
        self.completed_jobs = folder / "completed-jobs"
        controller_port, node_port = free_ports(2)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "state").mkdir(parents=True)
        (folder / "munge").mkdir()
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                name=name, folder=folder, host=socket.gethostname().split(".")[0], job_age_seconds=job_age_seconds,
                controller_port=controller_port, node_port=node_port,
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
        munge = self.folder / "munge"
        self._run_daemon(
            "munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={self.folder}/munge.socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        until((self.folder / "munge.socket").exists, what="munge")
        self.start_controller()
        self._run_daemon("slurmd", "-D", "-N", self.node, "-f", str(self.configuration))
        until(lambda: self.node_state() == "idle", _START_SECONDS, f"{self.name}'s node\n{self.logs()}")

    def start_controller(self) -> None:
        self._run_daemon("slurmctld", "-D", "-f", str(self.configuration))
        until(lambda: "is UP" in self.run("scontrol", "ping"), _START_SECONDS, f"{self.name}'s controller")

    def stop_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._stop_daemon("slurmctld", how)

    def stop(self) -> None:
        """End jobs and daemons."""
        if "slurmctld" in self._processes:
            for account in self.accounts:
                self.run("scancel", f"--user={account}")
            until(lambda: not self.run("squeue", "--noheader"), what=f"{self.name}'s jobs end")
        for name in ("slurmd", "slurmctld", "munged"):
            self._stop_daemon(name, signal.SIGTERM)

    def _run_daemon(self, *argv: str) -> None:
        # A run of tests that is killed leaves no daemons behind.
        with (self.folder / f"{argv[0]}.out").open("ab") as out:
            self._processes[argv[0]] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *argv],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=self.folder,
            )  # fmt: skip

    def _stop_daemon(self, name: str, how: signal.Signals) -> None:
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

    def job_state(self, job: str) -> str:
        """The scheduler's word; empty when it has forgotten the job."""
        return self.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").strip()

    def job_ids(self, name: str) -> list[str]:
        """All jobs with this name that the scheduler knows."""
        return self.run("squeue", "--noheader", "--states=all", "--format=%i", f"--name={name}").split()

    def logs(self) -> str:
        """The end of what the daemons wrote."""
        files = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)


@contextlib.contextmanager
def running_sites() -> Iterator[dict[str, SlurmSite]]:
    """Both sites, for as long as the block lasts. `costa` forgets a job seconds after its end."""
    folder = Path(tempfile.mkdtemp(prefix="nbfed-batch-", dir="/var/tmp"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sites = {}
        for name, accounts in SITES.items():
            make_accounts(accounts)
            site = SlurmSite(name, folder / name, accounts, job_age_seconds=300 if name == "andes" else 3)
            stack.callback(site.stop)
            site.start()
            sites[name] = site
        yield sites
