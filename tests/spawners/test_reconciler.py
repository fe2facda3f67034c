"""The worker's slower look: holds without a session, sessions without a hold, leases that end, and last sights."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from federation.database import Database
from federation.leader import LeadershipLost
from federation.persons import Person
from quota.tables import EntryTable
from spawners.admission import owner_of
from spawners.backends.base import Life, Observation
from spawners.sessions import Session
from spawners.tables import EndReason, SessionState, SessionTable
from tests.support.books import MINUTE, START, discrepancies, units
from tests.support.fakes import HUB, LEASE, Installation
from vetting.placement import Wish

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def house(database: Database) -> Any:
    """One site and one hub; its books add up at the end of the test."""
    yield Installation(database)
    assert discrepancies(database) == []


@pytest.fixture
def ana(house: Installation) -> Person:
    return house.member()


def look(house: Installation) -> None:
    """One slower look of a worker that was just started."""
    house.reconciler().run_once()


def wish_of(session: Session) -> Wish:
    return Wish(flavour=session.flavour, environment=session.environment)


def metric(house: Installation, name: str, **labels: str) -> float | None:
    return house.registry.get_sample_value(name, labels)


# --- holds without a session ----------------------------------------------------------------------------------------


def test_a_hold_whose_attempt_was_refused_although_it_was_reserved_is_released(
    house: Installation, ana: Person
) -> None:
    """The books had committed, but the answer was lost, and the attempt ended as refused."""
    session = house.intend(ana)
    house.admission.reserve(session.attempt, ana, session.server, wish_of(session), "here")
    house.sessions.ending(session.attempt, EndReason.REFUSED, "database-away")
    house.sessions.ended(session.attempt, started_at=None, ended_at=house.clock())
    look(house)
    assert house.books.row(session.attempt).state == "released"
    assert house.again(session).end_reason is EndReason.REFUSED


def test_a_hold_whose_session_ended_without_being_settled_is_settled_by_the_backends_times(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    house.clock.move(10 * MINUTE)
    house.backend.is_over(session.attempt)
    house.sessions.ended(session.attempt, started_at=START, ended_at=house.clock())
    house.clock.move(DAY)
    look(house)
    assert house.books.row(session.attempt).charged == units(600)
    assert house.servers.asked == []
    assert metric(house, "nbfed_settlements_total", source="launcher") == 1


def test_a_hold_whose_ended_session_cannot_be_asked_about_waits(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.sessions.ended(session.attempt, started_at=START, ended_at=START)
    house.backend.silent = True
    house.clock.move(DAY)
    look(house)
    assert house.books.row(session.attempt).state == "running"


def test_a_hold_that_nothing_belongs_to_is_given_back_at_the_end_of_its_lease(house: Installation, ana: Person) -> None:
    house.admission.give_default(ana)
    hold = house.books.hold(owner_of(ana), hub=HUB)
    house.clock.move(LEASE - SECOND)
    look(house)
    assert house.books.row(hold).state == "held"
    house.clock.move(SECOND)
    look(house)
    assert house.books.row(hold).state == "expired"


def test_a_hold_whose_row_is_gone_is_settled_by_the_backends_times(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.clock.move(MINUTE)
    house.backend.is_over(session.attempt)
    with house.database.write() as connection:
        connection.execute(delete(SessionTable))
    look(house)
    assert house.books.row(session.attempt).charged == units(60)


def test_a_hold_that_nothing_is_known_of_is_never_refunded_and_is_said_once(
    house: Installation, ana: Person, caplog: pytest.LogCaptureFixture
) -> None:
    session = house.run(ana)
    del house.backend.seen[session.attempt]
    with house.database.write() as connection:
        connection.execute(delete(SessionTable))
    reconciler = house.reconciler()
    for _ in range(3):
        house.clock.move(DAY)
        reconciler.run_once()
    assert house.books.row(session.attempt).state == "running"
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# --- sessions without a hold ----------------------------------------------------------------------------------------


def test_a_session_that_runs_after_its_row_ended_is_ended_and_not_charged_again(
    house: Installation, ana: Person, caplog: pytest.LogCaptureFixture
) -> None:
    session = house.run(ana)
    house.ledger.settle(session.attempt, started_at=START, ended_at=START + MINUTE, source="launcher")
    house.sessions.ended(session.attempt, started_at=START, ended_at=START + MINUTE)
    look(house)
    assert house.backend.ended == [(session.attempt, 7)]
    assert house.books.row(session.attempt).charged == units(60)
    assert metric(house, "nbfed_stray_sessions_total", site="here") == 1
    assert "runs at here although it ended at" in caplog.text


def test_a_session_that_no_row_is_known_of_is_ended(house: Installation) -> None:
    house.backend.runs("0192-stray")
    look(house)
    assert house.backend.ended == [("0192-stray", 7)]


def test_sessions_of_another_hub_on_the_same_site_are_left_alone(house: Installation, ana: Person) -> None:
    house.run(ana, hub="other")
    before = house.books.dump()
    look(house)
    assert house.backend.ended == []
    assert house.books.dump() == before


# --- what runs --------------------------------------------------------------------------------------------------------


def test_a_session_that_nobody_marked_as_running_does_not_expire_even_if_this_look_comes_first(
    house: Installation, ana: Person
) -> None:
    session = house.submit(ana)
    house.backend.runs(session.attempt)
    house.clock.move(2 * HOUR)
    look(house)
    assert (house.books.row(session.attempt).state, house.books.row(session.attempt).started_at) == ("running", START)


def test_that_a_session_runs_is_kept_with_its_row(house: Installation, ana: Person) -> None:
    session = house.submit(ana)
    house.clock.move(3 * SECOND)
    house.backend.runs(session.attempt)
    house.clock.move(MINUTE)
    look(house)
    seen = house.again(session)
    assert (seen.started_at, seen.seen_at) == (START + 3 * SECOND, house.clock())
    assert seen.state is SessionState.SUBMITTED


def test_of_what_does_not_run_no_sight_is_kept(house: Installation, ana: Person) -> None:
    waiting, over = house.submit(ana, "waiting"), house.run(ana, "over")
    house.backend.is_over(over.attempt)
    look(house)
    assert house.again(waiting).seen_at is house.again(over).seen_at is None


def test_a_running_session_of_which_nothing_is_left_is_charged_up_to_its_last_sight(
    house: Installation, ana: Person
) -> None:
    session = house.run(ana)
    house.clock.move(MINUTE)
    look(house)
    house.clock.move(10 * SECOND)
    del house.backend.seen[session.attempt]
    house.clock.move(HOUR)
    house.upkeep().run_once()
    hold, row = house.books.row(session.attempt), house.again(session)
    assert (hold.state, hold.charged, hold.source) == ("settled", units(60), "last seen")
    assert (row.started_at, row.ended_at) == (START, START + MINUTE)
    assert (row.end_reason, row.end_detail) == (EndReason.EXITED, "nothing was left of it where it ran")


def test_one_that_was_only_ready_when_everything_was_lost_is_charged_up_to_then(
    house: Installation, ana: Person
) -> None:
    session = house.submit(ana)
    house.sessions.located(session.attempt, host="127.0.0.1", port=1, started_at=START)
    house.clock.move(5 * SECOND)
    house.sessions.answered(session.attempt)
    del house.backend.seen[session.attempt]
    house.upkeep().run_once()
    assert (house.books.row(session.attempt).charged, house.books.row(session.attempt).source) == (
        units(5),
        "last seen",
    )


# --- numbers, and who may go on ---------------------------------------------------------------------------------------


def test_open_holds_are_counted_by_state(house: Installation, ana: Person) -> None:
    house.submit(ana, "one")
    house.clock.move(MINUTE)
    house.run(house.member("anna"), "two")
    house.clock.move(MINUTE)
    look(house)
    assert [metric(house, "nbfed_open_holds", state=state) for state in ("held", "running", "unknown")] == [1, 1, 0]
    ages = [metric(house, "nbfed_oldest_hold_age_seconds", state=state) for state in ("held", "running", "unknown")]
    assert ages == [120, 60, 0]


def test_who_does_not_lead_any_more_changes_nothing(house: Installation, ana: Person) -> None:
    session = house.submit(ana, "due")
    over = house.run(house.member("anna"), "over")
    house.backend.is_over(over.attempt)
    house.sessions.ended(over.attempt, started_at=START, ended_at=START)
    house.backend.runs("0192-stray")
    house.backend.seen[session.attempt] = Observation(life=Life.ENDED)
    house.clock.move(DAY)
    reconciler = house.reconciler(guard=lost)
    before = house.books.dump()
    with pytest.raises(LeadershipLost):
        reconciler.run_once()
    assert house.books.dump() == before
    assert house.backend.ended == []


def lost() -> None:
    raise LeadershipLost


def test_whoever_closes_a_hold_it_is_closed_once(house: Installation, ana: Person) -> None:
    session = house.run(ana)
    house.backend.is_over(session.attempt)
    for _ in range(2):
        look(house)
        house.upkeep().run_once()
    assert len([row for row in house.books.rows(EntryTable) if row.kind == "release"]) == 1


# --- what a site keeps until an end is in the books -----------------------------------------------------------------


def test_a_site_lets_go_of_what_is_over_in_the_books_and_of_nothing_else(house: Installation, ana: Person) -> None:
    running, ended = house.run(ana), house.run(house.member("bob"))
    house.backend.is_over(ended.attempt)
    house.backend.seen["of-nobody"] = Observation(life=Life.ENDED)
    look(house)
    assert house.backend.cleared == ["of-nobody"], "the rounds have not settled it yet"
    house.upkeep().run_once()
    house.backend.cleared.clear()
    look(house)
    assert house.backend.cleared == [ended.attempt, "of-nobody"]
    assert house.backend.observe(running.attempt).life is Life.RUNNING
