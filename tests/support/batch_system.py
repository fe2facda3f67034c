"""A gateway of the HTTP contract on a unix socket, with a batch system behind it that runs jobs on this machine.

It keeps what the real ones keep: one job for one attempt, a missing job only after two answers without it, history after
the end. Jobs are real processes where `home` is given (their script is run, as the gate runs it); without it they only
change state when a test says so. Faults are scripted by verb.
"""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from spawners.gateway.client import GatewayClient
from spawners.gateway.door import Door
from spawners.gateway.protocol import SESSIONS_FOLDER

__all__ = ["BatchSystem", "Job", "serving"]

NODE = "127.0.0.1"


@dataclass
class Job:
    """One job; times by the site's clock."""

    id: str
    attempt: str
    account: str
    secret: str
    script: str
    resources: dict[str, Any]
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    state: str = "pending"
    scheduler_state: str = "PENDING"
    session: dict[str, Any] | None = None
    runs: list[dict[str, float]] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None


@dataclass
class BatchSystem:
    """See the module.

    Parameters
    ----------
    socket
        Where the gateway listens.
    home
        The home of every account; with it jobs are real processes.
    clock
        The hub's, in seconds since 1970.
    skew
        How far the site's clock is ahead of it.
    held
        Jobs wait in the queue until `release`.
    reason, expected_start_in
        What the scheduler says of those that wait.
    faults
        By verb (submit, job, jobs, history, cancel, forward, reverse, sites): what becomes of the next requests.
        `away` (503, the site was not asked), `lost` (done, and no answer), `silent` (504, not done), or a gate's code.
    hub_url
        What jobs reach the hub by.
    asked
        The verbs of all requests so far.
    """

    socket: Path
    home: Path | None = None
    clock: Callable[[], float] = time.time
    skew: float = 0.0
    held: bool = False
    reason: str = "Priority"
    expected_start_in: float | None = 600
    faults: dict[str, list[str]] = field(default_factory=dict)
    hub_url: str = "http://127.0.0.1:1"
    site_state: str = "ok"
    asked: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    """Attempts that the scheduler does not have any more, and of which history knows nothing."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """By verb: what happens, once, when it is asked for; in `after`, when it is done and not answered."""
    after: dict[str, Callable[[], None]] = field(default_factory=dict)
    last_poll: dict[str, Any] | None = None
    """The answer to the gateway's last question, where that is an old one."""
    forwards: dict[str, tuple[str, int]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def client(self) -> GatewayClient:
        return GatewayClient(Door(self.socket), timeout_seconds=10)

    def now(self) -> float:
        return self.clock() + self.skew

    # --- what a test does -----------------------------------------------------------------------------------

    def begin(self, attempt: str) -> Job:
        """The scheduler starts a job."""
        with self.lock:
            job = self.jobs[attempt]
            job.state, job.scheduler_state, job.started_at = "running", "RUNNING", self.now()
            if self.home is not None:
                self._run(job)
            return job

    def release(self) -> None:
        """Whatever waits starts, and so does whatever comes."""
        with self.lock:
            self.held = False
            for job in list(self.jobs.values()):
                if job.state == "pending":
                    self.begin(job.attempt)

    def listens(self, attempt: str, port: int, proof: str) -> None:
        """The launcher has said where."""
        self.jobs[attempt].session = {"node": NODE, "port": port, "proof": proof}

    def finish(self, attempt: str, *, scheduler_state: str = "COMPLETED", exit_code: int = 0) -> Job:
        """The scheduler ended a job, or it ended by itself."""
        with self.lock:
            job = self.jobs[attempt]
            if job.process is not None and job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    job.process.wait(10)
            self._over(job, scheduler_state, exit_code)
            return job

    def requeue(self, attempt: str) -> None:
        """A node failed: the job waits again."""
        with self.lock:
            job = self.jobs[attempt]
            assert job.started_at is not None
            job.runs.append({"started_at": job.started_at, "ended_at": self.now()})
            job.started_at, job.state, job.scheduler_state, job.session = None, "pending", "PENDING", None

    def end_everything(self) -> None:
        """No process is left."""
        for job in self.jobs.values():
            if job.process is not None and job.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait(10)

    def stop_asking(self) -> None:
        """The gateway keeps the answer of now for all jobs."""
        self.last_poll = self._jobs("", {})

    # --- the scheduler --------------------------------------------------------------------------------------

    def _over(self, job: Job, scheduler_state: str, exit_code: int) -> None:
        if job.state == "ended":
            return
        if job.started_at is not None:
            job.ended_at = self.now()
            job.runs.append({"started_at": job.started_at, "ended_at": job.ended_at})
        job.state, job.scheduler_state, job.exit_code = "ended", scheduler_state, exit_code

    def _run(self, job: Job) -> None:
        assert self.home is not None
        folder = self.home / SESSIONS_FOLDER / job.attempt
        with (folder / "job.log").open("ab") as log:
            job.process = subprocess.Popen(
                ["/bin/bash", "-s"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                cwd=self.home, **_as_nobody(),
                env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "SLURMD_NODENAME": NODE, "USER": job.account},
            )  # fmt: skip
            assert job.process.stdin is not None
            job.process.stdin.write(job.script.encode())
            job.process.stdin.close()

    def _refresh(self, job: Job) -> None:
        if job.process is None or self.home is None:
            return
        folder = self.home / SESSIONS_FOLDER / job.attempt
        with contextlib.suppress(OSError, ValueError):
            job.session = json.loads((folder / "session.json").read_text())
        code = job.process.poll()
        if code is not None:
            self._over(job, "COMPLETED" if code == 0 else "FAILED", max(code, -255))

    def _row(self, job: Job) -> dict[str, Any]:
        self._refresh(job)
        row = {
            "job": job.id, "attempt": job.attempt, "account": job.account, "state": job.state,
            "scheduler_state": job.scheduler_state, "submitted_at": job.submitted_at, "started_at": job.started_at,
            "ended_at": job.ended_at, "exit_code": job.exit_code, "node": NODE if job.started_at else None,
            "session": job.session,
        }  # fmt: skip
        if job.state == "pending":
            row["reason"] = self.reason
            if self.expected_start_in is not None:
                row["expected_start_at"] = self.now() + self.expected_start_in
        return row

    # --- the gateway ----------------------------------------------------------------------------------------

    def answer(self, verb: str, attempt: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and content; a status of 0 is no answer at all."""
        with self.lock:
            self.asked.append(verb)
            self._happens(self.before, verb)
            fault = self.faults[verb].pop(0) if self.faults.get(verb) else ""
            match fault:
                case "away":
                    return 503, {"error": "breaker", "detail": "the site does not answer", "retry": True}
                case "silent":
                    return 504, {"error": "timeout", "detail": "", "retry": True}
                case "" | "lost":
                    done = getattr(self, f"_{verb}")(attempt, body)
                    self._happens(self.after, verb)
                    return (0, None) if fault == "lost" else (200, done)
                case code:
                    return 409, {"error": code, "detail": "said the gate", "retry": False}

    def _happens(self, when: dict[str, Callable[[], None]], verb: str) -> None:
        what = when.pop(verb, None)
        if what is not None:
            what()

    def _submit(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        existed = body["attempt"] in self.jobs
        if not existed:
            job = Job(
                id=str(1000 + len(self.jobs)), attempt=body["attempt"], account=body["account"],
                secret=body["secret"], script=body["script"], resources=body["resources"], submitted_at=self.now(),
            )  # fmt: skip
            self.jobs[job.attempt] = job
            if self.home is not None:
                folder = self.home / SESSIONS_FOLDER / job.attempt
                folder.mkdir(parents=True)
                (folder / "secret").write_text(job.secret)
                _give(self.home)
            if not self.held:
                self.begin(job.attempt)
        job = self.jobs[body["attempt"]]
        return {"job": job.id, "existed": existed, "minutes": job.resources["minutes"]}

    def _jobs(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.last_poll is not None:
            return self.last_poll
        rows = [self._row(job) for job in self.jobs.values() if job.attempt not in self.forgotten]
        now = self.clock()
        return {"asked_at": now, "answered_at": now, "fresh": True, "time": self.now(), "jobs": rows}

    def _job(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        job = self.jobs.get(attempt)
        if job is None or attempt in self.forgotten:
            return {"life": "ended", "row": None, "missing_count": 2, "time": self.now()}
        row = self._row(job)
        return {"life": row["state"], "row": row, "missing_count": 0, "time": self.now()}

    def _history(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        found = []
        for name in body["jobs"]:
            job = self.jobs.get(name["attempt"])
            if job is None or job.id != name["job"] or job.account != name["account"]:
                continue
            known = job.attempt not in self.forgotten
            row = self._row(job) | {"runs": job.runs, "source": "accounting", "estimated": False, "log_tail": "the end"}
            nothing = {"runs": [], "source": "none", "started_at": None, "ended_at": None, "state": "ended"}
            found.append(row if known else row | nothing)
        return {"jobs": found}

    def _cancel(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        job = self.jobs.get(attempt)
        if job is None or (job.id, job.account) != (body["job"], body["account"]) or job.state == "ended":
            return {"cancelled": False}
        self.finish(attempt, scheduler_state="CANCELLED", exit_code=0)
        return {"cancelled": True}

    def _forward(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.forwards[attempt] = (body["node"], body["port"])
        return {"host": "127.0.0.1", "port": body["port"]}

    def _unforward(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.forwards.pop(attempt, None)
        return {}

    def _reverse(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"hub_url": self.hub_url}

    def _sites(self, attempt: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"hpc": {"state": self.site_state}}


def _as_nobody() -> dict[str, Any]:
    """The single-user server does not run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give(folder: Path) -> None:
    """To the account of the sessions."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")


class _Handler(BaseHTTPRequestHandler):
    system: BatchSystem

    def _handle(self) -> None:
        parts = self.path.strip("/").split("/")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        verbs = {
            ("GET", 1): "sites", ("POST", 3): "submit" if parts[-1] == "jobs" else "history",
            ("GET", 3): "jobs" if parts[-1] == "jobs" else "reverse", ("GET", 4): "job", ("POST", 5): "cancel",
            ("PUT", 4): "forward", ("DELETE", 4): "unforward",
        }  # fmt: skip
        status, content = self.system.answer(verbs[(self.command, len(parts))], "".join(parts[3:4]), body)
        if status == 0:
            self.close_connection = True
            return
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names of http.server

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[BatchSystem]:
    """A gateway that listens until the end of the block."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="nbfed-gw-") as folder:
        system = BatchSystem(socket=options.pop("socket", None) or Path(folder) / "api.sock", **options)
        system.socket.parent.mkdir(parents=True, exist_ok=True)
        server = _Server(str(system.socket), type("Handler", (_Handler,), {"system": system}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield system
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            system.end_everything()
