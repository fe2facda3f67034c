"""Puts a page back: what was posted, the grants that changed, and the sums.

By compare-and-swap on the balance's generation, so that no two writers can build on the same sums even where a lock was
forgotten. On PostgreSQL it is one statement: others wait for the account meanwhile, and each way to the server and back
makes them wait longer. SQLite has no such statements, and no way to go.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    String,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.selectable import TableValuedAlias

from quota.page import Page
from quota.tables import BalanceTable, EntryTable, GrantBalanceTable, HoldTable

__all__ = ["StalePage", "put_back"]

_Rows = list[dict[str, Any]]

_PUT_BACK = (
    update(BalanceTable)
    .where(BalanceTable.account_id == bindparam("account"), BalanceTable.generation == bindparam("before"))
    .values(
        granted=bindparam("new_granted"),
        used=bindparam("new_used"),
        held=bindparam("new_held"),
        seal=bindparam("new_seal"),
        generation=bindparam("before") + 1,
    )
)


class StalePage(RuntimeError):
    """Another transaction changed the account while this one worked on its page."""


def put_back(connection: Connection, page: Page, *, hold: Mapping[str, Any] | None = None) -> None:
    """Write what was posted; nothing if nothing was, and no grant was changed. `hold` is the row of one that is new.

    Raises
    ------
    StalePage
        If somebody else wrote the balance since the page was opened.
    """
    if not page.entries and not page.grant_changed:
        return
    sums = {
        "account": page.account_id, "before": page.generation, "new_granted": page.granted, "new_used": page.used,
        "new_held": page.held, "new_seal": page.seal,
    }  # fmt: skip
    write = _at_once if connection.dialect.name == "postgresql" else _one_by_one
    if write(connection, hold, *_grants(page), page.entries, sums) != 1:
        raise StalePage(f"account {page.account_id} was changed by another transaction")


def _grants(page: Page) -> tuple[_Rows, _Rows]:
    """The rows of grants that begin, and what more was charged and lapsed of the others."""
    given = {grant.id: grant.amount for grant in page.grants}
    begun, changed = _Rows(), _Rows()
    for grant, change in page.changes.items():
        part = {"grant_id": grant, "charged": change.charged, "lapsed": change.lapsed}
        if change.begun:
            begun.append({"account_id": page.account_id, "amount": given[grant], **part})
        elif change.charged or change.lapsed:
            changed.append(part)
    return begun, changed


# --- SQLite -------------------------------------------------------------------------------------------------

_ADD_HOLD = insert(HoldTable)
_BEGIN_GRANT = insert(GrantBalanceTable)
_CHANGE_GRANT = (
    update(GrantBalanceTable)
    .where(GrantBalanceTable.grant_id == bindparam("of_grant"))
    .values(
        charged=GrantBalanceTable.charged + bindparam("more_charged"),
        lapsed=GrantBalanceTable.lapsed + bindparam("more_lapsed"),
    )
)
_ADD_ENTRIES = insert(EntryTable).inline()


def _one_by_one(
    connection: Connection,
    hold: Mapping[str, Any] | None,
    begun: _Rows,
    changed: _Rows,
    entries: _Rows,
    sums: Mapping[str, Any],
) -> int:
    """How many balances were written."""
    more = [
        {"of_grant": row["grant_id"], "more_charged": row["charged"], "more_lapsed": row["lapsed"]} for row in changed
    ]
    for statement, rows in (
        (_ADD_HOLD, [hold] if hold else []),
        (_BEGIN_GRANT, begun),
        (_CHANGE_GRANT, more),
        (_ADD_ENTRIES, entries),
    ):
        if rows:
            connection.execute(statement, rows)
    return connection.execute(_PUT_BACK, sums).rowcount


# --- PostgreSQL ---------------------------------------------------------------------------------------------

_BEGUN = ("account_id", "amount", "grant_id", "charged", "lapsed")
_CHANGED = ("grant_id", "charged", "lapsed")
_ENTRY = ("account_id", "hold_id", "grant_id", "kind", "amount", "at", "actor", "reason", "key")


def _at_once(
    connection: Connection,
    hold: Mapping[str, Any] | None,
    begun: _Rows,
    changed: _Rows,
    entries: _Rows,
    sums: Mapping[str, Any],
) -> int:
    """How many balances were written."""
    values = dict(sums)
    for prefix, rows in (("begun", begun), ("changed", changed), ("entry", entries)):
        for name in rows[0] if rows else ():
            values[f"{prefix}_{name}"] = [row[name] for row in rows]
    values |= {f"hold_{name}": value for name, value in (hold or {}).items()}
    statement = _statement(tuple(hold or ()), bool(begun), bool(changed), bool(entries))
    return connection.execute(statement, values).rowcount


@cache
def _statement(hold: tuple[str, ...], begun: bool, changed: bool, entries: bool) -> Update:
    """The balance, and before it whatever there is of the other parts; `hold` are the columns of a new one."""
    parts: list[Any] = []
    if hold:
        columns = HoldTable.__table__.c
        parts.append(
            insert(HoldTable).values({name: bindparam(f"hold_{name}", type_=columns[name].type) for name in hold})
        )
    if begun:
        rows = _rows("begun", GrantBalanceTable, _BEGUN)
        parts.append(insert(GrantBalanceTable).from_select(_BEGUN, select(*(rows.c[name] for name in _BEGUN))))
    if changed:
        rows = _rows("changed", GrantBalanceTable, _CHANGED)
        parts.append(
            update(GrantBalanceTable)
            .where(GrantBalanceTable.grant_id == rows.c.grant_id)
            .values(charged=GrantBalanceTable.charged + rows.c.charged, lapsed=GrantBalanceTable.lapsed + rows.c.lapsed)
        )
    if entries:
        rows = _rows("entry", EntryTable, _ENTRY)
        in_order = select(*(rows.c[name] for name in _ENTRY)).order_by(rows.c.number)  # the seal counts on it
        parts.append(insert(EntryTable).from_select(_ENTRY, in_order).inline())
    return _PUT_BACK.add_cte(*(part.cte(f"part_{number}") for number, part in enumerate(parts)))


def _rows(prefix: str, table: Any, names: Sequence[str]) -> TableValuedAlias:
    """Rows out of an array for each column, numbered."""
    kinds = {name: table.__table__.c[name].type for name in names}
    # Without their lengths: an array of VARCHAR(9) cuts its texts off, where a column refuses those that are longer.
    kinds |= {name: String() for name, kind in kinds.items() if isinstance(kind, String)}
    arrays = [bindparam(f"{prefix}_{name}", type_=ARRAY(kind)) for name, kind in kinds.items()]
    shape = [column(name, kind) for name, kind in kinds.items()]
    return func.unnest(*arrays).table_valued(*shape, with_ordinality="number", name=prefix).render_derived()
