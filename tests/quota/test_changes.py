"""Grants that are extended or reduced, and holds that are corrected: exact, once, and with a row in the audit trail."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from federation.audit import Act, AuditTable
from federation.database import Database
from quota.answers import Corrected, Denied
from quota.granting import GrantUnknown, KeyTaken
from quota.ledger import HoldUnknown
from quota.tables import GrantTable
from tests.support.books import MINUTE, Books, discrepancies, open_books, units

HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    """Books that add up after the test."""
    yield open_books(database)
    assert discrepancies(database) == []


def change(books: Books, grant: str, amount: int, *, lasts: timedelta = 60 * DAY, key: str = "change") -> str | None:
    now = books.clock()
    return books.ledger.change(
        grant, key=key, amount=amount, starts_at=now, ends_at=now + lasts, actor="olga", reason="a longer thesis"
    )


def used(books: Books, amount: int, ran: timedelta) -> tuple[str, str]:
    """A grant, and a settled hold that it paid for."""
    grant = books.grant(amount)
    hold = books.hold()
    books.settle(hold, ran)
    return grant, hold


# --- grants -------------------------------------------------------------------------------------------------------


def test_an_extended_grant_goes_on_with_what_is_left_and_a_later_end(books: Books) -> None:
    grant, _ = used(books, units(3600), 10 * MINUTE)
    successor = change(books, grant, units(3600))
    standing = books.standing()
    assert (standing.left, standing.used, standing.granted) == (units(3000), 0, units(3000))
    assert standing.ends_at == books.clock() + 60 * DAY
    assert books.rows(GrantTable, GrantTable.id == successor)[0].follows == grant


def test_a_larger_successor_adds_the_difference_and_a_smaller_one_takes_it(books: Books) -> None:
    grant, _ = used(books, units(3600), 10 * MINUTE)
    larger = change(books, grant, units(7200), key="more")
    assert larger is not None
    assert books.standing().left == units(6600)
    change(books, larger, units(1000), key="less")
    assert books.standing().left == units(1000)


def test_a_grant_that_is_reduced_below_what_it_paid_is_over(books: Books) -> None:
    grant, _ = used(books, units(3600), 10 * MINUTE)
    assert change(books, grant, units(600)) is None
    assert change(books, grant, units(600)) is None, "again, with the same key"
    assert books.standing().left == 0
    assert isinstance(books.reserve(), Denied)


def test_what_running_sessions_hold_goes_over_to_the_successor(books: Books) -> None:
    grant = books.grant(units(3600))
    hold = books.running(lease=30 * MINUTE)
    change(books, grant, units(3600))
    assert books.balance() == (units(3600), 0, units(1800))
    books.settle(hold, 10 * MINUTE)
    assert books.standing().left == units(3000)


def test_a_limit_below_what_is_held_leaves_running_sessions_what_they_hold_and_no_more(books: Books) -> None:
    grant = books.grant(units(3600))
    hold = books.running(lease=30 * MINUTE)
    change(books, grant, units(600))
    assert books.balance() == (units(1800), 0, units(1800))
    assert isinstance(books.reserve(lease=5 * MINUTE), Denied)
    books.settle(hold, 30 * MINUTE)
    assert books.standing().left == 0


def test_an_ended_grant_can_be_taken_up_again_by_a_successor(books: Books) -> None:
    grant = books.grant(units(3600), lasts=DAY)
    books.settle(books.hold(), 10 * MINUTE)
    books.clock.move(2 * DAY)
    change(books, grant, units(3600))
    assert books.standing().left == units(3000)


def test_the_same_change_again_changes_nothing_more(books: Books) -> None:
    grant = books.grant(units(3600))
    successor = change(books, grant, units(7200))
    before = books.dump()
    assert change(books, grant, units(7200)) == successor
    assert books.dump() == before


def test_a_second_change_of_the_same_grant_is_refused(books: Books) -> None:
    grant = books.grant(units(3600))
    change(books, grant, units(7200))
    with pytest.raises(ValueError, match="was revoked or changed before"):
        change(books, grant, units(9000), key="another")


def test_a_key_of_another_grant_and_an_unknown_grant_are_refused(books: Books) -> None:
    grant, other = books.grant(units(3600)), books.grant(units(60), key="other")
    with pytest.raises(KeyTaken) as refused:
        change(books, grant, units(7200), key="other")
    assert refused.value.grant == other
    with pytest.raises(GrantUnknown):
        change(books, "no-such-grant", units(7200))


def test_a_change_is_in_the_audit_trail_with_who_and_why_and_what_it_follows(books: Books) -> None:
    grant = books.grant(units(3600))
    successor = change(books, grant, units(7200))
    row = books.rows(AuditTable)[-1]
    assert (row.act, row.actor, row.target) == (Act.GRANT_CHANGED, "olga", successor)
    assert (row.reason, row.details["follows"]) == ("a longer thesis", grant)


# --- corrections --------------------------------------------------------------------------------------------------


def correct(books: Books, hold: str, amount: Any, key: str = "key") -> Corrected:
    return books.ledger.correct(hold, amount=amount, key=key, actor="olga", reason="the node was broken")


def test_what_is_given_back_is_there_again(books: Books) -> None:
    _, hold = used(books, units(3600), 30 * MINUTE)
    assert correct(books, hold, -units(600)) == Corrected(hold, -units(600), 0)
    assert books.standing().left == units(2400)
    assert books.row(hold).charged == units(1800)


def test_what_is_charged_more_is_spent_and_what_nothing_covers_is_owed(books: Books) -> None:
    _, hold = used(books, units(3600), 30 * MINUTE)
    correct(books, hold, units(2400))
    assert books.standing().left == 0
    assert books.standing().owed == units(600)
    books.grant(units(3600), key="next")
    assert books.standing().left == units(3000)


def test_a_correction_leaves_other_sessions_what_they_hold(books: Books) -> None:
    _, hold = used(books, units(3600), 10 * MINUTE)
    running = books.running(lease=45 * MINUTE)
    correct(books, hold, units(1200))
    assert "overrun" not in dict(books.entries(running))
    books.settle(running, 45 * MINUTE)
    assert "overrun" not in dict(books.entries(running))


def test_what_a_grant_that_is_over_gets_back_lapses_and_the_answer_says_so(books: Books) -> None:
    books.grant(units(3600), lasts=DAY)
    hold = books.hold()
    books.settle(hold, 30 * MINUTE)
    books.clock.move(2 * DAY)
    answer = correct(books, hold, -units(600))
    assert answer.lapsed == units(600)
    assert correct(books, hold, -units(600)) == answer
    assert books.standing().left == 0


def test_what_is_owed_for_the_hold_is_given_back_first(books: Books) -> None:
    books.grant(units(2700))
    hold = books.hold()
    books.settle(hold, HOUR)
    assert books.standing().owed == units(900)
    correct(books, hold, -units(1000))
    assert (books.standing().owed, books.standing().left) == (0, units(100))


def test_the_same_correction_again_changes_nothing_more(books: Books) -> None:
    _, hold = used(books, units(3600), 30 * MINUTE)
    answer = correct(books, hold, -units(600))
    before = books.dump()
    assert correct(books, hold, -units(600)) == answer
    with pytest.raises(ValueError, match="another correction"):
        correct(books, hold, -units(601))
    assert books.dump() == before


def test_a_key_of_another_holds_correction_is_refused(books: Books) -> None:
    _, hold = used(books, units(3600), 10 * MINUTE)
    other = books.hold()
    books.settle(other, 10 * MINUTE)
    correct(books, hold, -units(60))
    before = books.dump()
    with pytest.raises(ValueError, match="another hold"):
        correct(books, other, -units(60))
    assert books.dump() == before


def test_no_more_is_given_back_than_it_cost(books: Books) -> None:
    _, hold = used(books, units(3600), 10 * MINUTE)
    correct(books, hold, -units(400))
    with pytest.raises(ValueError, match=f"at most {units(200)} "):
        correct(books, hold, -units(201), key="more")


@pytest.mark.parametrize("amount", [0, True, 1.0, math.nan, 2**63, None, "1"])
def test_an_amount_that_is_no_amount_is_refused(books: Books, amount: Any) -> None:
    _, hold = used(books, units(3600), 10 * MINUTE)
    with pytest.raises(ValueError, match="whole number"):
        correct(books, hold, amount)


def test_only_what_is_settled_is_corrected(books: Books) -> None:
    books.grant(units(36_000))
    hold = books.running()
    with pytest.raises(ValueError, match="is running"):
        correct(books, hold, -1)
    books.ledger.release(hold, reason="never ran")
    with pytest.raises(ValueError, match="is released"):
        correct(books, hold, -1)
    with pytest.raises(HoldUnknown):
        correct(books, "no-such-hold", -1)


def test_a_correction_is_in_the_audit_trail_with_who_and_why(books: Books) -> None:
    _, hold = used(books, units(3600), 10 * MINUTE)
    correct(books, hold, -units(60))
    row = books.rows(AuditTable)[-1]
    assert (row.act, row.actor, row.target, row.reason) == (Act.HOLD_CORRECTED, "olga", hold, "the node was broken")
    assert row.details == {"amount_milli_unit_seconds": -units(60), "key": "key"}
