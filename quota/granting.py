"""Grants within a transaction: given, changed by a successor, revoked. Each with its row in the audit trail."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from federation.audit import Act, AuditTable, record
from federation.clock import as_utc
from federation.ids import new_id
from quota.owners import Owner, make_account
from quota.page import Page
from quota.shelf import open_page, standings
from quota.tables import AccountTable, EntryKind, EntryTable, GrantTable

__all__ = [
    "GrantAsItIs",
    "GrantUnknown",
    "KeyTaken",
    "Terms",
    "change",
    "give",
    "known_as",
    "newest",
    "revoke",
    "successor",
]

_MOST = 2**53  # any number of such grants that people can give adds up in 64 bits; JSON keeps it exactly


class GrantUnknown(LookupError):
    """There is no grant with this id."""


class KeyTaken(ValueError):
    """The key was used before, for another grant: another owner or amount. `grant` is that grant's id."""

    def __init__(self, key: str, grant: str) -> None:
        super().__init__(f"the key {key!r} belongs to another grant: {grant}")
        self.grant = grant


@dataclass(frozen=True, kw_only=True)
class Terms:
    """An amount in milli-unit-seconds for [starts_at, ends_at).

    Raises
    ------
    ValueError
        If the amount is not a whole positive number that fits, or the end is not after the start.
    """

    amount: int
    starts_at: datetime
    ends_at: datetime
    priority: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.amount, bool) or not isinstance(self.amount, int) or not 0 < self.amount <= _MOST:
            raise ValueError(f"an amount is a whole positive number of milli-unit-seconds, not {self.amount!r}")
        if as_utc(self.ends_at) <= as_utc(self.starts_at):
            raise ValueError("a grant ends after it starts")


@dataclass(frozen=True, kw_only=True)
class GrantAsItIs:
    """When a grant begins and ends; `revoked_at` if it was ended before."""

    id: str
    amount: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None

    @property
    def over_at(self) -> datetime:
        """When nothing can be spent of it any more."""
        return min(self.ends_at, self.revoked_at) if self.revoked_at else self.ends_at


def known_as(connection: Connection, key: str, owner: Owner, amount: int) -> str | None:
    """The grant that was given with this key before, if there is one.

    Raises
    ------
    KeyTaken
        If it was another owner's, or of another amount.
    """
    row = connection.execute(
        select(GrantTable.id, GrantTable.amount, AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(GrantTable, AccountTable, AccountTable.id == GrantTable.account_id)
        .where(GrantTable.key == key)
    ).one_or_none()
    if row is None:
        return None
    if (row.owner_kind, row.owner_ref, row.amount) != (owner.kind.value, owner.ref, amount):
        raise KeyTaken(key, row.id)
    return str(row.id)


def successor(connection: Connection, grant_id: str, key: str) -> str | None:
    """The successor that a grant was given with this key before, if there is one.

    Raises
    ------
    KeyTaken
        If the key belongs to a grant that does not follow this one.
    """
    row = connection.execute(select(GrantTable.id, GrantTable.follows).where(GrantTable.key == key)).one_or_none()
    if row is not None and row.follows != grant_id:
        raise KeyTaken(key, row.id)
    return str(row.id) if row is not None else None


def give(
    connection: Connection,
    *,
    key: str,
    owner: Owner,
    terms: Terms,
    now: datetime,
    created_by: str,
    reason: str,
    request_id: str | None = None,
) -> str:
    """A new grant; its id. `request_id` names the request that it was given for."""
    account = make_account(connection, owner)
    asked_for = {"request_id": request_id} if request_id else {}
    with open_page(connection, account, now, created_by) as page:
        return _insert(
            connection, page, key=key, terms=terms, reason=reason, act=Act.GRANT_ADDED, owner=owner, **asked_for
        )


def newest(connection: Connection, grant_id: str) -> GrantAsItIs:
    """The last of the grants that follow each other, beginning with this one.

    Raises
    ------
    GrantUnknown
        If there is no such grant.
    """
    table = GrantTable.__table__
    grant = connection.execute(select(table).where(table.c.id == grant_id)).one_or_none()
    if grant is None:
        raise GrantUnknown(grant_id)
    while (follower := connection.execute(select(table).where(table.c.follows == grant.id)).one_or_none()) is not None:
        grant = follower
    return GrantAsItIs(
        id=grant.id,
        amount=grant.amount,
        starts_at=grant.starts_at,
        ends_at=grant.ends_at,
        revoked_at=grant.revoked_at,
    )


def revoke(connection: Connection, grant_id: str, *, now: datetime, actor: str, reason: str) -> None:
    """End a grant now; what running sessions hold of it stays theirs until their leases end. Twice is once.

    Raises
    ------
    GrantUnknown
        If there is no such grant.
    """
    grant = _existing(connection, grant_id)
    if grant.revoked_at is not None:
        return
    _end(connection, grant_id, now)
    with open_page(connection, grant.account_id, now, actor) as page:
        page.grant_changed = True
    record(connection, at=now, act=Act.GRANT_REVOKED, actor=actor, target=grant_id, reason=reason)


def change(
    connection: Connection, grant_id: str, *, key: str, terms: Terms, now: datetime, actor: str, reason: str
) -> str | None:
    """End a grant and give a successor with these terms, from which what the grant paid already is taken off.

    None if that is all of it: then nothing is left to be given. What is held of the grant goes over to the successor as
    far as that is enough; the rest stays with the old one until its sessions end.

    Raises
    ------
    GrantUnknown
        If there is no such grant.
    ValueError
        If it was revoked or changed before.
    """
    grant = _existing(connection, grant_id)
    if grant.revoked_at is not None and _was_ended_with(connection, grant_id, key):
        return None
    if grant.revoked_at is not None:
        raise ValueError(f"grant {grant_id} was revoked or changed before, at {grant.revoked_at:%Y-%m-%d %H:%M} UTC")
    with open_page(connection, grant.account_id, now, actor) as page:
        rest = terms.amount - _paid(connection, grant_id)
        _end(connection, grant_id, now)
        page.grant_changed = True
        _hand_over(page, grant_id, rest)
        owner = AccountTable.__table__.c
        row = connection.execute(select(owner.owner_kind, owner.owner_ref).where(owner.id == grant.account_id)).one()
        if rest <= 0:
            record(connection, at=now, act=Act.GRANT_REVOKED, actor=actor, target=grant_id, reason=reason, key=key)
            return None
        return _insert(
            connection, page, key=key, reason=reason, act=Act.GRANT_CHANGED, owner=f"{row.owner_kind}:{row.owner_ref}",
            terms=Terms(amount=rest, starts_at=terms.starts_at, ends_at=terms.ends_at, priority=terms.priority),
            follows=grant_id, request_id=grant.request_id, class_id=grant.class_id,
        )  # fmt: skip


def _hand_over(page: Page, grant_id: str, rest: int) -> None:
    """Let lapse what is left of a grant, but for what open holds need beside its successor."""
    old = next((grant for grant in page.grants if grant.id == grant_id), None)
    if old is not None:
        others = page.left - old.left
        page.lapse(old, old.left - min(old.left, max(0, page.held - others - max(0, rest))))


def _was_ended_with(connection: Connection, grant_id: str, key: str) -> bool:
    """Whether a change with this key left nothing of a grant."""
    rows = connection.execute(
        select(AuditTable.details).where(AuditTable.target == grant_id, AuditTable.act == Act.GRANT_REVOKED.value)
    ).scalars()
    return any(details.get("key") == key for details in rows)


def _paid(connection: Connection, grant_id: str) -> int:
    paid = select(func.coalesce(func.sum(EntryTable.amount), 0)).where(
        EntryTable.grant_id == grant_id,
        EntryTable.kind.in_([EntryKind.CHARGE.value, EntryKind.CORRECTION.value]),
    )
    return int(connection.execute(paid).scalar_one())


def _end(connection: Connection, grant_id: str, now: datetime) -> None:
    connection.execute(update(GrantTable).where(GrantTable.id == grant_id).values(revoked_at=now))


def _insert(
    connection: Connection,
    page: Page,
    *,
    key: str,
    terms: Terms,
    reason: str,
    act: Act,
    owner: Owner | str,
    **columns: Any,
) -> str:
    grant_id = new_id()
    values = {
        "id": grant_id, "key": key, "account_id": page.account_id, "amount": terms.amount,
        "starts_at": terms.starts_at, "ends_at": terms.ends_at, "priority": terms.priority, "created_by": page.actor,
        "created_at": page.at, "reason": reason, **columns,
    }  # fmt: skip
    connection.execute(insert(GrantTable).values(values))
    if terms.starts_at <= page.at:
        page.fetch(standings(connection, [grant_id], page.at))
    record(
        connection, at=page.at, act=act, actor=page.actor, target=grant_id, reason=reason,
        owner=owner if isinstance(owner, str) else f"{owner.kind}:{owner.ref}",
        amount_milli_unit_seconds=terms.amount, starts_at=_iso(terms.starts_at), ends_at=_iso(terms.ends_at),
        priority=terms.priority, **columns,
    )  # fmt: skip
    return grant_id


def _existing(connection: Connection, grant_id: str) -> Row[Any]:
    # Locked before its account's page, by whoever changes it; entries that name the grant need not wait for that.
    query = select(GrantTable.__table__).where(GrantTable.id == grant_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise GrantUnknown(grant_id)
    return row


def _iso(moment: datetime) -> str:
    return as_utc(moment).isoformat(timespec="microseconds")
