"""Several real workers of one hub: one leads, and another one follows whatever happens to it or its connection.

There is no hub here: a worker does what it can without one, and looks for it at every round.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.services.test_session import wait_for
from tests.support.databases import KINDS, Databases, postgres_or_skip
from tests.support.postgres import running_postgres
from tests.support.service import Service, free_ports, running_service

pytestmark = pytest.mark.service

TAKE_OVER_SECONDS = 30
"""A promise to people, not a measurement: leases are renewed again within this time."""


class WorkerProcess:
    """`nbfed worker` on an installation, with a port of its own."""

    def __init__(self, service: Service, name: str) -> None:
        (self.port,) = free_ports(1)
        self.log = service.root / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hub_config.cli", "worker", "--port", str(self.port)],
                env=service.environment(), cwd=service.root, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_for(self.health)

    def health(self) -> dict[str, Any] | None:
        """What it says of itself; None while it says nothing."""
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            answer: dict[str, Any] = httpx.get(self._at("health"), timeout=20, trust_env=False).json()
            return answer
        return None

    def leads(self) -> bool:
        found = self.health()
        return found is not None and found["role"] == "leader"

    def works(self) -> bool:
        """Whether it leads and a round has succeeded."""
        found = self.health()
        return found is not None and found["role"] == "leader" and found["jobs"]["rounds"]["last_success"] is not None

    def runs(self) -> float:
        """How many rounds have succeeded."""
        prefix = 'nbfed_worker_job_runs_total{job="rounds",outcome="succeeded"} '
        lines = httpx.get(self._at("metrics"), timeout=20, trust_env=False).text.splitlines()
        return float(next(line.removeprefix(prefix) for line in lines if line.startswith(prefix)))

    def _at(self, page: str) -> str:
        return f"http://127.0.0.1:{self.port}/{page}"


Start = Callable[[str], WorkerProcess]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def installation(url: str) -> Iterator[Service]:
    """Settings and tables on a database, and nothing that runs."""
    with running_service(start=False, database={"url_file": "database-url", "busy_seconds": 2}) as service:
        (service.root / "database-url").write_text(url)
        yield service


@contextlib.contextmanager
def workers_of(service: Service) -> Iterator[Start]:
    """Starts workers, and ends them."""
    started: list[WorkerProcess] = []

    def start(name: str) -> WorkerProcess:
        started.append(WorkerProcess(service, name))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.migrated()


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    with installation(url) as service, workers_of(service) as start:
        yield start


def test_a_leader_that_is_killed_is_followed_within_thirty_seconds(start: Start) -> None:
    leader, standby = start("one"), start("two")
    wait_for(leader.works)
    found = standby.health()
    assert found is not None
    assert (found["role"], found["database"], found["jobs"]["rounds"]["last_run"]) == ("standby", "reachable", None)
    wait_for(lambda: "stands by: another worker leads" in standby.log.read_text())
    leader.process.kill()
    killed = time.monotonic()
    wait_for(standby.works, TAKE_OVER_SECONDS + 30)
    seconds = time.monotonic() - killed
    print(f"taken over after {seconds:.1f} s")
    assert seconds < TAKE_OVER_SECONDS
    third = start("three")
    wait_for(lambda: "stands by" in third.log.read_text())
    assert not third.leads()


def test_a_leader_that_is_told_to_end_ends_cleanly_and_is_followed(start: Start) -> None:
    leader, standby = start("one"), start("two")
    wait_for(leader.works)
    leader.process.terminate()
    assert leader.process.wait(20) == 0
    assert "Traceback" not in leader.log.read_text()
    wait_for(standby.works, TAKE_OVER_SECONDS)


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_leader_whose_connection_is_killed_stops_at_once_and_somebody_leads_within_thirty_seconds(
    start: Start, url: str
) -> None:
    leader, standby = start("one"), start("two")
    wait_for(leader.works)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchall()
    assert ended == [(True,)]
    killed = time.monotonic()
    wait_for(lambda: "the lock is lost; no job runs" in leader.log.read_text(), TAKE_OVER_SECONDS)
    wait_for(lambda: leader.works() or standby.works(), TAKE_OVER_SECONDS)
    seconds = time.monotonic() - killed
    print(f"led again after {seconds:.1f} s")
    assert seconds < TAKE_OVER_SECONDS
    assert leader.leads() != standby.leads()


def test_a_server_that_is_stopped_and_started_finds_one_leader_again() -> None:
    postgres_or_skip()
    with running_postgres() as server, contextlib.ExitStack() as stack:  # not the server of the other tests
        service = stack.enter_context(installation(server.url(server.create())))
        start = stack.enter_context(workers_of(service))
        service.nbfed("db", "upgrade")
        leader, standby = start("one"), start("two")
        wait_for(leader.works)
        server.stop()
        wait_for(lambda: "the lock is lost" in leader.log.read_text())
        before = leader.runs()
        for worker in (leader, standby):
            assert httpx.get(f"http://127.0.0.1:{worker.port}/health", timeout=20, trust_env=False).status_code == 503
        time.sleep(3)
        assert (leader.runs(), standby.runs()) == (before, 0), "a round ran although nobody can know who leads"
        server.start()
        wait_for(lambda: (leader.works() and leader.runs() > before) or standby.works(), TAKE_OVER_SECONDS)
        time.sleep(3)
        assert leader.leads() != standby.leads()


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_port_that_is_in_use_is_said_with_what_to_change(url: str) -> None:
    with installation(url) as service, workers_of(service) as start:
        busy = start("one").port
        answer = service.nbfed("worker", "--port", str(busy), check=False)
        assert answer.returncode == 1
        assert f"Port {busy} cannot be opened: Address already in use" in answer.stderr
        assert "listen.worker_port" in answer.stderr
        assert "--port" in answer.stderr
