"""What was left over time is what the books said at each moment, whenever they were opened."""

from datetime import datetime, timedelta

import pytest

from federation.database import Database
from quota.course import course, to_come
from quota.course_picture import CoursePicture, course_picture
from tests.support.books import ANN, MINUTE, START, Books, open_books, units

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def books(database: Database) -> Books:
    return open_books(database)


def past(books: Books, since: datetime = START - DAY) -> list[tuple[timedelta, int]]:
    """How long after the start, and how much then."""
    with books.database.read() as connection:
        points = course(connection, ANN, books.standing(), books.clock(), since=since)
    assert [point.at for point in points] == sorted(point.at for point in points)
    return [(point.at - START, point.left) for point in points]


def picture(books: Books) -> CoursePicture | None:
    with books.database.read() as connection:
        return course_picture(connection, ANN, books.standing(), books.clock())


def test_who_has_no_account_has_no_picture(books: Books) -> None:
    assert past(books) == [(-DAY, 0), (timedelta(0), 0)]
    assert picture(books) is None


def test_what_is_given_and_used_is_in_it_at_its_moment(books: Books) -> None:
    books.grant(units(5000), lasts=DAY)
    books.clock.move(HOUR)
    hold = books.hold(lease=30 * MINUTE)
    assert past(books)[-1] == (HOUR, units(5000)), "what is set aside is left"
    books.clock.move(HOUR)
    books.settle(hold, 30 * MINUTE)
    assert past(books) == [
        (-DAY, 0), (timedelta(0), units(5000)), (2 * HOUR, units(3200)), (2 * HOUR, units(3200)),
    ]  # fmt: skip


def test_what_lapses_is_gone_on_its_day_also_before_the_books_are_opened_again(books: Books) -> None:
    books.grant(units(5000), lasts=DAY)
    books.settle(books.hold(lease=10 * MINUTE), 10 * MINUTE)
    books.clock.move(3 * DAY)
    seen = past(books)
    assert (DAY, 0) in seen
    books.grant(units(100), lasts=DAY)
    books.settle(books.hold(lease=5 * MINUTE, shortest=MINUTE), MINUTE)
    later = past(books)
    assert [left for at, left in later if at < 3 * DAY] == [left for at, left in seen if at < 3 * DAY]
    assert later[-1] == (3 * DAY, units(40))


def test_what_comes_is_what_each_grant_leaves_when_it_ends(books: Books) -> None:
    books.grant(units(5000), lasts=DAY)
    books.grant(units(700), lasts=3 * DAY)
    now = books.clock()
    points = to_come(books.standing(), now, until=now + 2 * DAY)
    assert [(point.at - now, point.left) for point in points] == [
        (timedelta(0), units(5700)), (DAY, units(700)), (2 * DAY, units(700)),
    ]  # fmt: skip


def test_the_picture_ends_with_what_is_left_now_and_has_its_table(books: Books) -> None:
    books.grant(3_600_000 * 400, lasts=90 * DAY)
    books.clock.move(15 * DAY)
    books.settle(books.hold(lease=HOUR), HOUR)
    drawn = picture(books)
    assert drawn is not None
    assert (drawn.left, drawn.left_at_end) == (399.0, 399.0)
    assert [hours for _at, hours in drawn.rows] == [400.0, 400.0, 399.0, 399.0]
    assert drawn.past.line.startswith("M44 ")
    assert [line.value for line in drawn.past.grid] == [0, 250, 500]


def test_a_new_account_is_drawn_for_a_week_and_not_for_two_empty_months(books: Books) -> None:
    books.grant(3_600_000, lasts=90 * DAY)
    drawn = picture(books)
    assert drawn is not None
    assert drawn.now - drawn.begins_at == 7 * DAY
    assert drawn.rows[0][1] == 0
