"""The worker's shell: when jobs run, when not, and what is said of it."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from federation.database import DatabaseUnavailable
from federation.leader import Leadership
from federation.worker import Away, Job, Worker
from federation.worker_pages import application, serving
from tests.support.service import free_ports

OFTEN, SELDOM = timedelta(seconds=0.05), timedelta(hours=1)


@pytest.fixture(params=["sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    """Nothing here depends on it."""
    return str(request.param)


class Lock(Leadership):
    """A lock that a test gives and takes."""

    def __init__(self) -> None:
        self.free, self.held, self.away, self.given_up = True, False, False, False

    def take(self) -> bool:
        if self.away:
            raise DatabaseUnavailable("connection refused")
        self.held = self.free
        return self.held

    def is_held(self) -> bool:
        return self.held

    def give_up(self) -> None:
        self.held, self.given_up = False, True


class Shell:
    """A worker whose looks a test makes."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.registry = CollectorRegistry()
        self.time_of_day = time.time
        self.database_is_away = False
        self.worker: Worker

    def of(self, *jobs: Job) -> Worker:
        self.worker = Worker(jobs, self.lock, probe=self._probe, registry=self.registry, time_of_day=self._time)
        return self.worker

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def _time(self) -> float:
        return self.time_of_day()

    def _probe(self) -> None:
        if self.database_is_away:
            raise DatabaseUnavailable("connection refused")


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Shell()
    yield made
    made.worker._stop_jobs()


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


# --- when jobs run ----------------------------------------------------------------------------------------------------


def test_who_becomes_the_leader_runs_every_job_at_once_and_then_again_and_again(shell: Shell) -> None:
    ran: list[str] = []
    jobs = Job("often", OFTEN, lambda: ran.append("often")), Job("seldom", SELDOM, lambda: ran.append("seldom"))
    shell.of(*jobs).look()
    wait_until(lambda: ran.count("often") > 3)
    assert ran.count("seldom") == 1


def test_a_standby_runs_nothing_until_it_leads(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []
    worker = shell.of(Job("often", OFTEN, lambda: ran.append(1)))
    shell.lock.free = False
    with caplog.at_level(logging.INFO, logger="nbfed.worker"):
        for _ in range(3):
            worker.look()
        time.sleep(0.2)
        assert ran == []
        assert [record.message for record in caplog.records] == ["stands by: another worker leads"]
        assert worker.health()[1]["role"] == "standby"
        assert shell.metric("nbfed_worker_leading") == 0
        shell.lock.free = True
        worker.look()
    wait_until(lambda: ran)
    assert [record.message for record in caplog.records] == ["stands by: another worker leads", "leads"]
    assert worker.health()[1]["role"] == "leader"
    assert shell.metric("nbfed_worker_leading") == 1


def test_when_the_lock_is_lost_no_job_begins_even_before_the_next_look(shell: Shell) -> None:
    ran: list[int] = []
    worker = shell.of(Job("often", OFTEN, lambda: ran.append(1)))
    worker.look()
    wait_until(lambda: ran)
    shell.lock.held = False
    time.sleep(0.1)  # one that was under way
    before = len(ran)
    time.sleep(0.3)
    assert len(ran) == before
    shell.lock.free = False
    worker.look()
    assert worker.health()[1]["role"] == "standby"
    shell.lock.free = True
    worker.look()
    wait_until(lambda: len(ran) > before)


def test_the_job_that_is_under_way_when_the_lock_is_lost_is_waited_for_before_it_is_taken_again(shell: Shell) -> None:
    steps: list[str] = []
    go_on = threading.Event()

    def work() -> None:
        steps.append("begins")
        go_on.wait(10)
        steps.append("ends")

    worker = shell.of(Job("long", SELDOM, work))
    worker.look()
    wait_until(lambda: steps)
    shell.lock.held = False
    threading.Timer(0.2, go_on.set).start()
    worker.look()
    wait_until(lambda: len(steps) == 4)
    assert steps == ["begins", "ends"] * 2


def test_no_two_jobs_run_at_the_same_time(shell: Shell) -> None:
    running, most, runs = [0], [0], [0]

    def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.12)
        running[0] -= 1
        runs[0] += 1

    shell.of(Job("one", OFTEN, work), Job("two", OFTEN, work)).look()
    wait_until(lambda: runs[0] > 5)
    assert most == [1]


def test_a_job_that_runs_apart_waits_for_no_other(shell: Shell) -> None:
    ran: list[int] = []
    go_on, began = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        go_on.wait(10)

    shell.of(Job("hangs", SELDOM, hang), Job("apart", OFTEN, lambda: ran.append(1), apart=True)).look()
    assert began.wait(10)
    before = len(ran)
    wait_until(lambda: len(ran) > before + 2)
    go_on.set()


def test_a_clock_that_was_set_back_does_not_stop_the_rounds(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """After a step of an hour back the next run would be an hour away; here it is an hour away to begin with."""
    ran: list[int] = []
    worker = shell.of(Job("seldom", SELDOM, lambda: ran.append(1)))
    worker.look()
    wait_until(lambda: ran)
    worker.look()
    time.sleep(0.1)
    assert len(ran) == 1
    shell.time_of_day = lambda: time.time() - 3600
    worker.look()
    wait_until(lambda: len(ran) == 2)
    assert "clock was set by -3600 s" in caplog.text
    worker.look()
    time.sleep(0.1)
    assert len(ran) == 2


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_job_that_fails_is_said_and_tried_again_and_keeps_no_other_from_running(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []
    others: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("no luck")

    worker = shell.of(Job("unlucky", OFTEN, work), Job("other", OFTEN, lambda: others.append(1)))
    worker.look()
    wait_until(lambda: len(tries) > 3 and others)
    assert caplog.text.count("ValueError: no luck") == 2
    assert worker.health()[1]["jobs"]["unlucky"]["error"] is None
    assert shell.metric("nbfed_worker_job_runs_total", job="unlucky", outcome="failed") == 2


def test_an_outage_is_counted_and_is_one_line_of_the_log(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise DatabaseUnavailable("connection refused")

    worker = shell.of(Job("rounds", SELDOM, work))
    worker.look()
    wait_until(lambda: shell.metric("nbfed_worker_job_runs_total", job="rounds", outcome="failed") == 1)
    assert shell.metric("nbfed_database_outages_total") == 1
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == ["ERROR"]
    assert "Traceback" not in caplog.text
    assert "away" in worker.health()[1]["jobs"]["rounds"]["error"]


def test_what_a_job_needs_and_is_away_is_one_line_of_the_log(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise Away("the mail server is away")

    worker = shell.of(Job("mail", SELDOM, work))
    worker.look()
    wait_until(lambda: shell.metric("nbfed_worker_job_runs_total", job="mail", outcome="failed") == 1)
    assert worker.health()[1]["jobs"]["mail"]["error"] == "the mail server is away"
    assert "mail: the mail server is away; trying again" in caplog.text
    assert "Traceback" not in caplog.text


def test_when_it_cannot_be_found_out_who_leads_nobody_does_and_that_is_said_once(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    worker = shell.of(Job("often", OFTEN, lambda: ran.append(1)))
    shell.lock.away = True
    for _ in range(3):
        worker.look()
    assert ran == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert shell.metric("nbfed_database_outages_total") == 3
    shell.lock.away = False
    worker.look()
    wait_until(lambda: ran)


# --- what it answers --------------------------------------------------------------------------------------------------


def test_the_health_is_good_while_rounds_succeed_and_bad_when_they_are_late(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = shell.of(Job("rounds", SELDOM, lambda: None))
    worker.look()
    wait_until(lambda: worker.health()[1]["jobs"]["rounds"]["last_success"])
    assert worker.health()[0]
    assert worker.health()[1]["late"] == []
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 3 * 3600 + 1)
    well, found = worker.health()
    assert (well, found["late"]) == (False, ["rounds"])
    lag = shell.metric("nbfed_worker_job_lag_seconds", job="rounds")
    assert lag is not None
    assert lag > 3 * 3600


def test_the_health_of_a_standby_depends_on_the_database_alone(shell: Shell) -> None:
    worker = shell.of(Job("rounds", SELDOM, lambda: None))
    shell.lock.free = False
    worker.look()
    assert worker.health()[0]
    assert shell.metric("nbfed_worker_job_lag_seconds", job="rounds") == 0
    shell.database_is_away = True
    well, found = worker.health()
    assert (well, found["database"]) == (False, "away: connection refused")


def test_health_and_metrics_are_answered_on_the_port_and_nothing_else(shell: Shell) -> None:
    worker = shell.of(Job("rounds", SELDOM, lambda: None))
    worker.look()
    (port,) = free_ports(1)
    with (
        serving(application(worker.health, shell.registry), "127.0.0.1", port),
        httpx.Client(trust_env=False) as client,
    ):
        at = f"http://127.0.0.1:{port}"
        answer = client.get(f"{at}/health")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert json.loads(answer.text)["role"] == "leader"
        page = client.get(f"{at}/metrics")
        assert page.status_code == 200
        assert "nbfed_worker_leading 1.0" in page.text
        assert client.get(f"{at}/").status_code == 404
        shell.database_is_away = True
        assert client.get(f"{at}/health").status_code == 503
    with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False) as client:
        client.get(f"http://127.0.0.1:{port}/health")


def test_a_port_that_is_busy_is_an_error_at_once(shell: Shell) -> None:
    worker = shell.of()
    (port,) = free_ports(1)
    app = application(worker.health, shell.registry)
    with serving(app, "127.0.0.1", port), pytest.raises(OSError, match="in use"):
        serving(app, "127.0.0.1", port)
