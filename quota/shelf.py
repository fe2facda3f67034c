"""Takes pages out of the database, locked; `quota.writing` puts them back.

Locks are taken in one order everywhere: first the gates of caps (`quota.capping`), then the hold or the grant that
changes, then balances by account number. The statements are made once: composing them anew costs more than running
them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, or_, select, tuple_
from sqlalchemy.orm import aliased

from quota.owners import UNIT, Owner
from quota.page import DEFAULT_KEY, GrantStanding, Page
from quota.tables import AccountTable, BalanceTable, GrantBalanceTable, GrantTable, OwnerKind
from quota.writing import put_back

__all__ = ["grants_of", "open_page", "pages_of", "standings"]

_TAKEN_IN = GrantBalanceTable.grant_id.is_not(None)
_LEFT = GrantTable.amount - func.coalesce(GrantBalanceTable.charged + GrantBalanceTable.lapsed, 0)
_STANDING: tuple[Any, ...] = (
    GrantTable.id, GrantTable.amount, _LEFT.label("left"), GrantTable.starts_at, GrantTable.ends_at,
    GrantTable.revoked_at, _TAKEN_IN.label("taken_in"), GrantTable.key, GrantTable.reason, GrantTable.priority,
)  # fmt: skip
_ITS_BALANCE = GrantBalanceTable.grant_id == GrantTable.id
_STANDINGS = select(*_STANDING).outerjoin_from(GrantTable, GrantBalanceTable, _ITS_BALANCE)
_COUNTS = and_(
    # Those that no write has taken in yet count as well: what people read does not wait for their next start.
    or_(_TAKEN_IN, and_(GrantTable.starts_at <= bindparam("at"), GrantTable.revoked_at.is_(None))),
    or_(GrantTable.ends_at > bindparam("at"), _LEFT > 0),
)
_SPEND_ORDER = (GrantTable.ends_at, GrantTable.priority.desc(), GrantTable.id)
_GRANTS = _STANDINGS.where(GrantTable.account_id == bindparam("account"), _COUNTS).order_by(*_SPEND_ORDER)

_SEEN = aliased(BalanceTable)
_GRANT = GrantTable.__table__.outerjoin(GrantBalanceTable.__table__, _ITS_BALANCE)
_PAGES = (
    select(
        AccountTable.owner_kind, AccountTable.owner_ref, BalanceTable.account_id, BalanceTable.granted,
        BalanceTable.used, BalanceTable.held, BalanceTable.generation, BalanceTable.seal,
        _SEEN.generation.label("seen"), *_STANDING,
    )
    .join_from(BalanceTable, AccountTable, AccountTable.id == BalanceTable.account_id)
    .join(_SEEN, _SEEN.account_id == BalanceTable.account_id)
    .outerjoin(_GRANT, and_(GrantTable.account_id == BalanceTable.account_id, _COUNTS))
    .order_by(BalanceTable.account_id, *_SPEND_ORDER)
    .with_for_update(of=BalanceTable)
)  # fmt: skip
_PAGE = _PAGES.where(BalanceTable.account_id == bindparam("account"))
_PAGES_OF = _PAGES.where(
    AccountTable.unit == UNIT,
    tuple_(AccountTable.owner_kind, AccountTable.owner_ref).in_(bindparam("owners", expanding=True)),
)


def pages_of(connection: Connection, owners: Sequence[Owner], at: datetime, actor: str) -> dict[Owner, Page]:
    """The pages of those owners who have an account, locked in the order of their accounts, grants up to date."""
    rows = _locked(connection, _PAGES_OF, at, owners=[(owner.kind.value, owner.ref) for owner in owners])
    return {
        Owner(OwnerKind(first.owner_kind), first.owner_ref): _page([first, *others], at, actor)
        for _, (first, *others) in groupby(rows, key=lambda row: row.account_id)
    }


@contextmanager
def open_page(connection: Connection, account_id: int, at: datetime, actor: str) -> Iterator[Page]:
    """The page of an account, locked, with its grants up to date; put back at the end of the block."""
    page = _page(_locked(connection, _PAGE, at, account=account_id), at, actor)
    yield page
    page.update_grants()
    put_back(connection, page)


def grants_of(connection: Connection, account_id: int, at: datetime) -> list[GrantStanding]:
    """Grants that have begun and are active, or that something is left of, in spend order."""
    rows = connection.execute(_GRANTS, {"account": account_id, "at": at})
    return [_standing(row, at) for row in rows]


def standings(connection: Connection, grant_ids: Sequence[str], at: datetime) -> list[GrantStanding]:
    """These grants, whatever is left of them."""
    rows = connection.execute(_STANDINGS.where(GrantTable.id.in_(grant_ids)))
    return [_standing(row, at) for row in rows]


def _locked(connection: Connection, pages: Select[Any], at: datetime, **which: Any) -> Sequence[Row[Any]]:
    """Balances, locked, each with its grants in a row each; a balance without any has one row.

    Who waited for a lock is given the balance as it is now, but on PostgreSQL the grants as they were when the statement
    began. `seen` is of that time, too: where it differs, the rows are read again, which nobody can change any more.
    Whoever changes a grant counts the generation on, also where no entry comes of it (`Page.grant_changed`).
    """
    values = {"at": at, **which}
    rows = connection.execute(pages, values).all()
    if any(row.seen != row.generation for row in rows):
        rows = connection.execute(pages, values).all()
    return rows


def _page(rows: Sequence[Row[Any]], at: datetime, actor: str) -> Page:
    balance = rows[0]
    page = Page(
        account_id=balance.account_id, at=at, actor=actor, granted=balance.granted, used=balance.used,
        held=balance.held, generation=balance.generation, seal=balance.seal,
        grants=[_standing(row, at) for row in rows if row.id is not None],
    )  # fmt: skip
    page.update_grants()
    return page


def _standing(row: Row[Any], at: datetime) -> GrantStanding:
    return GrantStanding(
        id=row.id,
        amount=row.amount,
        left=row.left,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        active=row.ends_at > at and row.revoked_at is None,
        taken_in=bool(row.taken_in),
        is_default=row.key.startswith(DEFAULT_KEY),
        reason=row.reason,
        priority=row.priority,
    )
