"""The two hubs that are compared on one Slurm: ours, and JupyterHub with batchspawner as it comes.

Each has a person whose sessions become jobs, and somebody else, whose requests have nothing to do with them. One that is
not measured can be frozen: both have their jobs in the queue all the time, and take turns all the same.
"""

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import batchspawner
import httpx
import psutil

from tests.bench.bare_hub import BareHub, running_bare_hub, until
from tests.support.federation import Federation
from tests.support.person import Person
from tests.support.slurm import SlurmSite

__all__ = ["SITE", "Ours", "Side", "Stock", "as_it_comes"]

SITE = "andes"
_AT_ONCE = 16
_SECONDS = 600
_OTHER = "somebody"


class Side(Protocol):
    """One hub."""

    name: str

    def begin(self, servers: Sequence[str]) -> None:
        """Start these servers, and return when the scheduler has a job for each."""

    def start(self, server: str) -> float:
        """Start one; seconds until it can be used."""

    def end(self, servers: Sequence[str]) -> None:
        """Stop these servers."""

    def ask(self) -> None:
        """A request that has nothing to do with them, through the proxy."""

    def processes(self) -> list[psutil.Process]:
        """What works for the hub, apart from its proxy and ssh."""


@contextlib.contextmanager
def frozen(side: Side) -> Iterator[None]:
    """For as long as the block lasts."""
    stopped = side.processes()
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)


class _Hub:
    """What both have. `ask_api` sends a request as the person, or with a token that may do as much."""

    def __init__(self, base_url: str, token: str, user: str, other: str, other_token: str) -> None:
        def client(of: str) -> httpx.Client:
            return httpx.Client(
                base_url=f"{base_url.rstrip('/')}/hub/api", headers={"Authorization": f"token {of}"}, trust_env=False,
                timeout=120,
            )  # fmt: skip

        self.user, self.other = user, other
        self._api, self._other_api = client(token), client(other_token)

    def ask(self) -> None:
        self._other_api.get(f"/users/{self.other}").raise_for_status()

    def start(self, server: str) -> float:
        since = time.monotonic()  # before it is asked for: JupyterHub answers only when it is there, or after seconds
        self._begin(server)
        until(lambda: self._is_ready(server))
        return time.monotonic() - since

    def end(self, servers: Sequence[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda server: self._api.delete(f"/users/{self.user}/servers/{server}"), servers))
        until(lambda: not any(server in self._servers() for server in servers), seconds=_SECONDS)

    def _begin_all(self, servers: Sequence[str], **options: str) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda server: self._begin(server, **options), servers))

    def _begin(self, server: str, **options: str) -> None:
        answer = self._api.post(f"/users/{self.user}/servers/{server}", json=self._options(**options))
        if answer.status_code not in (201, 202):
            raise RuntimeError(f"{server}: {answer.status_code} {answer.text[:500]}")

    def _options(self, **options: str) -> dict[str, Any] | None:
        return None

    def _is_ready(self, server: str) -> bool:
        return bool(self._servers().get(server, {}).get("ready"))

    def _servers(self) -> dict[str, Any]:
        servers: dict[str, Any] = self._api.get(f"/users/{self.user}").raise_for_status().json()["servers"]
        return servers


class Ours(_Hub):
    """The federation's hub, with its worker, desk and gateway."""

    name = "ours"

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        person, other = (Person(federation.service.base_url).sign_in(who) for who in ("researcher", "trainer"))
        federation.map(person, SITE)
        super().__init__(federation.service.base_url, _token(person), person.user_name, other.user_name, _token(other))

    def begin(self, servers: Sequence[str], *, environment: str = "stub") -> None:
        self._begin_all(servers, environment=environment)
        until(lambda: self.submitted(servers), seconds=_SECONDS)

    def submitted(self, servers: Sequence[str]) -> bool:
        """Whether the scheduler has a job for each of them."""
        there = {one.server.name for one in self.federation.service.house.sessions.open_on("hub") if one.backend_ref}
        return there.issuperset(servers)

    def processes(self) -> list[psutil.Process]:
        assert self.federation.gateway is not None
        children = psutil.Process(self.federation.service.pid).children(recursive=True)
        own = [child for child in children if child.name() != "node"]
        return [*own, psutil.Process(self.federation.gateway.pid)]

    def _options(self, **options: str) -> dict[str, Any] | None:
        return {"flavour": "small", "environment": "minimal", "site": SITE, "walltime_minutes": 60} | options


class Stock(_Hub):
    """JupyterHub with batchspawner."""

    name = "batchspawner"

    def __init__(self, hub: BareHub, slurm: SlurmSite) -> None:
        self._hub, self._slurm = hub, slurm
        self.account = slurm.accounts[-1]
        hub.api.post("/hub/api/users", json={"usernames": [self.account, _OTHER]}).raise_for_status()
        super().__init__(str(hub.public.base_url), "of-the-bench", self.account, _OTHER, "of-the-bench")

    def begin(self, servers: Sequence[str]) -> None:
        before = self._jobs()
        self._begin_all(servers)
        until(lambda: self._jobs() >= before + len(servers), seconds=_SECONDS, told=self._hub.log.read_text)

    def processes(self) -> list[psutil.Process]:
        return [self._hub.process]

    def _jobs(self) -> int:
        return len(self._slurm.run("squeue", "--noheader", f"--user={self.account}", "--format=%i").split())


@contextlib.contextmanager
def as_it_comes(slurm: SlurmSite, prefix: Path) -> Iterator[Stock]:
    """batchspawner's hub on this Slurm; `prefix` is its sessions' environment, which gets batchspawner in addition."""
    folder = Path(tempfile.mkdtemp(prefix="nbfed-bench-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        shutil.copytree(Path(batchspawner.__file__).parent, folder / "batchspawner")
        environment = {
            **slurm.environment,
            "NBFED_BENCH_PREFIX": str(prefix),
            "NBFED_BENCH_BATCHSPAWNER": str(folder),
        }
        with running_bare_hub(Path(__file__).with_name("bare_batch_config.py"), environment) as hub:
            yield Stock(hub, slurm)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _token(person: Person) -> str:
    answer = person.api("POST", f"users/{person.user_name}/tokens", json={})
    answer.raise_for_status()
    return str(answer.json()["token"])
