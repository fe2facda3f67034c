"""The end of a session: the books first, then the row; by the backend's own times; twice, or after a crash, is once."""

from datetime import timedelta
from typing import Any

import pytest

from federation.database import Database
from quota.ledger import Ledger
from quota.tables import HoldTable
from spawners.backends.base import Cause, Life, Observation
from spawners.ending import close
from spawners.sessions import Session, Sessions
from spawners.tables import EndReason, SessionState
from tests.support.books import MINUTE, START, Crash, CrashingDatabase, discrepancies, units
from tests.support.fakes import Installation

SECOND = timedelta(seconds=1)


@pytest.fixture
def house(database: Database) -> Any:
    """An installation whose books add up at the end of the test."""
    yield Installation(database)
    assert discrepancies(database) == []


def over(ran: timedelta | None = 10 * MINUTE, **changes: Any) -> Observation:
    """Positive evidence of an end; without `ran`, that it never came to be."""
    times = {} if ran is None else {"started_at": START, "ended_at": START + ran}
    return Observation(**{"life": Life.ENDED, **times, **changes})


def end(house: Installation, session: Session, seen: Observation, **others: Any) -> None:
    parts = {"sessions": house.sessions, "ledger": house.ledger, "clock": house.clock, **others}
    close(house.again(session), seen, **parts)


def test_a_session_that_ran_is_settled_and_its_row_says_so(house: Installation) -> None:
    session = house.run(house.member())
    end(house, session, over(exit_code=0))
    hold, row = house.books.row(session.attempt), house.again(session)
    assert (hold.state, hold.charged, hold.source) == ("settled", units(600), "launcher")
    assert (row.state, row.started_at, row.ended_at) == (SessionState.ENDED, START, START + 10 * MINUTE)
    assert (row.end_reason, row.end_detail) == (EndReason.EXITED, "exit code 0")


@pytest.mark.parametrize(("cause", "reason"), [(Cause.MEMORY, EndReason.MEMORY), (Cause.EVICTED, EndReason.EVICTED)])
def test_what_its_place_knows_of_the_end_is_the_reason_unless_somebody_wanted_it(
    house: Installation, cause: Cause, reason: EndReason
) -> None:
    ended, stopped = house.run(house.member()), house.run(house.member("bob"))
    house.sessions.ending(stopped.attempt, EndReason.IDLE)
    for session in (ended, stopped):
        end(house, session, over(exit_code=137, cause=cause))
    assert house.again(ended).end_reason is reason
    assert house.again(stopped).end_reason is EndReason.IDLE


def test_a_session_that_never_ran_is_released(house: Installation) -> None:
    session = house.submit(house.member())
    house.clock.move(MINUTE)
    end(house, session, over(None))
    hold, row = house.books.row(session.attempt), house.again(session)
    assert (hold.state, hold.charged, hold.source) == ("released", 0, "never ran")
    assert (row.started_at, row.ended_at, row.end_reason) == (None, START + MINUTE, EndReason.FAILED)


def test_an_attempt_without_a_hold_only_gets_its_row_ended(house: Installation) -> None:
    session = house.intend(house.member())
    for ran in (None, MINUTE):
        end(house, session, over(ran))
    assert house.again(session).state is SessionState.ENDED
    assert house.books.rows(HoldTable) == []


@pytest.mark.parametrize("life", [Life.PENDING, Life.RUNNING, Life.UNKNOWN])
def test_what_is_no_evidence_of_an_end_is_never_settled(house: Installation, life: Life) -> None:
    session = house.run(house.member())
    before = house.books.dump()
    with pytest.raises(ValueError, match=f"is {life}, not ended"):
        end(house, session, Observation(life=life, started_at=START, ended_at=START + MINUTE))
    assert house.books.dump() == before


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param(EndReason.STOPPED, EndReason.STOPPED, id="the-person"),
        pytest.param(EndReason.IDLE, EndReason.IDLE, id="the-worker"),
        pytest.param(None, EndReason.EXITED, id="nobody-so-it-ended-by-itself"),
    ],
)
def test_a_reason_that_was_written_before_stays(
    house: Installation, reason: EndReason | None, expected: EndReason
) -> None:
    session = house.run(house.member())
    if reason is not None:
        house.sessions.ending(session.attempt, reason, "said before")
    end(house, session, over(exit_code=-15))
    assert house.again(session).end_reason is expected
    assert house.again(session).end_detail == ("said before" if reason else "exit code -15")


def test_a_session_that_ended_before_it_answered_failed_and_is_charged_what_it_ran(house: Installation) -> None:
    session = house.submit(house.member())
    end(house, session, over(3 * SECOND, exit_code=1))
    assert (house.again(session).end_reason, house.again(session).end_detail) == (EndReason.FAILED, "exit code 1")
    assert house.books.row(session.attempt).charged == units(3)


def test_an_end_without_a_time_is_now_and_marked_as_an_estimate(house: Installation) -> None:
    session = house.run(house.member())
    house.clock.move(5 * MINUTE)
    end(house, session, over(ended_at=None, estimated=True))
    assert (house.books.row(session.attempt).charged, house.books.row(session.attempt).source) == (
        units(300),
        "last seen",
    )
    assert house.again(session).ended_at == START + 5 * MINUTE


def test_an_end_before_the_start_costs_nothing_and_is_the_same_in_the_books_and_in_the_row(house: Installation) -> None:
    session = house.run(house.member())
    end(house, session, over(-MINUTE))
    hold, row = house.books.row(session.attempt), house.again(session)
    assert (hold.state, hold.charged) == ("settled", 0)
    assert (row.started_at, row.ended_at) == (hold.started_at, hold.ended_at) == (START, START)


def test_the_second_one_who_notices_changes_nothing(house: Installation) -> None:
    session = house.run(house.member())
    end(house, session, over())
    before = house.books.dump()
    house.clock.move(MINUTE)
    for seen in (over(), over(20 * MINUTE, exit_code=9), over(None)):
        end(house, session, seen)
    assert house.books.dump() == before


def test_one_who_saw_the_session_open_before_the_other_ended_it_changes_nothing_either(house: Installation) -> None:
    session = house.run(house.member())
    end(house, session, over())
    before = house.books.dump()
    close(session, over(20 * MINUTE), sessions=house.sessions, ledger=house.ledger, clock=house.clock)
    assert house.books.dump() == before


def test_a_crash_between_books_and_row_leaves_an_open_row_that_is_closed_to_the_same_effect(
    house: Installation,
) -> None:
    session = house.run(house.member())
    database = CrashingDatabase(house.database.url)
    database.crash_at = 0
    with pytest.raises(Crash):
        end(house, session, over(), sessions=Sessions(database, clock=house.clock))
    database.dispose()
    assert house.books.row(session.attempt).state == "settled"
    assert house.again(session).ended_at is None
    house.clock.move(MINUTE)
    end(house, session, over(30 * MINUTE))
    assert house.books.row(session.attempt).charged == units(600)
    assert house.again(session).ended_at == START + 10 * MINUTE


def test_the_row_says_what_the_books_say_also_when_they_were_closed_by_somebody_who_saw_other_times(
    house: Installation,
) -> None:
    session = house.run(house.member())
    house.ledger.settle(session.attempt, started_at=START, ended_at=START + MINUTE, source="last seen")
    end(house, session, over(None))
    assert (house.again(session).started_at, house.again(session).ended_at) == (START, START + MINUTE)


def test_a_crash_in_the_books_leaves_both_open(house: Installation) -> None:
    session = house.run(house.member())
    before = house.books.dump()
    database = CrashingDatabase(house.database.url)
    database.crash_at = 5
    with pytest.raises(Crash):
        end(house, session, over(), ledger=Ledger(database, clock=house.clock))
    database.dispose()
    assert house.books.dump() == before
