"""What people are told while they are away is announced once: quota that is spent, and stops at the end of a lease."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from federation.database import Database
from federation.ids import reference
from federation.outbox import OutboxTable
from federation.persons import PersonTable
from quota.owners import Owner
from quota.settings import DefaultGrant, Pool
from quota.tables import OwnerKind
from spawners.announcer import Announcer
from spawners.outlook import StopRules
from spawners.outlooks import Outlooks
from spawners.tables import EndReason
from tests.support.fakes import COMMUNITY, HUB, LEASE, Installation

MINUTE = timedelta(minutes=1)


@pytest.fixture
def house(database: Database) -> Installation:
    """A person's default is two hours of `small`."""
    default = DefaultGrant(amount_hours=2, period="month", sessions=2, flavours=["small"])
    return Installation(database, defaults={"T1": default})


def announcer(house: Installation) -> Announcer:
    rules = StopRules(lease=LEASE, idle_stop=timedelta(hours=1), idle_notice=10 * MINUTE)
    outlooks = Outlooks(house.database, house.admission, rules)
    return Announcer(hub=HUB, database=house.database, sessions=house.sessions, outlooks=outlooks, clock=house.clock)


def announced(house: Installation) -> list[tuple[str, Any]]:
    with house.database.read() as connection:
        rows = connection.execute(
            select(OutboxTable.__table__).order_by(OutboxTable.created_at, OutboxTable.kind)
        ).all()
    return [(row.kind, row.figures.get("percent") or row.figures.get("reason") or row.figures) for row in rows]


def settle_after(house: Installation, session: Any, ran: timedelta) -> None:
    house.clock.move(ran)
    house.backend.is_over(session.attempt)
    house.upkeep().run_once()


def test_what_is_spent_is_announced_at_80_and_at_100_percent_once_each(house: Installation) -> None:
    person = house.member()
    look = announcer(house)
    settle_after(house, house.run(person), 50 * MINUTE)
    look.run_once()
    assert announced(house) == []
    settle_after(house, house.run(person), 46 * MINUTE)
    for _ in range(3):
        look.run_once()
    assert announced(house) == [("quota-spent", 80)]
    settle_after(house, house.run(person), 25 * MINUTE)
    for _ in range(3):
        announcer(house).run_once()
    assert announced(house) == [("quota-spent", 80), ("quota-spent", 100)]


def test_the_next_period_begins_anew(house: Installation) -> None:
    person = house.member()
    for _ in range(2):
        settle_after(house, house.run(person), 100 * MINUTE)
        announcer(house).run_once()
        house.clock.move(timedelta(days=31))
    assert announced(house) == [("quota-spent", 80)] * 2


def test_a_lease_that_will_not_be_renewed_is_announced_once_a_quarter_of_an_hour_before(house: Installation) -> None:
    person = house.member()
    house.run(person)
    with house.database.write() as connection:
        connection.execute(update(PersonTable).values(facts={}))  # every membership is gone
    house.clock.move(LEASE - 16 * MINUTE)
    announcer(house).run_once()
    assert announced(house) == []
    house.clock.move(MINUTE)
    for _ in range(3):
        announcer(house).run_once()
        house.clock.move(MINUTE)
    assert announced(house) == [("session-stops", "access")]


@pytest.mark.parametrize("wanted", [pytest.param(True, id="asked-for"), pytest.param(False, id="not")])
def test_that_a_session_runs_is_announced_once_if_its_person_asked_for_it(house: Installation, wanted: bool) -> None:
    session = house.submit(house.member())
    assert house.sessions.tell_when_ready(session.server, wanted=True)
    assert house.sessions.tell_when_ready(session.server, wanted=wanted)  # or changed their mind
    announcer(house).run_once()
    assert announced(house) == []
    house.backend.runs(session.attempt)
    house.sessions.located(session.attempt, host="127.0.0.1", port=4321, started_at=house.clock())
    house.sessions.answered(session.attempt)
    for _ in range(3):
        announcer(house).run_once()
    figures = {"server": "", "site": "here", "reference": reference(session.attempt)}
    assert announced(house) == ([("session-ready", figures)] if wanted else [])


def test_of_a_session_that_is_over_nobody_wants_to_be_told(house: Installation) -> None:
    session = house.run(house.member())
    house.sessions.tell_when_ready(session.server, wanted=True)
    house.sessions.ending(session.attempt, EndReason.STOPPED)
    announcer(house).run_once()
    assert announced(house) == []
    house.sessions.ended(session.attempt, started_at=None, ended_at=house.clock())
    assert not house.sessions.tell_when_ready(session.server, wanted=True)


def test_an_idle_stop_is_told_in_the_session_and_not_here(house: Installation) -> None:
    house.run(house.member())
    house.clock.move(timedelta(minutes=20))
    house.upkeep().run_once()
    announcer(house).run_once()
    assert announced(house) == []


def test_a_session_that_a_pool_pays_ends_at_the_lease_when_its_membership_is_lost(database: Database) -> None:
    """The person may still use the flavour; but the pool does not pay for them any more."""
    other = "urn:mace:example.org:group:astronomy"
    pool = Pool(title="Astronomy", community=other, amount_hours=10, flavours=["medium"])
    default = DefaultGrant(amount_hours=2, period="month", sessions=2, flavours=["small"])
    house = Installation(database, defaults={"T1": default}, pools={"astronomy": pool})
    person = house.books.person(memberships=(COMMUNITY, other))
    session = house.run(person, flavour="medium")
    assert house.books.standing(Owner(OwnerKind.GROUP, "astronomy")).held
    with house.database.write() as connection:
        connection.execute(update(PersonTable).values(facts={"memberships": [COMMUNITY]}))
    house.clock.move(LEASE - 5 * MINUTE)
    announcer(house).run_once()
    assert announced(house) == [("session-stops", "access")]
    house.clock.move(6 * MINUTE)
    house.upkeep().run_once()
    reason = house.again(session).end_reason
    assert reason is not None
    assert reason.value == "access"
