"""At a renewal the provider is asked what it says now: what is gone acts, what cannot be asked leaves what was said."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from federation.database import Database
from federation.persons import Facts, Person, remember
from spawners.hub_client import HttpHubServers
from spawners.memberships import PacedMemberships
from spawners.tables import EndReason
from spawners.upkeep import Decision
from tests.support.books import MovableClock
from tests.support.fakes import LEASE, MEMBER, Installation

EVERY = timedelta(minutes=10)


class Hub:
    """Remembers whom it was asked about; `answer` may be an exception, or do what the real one does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Any = "asked"

    def ask_again(self, user: str) -> str:
        self.asked.append(user)
        if isinstance(self.answer, OSError):
            raise self.answer
        return str(self.answer() if callable(self.answer) else self.answer)


@pytest.fixture
def installation(database: Database) -> Installation:
    return Installation(database, snapshot=timedelta(hours=3))


def said(installation: Installation, person: Person, **facts: Any) -> str:
    """What the hub does when the provider says something else."""
    with installation.database.write() as connection:
        remember(
            connection, issuer=person.issuer, subject=person.subject, preferred="", facts=Facts(**facts),
            now=installation.clock(),
        )  # fmt: skip
    return "asked"


def test_one_person_is_asked_about_once_in_a_while(database: Database) -> None:
    hub, clock = Hub(), MovableClock()
    memberships = PacedMemberships(hub, every=EVERY, clock=clock)
    for user in ("ana", "ana", "bo", "ana"):
        memberships.refresh(user)
    assert hub.asked == ["ana", "bo"]
    clock.move(EVERY)
    memberships.refresh("ana")
    assert hub.asked == ["ana", "bo", "ana"]


@pytest.mark.parametrize("answer", [OSError("no hub"), "provider-away", "sign-in-needed"])
def test_whatever_comes_of_it_the_renewal_goes_on(answer: Any) -> None:
    hub, clock = Hub(), MovableClock()
    hub.answer = answer
    memberships = PacedMemberships(hub, every=EVERY, clock=clock)
    memberships.refresh("ana")
    memberships.refresh("ana")
    assert hub.asked == ["ana"]


def test_a_membership_that_is_gone_ends_the_session_at_the_next_renewal(installation: Installation) -> None:
    person, hub = installation.member(), Hub()
    hub.answer = lambda: said(installation, person, memberships=())
    session = installation.run(person)
    upkeep = installation.upkeep(memberships=PacedMemberships(hub, every=EVERY, clock=installation.clock))
    upkeep.run_once()
    assert hub.asked == []
    installation.clock.move(LEASE / 2 + timedelta(minutes=1))
    assert upkeep.run_once() == [(session.attempt, Decision.RENEW)]
    assert hub.asked == [person.user_name]
    assert installation.again(session).end_reason is None
    installation.clock.move(LEASE / 2)
    upkeep.run_once()
    assert installation.again(session).end_reason is EndReason.ACCESS


def test_while_nobody_can_be_asked_what_was_said_last_counts_and_then_no_more(installation: Installation) -> None:
    person, hub = installation.member(), Hub()
    hub.answer = "provider-away"
    session = installation.run(person)
    upkeep = installation.upkeep(memberships=PacedMemberships(hub, every=EVERY, clock=installation.clock))
    started = installation.clock()
    while installation.clock() - started <= timedelta(hours=3):
        assert installation.again(session).end_reason is None
        installation.clock.move(timedelta(minutes=15))
        installation.servers.servers[session.server] = installation.clock()
        upkeep.run_once()
    installation.clock.move(LEASE)
    upkeep.run_once()
    assert installation.again(session).end_reason is EndReason.ACCESS


def test_what_was_said_too_long_ago_starts_nothing(installation: Installation) -> None:
    person = installation.member()
    assert installation.admission.eligibility(person).reaches("T1")
    installation.clock.move(timedelta(hours=3))
    assert installation.admission.eligibility(person).reaches("T1")
    installation.clock.move(timedelta(seconds=1))
    assert not installation.admission.eligibility(person).reaches("T1")
    said(installation, person, **MEMBER)
    assert installation.admission.eligibility(installation.admission.person(person.user_name)).reaches("T1")


def test_the_hub_is_asked_by_name() -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.raw_path.decode()))
        return httpx.Response(200, json={"outcome": "provider-away"})

    servers = HttpHubServers("http://127.0.0.1:1/hub/api", "token", "hub")
    servers._client = httpx.Client(base_url="http://127.0.0.1:1/hub/api", transport=httpx.MockTransport(answer))
    assert servers.ask_again("a/b") == "provider-away"
    assert seen == [("POST", "/hub/api/nbfed/refresh/a%2Fb")]
