"""The leases of a hub's open holds, and who pays for them. Reads only."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from quota.owners import Owner
from quota.tables import IS_OPEN, AccountTable, HoldState, HoldTable, OwnerKind

__all__ = ["Lease", "open_leases"]


class Lease(NamedTuple):
    """Of an open hold."""

    until: datetime
    state: HoldState
    payer: Owner


def open_leases(connection: Connection, hub: str) -> dict[str, Lease]:
    """By attempt."""
    rows = connection.execute(
        select(HoldTable.id, HoldTable.lease_until, HoldTable.state, AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(HoldTable, AccountTable, AccountTable.id == HoldTable.account_id)
        .where(HoldTable.hub == hub, IS_OPEN)
    )
    return {
        row.id: Lease(row.lease_until, HoldState(row.state), Owner(OwnerKind(row.owner_kind), row.owner_ref))
        for row in rows
    }
