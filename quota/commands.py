"""The books on the command line: `nbfed grant` and `nbfed statement`.

Amounts are typed and shown in unit-hours with at most three decimals; JSON also has the milli-unit-seconds, which are
exact.
"""

import json
import shlex
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import click
from sqlalchemy import Row, Select, select

from federation.commands import (
    DEFAULT_SERVER,
    MOMENT,
    MOMENT_END,
    Shop,
    find_person,
    necessary_text,
    operator,
    person_title,
    plain,
    table,
    when,
)
from federation.database import DatabaseUnavailable
from federation.i18n import decimal
from federation.ids import new_id, reference
from federation.persons import Person
from quota.amounts import from_unit_hours, to_unit_hours, whole_seconds
from quota.granting import GrantUnknown
from quota.ledger import Ledger
from quota.owners import UNIT, Owner
from quota.statement import Line, Standing
from quota.statement import statement as read_statement
from quota.tables import AccountTable, GrantBalanceTable, GrantTable, OwnerKind

__all__ = ["UNIT_HOURS", "BookShop", "grant", "statement", "unit_hours"]

_MOST_UNIT_HOURS = 10_000_000
_MOST_SESSIONS = 100_000
_DEFAULT_MONTHS = 12
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class BookShop(Shop, Protocol):
    """A shop that keeps the books."""

    @property
    def ledger(self) -> Ledger: ...


class _UnitHours(click.ParamType[int]):
    """An amount of unit-hours: above zero, with at most three decimals. The result is in milli-unit-seconds."""

    name = "unit-hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            hours = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is not a number. Write it like 100 or 2.5.", param, ctx)
        complaint = _complaint(hours)
        if complaint:
            self.fail(f"{value} unit-hours cannot be given: {complaint}.", param, ctx)
        return from_unit_hours(hours)


UNIT_HOURS = _UnitHours()


def _complaint(hours: Decimal) -> str:
    """Why this is no amount to give; empty if it is one. The bounds come first: beyond them arithmetic has no end."""
    if not hours.is_finite():
        return "it is not a finite number"
    if hours <= 0:
        return "an amount is more than zero"
    if hours > _MOST_UNIT_HOURS:
        return f"the most is {_MOST_UNIT_HOURS:,} at a time"
    if hours != hours.quantize(Decimal("0.001")):
        return "it has more than three decimals"
    return ""


def unit_hours(milli_unit_seconds: int) -> str:
    """An amount in unit-hours, as operators read it: at most three decimals; what is less, but not nothing, says so."""
    if 0 < milli_unit_seconds < from_unit_hours(Decimal("0.001")):
        return "<0.001"
    return decimal(float(to_unit_hours(milli_unit_seconds)), 3)


# --- nbfed grant --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Grant:
    """One grant as the books have it; `state` is waiting, active, used up, ended or revoked."""

    id: str
    owner: Owner
    amount: int
    left: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    state: str
    reason: str


@click.group()
def grant() -> None:
    """Give quota, see what was given, take it back."""


@grant.command()
@click.argument("person")
@click.option("--hours", "amount", type=UNIT_HOURS, required=True, help="unit-hours, at most three decimals")
@click.option("--from", "starts_at", type=MOMENT, help="a day means its start, in UTC; default: now")
@click.option("--until", "ends_at", type=MOMENT_END, help="a day means its end, in UTC")
@click.option(
    "--months",
    type=click.IntRange(1, 120),
    help=f"instead of --until: calendar months from the start; default: {_DEFAULT_MONTHS}",
)
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; people read it, and auditors")
@click.option("--key", callback=necessary_text(200), help="the same key again gives nothing more")
@click.pass_obj
def add(
    shop: BookShop,
    person: str,
    amount: int,
    starts_at: datetime | None,
    ends_at: datetime | None,
    months: int | None,
    reason: str,
    key: str | None,
) -> None:
    """Give PERSON an amount for a time."""
    now = shop.clock()
    start = starts_at or now
    end = _end(start, ends_at, months, now)
    someone = find_person(shop, person)
    key = key or new_id()
    known = _grants(shop, GrantTable.key == _stored(key))
    given = known[0] if known else _give(shop, key, someone, amount, start, end, reason)
    if (given.owner, given.amount) != (_owner(someone), amount):
        raise click.ClickException(
            f"The key {plain(key)!r} was used before, for another grant: {unit_hours(given.amount)} unit-hours, "
            f"grant {given.id}. Nothing was given now. Choose another key for another grant."
        )
    done = "was given before with this key; nothing more was given" if known else "given"
    click.echo(f"Grant {given.id}: {done}.")
    click.echo(f"{unit_hours(given.amount)} unit-hours for {person_title(someone)}")
    click.echo(f"from {when(given.starts_at)} until {when(given.ends_at)}, {given.state}")


@grant.command("list")
@click.argument("person")
@click.pass_obj
def list_grants(shop: BookShop, person: str) -> None:
    """Show everything that PERSON was ever given, the newest first."""
    someone = find_person(shop, person)
    owner = _owner(someone)
    grants = _grants(shop, AccountTable.owner_kind == owner.kind.value, AccountTable.owner_ref == owner.ref)
    click.echo(person_title(someone))
    if not grants:
        click.echo("No grants. A default quota, if the tier has one, is given at the first start of each period.")
        return
    rows = [
        (g.id, unit_hours(g.amount), unit_hours(g.left), when(g.starts_at), when(g.ends_at), g.state, g.reason)
        for g in grants
    ]
    click.echo(table(("GRANT", "UNIT-HOURS", "LEFT", "FROM", "UNTIL", "STATE", "REASON"), rows))


@grant.command()
@click.argument("grant_id")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; auditors read it")
@click.pass_obj
def revoke(shop: BookShop, grant_id: str, reason: str) -> None:
    """End a grant now. What running sessions hold of it stays theirs until their leases end."""
    wanted = grant_id.strip().lower()
    known = _grants(shop, GrantTable.id == wanted)
    if known and known[0].revoked_at:
        click.echo(f"Grant {wanted} was revoked before, at {when(known[0].revoked_at)}; nothing was changed.")
        return
    try:
        shop.ledger.revoke(wanted, actor=operator(), reason=reason)
    except GrantUnknown as error:
        raise click.ClickException(
            f"There is no grant {plain(grant_id)!r}; nothing was changed. `nbfed grant list PERSON` shows the ids."
        ) from error
    (ended,) = _grants(shop, GrantTable.id == wanted)
    click.echo(
        f"Grant {ended.id} of {unit_hours(ended.amount)} unit-hours: revoked at {when(ended.revoked_at)}. "
        "What running sessions hold of it stays theirs until their leases end."
    )


def _give(
    shop: BookShop, key: str, person: Person, amount: int, starts_at: datetime, ends_at: datetime, reason: str
) -> _Grant:
    try:
        grant_id = shop.ledger.grant(
            key=_stored(key), owner=_owner(person), amount=amount, starts_at=starts_at, ends_at=ends_at,
            created_by=operator(), reason=reason,
        )  # fmt: skip
    except DatabaseUnavailable as error:
        raise click.ClickException(
            f"The federation database cannot be used: {error}. This is an outage, and the grant was most likely not "
            f"given. Repeat the command with --key {shlex.quote(key)}: then it is given once, whatever happened now."
        ) from error
    return _grants(shop, GrantTable.id == grant_id)[0]


def _end(start: datetime, ends_at: datetime | None, months: int | None, now: datetime) -> datetime:
    """When a grant ends, from --until or else --months."""
    if ends_at and months:
        raise click.UsageError("--until and --months both say when the grant ends. Give one of them.")
    end = ends_at or _months_later(start, months or _DEFAULT_MONTHS)
    if end <= start:
        raise click.UsageError(f"The grant would end at {when(end)}, and that is not after its start, {when(start)}.")
    if end <= now:
        raise click.UsageError(f"The grant would have ended at {when(end)}: nobody could use it.")
    return end


def _months_later(start: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last day."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    try:
        return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
    except ValueError as error:
        raise click.UsageError(f"{months} months from {when(start)} are beyond the calendar.") from error


def _owner(person: Person) -> Owner:
    return Owner(OwnerKind.USER, person.id)


def _stored(key: str) -> str:
    """An operator's key cannot be one that the product makes itself, such as those of default quotas."""
    return f"cli:{key}"


def _grants(shop: BookShop, *conditions: Any) -> list[_Grant]:
    """The grants of the books for which the conditions hold, the newest first."""
    now = shop.clock()
    with shop.database.read() as connection:
        return [_grant(row, now) for row in connection.execute(_all_grants().where(*conditions))]


def _all_grants() -> Select[Any]:
    spent = GrantBalanceTable.charged + GrantBalanceTable.lapsed
    return (
        select(GrantTable.__table__, AccountTable.owner_kind, AccountTable.owner_ref, spent.label("spent"))
        .join_from(GrantTable, AccountTable, AccountTable.id == GrantTable.account_id)
        .outerjoin(GrantBalanceTable, GrantBalanceTable.grant_id == GrantTable.id)
        .where(AccountTable.unit == UNIT)
        .order_by(GrantTable.created_at.desc(), GrantTable.id.desc())
    )


def _grant(row: Row[Any], now: datetime) -> _Grant:
    left = row.amount - (row.spent or 0)
    if row.revoked_at is not None:
        state = "revoked"
    elif row.ends_at <= now:
        state = "ended"
    elif row.starts_at > now:
        state = "waiting"
    else:
        state = "active" if left else "used up"
    return _Grant(
        id=row.id,
        owner=Owner(OwnerKind(row.owner_kind), row.owner_ref),
        amount=row.amount,
        left=0 if state in ("revoked", "ended") else left,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        revoked_at=row.revoked_at,
        state=state,
        reason=row.reason,
    )


# --- nbfed statement ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Report:
    """A person's statement at a moment; `complete` unless there are more sessions than are shown."""

    person: Person
    at: datetime
    since: datetime | None
    standing: Standing
    lines: tuple[Line, ...]
    complete: bool

    def total(self, amount: str) -> int:
        """The sum of one amount over the sessions that ended; over the open ones for `held`."""
        if amount == "held":
            return sum(line.amount for line in self.lines if _is_open(line))
        return sum(getattr(line, amount) or 0 for line in self.lines if not _is_open(line))


@click.command()
@click.argument("person")
@click.option("--since", type=MOMENT, help="sessions from then on; a day means its start, in UTC; default: all")
@click.option("--json", "as_json", is_flag=True, help="for programs; with the exact amounts in milli-unit-seconds")
@click.pass_obj
def statement(shop: BookShop, person: str, since: datetime | None, as_json: bool) -> None:
    """Show what PERSON has now, and what each session cost."""
    someone, now = find_person(shop, person), shop.clock()
    with shop.database.read() as connection:
        read = read_statement(connection, _owner(someone), now, since=since or _BEGINNING, limit=_MOST_SESSIONS + 1)
    report = _Report(
        person=someone,
        at=now,
        since=since,
        standing=read.standing,
        lines=read.lines[:_MOST_SESSIONS],
        complete=len(read.lines) <= _MOST_SESSIONS,
    )
    click.echo(json.dumps(_as_json(report), indent=2, ensure_ascii=False) if as_json else _as_text(report))


def _as_text(report: _Report) -> str:
    now = report.standing
    parts = [
        person_title(report.person),
        f"Of the grants that count at {when(report.at)}: {unit_hours(now.granted)} unit-hours, of which "
        f"{unit_hours(now.used)} used, {unit_hours(now.held)} held by open sessions, {unit_hours(now.left)} left"
        + (f"; the first of them ends at {when(now.ends_at)}." if now.ends_at else "."),
        "",
    ]
    if not report.lines:
        return "\n".join([*parts, f"No sessions since {when(report.since)}." if report.since else "No sessions."])
    header = ("REFERENCE", "SERVER", "SITE", "FLAVOUR", "WEIGHT", "STATE", "STARTED", "ENDED", "SECONDS", "UNIT-HOURS")
    parts += [table(header, [_row(line) for line in report.lines]), "", _totals(report)]
    if not report.complete:
        parts.append(f"Only the newest {_MOST_SESSIONS:,} are shown and counted; choose fewer with --since.")
    return "\n".join(parts)


def _row(line: Line) -> tuple[str, ...]:
    cost = f"open, holds {unit_hours(line.amount)}" if _is_open(line) else unit_hours(line.charged or 0)
    seconds = whole_seconds(line.ended_at - line.started_at) if line.started_at and line.ended_at else None
    return (
        reference(line.hold), line.server or DEFAULT_SERVER, line.site, line.flavour,
        decimal(line.weight_milli / 1000, 3), line.state, when(line.started_at), when(line.ended_at),
        "" if seconds is None else str(seconds), cost,
    )  # fmt: skip


def _totals(report: _Report) -> str:
    since = f" since {when(report.since)}" if report.since else ""
    opened = sum(map(_is_open, report.lines))
    cost, uncovered, held = (unit_hours(report.total(amount)) for amount in ("charged", "overrun", "held"))
    without_cover = f" ({uncovered} of it without cover)" if report.total("overrun") else ""
    return (
        f"Sessions{since}: {len(report.lines) - opened} ended, which cost {cost} unit-hours{without_cover}; "
        f"{opened} open, which hold {held}."
    )


def _as_json(report: _Report) -> dict[str, Any]:
    person, now = report.person, report.standing
    return {
        "person": {
            "id": person.id,
            "user_name": person.user_name,
            "name": person.facts.name,
            "institution": person.facts.home_organisation,
        },
        "at": _exact(report.at),
        "since": _exact(report.since),
        "complete": report.complete,
        "standing": {
            **{name: _amount(getattr(now, name)) for name in ("granted", "used", "held", "left")},
            "ends_at": _exact(now.ends_at),
        },
        "sessions": [_line_as_json(line) for line in report.lines],
        "totals": {
            "sessions": len(report.lines),
            "open": sum(map(_is_open, report.lines)),
            **{name: _amount(report.total(name)) for name in ("charged", "overrun", "held")},
        },
    }


def _line_as_json(line: Line) -> dict[str, Any]:
    is_open = _is_open(line)
    return {
        "attempt": line.hold,
        "reference": reference(line.hold),
        **{name: getattr(line, name) for name in ("server", "site", "flavour", "weight_milli", "state", "source")},
        "open": is_open,
        **{name: _exact(getattr(line, name)) for name in ("reserved_at", "started_at", "ended_at", "lease_until")},
        "held": _amount(line.amount if is_open else 0),
        "charged": None if is_open else _amount(line.charged or 0),
        "overrun": _amount(line.overrun),
    }


def _amount(milli_unit_seconds: int) -> dict[str, float | int]:
    hours = round(float(to_unit_hours(milli_unit_seconds)), 6)
    return {"unit_hours": hours, "milli_unit_seconds": milli_unit_seconds}


def _exact(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the microsecond where there are any: charges are made of these."""
    return moment.astimezone(UTC).isoformat() if moment else None


def _is_open(line: Line) -> bool:
    return line.charged is None
