"""PostgreSQL goes away under load and under a running service: nothing is lost, nothing is doubled, sessions go on, and
what people are told is an outage.
"""

import math
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from federation.database import Database, DatabaseUnavailable
from quota.ledger import Admitted, Ledger, NotRenewed, Renewed
from quota.tables import HoldState, HoldTable
from spawners.tables import EndReason
from tests.services.test_session import lines_of, wait_for
from tests.support.books import ANN, ANNA, MINUTE, START, Books, MovableClock, discrepancies, open_books, units
from tests.support.databases import postgres_or_skip
from tests.support.person import Person
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.service import Service, running_service

pytestmark = pytest.mark.service

CALLERS = 8
LEASE = 5 * MINUTE
PATIENCE_SECONDS = 90
"""How long a caller goes on asking; the server is away for moments only, but machines may be busy."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that is stopped, and more."""
    postgres_or_skip()
    with running_postgres() as started:
        yield started


# --- under load -------------------------------------------------------------------------------------------------


@dataclass
class Caller:
    """One of those who reserve, renew, settle and release all the time. Each call is repeated with its own key until it
    has an answer; `settled` and `released` are what it was told.
    """

    number: int
    books: Books
    settled: dict[str, int] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    outages: Counter[str] = field(default_factory=Counter)

    def work(self, stop: threading.Event) -> "Caller":
        random, ledger = Random(self.number), self.books.ledger
        for n in range(100_000):
            if stop.is_set():
                return self
            hold = f"{self.number}-{n}"
            owner = (ANN, ANNA)[n % 2]
            admitted = self.ask(lambda: self.books.reserve(hold, owner, lease=LEASE))  # noqa: B023 - called at once
            assert isinstance(admitted, Admitted), admitted
            until = START + LEASE + MINUTE
            renewed = self.ask(lambda: ledger.renew(hold, until=until))  # noqa: B023
            assert renewed in (Renewed(until, short=False), Renewed(until, short=True)), renewed
            if random.random() < 0.3:
                self.ask(lambda: ledger.release(hold, reason="never ran"))  # noqa: B023
                self.released.add(hold)
                continue
            ended_at = START + timedelta(seconds=random.randrange(1, 600))
            answer = self.ask(
                lambda: ledger.settle(hold, started_at=START, ended_at=ended_at, source="launcher")  # noqa: B023
            )
            assert answer.state == HoldState.SETTLED
            self.settled[hold] = answer.charged
            assert answer.charged == units((ended_at - START).total_seconds())
        raise AssertionError("nobody said stop")

    def ask(self, call: Callable[[], Any]) -> Any:
        """The answer; whatever is raised that is no outage ends the test."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return call()
            except DatabaseUnavailable as error:
                self.outages[str(error)] += 1
                time.sleep(0.02)
        raise AssertionError(f"no answer in {PATIENCE_SECONDS} s: {self.outages}")

    @property
    def done(self) -> int:
        return len(self.settled) + len(self.released)


def wait_for_work(callers: list[Caller], each: int = 3) -> None:
    """Wait until everybody has done some more."""
    wanted = [caller.done + each for caller in callers]
    wait_for(lambda: all(c.done >= w for c, w in zip(callers, wanted, strict=True)), PATIENCE_SECONDS)


def disturb(server: PostgresServer, callers: list[Caller]) -> None:
    """Everything that happens to a server, each time in the middle of work."""
    for how in (None, None, signal.SIGINT, None, signal.SIGQUIT, None):
        wait_for_work(callers)
        if how is None:
            assert server.terminate_connections() > 0
        else:
            server.stop(how=how)
            time.sleep(0.2)
            server.start()
    wait_for_work(callers)


def test_a_server_that_stops_crashes_and_ends_connections_under_load_loses_and_doubles_nothing(
    server: PostgresServer,
) -> None:
    url = server.url(server.create())
    processes = [Database(url), Database(url)]  # as two processes would have them, each with half of the callers
    books = open_books(processes[0])
    for owner in (ANN, ANNA):
        books.grant(units(10_000_000), owner)
    clock = MovableClock()
    callers = [
        Caller(n, Books(database, clock, Ledger(database, clock=clock, actor="test")))
        for n, database in enumerate(processes * (CALLERS // 2))
    ]
    stop = threading.Event()
    with ThreadPoolExecutor(CALLERS) as pool:
        working = [pool.submit(caller.work, stop) for caller in callers]
        try:
            disturb(server, callers)
        finally:
            stop.set()
        for one in working:
            one.result()

    assert discrepancies(processes[0]) == []
    holds = {row.id: row for row in books.rows(HoldTable)}
    told = {hold: charged for caller in callers for hold, charged in caller.settled.items()}
    assert {hold: row.charged for hold, row in holds.items() if row.state == HoldState.SETTLED} == told
    released = {hold for caller in callers for hold in caller.released}
    assert {hold for hold, row in holds.items() if row.state == HoldState.RELEASED} == released
    assert holds.keys() == told.keys() | released
    for owner in (ANN, ANNA):
        assert books.balance(owner)[2] == 0
    assert sum(books.balance(owner)[1] for owner in (ANN, ANNA)) == sum(told.values())
    seen = sum((caller.outages for caller in callers), Counter())
    ended = ("terminating connection", "closed the connection")  # as far as the server's word still came
    assert any(words in text for text in seen for words in ended), seen
    assert not any("do not match" in text for text in seen), seen
    assert len(seen) > 1, seen
    for database in processes:
        database.dispose()


def test_a_renewal_on_a_server_that_is_away_is_an_outage_and_not_a_refusal(server: PostgresServer) -> None:
    books = open_books(Database(server.url(server.create())))
    books.grant(units(3600))
    hold = books.running(lease=LEASE)
    before = books.dump()
    server.stop()
    with pytest.raises(DatabaseUnavailable):
        books.ledger.renew(hold, until=START + 2 * LEASE)
    server.start()
    assert books.dump() == before
    assert not isinstance(books.ledger.renew(hold, until=START + 2 * LEASE), NotRenewed)
    books.database.dispose()


# --- under a running service ------------------------------------------------------------------------------------


@pytest.fixture
def on_postgres(server: PostgresServer) -> Iterator[Service]:
    """The demo's installation on PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "database_url"
        file.write_text(server.url(server.create()))
        with running_service(database={"url_file": str(file), "busy_seconds": 2}) as service:
            assert not service.house.database.is_sqlite
            assert not service.state.federation_database.exists()
            yield service


def test_sessions_go_on_while_postgresql_is_away_and_are_settled_exactly_when_it_is_back(
    server: PostgresServer, on_postgres: Service
) -> None:
    service = on_postgres
    person = Person(service.base_url).sign_in("researcher")
    name = person.user_name
    assert person.start(flavour="small", environment="minimal").status_code == 200
    person.wait_until_ready()
    assert person.session_api("GET", "api/status").status_code == 200
    (running,) = service.house.sessions.open_on("hub")

    server.stop()
    refused = person.api("POST", f"users/{name}/servers/second", json={"flavour": "small", "environment": "minimal"})
    assert refused.status_code == 503
    assert refused.reason_phrase == "database-away"
    assert "outage of ours, not your quota" in refused.json()["message"]
    page = person.client.get(service.base_url + "hub/home")
    assert page.status_code == 503
    assert "outage of ours, not your quota" in page.text
    assert person.session_api("GET", "api/status").status_code == 200
    time.sleep(2.5)  # some rounds of the worker
    assert service.child("worker").is_running()
    server.start()

    assert person.session_api("GET", "api/status").status_code == 200
    assert [session.attempt for session in service.house.sessions.open_on("hub")] == [running.attempt]
    assert person.stop().status_code == 200
    line = wait_for(lambda: next((line for line in lines_of(service, name) if line.ended_at), None))
    assert line.hold == running.attempt
    assert line.charged == math.ceil((line.ended_at - line.started_at).total_seconds()) * line.weight_milli
    (ended,) = service.house.sessions.ended_of_person(running.person_id, limit=5)
    assert ended.end_reason == EndReason.STOPPED
    assert discrepancies(service.house.database) == []
    again = person.start(flavour="small", environment="minimal")
    assert again.status_code == 200, again.text
    person.wait_until_ready()
    assert service.nbfed("db", "check").stdout.endswith(", as this program needs.\n")
