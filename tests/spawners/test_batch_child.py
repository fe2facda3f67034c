"""The child spawner of a batch site: what it hands over, how it waits, and when it gives up; without a whole hub."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

from federation.database import Database
from federation.errors import Failure
from federation.settings import BatchEnvironment, BatchSite
from spawners.backends import batch_child
from spawners.backends.batch_child import BatchChild, child_class
from spawners.backends.child import NotSubmitted
from spawners.errors import (
    ENDED_BEFORE_ANSWER,
    NO_ANSWER_IN_TIME,
    PLACE_BROKEN,
    QUEUE_TOO_LONG,
    SITE_AWAY,
    SITE_DRAINED,
    SITE_REFUSED,
    SITE_SILENT,
)
from spawners.launcher import address_proof
from spawners.stages import Stage
from spawners.tables import SessionState
from tests.support.batch import SECRET, Place, batch_place, hpc, map_to
from tests.support.books import discrepancies
from vetting.mappings import Event
from vetting.resources import Resources

SOON = timedelta(milliseconds=10)


@pytest.fixture
def place(database: Database) -> Iterator[Place]:
    """Its books add up at the end of the test."""
    with batch_place(database) as made:
        yield made
    assert discrepancies(database) == []


@pytest.fixture
def ana(place: Place) -> Any:
    """Somebody whom the site accepted."""
    person = place.house.member()
    map_to(place.house, person, Event.ACCEPT)
    return person


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a pause."""
    monkeypatch.setattr(batch_child, "_SUBMIT_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(batch_child, "_QUICK_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(batch_child, "_QUEUED_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(batch_child, "_SILENT_SECONDS", 0.2)


def make(place: Place, site: BatchSite | None = None, **changes: Any) -> BatchChild:
    site = site or hpc()
    arguments: dict[str, Any] = {
        "jobs": place.jobs, "site": site, "site_title": "HPC Andes", "software": BatchEnvironment(path="/opt/nb"),
        "flavour": place.house.policy.flavours["small"], "resources": Resources(), "walltime_minutes": lambda _: 60,
        "exchange_path": "/hub/nbfed/exchange", "clock": place.house.clock, "sessions": place.house.sessions,
        "ledger": place.house.ledger, **site.batchspawner,
    }  # fmt: skip
    child = child_class(site.dialect)(config=Config(), user=SimpleNamespace(name="ana-abc"), **{**arguments, **changes})
    child._server = SimpleNamespace(base_url="/user/ana/")
    return child


def meant(place: Place, person: Any, child: BatchChild) -> str:
    """An attempt of the child that was admitted and not handed over."""
    session = place.intend(person)
    place.reserve(session, person, walltime_minutes=60)
    child.attach(session, SECRET)
    return session.attempt


@contextmanager
def answering() -> Iterator[int]:
    """Something that answers like a single-user server; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")


# --- the way of one job -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["slurm", "pbs", "gridengine"])
@pytest.mark.asyncio
async def test_a_job_from_submission_to_address(place: Place, ana: Any, dialect: str) -> None:
    child = make(place, hpc(dialect=dialect))
    attempt = meant(place, ana, child)
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.stage is Stage.QUEUED and child.wait)
    assert (child.wait.reason, child.wait.silent) == ("Priority", False)
    assert child.hub_connect_url == place.system.hub_url
    assert place.house.books.row(attempt).state == "held"
    place.system.begin(attempt)
    await until(lambda: child.stage is Stage.STARTING)
    assert child.wait is None
    await until(lambda: place.house.books.row(attempt).state == "running")
    assert place.house.books.row(attempt).backend_ref == "1000"
    with answering() as port:
        place.system.listens(attempt, port, address_proof(SECRET, "127.0.0.1", port))
        assert await task == f"http://127.0.0.1:{port}"
    session = place.house.sessions.get(attempt)
    assert session is not None
    assert (session.state, session.host, session.port) == (SessionState.RUNNING, "127.0.0.1", port)


@pytest.mark.asyncio
async def test_a_requeued_job_waits_again_and_its_second_run_counts(place: Place, ana: Any) -> None:
    child = make(place)
    attempt = meant(place, ana, child)
    place.system.held = False
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.stage is Stage.STARTING)
    place.system.requeue(attempt)
    await until(lambda: child.stage is Stage.QUEUED)
    place.system.begin(attempt)
    with answering() as port:
        place.system.listens(attempt, port, address_proof(SECRET, "127.0.0.1", port))
        assert await task


@pytest.mark.asyncio
async def test_a_start_that_is_taken_up_again_submits_nothing_and_first_finds_its_way_back(
    place: Place,
    ana: Any,
) -> None:
    session = place.submit(ana)
    child = make(place)
    child.attach(session, "")
    place.system.faults["reverse"] = ["away", "silent"]
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.wait is not None and child.wait.silent)
    assert not child.may_exchange
    await until(lambda: child.stage is Stage.QUEUED)
    assert child.may_exchange
    assert place.system.asked.count("submit") == 1
    task.cancel()


# --- not taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        pytest.param({"reverse": ["away"]}, SITE_AWAY, id="no-way-to-the-hub"),
        pytest.param({"submit": ["away"]}, SITE_AWAY, id="site-was-not-asked"),
        pytest.param({"submit": ["drained"]}, SITE_DRAINED, id="drained"),
        pytest.param({"submit": ["not-mapped"]}, SITE_REFUSED, id="refused"),
        pytest.param({"submit": ["busy"] * 9}, SITE_REFUSED, id="busy-again-and-again"),
        pytest.param({"submit": ["busy", "drained"]}, SITE_DRAINED, id="busy-and-then-drained"),
    ],
)
@pytest.mark.asyncio
async def test_what_the_site_certainly_does_not_have_may_go_elsewhere(
    place: Place,
    ana: Any,
    faults: dict[str, list[str]],
    problem: Any,
) -> None:
    child = make(place)
    meant(place, ana, child)
    place.system.faults.update(faults)
    with pytest.raises(NotSubmitted) as refused:
        await child.start()
    assert refused.value.failure.problem is problem
    assert place.system.jobs == {}


@pytest.mark.asyncio
async def test_a_lost_answer_is_asked_for_again_and_is_one_job(place: Place, ana: Any) -> None:
    child = make(place)
    attempt = meant(place, ana, child)
    place.system.faults["submit"] = ["lost", "away", "busy", *["away"] * 9]
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.stage is Stage.QUEUED)
    assert list(place.system.jobs) == [attempt]
    task.cancel()


@pytest.mark.asyncio
async def test_what_may_be_there_goes_nowhere_else(place: Place, ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_child, "_DOUBT_SECONDS", 0.5)
    child = make(place)
    meant(place, ana, child)
    place.system.faults["submit"] = ["silent", "drained"] * 1000
    with pytest.raises(Failure) as failed:
        await child.start()
    assert failed.value.problem is SITE_SILENT


@pytest.mark.parametrize(
    "site",
    [
        pytest.param({"batchspawner": {"batch_script": "#!/bin/bash\n#SBATCH --uid=0\n{{cmd}}\n"}}, id="directive"),
        pytest.param({"batchspawner": {"batch_script": "{{cmd}}\n"}}, id="no-shell"),
        pytest.param({"batchspawner": {"batch_script": "#!/bin/sh\ntrue {{nprocs}}\n"}}, id="no-command"),
    ],
)
@pytest.mark.asyncio
async def test_a_template_that_the_gate_would_not_take_hands_nothing_over(
    place: Place,
    ana: Any,
    site: dict[str, Any],
) -> None:
    child = make(place, hpc(**site))
    meant(place, ana, child)
    with pytest.raises(NotSubmitted) as refused:
        await child.start()
    assert refused.value.failure.problem is PLACE_BROKEN
    assert "submit" not in place.system.asked


@pytest.mark.asyncio
async def test_a_site_s_own_template_and_prologue_are_used_and_see_what_is_asked_for(
    place: Place,
    ana: Any,
) -> None:
    template = "#!/bin/bash\n{{prologue}}\necho {{nprocs}} {{memory}} {{runtime}} {{partition}} {{username}}\n{{cmd}}\n"
    child = make(
        place,
        hpc(partition="notebooks", batchspawner={"batch_script": template, "req_prologue": "module purge"}),
        walltime_minutes=lambda _: 95,
    )
    attempt = meant(place, ana, child)
    task = asyncio.ensure_future(child.start())
    await until(lambda: attempt in place.system.jobs)
    script = place.system.jobs[attempt].script
    assert "\nmodule purge\necho 1 2048M 1:35:00 notebooks ana\n" in script
    assert place.system.jobs[attempt].resources == {
        "cpus": 1, "memory_mib": 2048, "gpus": 0, "minutes": 95, "partition": "notebooks",
    }  # fmt: skip
    task.cancel()


# --- deadlines ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_queue_that_is_too_long_is_left(place: Place, ana: Any) -> None:
    child = make(place, hpc(queue_hours=3))
    meant(place, ana, child)
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.stage is Stage.QUEUED)
    place.house.clock.move(timedelta(hours=3) + SOON)
    with pytest.raises(Failure) as failed:
        await task
    assert failed.value.problem is QUEUE_TOO_LONG


@pytest.mark.asyncio
async def test_a_session_that_runs_and_does_not_answer_is_given_up(place: Place, ana: Any) -> None:
    child = make(place, hpc(boot_seconds=1))
    meant(place, ana, child)
    place.system.held = False
    with pytest.raises(Failure) as failed:
        await child.start()
    assert failed.value.problem is NO_ANSWER_IN_TIME


@pytest.mark.asyncio
async def test_a_site_that_is_silent_uses_up_no_deadline(place: Place, ana: Any) -> None:
    child = make(place, hpc(queue_hours=1))
    attempt = meant(place, ana, child)
    task = asyncio.ensure_future(child.start())
    await until(lambda: child.stage is Stage.QUEUED)
    place.system.faults["job"] = ["silent"] * 10_000
    await until(lambda: child.wait is not None and child.wait.silent)
    place.house.clock.move(timedelta(hours=2))
    await asyncio.sleep(0.1)
    assert not task.done()
    place.system.begin(attempt)
    place.system.faults.clear()
    with answering() as port:
        place.system.listens(attempt, port, address_proof(SECRET, "127.0.0.1", port))
        assert await task


@pytest.mark.asyncio
async def test_a_job_that_was_just_handed_over_and_is_not_seen_yet_is_no_silent_site(place: Place, ana: Any) -> None:
    child = make(place)
    meant(place, ana, child)
    place.system.faults["job"] = ["silent"] * 3
    waits: list[bool] = []
    task = asyncio.ensure_future(child.start())
    while child.stage is not Stage.QUEUED:
        waits.append(child.wait is not None and child.wait.silent)
        await asyncio.sleep(0.005)
    assert not any(waits)
    task.cancel()


@pytest.mark.asyncio
async def test_a_job_that_ends_before_it_answers_says_what_it_wrote(place: Place, ana: Any) -> None:
    child = make(place)
    attempt = meant(place, ana, child)
    task = asyncio.ensure_future(child.start())
    await until(lambda: attempt in place.system.jobs)
    place.system.begin(attempt)
    place.system.finish(attempt, exit_code=7)
    with pytest.raises(Failure) as failed:
        await task
    assert failed.value.problem is ENDED_BEFORE_ANSWER
    assert failed.value.figures == {"exit_code": 7, "log": "the end"}


def test_nothing_of_the_hub_s_machine_reaches_a_template(place: Place, ana: Any) -> None:
    child = make(place)
    meant(place, ana, child)
    values: dict[str, Any] = child.get_req_subvars()
    assert (values["username"], values["homedir"], values["keepvars"]) == ("ana", "$HOME", "")
    assert child.user_env({"A": "b"}) == {"A": "b"}


def test_a_job_in_the_queue_is_looked_at_a_few_times_in_the_first_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real pauses
    pace, passed, looks = batch_child._Pace(), 0.0, 0
    while passed < 60:
        pace.slow_down()
        passed, looks = passed + pace.next_seconds(), looks + 1
    assert looks <= 20
    assert batch_child._Pace().next_seconds() < 1
