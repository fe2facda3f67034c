"""Inside the measured hub: the product's own configuration, and around it

- stop-watches: around `FederatedSpawner.start` and the child's `LocalSpawner.start`, for steps that wait for the event
  loop, and for the loop itself;
- at the site `stubs`, a stub for the processes of sessions: the child is the real one, only nothing is launched;
- a service `bench` that may do everything with servers.
"""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hub_config.configure import configure
from hub_config.settings import load
from spawners.backends.base import Life, Observation
from spawners.backends.local import LocalSpawner
from spawners.backends.local_process import LocalProcesses
from spawners.federated import FederatedSpawner
from spawners.sessions import Session, Sessions

__all__ = ["STUB_SITE", "configure_measured"]

STUB_SITE = "stubs"
_BEAT_SECONDS = 0.01
_LATE_SECONDS = 0.02

Write = Callable[[str, str, float, float], None]


class StubProcesses(LocalProcesses):
    """Every attempt runs from its start on, at the stub server; its secret is exchanged at once."""

    def __init__(self, like: LocalProcesses, port: int, sessions: Sessions) -> None:
        super().__init__(like._sessions, account=like.account)
        self._port = port
        self._table = sessions
        self._since: dict[str, datetime] = {}
        self._over: dict[str, datetime] = {}

    def start(self, attempt: str, *, secret: str, **_: Any) -> int:
        self._since[attempt] = datetime.now(UTC)
        secret_hash = hashlib.sha256(secret.encode()).hexdigest()
        self._table.claim(attempt, secret_hash, "stub")
        self._table.confirm(attempt, secret_hash, "stub")
        return os.getpid()

    def observe(self, attempt: str) -> Observation:
        since = self._since.get(attempt) or datetime.now(UTC)
        if attempt in self._over:
            return Observation(life=Life.ENDED, started_at=since, ended_at=self._over[attempt], exit_code=0)
        return Observation(life=Life.RUNNING, started_at=since, host="127.0.0.1", port=self._port)

    def address(self, attempt: str, secret_hash: str) -> tuple[str, int] | None:
        return "127.0.0.1", self._port

    def end(self, attempt: str, *, patience_seconds: float) -> Observation:
        self._over.setdefault(attempt, datetime.now(UTC))
        return self.observe(attempt)


def configure_measured(c: Any) -> None:
    """Configure the product, then add what the module says."""
    settings = load()
    configure(c, settings)
    c.JupyterHub.services.append({"name": "bench", "api_token": os.environ["NBFED_BENCH_TOKEN"]})
    c.JupyterHub.load_roles.append(
        {"name": "bench", "scopes": ["admin:users", "admin:servers", "list:users"], "services": ["bench"]}
    )
    _put_stubs()
    if path := os.environ.get("NBFED_BENCH_TIMES"):
        _watch(path)


def _put_stubs() -> None:
    context = FederatedSpawner.context
    real = context.backends[STUB_SITE]
    stubs = StubProcesses(real.asks, int(os.environ["NBFED_BENCH_STUB_PORT"]), context.sessions)

    def arguments(session: Session) -> Mapping[str, object]:
        return {**real.child_arguments(session), "processes": stubs}

    backends = {**context.backends, STUB_SITE: replace(real, asks=stubs, child_arguments=arguments)}
    FederatedSpawner.context = replace(context, backends=backends)


def _watch(path: str) -> None:
    file = open(path, "a", buffering=1)  # noqa: SIM115 - open as long as the hub lives

    def write(what: str, which: str, begun: float, seconds: float) -> None:
        file.write(json.dumps([what, which, begun, seconds]) + "\n")

    _time_start(FederatedSpawner, "whole", write)
    _time_start(LocalSpawner, "child", write)
    _time_waiting(write)
    _beating.add(asyncio.get_running_loop().create_task(_beat(write)))  # the loop itself keeps only weak references


_beating: set[Any] = set()


def _time_start(spawner: Any, what: str, write: Write) -> None:
    original = spawner.start

    async def start(self: Any) -> Any:
        begun = time.monotonic()
        try:
            return await original(self)
        finally:
            write(what, f"{self.user.name}/{self.name}", begun, time.monotonic() - begun)

    spawner.start = start


def _time_waiting(write: Write) -> None:
    """How long a step of start() that a thread has finished waits until the event loop has time for it."""
    original = FederatedSpawner._in_thread

    async def in_thread(self: Any, work: Callable[[], Any]) -> Any:
        ended = [0.0]

        def timed() -> Any:
            try:
                return work()
            finally:
                ended[0] = time.monotonic()

        try:
            return await original(self, timed)
        finally:
            write("waiting", f"{self.user.name}/{self.name}", ended[0], time.monotonic() - ended[0])

    FederatedSpawner._in_thread = in_thread


async def _beat(write: Write) -> None:
    """Write down whenever the event loop comes late: somebody blocked it."""
    while True:
        begun = time.monotonic()
        await asyncio.sleep(_BEAT_SECONDS)
        late = time.monotonic() - begun - _BEAT_SECONDS
        if late > _LATE_SECONDS:
            write("late", "", begun, late)
