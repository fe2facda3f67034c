"""Weights by version: a new version for every change, and none for a restart."""

import threading

import pytest
from sqlalchemy.exc import IntegrityError

from federation.database import Database
from quota import rates
from quota.tables import RateTable
from tests.support.books import START, Books, open_books


@pytest.fixture
def books(database: Database) -> Books:
    return open_books(database)


def in_force(books: Books) -> tuple[int, dict[str, int]]:
    with books.database.read() as connection:
        return rates.in_force(connection)


def test_the_first_version_is_1_and_has_every_flavour(books: Books) -> None:
    assert [(row.version, row.flavour, row.weight_milli, row.valid_from) for row in books.rows(RateTable)] == [
        (1, "medium", 4000, START),
        (1, "small", 1000, START),
        (1, "tiny", 1, START),
    ]


def test_publishing_the_same_weights_again_changes_nothing(books: Books) -> None:
    before = books.dump()
    assert books.publish({"tiny": 1, "medium": 4000, "small": 1000}) == 1
    assert books.dump() == before


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"small": 1500, "medium": 4000, "tiny": 1}, id="another-weight"),
        pytest.param({"small": 1000, "medium": 4000, "tiny": 1, "large": 9000}, id="one-more-flavour"),
        pytest.param({"small": 1000, "medium": 4000}, id="one-flavour-less"),
    ],
)
def test_any_difference_is_a_new_version_of_all_weights(books: Books, weights: dict[str, int]) -> None:
    assert books.publish(weights) == 2
    assert {row.flavour: row.weight_milli for row in books.rows(RateTable, RateTable.version == 2)} == weights


def test_going_back_to_earlier_weights_is_a_new_version_too(books: Books) -> None:
    weights = {"small": 1000, "medium": 4000, "tiny": 1}
    assert [books.publish({"small": 7}), books.publish(weights), books.publish(weights)] == [2, 3, 3]
    assert in_force(books) == (3, weights)


def test_the_newest_version_counts_also_when_the_clock_stepped_back(books: Books) -> None:
    books.clock.now = START.replace(year=2025)
    books.publish({"small": 2000})
    assert in_force(books) == (2, {"small": 2000})


def test_a_flavour_that_is_not_published_or_not_any_more_cannot_be_reserved(books: Books) -> None:
    books.grant(1_000_000)
    books.publish({"small": 1})
    before = books.dump()
    for flavour in ("medium", "huge"):
        with pytest.raises(KeyError, match=flavour):
            books.reserve(flavour=flavour)
    assert books.dump() == before


@pytest.mark.parametrize("weight", [0, -1])
def test_a_weight_that_is_not_positive_is_refused_by_the_database_itself(books: Books, weight: int) -> None:
    before = books.dump()
    with pytest.raises(IntegrityError):
        books.publish({"small": weight})
    assert books.dump() == before


def test_no_weights_at_all_are_refused(books: Books) -> None:
    before = books.dump()
    with pytest.raises(ValueError, match="no weights"):
        books.publish({})
    assert books.dump() == before


def publish_together(books: Books, weights: list[dict[str, int]]) -> list[int]:
    """The versions that processes get which publish these at the same moment."""
    versions, together = [], threading.Barrier(len(weights))

    def publish(wanted: dict[str, int]) -> None:
        database = Database(books.database.url, busy_seconds=30)
        together.wait()
        with database.write() as connection:
            versions.append(rates.publish(connection, wanted, START))
        database.dispose()

    threads = [threading.Thread(target=publish, args=(wanted,)) for wanted in weights]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(versions)


def test_processes_that_start_together_publish_one_version(books: Books) -> None:
    assert publish_together(books, [{"small": 5}] * 4) == [2, 2, 2, 2]
    assert len(books.rows(RateTable, RateTable.version == 2)) == 1


def test_processes_that_publish_different_weights_together_never_mix_them(books: Books) -> None:
    each = [{f"flavour-{n}": n} for n in range(1, 5)]
    assert publish_together(books, each) == [2, 3, 4, 5]
    assert len(books.rows(RateTable, RateTable.version > 1)) == 4
