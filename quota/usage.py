"""What a site's sessions cost, by whose they were. Reads only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from quota.tables import IS_OPEN, EntryKind, EntryTable, HoldTable

__all__ = ["SiteUse", "use_of_site"]


@dataclass(frozen=True, kw_only=True)
class SiteUse:
    """One person at one site, by hub user name.

    Parameters
    ----------
    running
        How many sessions are open now.
    used
        What those cost that ended in the time that is asked about, corrections included; in milli-unit-seconds.
    """

    user: str
    running: int
    used: int


def use_of_site(connection: Connection, site: str, *, since: datetime) -> list[SiteUse]:
    """Everybody with a session at a site that is open or ended since then; who used most comes first."""
    corrections = (
        select(EntryTable.hold_id, func.sum(EntryTable.amount).label("amount"))
        .where(EntryTable.kind == EntryKind.CORRECTION.value)
        .group_by(EntryTable.hold_id)
        .subquery()
    )
    used = func.coalesce(func.sum(HoldTable.charged), 0) + func.coalesce(func.sum(corrections.c.amount), 0)
    query = (
        select(HoldTable.user, func.sum(case((IS_OPEN, 1), else_=0)).label("running"), used.label("used"))
        .outerjoin(corrections, corrections.c.hold_id == HoldTable.id)
        .where(HoldTable.site == site, IS_OPEN | (HoldTable.ended_at >= since))
        .group_by(HoldTable.user)
        .order_by(used.desc(), HoldTable.user)
    )
    return [SiteUse(user=row.user, running=row.running, used=int(row.used)) for row in connection.execute(query)]
