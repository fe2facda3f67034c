"""All grants as the books have them, also those that wait, are over, or were changed. Reads only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from quota.owners import UNIT, Owner
from quota.page import DEFAULT_KEY
from quota.tables import AccountTable, GrantBalanceTable, GrantTable, OwnerKind

__all__ = ["ListedGrant", "listed", "listed_of"]


@dataclass(frozen=True, kw_only=True)
class ListedGrant:
    """One grant; `state` is waiting, active, used up, ended, changed or revoked. Amounts in milli-unit-seconds."""

    id: str
    owner: Owner
    amount: int
    charged: int
    left: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    state: str
    reason: str
    is_default: bool


def listed(connection: Connection, now: datetime, *conditions: Any) -> list[ListedGrant]:
    """The grants for which conditions on the tables of grants and accounts hold, the newest first."""
    return [_grant(row, now) for row in connection.execute(_all_grants().where(*conditions))]


def listed_of(connection: Connection, owner: Owner, now: datetime) -> list[ListedGrant]:
    """All that an owner was ever given."""
    return listed(connection, now, AccountTable.owner_kind == owner.kind.value, AccountTable.owner_ref == owner.ref)


def _all_grants() -> Select[Any]:
    follower = GrantTable.__table__.alias()
    followed = select(follower.c.id).where(follower.c.follows == GrantTable.id).exists()
    return (
        select(
            GrantTable.__table__,
            AccountTable.owner_kind,
            AccountTable.owner_ref,
            GrantBalanceTable.charged,
            GrantBalanceTable.lapsed,
            followed.label("followed"),
        )
        .join_from(GrantTable, AccountTable, AccountTable.id == GrantTable.account_id)
        .outerjoin(GrantBalanceTable, GrantBalanceTable.grant_id == GrantTable.id)
        .where(AccountTable.unit == UNIT)
        .order_by(GrantTable.created_at.desc(), GrantTable.id.desc())
    )


def _grant(row: Row[Any], now: datetime) -> ListedGrant:
    left = row.amount - (row.charged or 0) - (row.lapsed or 0)
    if row.revoked_at is not None:
        state = "changed" if row.followed else "revoked"
    elif row.ends_at <= now:
        state = "ended"
    elif row.starts_at > now:
        state = "waiting"
    else:
        state = "active" if left else "used up"
    return ListedGrant(
        id=row.id,
        owner=Owner(OwnerKind(row.owner_kind), row.owner_ref),
        amount=row.amount,
        charged=row.charged or 0,
        left=0 if state in ("changed", "revoked", "ended") else left,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        revoked_at=row.revoked_at,
        state=state,
        reason=row.reason,
        is_default=row.key.startswith(DEFAULT_KEY),
    )
