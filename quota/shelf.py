"""Takes pages out of the database, locked; `quota.writing` puts them back.

Locks are taken in one order everywhere: first the gates of caps (`quota.capping`), then the hold or the grant that
changes, then balances by account number. Grants are read by a statement of their own after the balances are locked:
on PostgreSQL each sees what was committed when it began, and whoever changes a grant has locked the balance.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from federation.prepared import Call, Prepared, run
from quota.owners import UNIT, Owner
from quota.page import DEFAULT_KEY, GrantStanding, Page
from quota.tables import AccountTable, BalanceTable, GrantBalanceTable, GrantTable, HoldTable, OwnerKind
from quota.writing import put_back

__all__ = ["grants_of", "of_hold", "of_owners", "open_page", "pages", "pages_by_owner", "standings"]

_TAKEN_IN = GrantBalanceTable.grant_id.is_not(None)
_LEFT = GrantTable.amount - func.coalesce(GrantBalanceTable.charged + GrantBalanceTable.lapsed, 0)
_STANDING: tuple[Any, ...] = (
    GrantTable.account_id, GrantTable.id, GrantTable.amount, _LEFT.label("left"), GrantTable.starts_at, GrantTable.ends_at,
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


class _Reading:
    """The two statements that read the pages of some accounts: their balances, locked, and then their grants."""

    def __init__(self, which: Callable[[Any], Any]) -> None:
        """`which` makes the condition on a column with an account's number."""
        self._balances = Prepared(
            select(
                AccountTable.owner_kind, AccountTable.owner_ref, BalanceTable.account_id, BalanceTable.granted,
                BalanceTable.used, BalanceTable.held, BalanceTable.generation, BalanceTable.seal,
            )
            .join_from(BalanceTable, AccountTable, AccountTable.id == BalanceTable.account_id)
            .where(which(BalanceTable.account_id))
            .order_by(BalanceTable.account_id)
            .with_for_update(of=BalanceTable)
        )  # fmt: skip
        self.grants = Prepared(
            _STANDINGS.where(which(GrantTable.account_id), _COUNTS).order_by(GrantTable.account_id, *_SPEND_ORDER)
        )

    def calls(self, at: datetime, **which: Any) -> tuple[Call, Call]:
        return self._balances(**which), self.grants(at=at, **which)


_OF_ACCOUNT = _Reading(lambda column: column == bindparam("account"))
_OF_HOLD = _Reading(
    lambda column: column == select(HoldTable.account_id).where(HoldTable.id == bindparam("hold")).scalar_subquery()
)


@cache
def _of_so_many_owners(number: int) -> _Reading:
    owners = [
        and_(AccountTable.owner_kind == bindparam(f"kind_{n}"), AccountTable.owner_ref == bindparam(f"ref_{n}"))
        for n in range(number)
    ]
    accounts = select(AccountTable.id).where(AccountTable.unit == UNIT, or_(*owners))
    return _Reading(lambda column: column.in_(accounts))


def of_owners(owners: Sequence[Owner], at: datetime) -> tuple[Call, Call]:
    """What to run for `pages` of those owners who have an account, locked in the order of their accounts."""
    names = {f"kind_{n}": owner.kind.value for n, owner in enumerate(owners)}
    names |= {f"ref_{n}": owner.ref for n, owner in enumerate(owners)}
    return _of_so_many_owners(len(owners)).calls(at, **names)


def of_hold(hold: str, at: datetime) -> tuple[Call, Call]:
    """What to run for the page in `pages` of the account that pays for a hold."""
    return _OF_HOLD.calls(at, hold=hold)


def pages(balances: Sequence[Any], grants: Sequence[Any], at: datetime, actor: str) -> list[Page]:
    """The pages of accounts by what was found of them, with their grants up to date."""
    found = []
    for row in balances:
        page = Page(
            account_id=row.account_id, at=at, actor=actor, granted=row.granted, used=row.used, held=row.held,
            generation=row.generation, seal=row.seal,
            grants=[_standing(grant, at) for grant in grants if grant.account_id == row.account_id],
        )  # fmt: skip
        page.update_grants()
        found.append(page)
    return found


def pages_by_owner(balances: Sequence[Any], grants: Sequence[Any], at: datetime, actor: str) -> dict[Owner, Page]:
    """The same, by whose account it is."""
    owners = [Owner(OwnerKind(row.owner_kind), row.owner_ref) for row in balances]
    return dict(zip(owners, pages(balances, grants, at, actor), strict=True))


@contextmanager
def open_page(connection: Connection, account_id: int, at: datetime, actor: str) -> Iterator[Page]:
    """The page of an account, locked, with its grants up to date; put back at the end of the block."""
    balances, grants = run(connection, _OF_ACCOUNT.calls(at, account=account_id))
    (page,) = pages(balances, grants, at, actor)
    yield page
    put_back(connection, page)


def grants_of(connection: Connection, account_id: int, at: datetime) -> list[GrantStanding]:
    """Grants that have begun and are active, or that something is left of, in spend order."""
    (grants,) = run(connection, [_OF_ACCOUNT.grants(at=at, account=account_id)])
    return [_standing(row, at) for row in grants]


def standings(connection: Connection, grant_ids: Sequence[str], at: datetime) -> list[GrantStanding]:
    """These grants, whatever is left of them."""
    rows = connection.execute(_STANDINGS.where(GrantTable.id.in_(grant_ids)))
    return [_standing(row, at) for row in rows]


def _standing(row: Any, at: datetime) -> GrantStanding:
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
