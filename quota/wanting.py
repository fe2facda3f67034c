"""Why an account cannot pay: which of the reasons it is, and its figures."""

from sqlalchemy import Connection, select

from quota.answers import Payer
from quota.errors import GRANT_ENDED, NO_GRANT, POOL_USED_UP, QUOTA_HELD, QUOTA_SPENT, QUOTA_USED_UP
from quota.page import Page
from quota.reasons import Reason
from quota.tables import GrantTable

__all__ = ["no_funds"]


def no_funds(connection: Connection, payer: Payer | None, page: Page | None, *, needed: int) -> Reason:
    """The reason for which `needed` milli-unit-seconds are not there. `page` is None where there is no account."""
    if payer is None or page is None:
        return Reason(problem=NO_GRANT)
    counting = [grant for grant in page.grants if grant.active]
    if not counting and not payer.title:
        return _no_grant(connection, page)
    # People think of this month's quota, not of all time: the figures are those of the grants that count now.
    limit = sum(grant.amount for grant in counting)
    used = limit - sum(grant.left for grant in counting)
    if payer.title:
        problem = POOL_USED_UP
    else:
        problem = QUOTA_HELD if page.held >= needed else QUOTA_USED_UP if payer.returns_at else QUOTA_SPENT
    return Reason(
        problem=problem, used=used, held=page.held, limit=limit, needed=needed, returns_at=payer.returns_at,
        scope=payer.title,
    )  # fmt: skip


def _no_grant(connection: Connection, page: Page) -> Reason:
    rows = connection.execute(
        select(GrantTable.ends_at, GrantTable.revoked_at).where(
            GrantTable.account_id == page.account_id, GrantTable.starts_at <= page.at
        )
    ).all()
    if not rows:
        return Reason(problem=NO_GRANT)
    ended = max(min(row.ends_at, row.revoked_at or row.ends_at) for row in rows)
    return Reason(problem=GRANT_ENDED, returns_at=ended)
