"""Somebody is stopped: whatever runs of theirs ends at once, wherever it is on its way, and nothing of others."""

from typing import Any

import pytest
from sqlalchemy import select

from federation.audit import Act, AuditTable
from federation.database import Database
from federation.errors import Failure
from federation.leader import LeadershipLost
from federation.outbox import OutboxTable
from federation.persons import Person
from spawners.backends.base import Life
from spawners.stopping import Stopper, mark
from spawners.tables import EndReason, SessionState
from tests.support.books import MINUTE, discrepancies, units
from tests.support.fakes import HUB, Installation
from vetting import decisions
from vetting.errors import ACCESS_SUSPENDED
from vetting.placement import Wish
from vetting.stopping import stop_now

WHY = "It mines coins."
WISH = Wish(flavour="small", environment="python")


@pytest.fixture
def house(database: Database) -> Any:
    """One site and one hub; its books add up at the end of the test."""
    yield Installation(database)
    assert discrepancies(database) == []


@pytest.fixture
def eve(house: Installation) -> Person:
    return house.member("eve")


def stopped(house: Installation, person: Person) -> list[str] | None:
    with house.database.write() as connection:
        return stop_now(connection, mark, person_id=person.id, reason=WHY, by="person:rita", now=house.clock())


def stopper(house: Installation, **options: Any) -> Stopper:
    return Stopper(
        hub=HUB, database=house.database, sessions=house.sessions, ledger=house.ledger, backends=house.backends,
        servers=house.servers, clock=house.clock, metrics=house.metrics, **options,
    )  # fmt: skip


def trail(house: Installation) -> list[tuple[str, str, str]]:
    with house.database.read() as connection:
        rows = connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq)).all()
    return [(row.act, row.actor, row.reason) for row in rows if row.act.endswith(":stopped")]


def test_what_runs_and_what_waits_ends_and_is_charged_to_the_second(house: Installation, eve: Person) -> None:
    runs, waits, other = house.run(eve), house.submit(eve, "two"), house.run(house.member("ana"))
    house.clock.move(5 * MINUTE)
    assert len(stopped(house, eve) or []) == 2
    stopper(house).run_once()
    for session in (runs, waits):
        ended = house.again(session)
        assert (ended.state, ended.end_reason, ended.end_detail) == (SessionState.ENDED, EndReason.SUSPENDED, WHY)
    assert house.books.row(runs.attempt).charged == units(300)
    assert house.books.row(waits.attempt).state == "released"
    assert house.servers.asked == [("stop", runs.server), ("stop", waits.server)]
    assert house.again(other).end_reason is None
    assert {attempt for attempt, _patience in house.backend.ended} == {runs.attempt, waits.attempt}


def test_reason_suspension_trail_and_mail_are_one_transaction(house: Installation, eve: Person) -> None:
    session = house.run(eve)

    def broken_off() -> None:
        with house.database.write() as connection:
            stop_now(connection, mark, person_id=eve.id, reason=WHY, by="person:rita", now=house.clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert (trail(house), house.again(session).end_reason) == ([], None)
    stopped(house, eve)
    assert trail(house) == [
        (Act.SESSION_STOPPED, "person:rita", WHY), (Act.PERSON_STOPPED, "person:rita", WHY),
    ]  # fmt: skip
    with house.database.read() as connection:
        mails = connection.execute(select(OutboxTable.kind, OutboxTable.figures)).all()
    assert [tuple(row) for row in mails] == [("access-stopped", {"words": WHY})]


def test_there_is_no_way_back_in_until_somebody_is_restored(house: Installation, eve: Person) -> None:
    stopped(house, eve)
    with pytest.raises(Failure) as refused:
        house.admission.place(eve, WISH)
    assert refused.value.problem is ACCESS_SUSPENDED
    assert WHY in refused.value.message
    with house.database.write() as connection:
        assert decisions.restore(connection, person_id=eve.id, reason="a mistake", by="cli:olga", now=house.clock())
    assert house.admission.place(eve, WISH) == "here"
    back = house.run(eve)
    stopper(house).run_once()
    assert house.again(back).end_reason is None


def test_who_was_let_in_a_moment_before_does_not_get_away(house: Installation, eve: Person) -> None:
    """Its start was admitted, and its row was written after the sessions had been marked."""
    house.admission.give_default(eve)
    stopped(house, eve)
    late = house.run(eve)
    stopper(house).run_once()
    assert house.again(late).end_reason is EndReason.SUSPENDED
    assert house.again(late).end_detail == WHY
    assert trail(house)[-1] == (Act.SESSION_STOPPED, "system", WHY)


def test_what_is_to_end_gets_no_environment(house: Installation, eve: Person) -> None:
    session = house.submit(eve)
    stopped(house, eve)
    assert not house.sessions.claim(session.attempt, "hash", "nonce")
    assert not house.sessions.confirm(session.attempt, "hash", "nonce")


def test_what_is_on_its_way_to_its_place_is_ended_there(house: Installation, eve: Person) -> None:
    meant = house.intend(eve)
    house.admission.reserve(meant.attempt, eve, meant.server, WISH, "here")
    stopped(house, eve)
    again = stopper(house)
    again.run_once()
    assert house.again(meant).state is SessionState.INTENT  # it may arrive yet
    house.sessions.submitted(meant.attempt, "ref")
    house.backend.runs(meant.attempt)
    again.run_once()
    assert house.backend.seen[meant.attempt].life is Life.ENDED
    assert house.again(meant).state is SessionState.ENDED


@pytest.mark.parametrize("trouble", ["hub-away", "site-silent", "stubborn"])
def test_it_is_tried_again_until_nothing_is_left(house: Installation, eve: Person, trouble: str) -> None:
    session, again = house.run(eve), stopper(house)
    stopped(house, eve)
    house.servers.away = trouble == "hub-away"
    house.backend.silent = trouble == "site-silent"
    house.backend.stubborn = trouble == "stubborn"
    again.run_once()
    assert (house.again(session).ended_at is not None) is (trouble == "hub-away")
    house.backend.silent = house.backend.stubborn = False
    again.run_once()
    assert house.again(session).end_reason is EndReason.SUSPENDED
    assert house.again(session).ended_at is not None


def test_a_suspension_that_lets_things_run_is_made_one_that_does_not(house: Installation, eve: Person) -> None:
    session = house.run(eve)
    with house.database.write() as connection:
        decisions.suspend(connection, person_id=eve.id, reason="asked twice", by="cli:olga", now=house.clock())
    stopper(house).run_once()
    assert house.again(session).end_reason is None
    assert stopped(house, eve) is not None
    stopper(house).run_once()
    assert house.again(session).end_reason is EndReason.SUSPENDED
    assert stopped(house, eve) is None
    assert len(trail(house)) == 2


def test_who_does_not_lead_ends_nothing(house: Installation, eve: Person) -> None:
    house.run(eve)
    stopped(house, eve)

    def lost() -> None:
        raise LeadershipLost

    with pytest.raises(LeadershipLost):
        stopper(house, guard=lost).run_once()
    assert house.backend.ended == []
