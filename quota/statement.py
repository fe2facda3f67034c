"""What the books say to people: how much is left now, and what each session cost. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from quota.forecast import Fund
from quota.owners import Owner, account_of
from quota.page import GrantStanding
from quota.shelf import grants_of
from quota.tables import (
    IS_OPEN,
    OPEN_STATES,
    AccountTable,
    BalanceTable,
    EntryKind,
    EntryTable,
    GrantTable,
    HoldTable,
    OwnerKind,
)

__all__ = ["Line", "Standing", "Statement", "coming", "lines", "open_lines", "standing", "statement"]

_OPEN = tuple(state.value for state in OPEN_STATES)


def _sum_of(kind: EntryKind) -> Any:
    """What the entries of a kind add up to, for each hold."""
    total = select(func.coalesce(func.sum(EntryTable.amount), 0))
    return total.where(EntryTable.hold_id == HoldTable.id, EntryTable.kind == kind.value).scalar_subquery()


_LINES = (
    select(
        HoldTable.__table__,
        AccountTable.owner_kind,
        AccountTable.owner_ref,
        _sum_of(EntryKind.OVERRUN).label("overrun"),
        _sum_of(EntryKind.CORRECTION).label("corrected"),
    )
    .join_from(HoldTable, AccountTable, AccountTable.id == HoldTable.account_id)
    .order_by(HoldTable.reserved_at.desc(), HoldTable.id.desc())
)


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
    """One session in a statement, and who pays it.

    `charged` is what its times and weight say, None while it is open; `overrun` is the part of it that had no cover when
    it ended. `corrected` is what operators changed since, more or less.
    """

    hold: str
    payer: Owner
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
    corrected: int
    overrun: int
    source: str

    @property
    def is_open(self) -> bool:
        return self.charged is None

    @property
    def cost(self) -> int | None:
        """What it costs in the end; None while it is open."""
        return None if self.charged is None else self.charged + self.corrected


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
    rows = connection.execute(
        _LINES.where(HoldTable.account_id == account, HoldTable.reserved_at >= since).limit(limit)
    )
    return Statement(standing=standing(connection, owner, at), lines=tuple(map(_line, rows)))


def open_lines(connection: Connection, owner: Owner) -> tuple[Line, ...]:
    """The open sessions that an account pays for, newest first."""
    account = account_of(connection, owner)
    rows = connection.execute(_LINES.where(HoldTable.account_id == account, IS_OPEN))
    return tuple(map(_line, rows))


def lines(connection: Connection, holds: Sequence[str]) -> dict[str, Line]:
    """Those sessions of these that were paid for, whoever pays; by the hold's id."""
    rows = connection.execute(_LINES.where(HoldTable.id.in_(holds)))
    return {row.id: _line(row) for row in rows}


def coming(connection: Connection, owner: Owner, after: datetime, until: datetime) -> list[Fund]:
    """The grants that an owner was given already, and that begin later than one moment and not later than another."""
    rows = connection.execute(
        select(GrantTable.amount, GrantTable.starts_at, GrantTable.ends_at).where(
            GrantTable.account_id == account_of(connection, owner), GrantTable.revoked_at.is_(None),
            GrantTable.starts_at > after, GrantTable.starts_at <= until,
        )
    )  # fmt: skip
    return [Fund(left=row.amount, starts_at=row.starts_at, ends_at=row.ends_at) for row in rows]


def _line(row: Row[Any]) -> Line:
    return Line(
        hold=row.id,
        payer=Owner(OwnerKind(row.owner_kind), row.owner_ref),
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
        charged=None if row.state in _OPEN else row.charged,
        corrected=int(row.corrected),  # a sum is a decimal number to PostgreSQL
        overrun=int(row.overrun),
        source=row.source or "",
    )
