"""The pictures on the desk's pages, with their numbers: how long requests have been waiting, and an account's course.
Reads block.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, func, select

from federation.pictures import Column, columns
from quota.course_picture import CoursePicture, course_picture
from quota.owners import Owner
from quota.statement import standing
from quota.tables import OwnerKind
from vetting.desk.parts import Desk
from vetting.desk.queue import WITH_A_TARGET
from vetting.request_tables import RequestTable

__all__ = ["Waited", "course_of", "waited"]

_DAY = timedelta(days=1)
_EDGES = (1, 3, 7, 14)


@dataclass(frozen=True, kw_only=True)
class Waited:
    """How many requests have been waiting for reviewers for `begin` whole days or more, and less than `end` (None: no
    matter how long); `is_late` where that is longer than an answer is meant to take.
    """

    begin: int
    end: int | None
    count: int
    is_late: bool
    column: Column


def waited(desk: Desk) -> list[Waited]:
    """All that wait for reviewers, by how long; none where nothing waits. Counted by the database: there may be many.

    The time in which a person was asked something does not count, as it does not for the answer either.
    """
    now, target = desk.clock(), desk.requests.rules.target_answer
    edges = sorted({*_EDGES, -(-target // _DAY)})
    ranges = list(zip([0, *edges], [*edges, None], strict=True))
    # Who has waited for d days is due at now + target - d days, or before.
    due = [now + target - begin * _DAY for begin, _end in ranges]
    older = [func.coalesce(func.sum(case((RequestTable.due_at <= at, 1), else_=0)), 0) for at in due[1:]]
    query = select(func.count(), *older).where(RequestTable.state.in_([state.value for state in WITH_A_TARGET]))
    with desk.database.read() as connection:
        since = [int(count) for count in connection.execute(query).one()]
    counts = [count - following for count, following in zip(since, [*since[1:], 0], strict=True)]
    if not any(counts):
        return []
    return [
        Waited(begin=begin, end=end, count=count, is_late=begin * _DAY >= target, column=column)
        for (begin, end), count, column in zip(ranges, counts, columns(counts), strict=True)
    ]


def course_of(desk: Desk, person_id: str) -> CoursePicture | None:
    """What was left of a person's own quota over time."""
    owner, now = Owner(OwnerKind.USER, person_id), desk.clock()
    with desk.database.read() as connection:
        return course_picture(connection, owner, standing(connection, owner, now), now)
