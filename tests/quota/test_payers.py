"""Exactly one account pays: the first that can cover the lease; only its own caps count beside those that hold for all."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from federation.database import Database
from quota import capping
from quota.answers import Admitted, Denied, Payer, Place
from quota.capping import Cap, Gauges, Scope
from quota.errors import NO_GRANT, POOL_FULL, POOL_USED_UP, QUOTA_SPENT
from quota.owners import Owner
from quota.reasons import Reason
from quota.tables import OwnerKind
from tests.support.books import ANN, ANNA, MINUTE, Books, discrepancies, open_books, units

POOL = Owner(OwnerKind.GROUP, "astronomy")
CLASS = Owner(OwnerKind.CLASS, "course-1")
LEASE = 45 * MINUTE


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    """Books that add up after the test."""
    yield open_books(database)
    assert discrepancies(database) == []


def pool(*caps: Cap) -> Payer:
    return Payer(owner=POOL, title="Astronomy", caps=caps)


def start(books: Books, *payers: Payer, attempt: str = "one", user: str = "ann", **changes: Any) -> Any:
    place = Place(hub="hub", user=user, server=attempt, site="here")
    wish: dict[str, Any] = {
        "attempt": attempt, "payers": payers, "place": place, "flavour": "small", "lease": LEASE,
        "shortest": 5 * MINUTE, "gauges": Gauges(),
    }  # fmt: skip
    return books.ledger.reserve(**{**wish, **changes})


def codes(answer: Any) -> list[str]:
    assert isinstance(answer, Denied), answer
    return [reason.problem.code for reason in answer.reasons]


@pytest.mark.parametrize(
    ("own", "shared", "payer", "lasts"),
    [
        pytest.param(3600, 3600, ANN, 45, id="ones-own-first"),
        pytest.param(600, 3600, POOL, 45, id="ones-own-covers-only-a-part-and-the-pool-covers-all"),
        pytest.param(1200, 600, ANN, 20, id="nobody-covers-all-and-ones-own-covers-a-part"),
        pytest.param(0, 600, POOL, 10, id="nothing-of-ones-own"),
        pytest.param(299, 600, POOL, 10, id="too-little-of-ones-own"),
    ],
)
def test_the_first_that_can_cover_the_lease_pays_and_pays_alone(
    books: Books, own: int, shared: int, payer: Owner, lasts: int
) -> None:
    if own:
        books.grant(units(own), ANN)
    books.grant(units(shared), POOL)
    answer = start(books, Payer(owner=ANN), pool())
    assert answer == Admitted("one", books.clock() + lasts * MINUTE, 1000)
    assert answer.payer == payer
    other = POOL if payer == ANN else ANN
    books.settle("one", timedelta(minutes=1))
    assert books.balance(payer)[1] == units(60)
    if other != ANN or own:
        assert books.balance(other)[1:] == (0, 0)


def test_a_class_pays_before_ones_own(books: Books) -> None:
    books.grant(units(3600), ANN)
    books.grant(units(3600), CLASS)
    assert start(books, Payer(owner=CLASS, title="A course"), Payer(owner=ANN)).payer == CLASS


def test_joining_a_group_never_makes_anybody_poorer(books: Books) -> None:
    """The group's cap is reached, and its account is empty: one's own quota covers the same as before."""
    books.grant(units(3600), ANN)
    alone = books.ledger.preview(
        attempt="one", payers=[Payer(owner=ANN)], place=Place(hub="hub", user="ann", server="one", site="here"),
        flavour="small", lease=LEASE, shortest=5 * MINUTE, gauges=Gauges(),
    )  # fmt: skip
    full = Cap(scope=Scope.GROUP, ref=POOL.ref, gauge="sessions", limit=1, reason=Reason(problem=POOL_FULL))
    books.grant(units(3600), POOL)
    start(books, pool(full), attempt="of-another-member", user="anna")
    assert start(books, Payer(owner=ANN), pool(full)) == alone


def test_a_pools_cap_counts_only_what_the_pool_pays_for(books: Books) -> None:
    cap = Cap(scope=Scope.GROUP, ref=POOL.ref, gauge="sessions", limit=1, reason=Reason(problem=POOL_FULL))
    books.grant(units(36_000), ANN)
    books.grant(units(36_000), POOL)
    assert start(books, Payer(owner=ANN), pool(cap), attempt="mine").payer == ANN
    assert start(books, pool(cap), attempt="first", user="anna").payer == POOL
    assert codes(start(books, pool(cap), attempt="second", user="anna")) == [POOL_FULL.code]
    assert start(books, pool(cap), Payer(owner=ANN), attempt="past-it").payer == ANN


def test_where_nobody_can_pay_each_says_why_in_their_order(books: Books) -> None:
    books.grant(units(60), ANN)
    books.grant(units(60), POOL)
    answer = start(books, Payer(owner=ANN), pool())
    assert codes(answer) == [QUOTA_SPENT.code, POOL_USED_UP.code]
    assert "Astronomy" in answer.reasons[1].failure(books.clock()).message


def test_without_any_payer_there_is_no_grant(books: Books) -> None:
    assert codes(start(books)) == [NO_GRANT.code]


def test_a_renewal_is_paid_by_who_paid_first(books: Books) -> None:
    books.grant(units(600), ANN)
    books.grant(units(36_000), POOL)
    start(books, Payer(owner=ANN), pool())
    books.grant(units(36_000), ANN, key="more")
    books.ledger.renew("one", until=books.clock() + 2 * LEASE)
    assert books.balance(POOL)[2] == units(2 * 2700)


def test_a_preview_is_the_answer_and_leaves_no_trace(books: Books) -> None:
    books.grant(units(3600), ANN)
    wish = {
        "attempt": "one", "payers": [Payer(owner=ANN)], "place": Place(hub="hub", user="ann", server="", site="here"),
        "flavour": "small", "lease": LEASE, "shortest": 5 * MINUTE, "gauges": Gauges(),
    }  # fmt: skip
    before = books.dump()
    seen = books.ledger.preview(**wish)
    assert books.dump() == before
    assert books.ledger.reserve(**wish) == seen


@pytest.mark.parametrize(
    ("scope", "ref", "fits"),
    [
        pytest.param(Scope.FLAVOUR, "small", 2, id="flavour"),
        pytest.param(Scope.FLAVOUR, "medium", 4, id="another-flavour"),
        pytest.param(Scope.USER, "ann", 2, id="user"),
        pytest.param(Scope.USER, "anna", 4, id="another-user"),
        pytest.param(Scope.SITE, "here", 2, id="site"),
        pytest.param(Scope.SITE, "there", 4, id="another-site"),
        pytest.param(Scope.GROUP, "astronomy", 4, id="a-group-that-does-not-pay"),
    ],
)
def test_a_cap_counts_the_open_holds_of_its_scope(books: Books, scope: Scope, ref: str, fits: int) -> None:
    books.grant(units(36_000), ANN)
    cap = Cap(scope=scope, ref=ref, gauge="sessions", limit=2, reason=Reason(problem=POOL_FULL))
    answers = [start(books, Payer(owner=ANN), attempt=f"start-{n}", caps=[cap]) for n in range(4)]
    assert sum(isinstance(answer, Admitted) for answer in answers) == fits


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("scope", Scope)
def test_a_cap_is_counted_from_open_holds_alone_however_many_are_closed(database: Database, scope: Scope) -> None:
    with database.read() as connection:
        query = capping._counting(((scope, "sessions"),)).composed(connection.dialect).text
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?"))]
    holds = [step for step in plan if " hold " in step]
    assert holds
    assert all("USING INDEX ix_hold_open_" in step for step in holds), plan


# --- batch --------------------------------------------------------------------------------------------------------


def submitted(books: Books, *, walltime: timedelta = 2 * LEASE) -> Any:
    return start(books, Payer(owner=ANN), lease=walltime, shortest=walltime, queue=timedelta(hours=6))


def test_waiting_in_the_queue_is_free_and_the_lease_ends_that_much_later(books: Books) -> None:
    books.grant(units(36_000))
    assert submitted(books).lease_until == books.clock() + timedelta(hours=6) + 2 * LEASE
    assert books.balance() == (units(36_000), 0, units(5400))


def test_once_it_runs_its_lease_is_its_walltime(books: Books) -> None:
    books.grant(units(36_000))
    submitted(books)
    began = books.clock.move(timedelta(hours=3))
    books.ledger.started("one", started_at=began)
    assert books.row("one").lease_until == began + 2 * LEASE
    books.ledger.settle("one", started_at=began, ended_at=began + LEASE, source="scheduler")
    assert books.balance() == (units(36_000), units(2700), 0)


def test_less_than_the_walltime_left_is_refused_and_not_shortened(books: Books) -> None:
    books.grant(units(5399))
    assert codes(submitted(books)) == [QUOTA_SPENT.code]


def test_a_job_that_never_ran_expires_only_after_its_queue_time(books: Books) -> None:
    books.grant(units(36_000))
    submitted(books)
    assert books.ledger.expire(books.clock.move(timedelta(hours=6))) == []
    assert books.ledger.expire(books.clock.move(2 * LEASE)) == ["one"]


def test_a_requeued_job_is_charged_for_all_of_its_runs(books: Books) -> None:
    books.grant(units(36_000))
    submitted(books)
    began = books.clock()
    first = (began, began + timedelta(seconds=90.5))
    again = began + LEASE
    books.ledger.settle(
        "one", started_at=again, ended_at=again + MINUTE, source="scheduler", earlier_runs=[first, (began, began)]
    )
    assert books.row("one").charged == units(91 + 60)


def test_a_run_that_ends_before_it_starts_is_refused_in_any_place(books: Books) -> None:
    books.grant(units(36_000))
    submitted(books)
    now = books.clock()
    with pytest.raises(ValueError, match="before it starts"):
        books.ledger.settle(
            "one", started_at=now, ended_at=now, source="scheduler", earlier_runs=[(now, now - timedelta.resolution)]
        )


def test_an_account_of_another_kind_with_the_same_name_pays_nothing(books: Books) -> None:
    books.grant(units(3600), Owner(OwnerKind.GROUP, "ann"))
    books.grant(units(3600), ANNA)
    assert codes(start(books, Payer(owner=ANN))) == [NO_GRANT.code]
