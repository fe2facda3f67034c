"""What the books say to people: how much is left now, and what each session cost. Reads only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from quota.owners import Owner, account_of
from quota.page import GrantStanding
from quota.shelf import grants_of
from quota.tables import OPEN_STATES, BalanceTable, EntryKind, EntryTable, HoldTable

__all__ = ["Line", "Standing", "Statement", "standing", "statement"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An account at one moment; amounts in milli-unit-seconds. `owed` was used without cover, and is still to be paid."""

    grants: tuple[GrantStanding, ...] = ()
    held: int = 0
    owed: int = 0

    @property
    def granted(self) -> int:
        """Of the grants that count now."""
        return sum(grant.amount for grant in self.grants if grant.active)

    @property
    def used(self) -> int:
        """Of the grants that count now."""
        return self.granted - sum(grant.left for grant in self.grants if grant.active)

    @property
    def left(self) -> int:
        """What a new session can count on: neither used nor held nor owed."""
        taken, free = self.held + self.owed, 0
        for grant in self.grants:  # in spend order, as `Page.update_grants` does it
            kept = min(grant.left, taken)
            taken -= kept
            free += grant.left - kept if grant.active else 0
        return free

    @property
    def ends_at(self) -> datetime | None:
        """When the first of the grants that count ends."""
        return min((grant.ends_at for grant in self.grants if grant.active), default=None)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One session in a statement; `charged` is None while it is open."""

    hold: str
    server: str
    site: str
    flavour: str
    weight_milli: int
    state: str
    reserved_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    lease_until: datetime
    amount: int
    charged: int | None
    overrun: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Statement:
    """An account's standing and its sessions, newest first."""

    standing: Standing
    lines: tuple[Line, ...]


def standing(connection: Connection, owner: Owner, at: datetime) -> Standing:
    """What an owner has at a moment; all zero where there is no account yet."""
    account = account_of(connection, owner)
    if account is None:
        return Standing()
    balance = connection.execute(select(BalanceTable.__table__).where(BalanceTable.account_id == account)).one()
    grants = tuple(grants_of(connection, account, at))
    left = sum(grant.left for grant in grants if grant.taken_in)
    return Standing(grants=grants, held=balance.held, owed=left - (balance.granted - balance.used))


def statement(connection: Connection, owner: Owner, at: datetime, *, since: datetime, limit: int = 1000) -> Statement:
    """The standing and the sessions that were reserved since then, newest first, at most `limit`."""
    account = account_of(connection, owner)
    if account is None:
        return Statement(standing=Standing(), lines=())
    overrun = (
        select(func.coalesce(func.sum(EntryTable.amount), 0))
        .where(EntryTable.hold_id == HoldTable.id, EntryTable.kind == EntryKind.OVERRUN.value)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(HoldTable.__table__, overrun.label("overrun"))
        .where(HoldTable.account_id == account, HoldTable.reserved_at >= since)
        .order_by(HoldTable.reserved_at.desc(), HoldTable.id.desc())
        .limit(limit)
    )
    open_states = {state.value for state in OPEN_STATES}
    lines = tuple(
        Line(
            hold=row.id,
            server=row.server,
            site=row.site,
            flavour=row.flavour,
            weight_milli=row.weight_milli,
            state=row.state,
            reserved_at=row.reserved_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            lease_until=row.lease_until,
            amount=row.amount,
            charged=None if row.state in open_states else row.charged,
            overrun=int(row.overrun),  # a sum is a decimal number to PostgreSQL
            source=row.source or "",
        )
        for row in rows
    )
    return Statement(standing=standing(connection, owner, at), lines=lines)
