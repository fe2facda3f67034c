"""Puts a page back: what was posted, the grants that changed, and the sums.

By compare-and-swap on the balance's generation, so that no two writers can build on the same sums even where a lock was
forgotten. It is the database that compares, and refuses what is stale: so on PostgreSQL all of it, and the commit, go
to the server at once. Others wait for the account until then, and each way there and back makes them wait longer.
"""

from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, update
from sqlalchemy.exc import IntegrityError

from federation.prepared import Call, Prepared, run
from quota.page import Page
from quota.tables import BalanceTable, EntryTable, GrantBalanceTable

__all__ = ["StalePage", "put_back"]

_BEGIN_GRANT = Prepared(
    insert(GrantBalanceTable).values(
        {name: bindparam(name) for name in ("grant_id", "account_id", "amount", "charged", "lapsed")}
    )
)
_CHANGE_GRANT = Prepared(
    update(GrantBalanceTable)
    .where(GrantBalanceTable.grant_id == bindparam("of_grant"))
    .values(
        charged=GrantBalanceTable.charged + bindparam("more_charged"),
        lapsed=GrantBalanceTable.lapsed + bindparam("more_lapsed"),
    )
)
_ENTRY = ("account_id", "hold_id", "grant_id", "kind", "amount", "at", "actor", "reason", "key")
_ADD_ENTRY = Prepared(insert(EntryTable).values({name: bindparam(name) for name in _ENTRY}).inline())
_WRITE_SUMS = Prepared(
    update(BalanceTable)
    .where(BalanceTable.account_id == bindparam("account"))
    .values(
        granted=bindparam("new_granted"),
        used=bindparam("new_used"),
        held=bindparam("new_held"),
        seal=bindparam("new_seal"),
        # Of another generation it becomes NULL, which the table does not take.
        generation=case((BalanceTable.generation == bindparam("before"), BalanceTable.generation + 1)),
    )
)


class StalePage(RuntimeError):
    """Another transaction changed the account while this one worked on its page."""


def put_back(connection: Connection, page: Page, *with_it: Call, commit: bool = False) -> None:
    """Bring its grants up to date, and write what was posted; only `with_it` if nothing was, and no grant was changed.

    Parameters
    ----------
    with_it
        What is to be done to the hold that it is about, before.
    commit
        See `federation.prepared.run`.

    Raises
    ------
    StalePage
        If somebody else wrote the balance since the page was opened.
    """
    page.update_grants()
    calls = [*with_it, *(_of(page) if page.entries or page.grant_changed else ())]
    if not calls:
        return
    try:
        run(connection, calls, commit=commit)
    except IntegrityError as error:
        if BalanceTable.generation.key in str(error.orig):
            raise StalePage(f"account {page.account_id} was changed by another transaction") from error
        raise


def _of(page: Page) -> list[Call]:
    """What writes a page: grants that begin, and what more was charged and lapsed of others; entries; sums."""
    amounts = {grant.id: grant.amount for grant in page.grants}
    calls = []
    for grant, change in page.changes.items():
        if change.begun:
            row: dict[str, Any] = {"grant_id": grant, "account_id": page.account_id, "amount": amounts[grant]}
            calls.append(_BEGIN_GRANT(**row, charged=change.charged, lapsed=change.lapsed))
        elif change.charged or change.lapsed:
            calls.append(_CHANGE_GRANT(of_grant=grant, more_charged=change.charged, more_lapsed=change.lapsed))
    sums = {"new_granted": page.granted, "new_used": page.used, "new_held": page.held, "new_seal": page.seal}
    calls += [_ADD_ENTRY(**entry) for entry in page.entries]
    return [*calls, _WRITE_SUMS(account=page.account_id, before=page.generation, **sums)]
