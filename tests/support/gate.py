"""A gate that is installed as a site's administrator would do it, and asked as sshd would: by the robot through sudo,
or by the person's own account.
"""

import os
import pwd
import secrets
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from federation.settings import BatchSite, Flavour
from hub_config.demo.hpc.installed_gate import InstalledGate
from spawners.gateway.protocol import (
    Answer,
    Cancel,
    Cancelled,
    History,
    HistoryRow,
    JobName,
    Jobs,
    PastJobs,
    Ping,
    Pong,
    Queue,
    Resources,
    Row,
    Submit,
    Submitted,
)
from spawners.site_files import PROGRAM, ROBOT
from tests.support.slurm import HOMES, SlurmSite, make_accounts

__all__ = ["Gate", "batch_site", "new_attempt"]

T = TypeVar("T", bound=Answer)
_GATE_SECONDS = 120
FLAVOURS = {"node": Flavour(cpu=8, memory_gib=16, gpu=0, weight=8)}


def batch_site(name: str, **more: Any) -> BatchSite:
    """A site's section of federation.yaml."""
    login = {"host": "127.0.0.1", "host_key_file": "host.pub"}
    settings = {"title": name, "dialect": "slurm", "flavours": ["node"], "nodes": [f"{name}-node"],
                "login": login, "ports": "20000-29999", "partition": "notebooks", "walltime_hours": 2}  # fmt: skip
    return BatchSite(kind="batch", **{**settings, **more})


def new_attempt() -> str:
    return str(uuid.uuid4())


class Gate(InstalledGate):
    """The gate of one site. Answers are the protocol's models; `raw` gives the bytes."""

    def __init__(self, site: SlurmSite, folder: Path, **policy: Any) -> None:
        self.site = site
        make_accounts((ROBOT,))
        super().__init__(
            site.name, batch_site(site.name), FLAVOURS, folder, site.accounts,
            sudoers=f"{site.folder.parent.name}-{site.name}-{folder.parent.name}", history=site.history,
            environment=dict(site.environment), **policy,
        )  # fmt: skip

    # --- as the other side --------------------------------------------------------------------------------------

    def raw(self, request: bytes, *, by: str = ROBOT) -> bytes:
        """What the gate writes. By the robot it is called through sudo; others call it themselves."""
        return self.start(request, by=by).communicate(request, timeout=_GATE_SECONDS)[0]

    def start(self, request: bytes = b"", *, by: str = ROBOT) -> "subprocess.Popen[bytes]":
        """The gate as a process that waits for its request."""
        program = str(self.folder / PROGRAM)
        argv = ["sudo", "-n", program] if by == ROBOT else [program]
        person = pwd.getpwnam(by)
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=person.pw_uid, group=person.pw_gid,
            extra_groups=[], env={"PATH": os.environ["PATH"], "SLURM_CONF": "/nowhere", "BASH_ENV": "/nowhere"}, cwd="/",
        )  # fmt: skip

    def ping(self, **how: str) -> Pong:
        return self._ask(Pong, Ping(id="t"), how)

    def submit(self, account: str, attempt: str, script: str = "#!/bin/sh\nsleep 60\n", **more: Any) -> Submitted:
        return self._ask(Submitted, self.submission(account, attempt, script, **more), {})

    def submission(self, login: str, attempt: str, script: str = "#!/bin/sh\nsleep 60\n", **resources: Any) -> Submit:
        asked = {"cpus": 1, "memory_mib": 100, "minutes": 10, **resources}
        return Submit(
            id="t", attempt=attempt, account=login, secret=secrets.token_urlsafe(32), script=script,
            resources=Resources(**asked),
        )  # fmt: skip

    def queue(self, **how: str) -> Jobs:
        return self._ask(Jobs, Queue(id="t"), how)

    def row(self, attempt: str) -> Row | None:
        return next((row for row in self.queue().jobs if row.attempt == attempt), None)

    def history(self, *jobs: tuple[str, str, str]) -> Sequence[HistoryRow]:
        """Of (job, attempt, account)."""
        asked = [JobName(job=job, attempt=attempt, account=account) for job, attempt, account in jobs]
        return self._ask(PastJobs, History(id="t", jobs=asked), {}).jobs

    def cancel(self, job: str, attempt: str, account: str, **how: str) -> bool:
        return self._ask(Cancelled, Cancel(id="t", job=job, attempt=attempt, account=account), how).cancelled

    def _ask(self, kind: type[T], request: Any, how: dict[str, str]) -> T:
        return kind.parse(self.raw(request.line(), **how))

    # --- at the site --------------------------------------------------------------------------------------------

    @staticmethod
    def session_folder(account: str, attempt: str) -> Path:
        return HOMES / account / ".nbfed" / "sessions" / attempt
