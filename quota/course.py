"""What was left of an account over time, and what of it lapses if nobody uses it: for a picture. Reads only.

Left is what is granted and not used; what is set aside for sessions is still in it. A grant counts from its own beginning
to its own end, even where the books took it in or let it lapse later, when they were next opened.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from quota.owners import Owner, account_of
from quota.statement import Standing
from quota.tables import EntryKind, EntryTable, GrantTable

__all__ = ["Point", "course", "to_come"]

_USED = (EntryKind.CHARGE.value, EntryKind.OVERRUN.value, EntryKind.CORRECTION.value)
_TOLD = (EntryKind.GRANT.value, EntryKind.LAPSE.value, *_USED)


@dataclass(frozen=True, kw_only=True)
class Point:
    """From `at` on, so much is left, in milli-unit-seconds."""

    at: datetime
    left: int


def course(connection: Connection, owner: Owner, standing: Standing, now: datetime, *, since: datetime) -> list[Point]:
    """What was left from `since` until now; the first point is at `since`, and the last one at `now`.

    Parameters
    ----------
    standing
        What the owner has now: the last point is made of it.
    """
    query = (
        select(
            EntryTable.kind, EntryTable.amount, EntryTable.at, GrantTable.starts_at, GrantTable.created_at,
            GrantTable.ends_at, GrantTable.revoked_at,
        )
        .outerjoin(GrantTable, GrantTable.id == EntryTable.grant_id)
        .where(EntryTable.account_id == account_of(connection, owner), EntryTable.kind.in_(_TOLD))
    )  # fmt: skip
    changes = sorted(
        [*((_moment(row), _change(row)) for row in connection.execute(query)), *_not_lapsed_yet(standing)],
        key=lambda change: change[0],
    )
    left = sum(amount for at, amount in changes if at <= since)
    points = [Point(at=since, left=max(0, left))]
    for at, amount in changes:
        if since < at <= now:
            left += amount
            points.append(Point(at=at, left=max(0, left)))
    return [*points, Point(at=now, left=_now(standing))]


def to_come(standing: Standing, now: datetime, *, until: datetime) -> list[Point]:
    """What is left from now on if nothing more is used or given: each grant ends on its day."""
    left = _now(standing)
    points = [Point(at=now, left=left)]
    for grant in sorted(standing.grants, key=lambda one: one.ends_at):
        if grant.active and now < grant.ends_at < until:
            left = max(0, left - grant.left)
            points.append(Point(at=grant.ends_at, left=left))
    return [*points, Point(at=until, left=left)]


def _now(standing: Standing) -> int:
    return max(0, sum(grant.left for grant in standing.grants if grant.active) - standing.owed)


def _moment(row: Any) -> datetime:
    at: datetime = row.at
    if row.kind == EntryKind.GRANT.value and row.starts_at is not None:
        at = max(row.starts_at, row.created_at)
    elif row.kind == EntryKind.LAPSE.value and row.ends_at is not None:
        at = min(at, row.ends_at, row.revoked_at or row.ends_at)
    return at


def _change(row: Any) -> int:
    return -int(row.amount) if row.kind in _USED else int(row.amount)


def _not_lapsed_yet(standing: Standing) -> Iterable[tuple[datetime, int]]:
    """What is left of grants that are over, which the books let lapse when they are next opened."""
    return [(grant.ends_at, -grant.left) for grant in standing.grants if not grant.active and grant.taken_in]
