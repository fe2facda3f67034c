"""`nbfed grant`: quota given to somebody, to a pool or to many at once; extended, reduced, taken back."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from federation.commands import MOMENT, MOMENT_END, necessary_text, operator, plain, table, when
from federation.database import DatabaseUnavailable
from federation.ids import new_id
from quota.commands.bulk import give_all
from quota.commands.shared import (
    DEFAULT_MONTHS,
    UNIT_HOURS,
    BookShop,
    Holder,
    end_of_grant,
    holder,
    stored,
    unit_hours,
)
from quota.grant_list import ListedGrant, listed, listed_of
from quota.granting import GrantUnknown, KeyTaken
from quota.tables import GrantTable

__all__ = ["grant"]


@click.group()
def grant() -> None:
    """Give quota, see what was given, change it, take it back."""


@grant.command()
@click.argument("person", required=False)
@click.option("--pool", help="instead of PERSON: this pool of federation.yaml")
@click.option("--hours", "amount", type=UNIT_HOURS, help="unit-hours, at most three decimals")
@click.option("--from", "starts_at", type=MOMENT, help="a day means its start, in UTC; default: now")
@click.option("--until", "ends_at", type=MOMENT_END, help="a day means its end, in UTC")
@click.option(
    "--months",
    type=click.IntRange(1, 120),
    help=f"instead of --until: calendar months from the start; default: {DEFAULT_MONTHS}",
)
@click.option("--reason", callback=necessary_text(2000), help="why; people read it, and auditors")
@click.option("--key", callback=necessary_text(200), help="the same key again gives nothing more")
@click.option(
    "--csv",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="many at once, from a table with the columns person, hours, until or months, reason, key",
)
@click.option("--check", is_flag=True, help="with --csv: only say what is wrong with the file, give nothing")
@click.pass_obj
def add(
    shop: BookShop,
    person: str | None,
    pool: str | None,
    amount: int | None,
    starts_at: datetime | None,
    ends_at: datetime | None,
    months: int | None,
    reason: str | None,
    key: str | None,
    file: Path | None,
    check: bool,
) -> None:
    """Give PERSON (or a pool) an amount for a time; or, with --csv, give to many at once."""
    if file is not None:
        if any((person, pool, amount, starts_at, ends_at, months, reason, key)):
            raise click.UsageError("--csv takes all from the file; leave PERSON and the other options away.")
        give_all(shop, file, only_check=check)
        return
    if check:
        raise click.UsageError("--check goes with --csv.")
    if amount is None or reason is None:
        raise click.UsageError("--hours and --reason are needed.")
    now = shop.clock()
    start = starts_at or now
    end = _end(start, ends_at, months, now)
    whose = holder(shop, person, pool)
    key = key or new_id()
    known = _grants(shop, GrantTable.key == stored(key))
    given = known[0] if known else _give(shop, key, whose, amount, start, end, reason)
    if (given.owner, given.amount) != (whose.owner, amount):
        raise click.ClickException(
            f"The key {plain(key)!r} was used before, for another grant: {unit_hours(given.amount)} unit-hours, "
            f"grant {given.id}. Nothing was given now. Choose another key for another grant."
        )
    done = "was given before with this key; nothing more was given" if known else "given"
    click.echo(f"Grant {given.id}: {done}.")
    click.echo(f"{unit_hours(given.amount)} unit-hours for {whose.title}")
    click.echo(f"from {when(given.starts_at)} until {when(given.ends_at)}, {given.state}")


@grant.command("list")
@click.argument("person", required=False)
@click.option("--pool", help="instead of PERSON: this pool of federation.yaml")
@click.pass_obj
def list_grants(shop: BookShop, person: str | None, pool: str | None) -> None:
    """Show everything that PERSON (or a pool) was ever given, the newest first."""
    whose = holder(shop, person, pool)
    owner = whose.owner
    with shop.database.read() as connection:
        grants = listed_of(connection, owner, shop.clock())
    click.echo(whose.title)
    if not grants:
        click.echo("No grants. A default quota, if there is one, is given at the first start of each period.")
        return
    rows = [
        (g.id, unit_hours(g.amount), unit_hours(g.left), when(g.starts_at), when(g.ends_at), g.state, g.reason)
        for g in grants
    ]
    click.echo(table(("GRANT", "UNIT-HOURS", "LEFT", "FROM", "UNTIL", "STATE", "REASON"), rows))


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@click.option("--hours", "amount", type=UNIT_HOURS, help="what it is to be altogether; default: as it was")
@click.option("--until", "ends_at", type=MOMENT_END, help="a day means its end, in UTC; default: as it was")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; people read it, and auditors")
@click.option("--key", callback=necessary_text(200), help="the same key again changes nothing more")
@click.pass_obj
def change(
    shop: BookShop, grant_id: str, amount: int | None, ends_at: datetime | None, reason: str, key: str | None
) -> None:
    """Extend or reduce a grant: it ends, and a successor follows it with what is left of the new amount."""
    if amount is None and ends_at is None:
        raise click.UsageError("Say what changes: --hours, --until or both.")
    now, wanted, key = shop.clock(), grant_id.strip().lower(), key or new_id()
    before = _one(shop, wanted)
    if before.is_default:
        raise click.ClickException(
            f"Grant {wanted} is the default quota of a period, which federation.yaml says; nothing was changed. "
            "Give more with `nbfed grant add`; to give less, revoke it and add a smaller grant."
        )
    end = ends_at or before.ends_at
    _check_change(before, amount or before.amount, end, now)
    with _outage(key):
        try:
            successor = shop.ledger.change(
                wanted, key=stored(key), amount=amount or before.amount, starts_at=max(before.starts_at, now),
                ends_at=end, actor=operator(), reason=reason,
            )  # fmt: skip
        except KeyTaken as error:
            raise click.ClickException(
                f"The key {plain(key)!r} was used before, for grant {error.grant}. Nothing was changed now. Choose "
                "another key."
            ) from error
        except ValueError as error:
            raise click.ClickException(
                f"Grant {wanted} ended before, at {when(before.revoked_at)}; nothing was changed. If it was changed then, "
                "`nbfed grant list` shows its successor."
            ) from error
    click.echo("\n".join(_changed(shop, _one(shop, wanted), successor)))


def _check_change(before: ListedGrant, amount: int, end: datetime, now: datetime) -> None:
    """Refuse what is no change, or leaves a grant that nobody could use."""
    start = max(before.starts_at, now)
    if end <= start:
        raise click.UsageError(
            f"The grant would end at {when(end)}, and that is not after {when(start)}: nobody could use it. "
            "`nbfed grant revoke` ends a grant now."
        )
    if before.revoked_at is None and (amount, end) == (before.amount, before.ends_at):
        raise click.UsageError(
            f"Grant {before.id} is {unit_hours(amount)} unit-hours until {when(end)} already; nothing was changed."
        )


def _changed(shop: BookShop, before: ListedGrant, successor: str | None) -> Iterator[str]:
    """What became of a grant that was changed."""
    yield f"Grant {before.id}: ended at {when(before.revoked_at)}. It paid {unit_hours(before.charged)} unit-hours."
    if successor is None:
        yield "That is all that it was reduced to, or more: no grant follows it. What running sessions hold stays theirs."
        return
    after = _one(shop, successor)
    yield (
        f"Grant {after.id} follows it: {unit_hours(after.amount)} unit-hours from {when(after.starts_at)} until "
        f"{when(after.ends_at)}, {after.state}; {unit_hours(before.charged + after.amount)} for both together."
    )


@grant.command()
@click.argument("grant_id", metavar="GRANT")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; auditors read it")
@click.pass_obj
def revoke(shop: BookShop, grant_id: str, reason: str) -> None:
    """End a grant now. What running sessions hold of it stays theirs until their leases end."""
    wanted = grant_id.strip().lower()
    known = _grants(shop, GrantTable.id == wanted)
    if known and known[0].revoked_at:
        click.echo(f"Grant {wanted} was {known[0].state} before, at {when(known[0].revoked_at)}; nothing was changed.")
        return
    try:
        shop.ledger.revoke(wanted, actor=operator(), reason=reason)
    except GrantUnknown as error:
        raise _no_grant(grant_id) from error
    ended = _one(shop, wanted)
    click.echo(
        f"Grant {ended.id} of {unit_hours(ended.amount)} unit-hours: revoked at {when(ended.revoked_at)}. "
        "What running sessions hold of it stays theirs until their leases end."
    )


def _give(
    shop: BookShop, key: str, whose: Holder, amount: int, starts_at: datetime, ends_at: datetime, reason: str
) -> ListedGrant:
    with _outage(key):
        grant_id = shop.ledger.grant(
            key=stored(key), owner=whose.owner, amount=amount, starts_at=starts_at, ends_at=ends_at,
            created_by=operator(), reason=reason,
        )  # fmt: skip
    return _grants(shop, GrantTable.id == grant_id)[0]


@contextmanager
def _outage(key: str) -> Iterator[None]:
    """Say how to repeat a command that the database did not answer."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise click.ClickException(
            f"The federation database cannot be used: {error}. This is an outage, and most likely nothing was done. "
            f"Repeat the command with --key {shlex.quote(key)}: then it is done once, whatever happened now."
        ) from error


def _end(start: datetime, ends_at: datetime | None, months: int | None, now: datetime) -> datetime:
    """When a grant ends, from --until or else --months."""
    if ends_at and months:
        raise click.UsageError("--until and --months both say when the grant ends. Give one of them.")
    try:
        return end_of_grant(start, ends_at, months, now)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _one(shop: BookShop, grant_id: str) -> ListedGrant:
    known = _grants(shop, GrantTable.id == grant_id)
    if not known:
        raise _no_grant(grant_id)
    return known[0]


def _no_grant(grant_id: str) -> click.ClickException:
    return click.ClickException(
        f"There is no grant {plain(grant_id)!r}; nothing was changed. `nbfed grant list PERSON` shows the ids."
    )


def _grants(shop: BookShop, *conditions: Any) -> list[ListedGrant]:
    """The grants of the books for which the conditions hold, the newest first."""
    now = shop.clock()
    with shop.database.read() as connection:
        return listed(connection, now, *conditions)
