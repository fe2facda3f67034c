"""The leases of a hub's open holds, and who pays for them. Reads only."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from quota.owners import Owner
from quota.tables import IS_OPEN, AccountTable, HoldState, HoldTable, OwnerKind

__all__ = ["Lease", "open_leases", "reserved_minutes"]

_MINUTE = 60


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


def reserved_minutes(connection: Connection, attempt: str) -> int:
    """The whole minutes that are set aside for an attempt: the walltime that its job gets.

    Raises
    ------
    LookupError
        If it has no open hold.
    """
    row = connection.execute(
        select(HoldTable.amount, HoldTable.weight_milli).where(HoldTable.id == attempt, IS_OPEN)
    ).one_or_none()
    if row is None:
        raise LookupError(f"attempt {attempt} has no open hold")
    return int(row.amount // row.weight_milli // _MINUTE)
