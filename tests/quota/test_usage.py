"""What a site's sessions cost: by whose they were, corrections included, of this site and this time only."""

from datetime import timedelta

import pytest

from federation.database import Database
from quota.usage import SiteUse, use_of_site
from tests.support.books import ANNA, Books, open_books, units


@pytest.fixture
def books(database: Database) -> Books:
    return open_books(database)


def use(books: Books, site: str = "here") -> list[SiteUse]:
    with books.database.read() as connection:
        return use_of_site(connection, site, since=books.clock() - timedelta(days=30))


def test_a_site_without_sessions_has_no_use(books: Books) -> None:
    assert use(books) == []


def test_what_ended_is_added_up_and_what_runs_is_counted(books: Books) -> None:
    for owner in (ANNA,):
        books.grant(units(100_000), owner)
    books.grant(units(100_000))
    for seconds in (60, 30):
        books.settle(books.running(), timedelta(seconds=seconds))
    books.settle(books.running(ANNA), timedelta(seconds=100))
    books.running(ANNA, user="anna")
    assert use(books) == [
        SiteUse(user="anna", running=1, used=units(100)), SiteUse(user="ann", running=0, used=units(90)),
    ]  # fmt: skip


def test_corrections_count_with_their_session(books: Books) -> None:
    books.grant(units(100_000))
    hold = books.running()
    books.settle(hold, timedelta(seconds=60))
    for key, seconds in (("a", -20), ("b", 5)):
        books.ledger.correct(hold, amount=units(seconds), key=key, actor="olga", reason="the site was slow")
    books.settle(books.running(), timedelta(seconds=10))
    assert use(books) == [SiteUse(user="ann", running=0, used=units(55))]


def test_other_sites_and_earlier_times_do_not_count(books: Books) -> None:
    books.grant(units(100_000), lasts=timedelta(days=90))
    books.settle(books.running(site="there"), timedelta(seconds=60))
    books.settle(books.running(), timedelta(seconds=30))
    assert use(books) == [SiteUse(user="ann", running=0, used=units(30))]
    assert use(books, "there") == [SiteUse(user="ann", running=0, used=units(60))]
    books.clock.move(timedelta(days=31))
    assert use(books) == []
