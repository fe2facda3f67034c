"""The picture of what was left of an account, and of what lapses if nobody uses it, with its words and its table."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from federation.pictures import Steps, round_top, steps, x_of
from quota.amounts import to_unit_hours
from quota.course import Point, course, to_come
from quota.owners import Owner
from quota.statement import Standing

__all__ = ["CoursePicture", "course_picture"]

_BACK, _AHEAD, _LEAST_BACK = timedelta(days=60), timedelta(days=30), timedelta(days=7)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class CoursePicture:
    """What was, what comes if nothing more is used, and both as rows of a table; amounts in unit-hours.

    Parameters
    ----------
    today_x
        Where now is in the picture.
    """

    begins_at: datetime
    now: datetime
    ends_at: datetime
    past: Steps
    ahead: Steps
    today_x: int
    left: float
    left_at_end: float
    rows: list[tuple[datetime, float]]


def course_picture(connection: Connection, owner: Owner, standing: Standing, now: datetime) -> CoursePicture | None:
    """Of the last two months, or since there is anything, and of the month to come; None where there never was anything."""
    points = course(connection, owner, standing, now, since=now - _BACK)
    coming = to_come(standing, now, until=now + _AHEAD)
    first = next((point.at for point in points if point.left), None)
    if first is None:
        return None
    begin, end = max(now - _BACK, min(first, now - _LEAST_BACK)), now + _AHEAD
    drawn = [point for point in points if point.at >= begin] or points[-1:]
    if drawn[0].at > begin:
        drawn.insert(0, Point(at=begin, left=_left_at(points, begin)))
    top = round_top(max(_hours(point.left) for point in (*drawn, *coming)))
    past, ahead = (
        steps([(point.at, _hours(point.left)) for point in some], begin=begin, end=end, top=top)
        for some in (drawn, coming)
    )
    moments = [now - week * _WEEK for week in range((now - begin) // _WEEK, -1, -1)]
    return CoursePicture(
        begins_at=begin,
        now=now,
        ends_at=end,
        past=past,
        ahead=ahead,
        today_x=x_of(now, begin, end),
        left=_hours(points[-1].left),
        left_at_end=_hours(coming[-1].left),
        rows=[*((at, _hours(_left_at(points, at))) for at in moments), (end, _hours(coming[-1].left))],
    )


def _left_at(points: list[Point], at: datetime) -> int:
    place = bisect_right(points, at, key=lambda point: point.at)
    return points[place - 1].left if place else 0


def _hours(amount: int) -> float:
    return float(to_unit_hours(amount))
