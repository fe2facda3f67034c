"""A hub that dies with many jobs under way: each one is adopted, none is doubled, and each has its books."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from spawners.sessions import Session
from tests.hpc.test_whole_way import closed
from tests.services.test_session import wait_for
from tests.support.federation import Federation
from tests.support.person import Person

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]

COUNT = 20
SITE = "andes"
_SECONDS = 300


def begin(person: Person, names: list[str]) -> None:
    options = {"flavour": "small", "environment": "stub", "site": SITE, "walltime_minutes": 60}
    answers = all_at_once(person, "POST", names, json=options)
    assert {answer.status_code for answer in answers} <= {201, 202}, [answer.text for answer in answers]


def all_at_once(person: Person, method: str, names: list[str], **options: Any) -> list[httpx.Response]:
    """Ask the hub the same of each server; each answer may take seconds."""
    user = person.user_name
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda name: person.api(method, f"users/{user}/servers/{name}", **options), names))


def ready(person: Person) -> set[str]:
    """The servers that the hub says can be used."""
    servers: dict[str, Any] = person.api("GET", f"users/{person.user_name}").json()["servers"]
    return {name for name, server in servers.items() if server["ready"]}


def open_ones(federation: Federation) -> dict[str, Session]:
    return {one.server.name: one for one in federation.service.house.sessions.open_on("hub")}


def end(federation: Federation, person: Person, sessions: dict[str, Session]) -> None:
    """Stop them, and look whether each costs what Slurm recorded of its only job."""
    all_at_once(person, "DELETE", list(sessions))
    for session in sessions.values():
        line = closed(federation, person, session.attempt)
        assert session.backend_ref is not None
        assert federation.job_of(SITE, session.attempt) == session.backend_ref
        assert (line.source, line.cost) == ("scheduler", federation.seconds_of(SITE, session.backend_ref) * 1000)


def test_twenty_that_run_and_twenty_that_wait_are_all_adopted_by_the_next_hub(
    federation: Federation, ana: Person
) -> None:
    running = [f"runs-{number}" for number in range(COUNT)]
    queued = [f"waits-{number}" for number in range(COUNT)]
    site = federation.slurm[SITE]
    begin(ana, running)
    wait_for(lambda: ready(ana) >= set(running), _SECONDS)
    site.run("scontrol", "update", "PartitionName=notebooks", "State=DOWN")
    try:
        begin(ana, queued)
        wait_for(lambda: len([one for one in open_ones(federation).values() if one.backend_ref]) == 2 * COUNT, _SECONDS)
        before = open_ones(federation)

        federation.service.kill("hub")
        federation.service.wait_for_child("hub")
        federation.service.wait_until_up()

        wait_for(lambda: ready(ana) >= set(running), _SECONDS)
        after = open_ones(federation)
        assert {name: (one.attempt, one.backend_ref) for name, one in after.items()} == {
            name: (one.attempt, one.backend_ref) for name, one in before.items()
        }
        end(federation, ana, {name: after[name] for name in running})
    finally:
        site.run("scontrol", "update", "PartitionName=notebooks", "State=UP")
    wait_for(lambda: ready(ana) >= set(queued), _SECONDS)
    assert {name: one.attempt for name, one in open_ones(federation).items()} == {
        name: before[name].attempt for name in queued
    }
    end(federation, ana, {name: before[name] for name in queued})
    done = federation.service.nbfed("ledger", "verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
