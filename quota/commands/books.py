"""`nbfed ledger`: add the books up anew, correct what a session cost, hand all entries on."""

import json
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime

import click
from sqlalchemy import Connection, select

from federation.commands import MOMENT, necessary_text, operator, plain, when
from federation.database import DatabaseUnavailable
from federation.ids import new_id, read_reference, reference
from federation.records import Cell, as_csv, as_json_lines
from quota.answers import Corrected
from quota.commands.shared import SIGNED_UNIT_HOURS, BookShop, exact, stored, unit_hours
from quota.statement import Line, lines, standing
from quota.tables import AccountTable, EntryTable, HoldState, HoldTable, OwnerKind
from quota.verify import count, discrepancies

__all__ = ["ledger"]

_AT_A_TIME = 1000
_COLUMNS = (
    "seq", "at", "owner_kind", "owner", "kind", "amount_milli_unit_seconds", "attempt", "reference", "grant", "actor",
    "reason", "key",
)  # fmt: skip


@click.group()
def ledger() -> None:
    """The books themselves: check them, correct what a session cost, export them."""


@ledger.command()
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Add up all entries anew, and print what cannot be true. The service may run.

    Exit code 0: the books are right; 1: they are not.
    """
    shop: BookShop = ctx.obj
    with shop.database.read() as connection:  # one view: what is written meanwhile is not in it
        counted = vars(count(connection))
        found = list(discrepancies(connection))
    if as_json:
        click.echo(json.dumps({"right": not found, "counted": counted, "discrepancies": found}, indent=2))
    else:
        for sentence in found:
            click.echo(plain(sentence))
        checked = ", ".join(f"{number:,} {name}" for name, number in counted.items())
        wrong = f"{len(found)} of what they say cannot be true" if found else "the books are right"
        click.echo(f"Checked {checked}: {wrong}.")
        if found:
            click.echo(
                "Somebody changed the database by hand, or there is a mistake in this program. Stop the service, keep a "
                "copy (`nbfed db backup`), and compare with the last backup for which this command found nothing.",
                err=True,
            )
    if found:
        ctx.exit(1)


@ledger.command()
@click.argument("session")
@click.option("--hours", "amount", type=SIGNED_UNIT_HOURS, required=True, help="+1.5 charges more, -2 gives back")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; people read it, and auditors")
@click.option("--key", callback=necessary_text(200), help="the same key again changes nothing more")
@click.pass_obj
def correct(shop: BookShop, session: str, amount: int, reason: str, key: str | None) -> None:
    """Change what a session cost that is over. SESSION is its reference, or its attempt."""
    key = key or new_id()
    before = _found(shop, session)
    try:
        done = shop.ledger.correct(before.hold, amount=amount, key=stored(key), actor=operator(), reason=reason)
    except ValueError as error:
        raise click.ClickException(_why_not(before, error)) from error
    except DatabaseUnavailable as error:
        raise click.ClickException(
            f"The federation database cannot be used: {error}. This is an outage, and most likely nothing was corrected. "
            f"Repeat the command with --key {shlex.quote(key)}: then it is corrected once, whatever happened now."
        ) from error
    with shop.database.read() as connection:
        after = lines(connection, [before.hold])[before.hold]
        owed = standing(connection, before.payer, shop.clock()).owed
    click.echo("\n".join(_told(before, after, done, owed)))


def _told(before: Line, after: Line, done: Corrected, owed: int) -> Iterator[str]:
    name = f"Session {reference(after.hold)}"
    if after.cost == before.cost:
        yield f"{name}: was corrected before with this key; nothing more was changed."
        yield f"It costs {unit_hours(after.cost or 0)} unit-hours."
    else:
        yield f"{name}: corrected."
        yield f"It cost {unit_hours(before.cost or 0)} unit-hours, and costs {unit_hours(after.cost or 0)} now."
    if done.lapsed:
        add = "nbfed grant add" + (f" --pool {after.payer.ref}" if after.payer.kind is OwnerKind.GROUP else " PERSON")
        yield (
            f"{unit_hours(done.lapsed)} of what was given back lapsed at once: the grants that had paid are over. If it is "
            f"to be used, give it anew: `{add} --hours {unit_hours(done.lapsed).replace(',', '')} --reason …`."
        )
    if done.amount > 0 and owed:
        yield (
            f"{unit_hours(owed)} unit-hours are owed now: nothing covers them. The next quota pays them first; a grant "
            "covers them at once."
        )


def _why_not(before: Line, error: ValueError) -> str:
    """What keeps a session from being corrected, in unit-hours and by its reference."""
    if before.cost is None:
        return (
            f"Session {reference(before.hold)} is open; only what is settled can be corrected. Nothing was changed. Stop "
            "it first, or wait until it has ended."
        )
    if before.state != HoldState.SETTLED:
        return f"Session {reference(before.hold)} never ran ({before.state}) and cost nothing. Nothing was changed."
    return (
        f"{str(error)[:1].upper()}{str(error)[1:]}. It costs {unit_hours(before.cost)} unit-hours. Nothing was changed."
    )


def _found(shop: BookShop, session: str) -> Line:
    """The one session that is meant."""
    with shop.database.read() as connection:
        holds = _holds(connection, session.strip())
        if len(holds) == 1:
            return lines(connection, holds)[holds[0]]
    if holds:
        raise click.ClickException(
            f"{plain(session)!r} is the reference of {len(holds)} sessions. Name one by its attempt: {', '.join(holds)}."
        )
    raise click.ClickException(
        f"No session that was paid for has the reference or attempt {plain(session)!r}; nothing was changed. "
        "`nbfed statement PERSON` shows the references."
    )


def _holds(connection: Connection, session: str) -> list[str]:
    ids = select(HoldTable.id)
    exactly = connection.execute(ids.where(HoldTable.id == session.lower())).scalars().all()
    if exactly:
        return list(exactly)
    wanted = read_reference(session)
    every = connection.execute(ids.execution_options(yield_per=_AT_A_TIME)).scalars()
    return [hold for hold in every if reference(hold) == wanted]


@ledger.command()
@click.option("--since", type=MOMENT, help="entries from then on; a day means its start, in UTC; default: all")
@click.option("--csv", "kind", flag_value="csv", help="a table for spreadsheets and databases")
@click.option("--jsonl", "kind", flag_value="jsonl", help="JSON Lines: an object for each entry")
@click.pass_obj
def export(shop: BookShop, since: datetime | None, kind: str | None) -> None:
    """Print all entries in their order, with exact amounts, as they are at this moment. The service may run."""
    if kind is None:
        raise click.UsageError("Say how: --csv or --jsonl.")
    with shop.database.read() as connection:
        records = _entries(connection, since)
        sys.stdout.writelines(as_csv(_COLUMNS, records) if kind == "csv" else as_json_lines(records))
    click.echo(f"All entries{f' since {when(since)}' if since else ''} were printed.", err=True)


def _entries(connection: Connection, since: datetime | None) -> Iterator[dict[str, Cell]]:
    """One at a time: a database of years does not fit into memory."""
    entries = (
        select(EntryTable.__table__, AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(EntryTable, AccountTable, AccountTable.id == EntryTable.account_id)
        .order_by(EntryTable.seq)
        .execution_options(yield_per=_AT_A_TIME)
    )
    if since is not None:
        entries = entries.where(EntryTable.at >= since)
    for row in connection.execute(entries):
        yield {
            "seq": row.seq,
            "at": exact(row.at),
            "owner_kind": row.owner_kind,
            "owner": row.owner_ref,
            "kind": row.kind,
            "amount_milli_unit_seconds": row.amount,
            "attempt": row.hold_id,
            "reference": reference(row.hold_id) if row.hold_id else None,
            "grant": row.grant_id,
            "actor": row.actor,
            "reason": row.reason,
            "key": row.key,
        }
