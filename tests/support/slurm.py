"""Two real batch sites on this machine: clusters of the demonstration, with what tests do to them."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hub_config.demo.hpc.slurm import COMPLETION_FILE, HOMES, SITES, Cluster, make_accounts, why_not
from hub_config.demo.hpc.slurm import until as until_or_broken
from tests.support.service import free_ports

__all__ = ["HOMES", "SITES", "Record", "SlurmSite", "make_accounts", "running_sites", "until", "why_not"]

_NEVER_RAN = ("", "None assigned", "(null)", "n/a")
_OVER = ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT")


def until(true: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Wait until something is true."""
    until_or_broken(true, seconds, lambda: what or repr(true))


class Record(NamedTuple):
    """What Slurm recorded of one run of a job, or of one that never ran: zero seconds."""

    job: str
    state: str
    seconds: int
    ran: bool

    @classmethod
    def of(cls, fields: Sequence[str]) -> "Record":
        """From sacct's jobid, state, start, end (in seconds since 1970) and nodelist."""
        job, state, start, end, nodes = fields
        ran = nodes not in _NEVER_RAN and start.isdigit() and end.isdigit()
        return cls(job, state.partition(" ")[0], int(end) - int(start) if ran else 0, ran)


class SlurmSite(Cluster):
    """One cluster at ports that are free."""

    sacct: Sequence[str] = ("sacct", "--completion")
    """How its records are read; `history` is the same for a gate."""
    history = "completion"

    def __init__(
        self,
        name: str,
        folder: Path,
        accounts: tuple[str, ...],
        *,
        job_age_seconds: int = 300,
        records: str = COMPLETION_FILE,
    ) -> None:
        first, second = free_ports(2)
        super().__init__(
            name, folder, accounts, ports=(first, second), job_age_seconds=job_age_seconds, records=records
        )
        self.completed_jobs = folder / "completed-jobs"

    def job_state(self, job: str) -> str:
        """The scheduler's word; empty when it has forgotten the job."""
        return self.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").strip()

    def job_ids(self, name: str) -> list[str]:
        """All jobs with this name that the scheduler knows."""
        return self.run("squeue", "--noheader", "--states=all", "--format=%i", f"--name={name}").split()

    def records(self, job: str) -> list[Record]:
        """Of each run of a job that is over, the last one at the end; waits until they are there."""
        form = "--format=jobid,state,start,end,nodelist"
        words = ["env", "SLURM_TIME_FORMAT=%s", *self.sacct, "--noheader", "--parsable2", form, f"--jobs={job}"]
        found: list[Record] = []

        def are_there() -> bool:
            found[:] = [Record.of(line.split("|")) for line in self.run(*words).splitlines()]
            return bool(found) and found[-1].state in _OVER

        until(are_there, 90, f"the records of job {job} at {self.name}")
        return found

    def start_again(self, job: str) -> None:
        """Start a running job a second time, and wait until it runs. By itself Slurm would wait for two minutes."""
        self.run("scontrol", "update", f"JobId={job}", "Requeue=1")
        self.run("scontrol", "requeue", job)
        until(lambda: self.job_state(job) == "PENDING", what="the job waits again")

        deadline = time.monotonic() + 60
        while self.job_state(job) != "RUNNING":
            # Too early, and what ends the first run on the node ends the second one as well.
            time.sleep(2)
            # A prolog that failed takes the node away a second time, perhaps.
            if self.node_state() in ("drng", "drain"):
                self.run("scontrol", "update", f"NodeName={self.node}", "State=RESUME")
            self.run("scontrol", "update", f"JobId={job}", "StartTime=now")
            for _ in range(30):
                time.sleep(0.1)
                if self.job_state(job) == "RUNNING":
                    return
            if time.monotonic() > deadline:
                raise AssertionError(self.run("scontrol", "show", "job", job) + self.run("scontrol", "show", "node"))


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
