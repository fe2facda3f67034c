"""A correction within a transaction: a settled hold costs more, or less, than its times say; an operator says why.

What is charged more is spent like any charge; what nothing covers is owed, and paid from what is free next. What is given
back goes to where it came from: first it pays what is still owed for the hold, then the grants that paid for it get it
back. A grant that is over lets it lapse at once; the answer says so, and a new grant can make up for it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select

from federation.audit import Act, record
from quota.answers import Corrected
from quota.page import GrantStanding, Page
from quota.shelf import open_page, standings
from quota.tables import EntryKind, EntryTable, HoldState

__all__ = ["correct"]

_MOST = 2**53
_MARK = "#"
"""Between a key and the number of a further entry of the same correction."""

_Part = tuple[str | None, int]
"""A grant, or None for what is owed, and what it pays more, or less."""

_PAID = (
    select(EntryTable.grant_id, func.sum(EntryTable.amount).label("amount"))
    .where(
        EntryTable.hold_id == bindparam("hold"),
        EntryTable.kind.in_([EntryKind.CHARGE.value, EntryKind.OVERRUN.value, EntryKind.CORRECTION.value]),
    )
    .group_by(EntryTable.grant_id)
)


def correct(
    connection: Connection, hold: Any, *, amount: int, key: str, now: datetime, actor: str, reason: str
) -> Corrected:
    """See `quota.ledger.Ledger.correct`. `hold` is the hold's row, locked."""
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < abs(amount) <= _MOST:
        raise ValueError(f"a correction is a whole number of milli-unit-seconds other than zero, not {amount!r}")
    if _MARK in key:
        raise ValueError(f"a key has no {_MARK!r} in it, as {key!r} has")
    if _is_of_another(connection, hold.id, key):
        raise ValueError(f"the key {key!r} belongs to a correction of another hold")
    made = _made(connection, hold, key)
    if made is not None:
        if made.amount != amount:
            raise ValueError(f"the key {key!r} belongs to another correction of this hold, by {made.amount}")
        return made
    if hold.state != HoldState.SETTLED:
        raise ValueError(f"hold {hold.id} is {hold.state}; only what is settled can be corrected")
    with open_page(connection, hold.account_id, now, actor) as page:
        parts = _charged(page, amount) if amount > 0 else _given_back(connection, page, hold.id, -amount)
        for number, (grant, part) in enumerate(parts, start=1):
            of_part = key if number == 1 else f"{key}{_MARK}{number}"
            page.correct(grant, part, hold=hold.id, reason=reason, key=of_part)
    record(
        connection, at=now, act=Act.HOLD_CORRECTED, actor=actor, target=hold.id, reason=reason, key=key,
        amount_milli_unit_seconds=amount,
    )  # fmt: skip
    done = _made(connection, hold, key)
    assert done is not None
    return done


def _charged(page: Page, amount: int) -> list[_Part]:
    """What is charged more, from which grants of what is not held; the rest is owed."""
    free, parts = max(0, page.available), list[_Part]()
    for grant in page.grants:
        part = min(grant.left, amount, free)
        if part:
            parts.append((grant.id, part))
            amount, free = amount - part, free - part
    return [*parts, (None, amount)] if amount else parts


def _given_back(connection: Connection, page: Page, hold: str, amount: int) -> list[_Part]:
    """What is given back, and to which grants."""
    rows = connection.execute(_PAID, {"hold": hold}).all()
    paid = {row.grant_id: int(row.amount) for row in rows if row.amount > 0}
    most = min(paid.pop(None, 0), max(0, page.owed))
    parts: list[_Part] = [(None, -min(most, amount))] if most else []
    page.fetch(standings(connection, list(paid), page.at))
    for grant in sorted((grant for grant in page.grants if grant.id in paid), key=_active_first):
        parts.append((grant.id, -min(paid[grant.id], amount + sum(part for _, part in parts))))
    possible = most + sum(paid.values())
    if amount > possible:
        raise ValueError(
            f"at most {possible} milli-unit-seconds can be given back of hold {hold}; what was owed for it and paid later "
            "cannot: give a grant instead"
        )
    return [(grant, part) for grant, part in parts if part]


def _active_first(grant: GrantStanding) -> tuple[bool, float]:
    """Where people still have something of it first, and of these the one that ends last."""
    return (not grant.active, -grant.ends_at.timestamp())


def _is_of_another(connection: Connection, hold: str, key: str) -> bool:
    entry = connection.execute(select(EntryTable.hold_id).where(EntryTable.key == key)).one_or_none()
    return entry is not None and entry.hold_id != hold


def _made(connection: Connection, hold: Any, key: str) -> Corrected | None:
    """The correction of a hold that was made with this key, if there is one."""
    rows = connection.execute(
        select(EntryTable.seq, EntryTable.amount, EntryTable.grant_id, EntryTable.at).where(
            EntryTable.hold_id == hold.id,
            or_(EntryTable.key == key, EntryTable.key.startswith(key + _MARK, autoescape=True)),
        )
    ).all()
    if not rows:
        return None
    lapsed = connection.execute(
        select(func.coalesce(func.sum(EntryTable.amount), 0)).where(
            EntryTable.account_id == hold.account_id,
            EntryTable.kind == EntryKind.LAPSE.value,
            EntryTable.at == rows[0].at,
            EntryTable.seq > max(row.seq for row in rows),
            EntryTable.grant_id.in_([row.grant_id for row in rows if row.grant_id]),
        )
    ).scalar_one()
    amount = sum(row.amount for row in rows)
    return Corrected(hold.id, amount, -int(lapsed) if amount < 0 else 0)
