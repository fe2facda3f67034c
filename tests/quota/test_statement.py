"""What the books say to people is what the books do: what is shown as left can be reserved, no more and no less."""

from datetime import timedelta
from typing import Any

import pytest

from federation.database import Database
from quota.answers import Admitted, Denied
from quota.owners import Owner
from quota.statement import Standing, Statement, statement
from quota.tables import OwnerKind
from tests.support.books import ANN, ANNA, MINUTE, START, Books, open_books, units

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def books(database: Database) -> Books:
    return open_books(database)


def read(books: Books, owner: Owner = ANN, **options: Any) -> Statement:
    with books.database.read() as connection:
        return statement(connection, owner, books.clock(), **{"since": START - DAY, **options})


def can_reserve(books: Books) -> int:
    """The most that a new session could set aside now, in milli-unit-seconds."""
    answer = books.reserve(flavour="tiny", lease=10**7 * SECOND, shortest=SECOND)
    if isinstance(answer, Denied):
        return 0
    return int(books.row(answer.hold).amount)


# --- standing -----------------------------------------------------------------------------------------------


def test_who_has_no_account_has_nothing(books: Books) -> None:
    before = books.dump()
    assert books.standing() == Standing()
    assert (books.standing().left, books.standing().granted, books.standing().ends_at) == (0, 0, None)
    assert read(books) == Statement(standing=Standing(), lines=())
    assert books.dump() == before


def test_the_figures_are_those_of_the_grants_that_count_now(books: Books) -> None:
    books.grant(units(5000), lasts=HOUR)
    books.settle(books.hold(), 30 * MINUTE)
    books.clock.move(HOUR)
    books.grant(units(3600), lasts=2 * DAY)
    books.grant(units(1000), lasts=DAY)
    books.settle(books.hold(lease=10 * MINUTE), 5 * MINUTE)
    books.hold(lease=10 * MINUTE)
    now = books.standing()
    assert (now.granted, now.used, now.held, now.left) == (units(4600), units(300), units(600), units(3700))
    assert now.ends_at == START + HOUR + DAY


def nothing_yet(books: Books) -> None:
    pass


def half_used(books: Books) -> None:
    books.grant(units(3600))
    books.settle(books.hold(), 30 * MINUTE)


def mostly_held(books: Books) -> None:
    books.grant(units(3600))
    books.hold()


def begun_since_the_last_write(books: Books) -> None:
    books.grant(units(3600), begins=HOUR)
    books.clock.move(HOUR)


def begun_beside_an_open_hold(books: Books) -> None:
    books.grant(units(3600))
    books.grant(units(1000), begins=HOUR)
    books.running()
    books.clock.move(HOUR)


def ended_since_the_last_write(books: Books) -> None:
    books.grant(units(3600), lasts=HOUR)
    books.clock.move(HOUR)


def begun_and_ended_since_the_last_write(books: Books) -> None:
    books.grant(units(3600), begins=HOUR, lasts=HOUR)
    books.clock.move(3 * HOUR)


def revoked(books: Books) -> None:
    books.ledger.revoke(books.grant(units(3600)), actor="olga", reason="")


def revoked_before_it_began(books: Books) -> None:
    books.ledger.revoke(books.grant(units(3600), begins=HOUR), actor="olga", reason="")
    books.clock.move(2 * HOUR)


def held_of_a_grant_that_ended(books: Books) -> None:
    books.grant(units(3600), lasts=30 * MINUTE)
    books.grant(units(3600), begins=30 * MINUTE)
    books.running()
    books.clock.move(30 * MINUTE)


def overrun_that_nothing_covers_yet(books: Books) -> None:
    books.grant(units(2700))
    books.settle(books.running(), HOUR)


def overrun_that_a_new_grant_will_cover(books: Books) -> None:
    books.grant(units(2700))
    books.grant(units(3600), begins=DAY)
    books.settle(books.running(), HOUR)
    books.clock.move(DAY)


def overrun_that_what_was_given_back_covers(books: Books) -> None:
    books.grant(units(5400))
    long, other = books.running(), books.running()
    books.settle(long, HOUR)
    books.settle(other, MINUTE)


def overrun_greater_than_what_comes(books: Books) -> None:
    books.grant(units(2700))
    books.settle(books.running(), 3 * HOUR)
    books.clock.move(MINUTE)
    books.grant(units(600))


def clock_stepped_back(books: Books) -> None:
    books.grant(units(3600))
    books.settle(books.hold(), MINUTE)
    books.clock.move(-HOUR)


CASES = {
    case.__name__.replace("_", "-"): case
    for case in (
        nothing_yet, half_used, mostly_held, begun_since_the_last_write, begun_beside_an_open_hold,
        ended_since_the_last_write, begun_and_ended_since_the_last_write, revoked, revoked_before_it_began,
        held_of_a_grant_that_ended, overrun_that_nothing_covers_yet, overrun_that_a_new_grant_will_cover,
        overrun_that_what_was_given_back_covers, overrun_greater_than_what_comes, clock_stepped_back,
    )
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown_as_left_can_be_reserved_and_no_more(books: Books, case: str) -> None:
    CASES[case](books)
    shown = books.standing().left
    assert can_reserve(books) == shown
    assert books.standing().left == 0


def test_reading_changes_nothing(books: Books) -> None:
    held_of_a_grant_that_ended(books)
    before = books.dump()
    books.standing()
    read(books)
    assert books.dump() == before


# --- sessions -----------------------------------------------------------------------------------------------


def test_a_line_says_what_a_session_cost_and_of_that_what_nothing_covered(books: Books) -> None:
    books.grant(units(2700))
    books.settle(books.running(attempt="a", flavour="small", server="one"), HOUR, source="last seen")
    (line,) = read(books).lines
    assert (line.hold, line.server, line.site, line.flavour, line.weight_milli) == ("a", "one", "here", "small", 1000)
    assert (line.started_at, line.ended_at, line.lease_until) == (START, START + HOUR, START + 45 * MINUTE)
    assert (line.amount, line.charged, line.overrun) == (units(2700), units(3600), units(900))
    assert (line.state, line.source) == ("settled", "last seen")


def test_an_overrun_that_was_covered_later_stays_in_its_line(books: Books) -> None:
    overrun_that_a_new_grant_will_cover(books)
    books.settle(books.hold(lease=10 * MINUTE), MINUTE)
    newest, first = read(books).lines
    assert (newest.charged, newest.overrun) == (units(60), 0)
    assert (first.charged, first.overrun) == (units(3600), units(900))


@pytest.mark.parametrize("state", ["held", "running", "unknown"])
def test_an_open_session_has_no_charge_yet(books: Books, state: str) -> None:
    books.grant(units(3600))
    hold = books.hold() if state == "held" else books.running()
    if state == "unknown":
        books.ledger.unknown(hold)
    (line,) = read(books).lines
    assert (line.state, line.charged, line.overrun) == (state, None, 0)


@pytest.mark.parametrize("end", ["released", "expired"])
def test_a_session_that_never_ran_cost_nothing(books: Books, end: str) -> None:
    books.grant(units(3600))
    hold = books.hold()
    if end == "released":
        books.ledger.release(hold, reason="never ran")
    else:
        books.ledger.expire(START + HOUR)
    (line,) = read(books).lines
    assert (line.state, line.charged, line.started_at) == (end, 0, None)


def test_lines_are_those_since_then_newest_first_and_not_more_than_asked_for(books: Books) -> None:
    books.grant(units(36_000))
    holds = []
    for _ in range(4):
        holds.append(books.hold(lease=10 * MINUTE))
        books.clock.move(HOUR)
    assert [line.hold for line in read(books).lines] == holds[::-1]
    assert [line.hold for line in read(books, since=START + 2 * HOUR).lines] == [holds[3], holds[2]]
    assert [line.hold for line in read(books, limit=1).lines] == [holds[3]]


def test_nobody_reads_anybody_elses_sessions(books: Books) -> None:
    for owner in (ANN, ANNA, Owner(OwnerKind.GROUP, "ann")):
        books.grant(units(3600), owner)
        assert isinstance(books.reserve(f"of {owner.kind} {owner.ref}", owner), Admitted)
    assert [line.hold for line in read(books, ANN).lines] == ["of user ann"]
    assert [line.hold for line in read(books, ANNA).lines] == ["of user anna"]
