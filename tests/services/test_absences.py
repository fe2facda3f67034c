"""Whatever is away, dies or is set while sessions run: the books come out right to the second.

What is right is what the launcher wrote down in the session's folder, by a clock that nobody can set.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import psutil
import pytest

from quota.tables import EntryTable
from spawners.launcher import uptime
from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.services.test_session import lines_of, wait_for
from tests.support.books import discrepancies
from tests.support.person import Person
from tests.support.service import Service

pytestmark = pytest.mark.service

HOUR = timedelta(hours=1)
SMALL = 1000
"""The weight of the flavour `small` in thousandths."""


class Running:
    """A session of a person, and what its launcher wrote about it."""

    def __init__(self, service: Service, persona: str) -> None:
        self.service = service
        self.person = Person(service.base_url).sign_in(persona)
        self.user_name = self.person.user_name
        answer = self.person.start(flavour="small", environment="minimal")
        assert answer.status_code == 200, answer.text
        self.person.wait_until_ready()
        session = service.house.sessions.open_of(Server("hub", self.user_name, ""))
        assert session is not None
        self.attempt = session.attempt
        self.started = self.file("started.json")

    def file(self, name: str) -> dict[str, float]:
        content: dict[str, float] = json.loads((self.service.state.sessions / self.attempt / name).read_text())
        return content

    @property
    def session(self) -> Session:
        found = self.service.house.sessions.get(self.attempt)
        assert found is not None
        return found

    @property
    def line(self):
        (line,) = (each for each in lines_of(self.service, self.user_name) if each.hold == self.attempt)
        return line

    @property
    def elapsed_seconds(self) -> float:
        return uptime() - self.started["started_uptime"]

    def is_ready(self) -> bool:
        """As the person's page says; a hub that is just coming up says nothing."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            return self.person.status()["state"] == "ready"
        return False

    def dies(self) -> None:
        """Its server is killed; the launcher sees that and writes it down."""
        for process in psutil.Process(int(self.started["pid"])).children():
            process.kill()
        wait_for((self.service.state.sessions / self.attempt / "ended.json").exists)

    def wait_until_settled(self) -> None:
        wait_for(lambda: self.line.state == "settled")

    def assert_charged_to_the_second(self) -> None:
        """Once, and as long as the launcher says."""
        line, ended = self.line, self.file("ended.json")
        assert (line.state, line.source) == ("settled", "launcher")
        assert (line.ended_at - line.started_at).total_seconds() == pytest.approx(ended["ran_seconds"], abs=1e-5)
        assert line.charged == math.ceil(ended["ran_seconds"]) * SMALL
        entries = self.entries()
        assert sum(entry.amount for entry in entries if entry.kind in ("charge", "overrun")) == line.charged
        assert [entry.kind for entry in entries].count("release") == 1
        assert sum(entry.amount for entry in entries if entry.kind in ("hold", "renew", "release")) == 0
        assert discrepancies(self.service.house.database) == []

    def entries(self) -> list:
        with self.service.house.database.read() as connection:
            rows = connection.execute(EntryTable.__table__.select().where(EntryTable.hold_id == self.attempt))
            return list(rows)


@contextlib.contextmanager
def away(service: Service, name: str) -> Iterator[None]:
    """Kill a process whenever the supervisor has started it again."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(AssertionError, psutil.Error):
                service.kill(name)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(autouse=True)
def all_is_well_before(service: Service) -> Iterator[None]:
    service.wait_until_up()
    yield
    service.set_clock(timedelta())


def test_a_process_that_died_by_itself_is_settled_to_the_second(service: Service) -> None:
    one = Running(service, "researcher")
    one.dies()
    one.wait_until_settled()
    one.assert_charged_to_the_second()
    assert (one.session.end_reason, one.session.end_detail) == (EndReason.EXITED, "exit code -9")
    wait_for(lambda: one.person.status()["state"] == "stopped")


def the_hub_is_away(service: Service, seconds: float) -> None:
    """One session ends meanwhile, another one runs on; nobody looks after them but the worker."""
    ends, runs = Running(service, "researcher"), Running(service, "trainer")
    kernel = runs.person.kernel()
    kernel.run("secret = 6 * 7")
    with away(service, "hub"):
        gone = time.monotonic()
        time.sleep(2)
        ends.dies()
        ends.wait_until_settled()
        assert {entry.actor for entry in ends.entries() if entry.kind == "release"} == {"worker"}
        while time.monotonic() - gone < seconds:
            assert kernel.run("print(secret)").strip() == "42"
            time.sleep(1)
    service.wait_for_child("hub", 60)
    service.wait_until_up()
    ends.assert_charged_to_the_second()
    assert kernel.run("print(secret)").strip() == "42"
    kernel.close()
    wait_for(runs.is_ready, 60)
    assert (runs.line.state, runs.session.ended_at) == ("running", None)
    runs.person.stop()
    runs.wait_until_settled()
    runs.assert_charged_to_the_second()
    assert runs.line.charged >= seconds * SMALL


def test_while_the_hub_is_away_one_session_ends_and_another_runs_on(service: Service) -> None:
    the_hub_is_away(service, 20)


@pytest.mark.long
def test_while_the_hub_is_away_for_three_minutes_one_session_ends_and_another_runs_on(service: Service) -> None:
    the_hub_is_away(service, 180)


def test_a_session_that_ends_while_the_worker_is_killed_is_settled_by_the_next_one(service: Service) -> None:
    ends, runs = Running(service, "researcher"), Running(service, "trainer")
    with away(service, "worker"), away(service, "hub"):
        time.sleep(1)
        ends.dies()
        time.sleep(3)
        assert ends.line.charged is None
    service.wait_for_child("worker", 60)
    service.wait_for_child("hub", 60)
    service.wait_until_up()
    ends.wait_until_settled()
    ends.assert_charged_to_the_second()
    wait_for(runs.is_ready, 60)
    runs.person.stop()
    runs.wait_until_settled()
    runs.assert_charged_to_the_second()


def test_the_clock_is_set_back_an_hour_in_mid_session_and_nothing_is_lost_or_doubled(service: Service) -> None:
    before = Running(service, "researcher")
    lease_until = before.line.lease_until
    service.set_clock(-HOUR)
    after = Running(service, "trainer")
    time.sleep(3)  # some rounds of the worker, which look at both
    assert (before.line.state, before.session.end_reason) == ("running", None)
    assert before.line.lease_until == lease_until
    assert before.person.status()["state"] == "ready"
    assert timedelta(minutes=50) < before.line.started_at - after.line.started_at < timedelta(minutes=70)
    dies = Running(service, "operator")
    dies.dies()
    for one in (before, after):
        one.person.stop()
    for one in (before, after, dies):
        one.wait_until_settled()
        assert one.line.charged == math.ceil(one.file("ended.json")["ran_seconds"]) * SMALL
        one.assert_charged_to_the_second()
    assert before.line.charged < 600 * SMALL


def test_the_clock_goes_on_right_while_a_session_runs_that_began_an_hour_behind(service: Service) -> None:
    """An hour ahead for the session: the hub's clock is set right in its midst. Only real time is charged."""
    service.set_clock(-timedelta(minutes=20))
    one = Running(service, "researcher")
    service.set_clock(timedelta())
    time.sleep(3)
    assert (one.line.state, one.session.end_reason) == ("running", None)
    one.dies()
    one.wait_until_settled()
    one.assert_charged_to_the_second()


def test_a_launcher_that_is_killed_is_charged_up_to_when_it_was_last_seen(service: Service) -> None:
    one = Running(service, "researcher")
    service.set_clock(-HOUR)
    time.sleep(3)
    least = one.elapsed_seconds - 2.5
    os.kill(int(one.started["pid"]), signal.SIGKILL)
    most = one.elapsed_seconds
    one.wait_until_settled()
    assert one.line.source == "last seen"
    assert math.ceil(least) * SMALL <= one.line.charged <= math.ceil(most) * SMALL
    assert discrepancies(service.house.database) == []


def test_a_wiped_state_folder_neither_loses_a_running_session_nor_gives_one_away(service: Service) -> None:
    runs = Running(service, "researcher")
    folder = service.state.sessions
    shutil.rmtree(folder / ".records")
    shutil.rmtree(folder / runs.attempt)
    time.sleep(3)
    assert (runs.line.state, runs.session.end_reason) == ("running", None)
    most = runs.elapsed_seconds + 1
    runs.person.stop()
    runs.wait_until_settled()
    assert 0 < runs.line.charged <= math.ceil(most + 5) * SMALL
    assert service.processes_of_sessions(runs.user_name) == []
    assert discrepancies(service.house.database) == []
