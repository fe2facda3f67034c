"""The reference page of the ledger: tables, kinds of entries, states and reasons, made from the code that has them."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Table, UniqueConstraint
from sqlalchemy.types import TypeEngine

import quota.errors
from federation.errors import Problem
from quota.page import _COLUMN as COLUMN
from quota.tables import (
    OPEN_STATES,
    AccountTable,
    BalanceTable,
    EntryKind,
    EntryTable,
    GrantBalanceTable,
    GrantTable,
    HoldState,
    HoldTable,
    OwnerKind,
    RateTable,
)

__all__ = ["ledger_page"]

TABLES = (AccountTable, BalanceTable, GrantTable, GrantBalanceTable, RateTable, HoldTable, EntryTable)

INTRODUCTION = """\
# The ledger

<!-- Made from the code by `make generated`; changes by hand are lost. -->

What is in the books, for people who look at the database, read an export, or write a program that does. How it works is
told in [How quota works](../explanation/how-quota-works.md). Amounts are whole milli-unit-seconds: 3,600,000 of them are
one unit-hour, an hour of a flavour of weight 1. Moments are in UTC."""

TABLE_ABOUT = {
    "account": "Whose quota it is. One for each owner and unit.",
}

OWNERS = {
    OwnerKind.USER: "a person; `owner_ref` is the person's id",
    OwnerKind.GROUP: "a pool; `owner_ref` is its name in federation.yaml",
    OwnerKind.CLASS: "a class; `owner_ref` is its id",
    OwnerKind.SITE: "a site; `owner_ref` is its name",
}

KINDS = {
    EntryKind.GRANT: "a grant has begun",
    EntryKind.LAPSE: "what was left of a grant that ended, was revoked or was changed, and is not held",
    EntryKind.HOLD: "the first lease of a session is set aside",
    EntryKind.RENEW: "the next lease is set aside",
    EntryKind.RELEASE: "what was set aside for a session is free again; once for each hold",
    EntryKind.CHARGE: "what a session cost, as far as a grant paid it; once for each hold and grant",
    EntryKind.OVERRUN: "what a session cost without cover, once for each hold; below zero: covered now, of no hold",
    EntryKind.CORRECTION: "an operator changed what a session cost; without a grant: it is owed, or no longer owed",
}

STATES = {
    HoldState.HELD: "set aside; the session was not seen running yet",
    HoldState.RUNNING: "the backend says that it runs",
    HoldState.UNKNOWN: "the backend cannot be asked: nothing is refunded, nothing else starts on this budget",
    HoldState.SETTLED: "it is over, and was charged",
    HoldState.RELEASED: "it never ran, and cost nothing",
    HoldState.EXPIRED: "its lease ended before it was seen running; it costs nothing, unless it turns out that it ran",
}

ALWAYS = """\
## What always holds

`nbfed ledger verify` adds all entries up anew and says what does not hold:

- the entries of an account are those that its seal was made of (a chain of SHA-256 hashes), and add up to its balance
- granted − used − held is not below zero, unless an overrun or a correction says why; an overrun stays only while nothing
  is free
- the charges, corrections and lapses of a grant are those of its entries, and it is as the audit trail says it was given
- the amount, charge and state of a hold are those of its entries, and its charge is that of its times and its weight
- terminal entries (release, charge, overrun) are there once; no entry says nothing, or belongs to another account's hold
  or grant

Entries, audit rows, weights and grants cannot be changed or removed: triggers of the database refuse it. Of a grant only
`revoked_at` may be set, once."""

EXIT_CODES = (
    ("`nbfed ledger verify`", "the books are right", "they are not, or the database is away", "wrong command line"),
    ("`nbfed ledger correct`", "corrected, now or before with this key", "not corrected; says why", "no such amount"),
    ("`nbfed ledger export`", "all entries were printed", "the database went away: not all were", "no form was named"),
    (
        "`nbfed grant add`, `change`, `revoke`",
        "done, now or before with this key",
        "not done; says why",
        "no such amount or time",
    ),
    (
        "`nbfed grant add --csv`",
        "all rows are given, now or before",
        "nothing was given, and each complaint has its line; or an outage in between: says how many were given",
        "other options beside `--csv`",
    ),
    (
        "`nbfed quota explain`",
        "answered, be it yes or no",
        "no such person, flavour or site; an outage",
        "wrong command line",
    ),
    ("`nbfed statement`, `nbfed rates`", "shown", "no such person or pool; an outage", "wrong command line"),
)


def ledger_page() -> str:
    """The page in Markdown."""
    tables = "\n\n".join(_table(table.__table__, table.__doc__) for table in TABLES)
    return "\n\n".join(
        [INTRODUCTION, "## Tables", tables, _owners(), _kinds(), _states(), _reasons(), ALWAYS,
         _listing("Exit codes", ("command", "0", "1", "2"), EXIT_CODES)]
    ) + "\n"  # fmt: skip


def _table(table: Table, about: str | None) -> str:
    name = table.name
    text = TABLE_ABOUT.get(name) or " ".join((about or "").split())
    rows = ["| column | type | | refers to |", "|---|---|---|---|"]
    for column in table.columns:
        key = "key" if column.primary_key else "" if not column.nullable else "may be empty"
        refers = ", ".join(f"`{each.target_fullname}`" for each in column.foreign_keys)
        rows.append(f"| `{column.name}` | {_type(column.type)} | {key} | {refers} |")
    rules = sorted(_rules(table))
    kept = f"Kept by the database itself: {'; '.join(rules)}." if rules else ""
    return "\n\n".join(part for part in (f"### {name}", text, "\n".join(rows), kept) if part)


def _rules(table: Table) -> Iterator[str]:
    """What the database refuses, beside empty cells and references to what is not there."""
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint):
            yield f"`{constraint.sqltext}`"
        if isinstance(constraint, UniqueConstraint):
            yield f"unique: {', '.join(f'`{column.name}`' for column in constraint.columns)}"
    for index in table.indexes:
        if index.unique:
            where = index.dialect_options["sqlite"]["where"]
            columns = ", ".join(
                f"`{' '.join(str(each).split()).partition('.')[2] or each}`" for each in index.expressions
            )
            yield f"unique: {columns}" + (f" where {where}" if where is not None else "")


def _type(kind: TypeEngine[Any]) -> str:
    length = getattr(kind, "length", None)
    words = {"BigInteger": "whole number", "Integer": "whole number", "Moment": "moment", "String": "text"}
    word = words[type(kind).__name__]
    return f"{word}, at most {length} characters" if length else word


def _owners() -> str:
    return _listing("Owners", ("owner_kind", "of"), [(f"`{kind}`", OWNERS[kind]) for kind in OwnerKind])


def _kinds() -> str:
    rows = [(f"`{kind}`", f"`{COLUMN[kind]}`", KINDS[kind]) for kind in EntryKind]
    about = "The signed amount of an entry is added to one column of the balance."
    return _listing("Kinds of entries", ("kind", "adds to", "says"), rows, about)


def _states() -> str:
    rows = [(f"`{state}`", "yes" if state in OPEN_STATES else "no", STATES[state]) for state in HoldState]
    about = "Open holds count against limits and are part of what is set aside. Closed ones stay as they are."
    return _listing("States of a hold", ("state", "open", "says"), rows, about)


def _reasons() -> str:
    problems = sorted(
        (found for name in quota.errors.__all__ if isinstance(found := getattr(quota.errors, name), Problem)),
        key=lambda problem: problem.code,
    )
    about = (
        "What the books answer beside yes. All that hold are in the answer; the first is told. 403: it does not pass by "
        "itself; 429: it does. The advice that goes with each is on [Errors and refusals](errors.md)."
    )
    rows = [(f"`{each.code}`", str(each.status), each.text) for each in problems]
    return _listing("Reasons", ("code", "status", "text"), rows, about)


def _listing(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]], about: str = "") -> str:
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))
    return "\n\n".join(part for part in (f"## {title}", about, table) if part)
