"""`nbfed statement`: what an account has now, and what each of its sessions cost."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from federation.commands import DEFAULT_SERVER, MOMENT, table, when
from federation.i18n import decimal
from federation.ids import reference
from federation.records import Cell, as_csv, as_json_lines
from quota.amounts import whole_seconds
from quota.commands.shared import BookShop, Holder, amount, exact, holder, unit_hours
from quota.statement import Line, Standing
from quota.statement import statement as read_statement

__all__ = ["statement"]

_MOST_SESSIONS = 100_000
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_COLUMNS = (
    "attempt", "reference", "server", "site", "flavour", "weight_milli", "state", "reserved_at", "started_at", "ended_at",
    "lease_until", "seconds", "held_milli_unit_seconds", "charged_milli_unit_seconds", "corrected_milli_unit_seconds",
    "cost_milli_unit_seconds", "overrun_milli_unit_seconds", "source",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Report:
    """An account's statement at a moment; `complete` unless there are more sessions than are shown."""

    holder: Holder
    at: datetime
    since: datetime | None
    standing: Standing
    lines: tuple[Line, ...]
    complete: bool

    def total(self, name: str) -> int:
        """The sum of one amount over the sessions that ended; over the open ones for `held`."""
        if name == "held":
            return sum(line.amount for line in self.lines if line.is_open)
        return sum(getattr(line, name) or 0 for line in self.lines if not line.is_open)


@click.command()
@click.argument("person", required=False)
@click.option("--pool", help="instead of PERSON: this pool of federation.yaml")
@click.option("--since", type=MOMENT, help="sessions from then on; a day means its start, in UTC; default: all")
@click.option("--json", "kind", flag_value="json", help="all of it, for programs; with exact amounts")
@click.option("--csv", "kind", flag_value="csv", help="the sessions alone, as a table for spreadsheets")
@click.option("--jsonl", "kind", flag_value="jsonl", help="the sessions alone, as JSON Lines: an object for each")
@click.pass_obj
def statement(shop: BookShop, person: str | None, pool: str | None, since: datetime | None, kind: str | None) -> None:
    """Show what PERSON (or a pool) has now, and what each session cost."""
    whose, now = holder(shop, person, pool), shop.clock()
    with shop.database.read() as connection:
        read = read_statement(connection, whose.owner, now, since=since or _BEGINNING, limit=_MOST_SESSIONS + 1)
    report = _Report(
        holder=whose,
        at=now,
        since=since,
        standing=read.standing,
        lines=read.lines[:_MOST_SESSIONS],
        complete=len(read.lines) <= _MOST_SESSIONS,
    )
    if kind is None:
        click.echo(_as_text(report))
    elif kind == "json":
        click.echo(json.dumps(_as_json(report), indent=2, ensure_ascii=False))
    else:
        records = map(_record, report.lines)
        lines = as_csv(_COLUMNS, records) if kind == "csv" else as_json_lines(records)
        sys.stdout.writelines(lines)
        if not report.complete:
            click.echo(_cut(), err=True)


def _as_text(report: _Report) -> str:
    now = report.standing
    parts = [
        report.holder.title,
        f"Of the grants that count at {when(report.at)}: {unit_hours(now.granted)} unit-hours, of which "
        f"{unit_hours(now.used)} used, {unit_hours(now.held)} held by open sessions, {unit_hours(now.left)} left"
        + (f"; {unit_hours(now.owed)} owed" if now.owed else "")
        + (f"; the first of them ends at {when(now.ends_at)}." if now.ends_at else "."),
        "",
    ]
    if not report.lines:
        return "\n".join([*parts, f"No sessions since {when(report.since)}." if report.since else "No sessions."])
    header = [
        "REFERENCE", "SERVER", "SITE", "FLAVOUR", "WEIGHT", "STATE", "STARTED", "ENDED", "SECONDS", "UNIT-HOURS"
    ]  # fmt: skip
    rows = [_row(line) for line in report.lines]
    if any(line.corrected for line in report.lines):
        header += ["CORRECTED", "COST"]
        rows = [[*row, *_correction(line)] for row, line in zip(rows, report.lines, strict=True)]
    parts += [table(header, rows), "", _totals(report)]
    if not report.complete:
        parts.append(_cut())
    return "\n".join(parts)


def _row(line: Line) -> list[str]:
    cost = f"open, holds {unit_hours(line.amount)}" if line.is_open else unit_hours(line.charged or 0)
    seconds = _seconds(line)
    return [
        reference(line.hold), line.server or DEFAULT_SERVER, line.site, line.flavour,
        decimal(line.weight_milli / 1000, 3), line.state, when(line.started_at), when(line.ended_at),
        "" if seconds is None else str(seconds), cost,
    ]  # fmt: skip


def _correction(line: Line) -> tuple[str, str]:
    """By how much a session was corrected, and what it costs since."""
    if not line.corrected:
        return "", "" if line.cost is None else unit_hours(line.cost)
    sign = "+" if line.corrected > 0 else ""
    return f"{sign}{unit_hours(line.corrected)}", unit_hours(line.cost or 0)


def _seconds(line: Line) -> int | None:
    """How long its last run took."""
    return whole_seconds(line.ended_at - line.started_at) if line.started_at and line.ended_at else None


def _totals(report: _Report) -> str:
    since = f" since {when(report.since)}" if report.since else ""
    opened = sum(line.is_open for line in report.lines)
    corrected = report.total("corrected")
    parts = [f"{unit_hours(report.total('overrun'))} of it without cover"] if report.total("overrun") else []
    if any(line.corrected for line in report.lines):
        more = "more" if corrected >= 0 else "less"
        parts.append(f"charged {unit_hours(report.total('charged'))}, corrected by {unit_hours(abs(corrected))} {more}")
    about = f" ({'; '.join(parts)})" if parts else ""
    return (
        f"Sessions{since}: {len(report.lines) - opened} ended, which cost {unit_hours(report.total('cost'))} unit-hours"
        f"{about}; {opened} open, which hold {unit_hours(report.total('held'))}."
    )


def _cut() -> str:
    return f"Only the newest {_MOST_SESSIONS:,} are shown and counted; choose fewer with --since."


def _as_json(report: _Report) -> dict[str, Any]:
    now = report.standing
    return {
        **_whose(report.holder),
        "at": exact(report.at),
        "since": exact(report.since),
        "complete": report.complete,
        "standing": {
            **{name: amount(getattr(now, name)) for name in ("granted", "used", "held", "owed", "left")},
            "ends_at": exact(now.ends_at),
        },
        "sessions": [_line_as_json(line) for line in report.lines],
        "totals": {
            "sessions": len(report.lines),
            "open": sum(line.is_open for line in report.lines),
            **{name: amount(report.total(name)) for name in ("charged", "corrected", "cost", "overrun", "held")},
        },
    }


def _whose(whose: Holder) -> dict[str, Any]:
    person = whose.person
    if person is None:
        return {"pool": whose.pool}
    facts = {"name": person.facts.name, "institution": person.facts.home_organisation}
    return {"person": {"id": person.id, "user_name": person.user_name, **facts}}


def _line_as_json(line: Line) -> dict[str, Any]:
    return {
        "attempt": line.hold,
        "reference": reference(line.hold),
        **{name: getattr(line, name) for name in ("server", "site", "flavour", "weight_milli", "state", "source")},
        "open": line.is_open,
        **{name: exact(getattr(line, name)) for name in ("reserved_at", "started_at", "ended_at", "lease_until")},
        "held": amount(line.amount if line.is_open else 0),
        "charged": None if line.charged is None else amount(line.charged),
        "corrected": amount(line.corrected),
        "cost": None if line.cost is None else amount(line.cost),
        "overrun": amount(line.overrun),
    }


def _record(line: Line) -> dict[str, Cell]:
    """A session in one flat record."""
    return {
        "attempt": line.hold,
        "reference": reference(line.hold),
        "server": line.server,
        "site": line.site,
        "flavour": line.flavour,
        "weight_milli": line.weight_milli,
        "state": line.state,
        "reserved_at": exact(line.reserved_at),
        "started_at": exact(line.started_at),
        "ended_at": exact(line.ended_at),
        "lease_until": exact(line.lease_until),
        "seconds": _seconds(line),
        "held_milli_unit_seconds": line.amount if line.is_open else 0,
        "charged_milli_unit_seconds": line.charged,
        "corrected_milli_unit_seconds": line.corrected,
        "cost_milli_unit_seconds": line.cost,
        "overrun_milli_unit_seconds": line.overrun,
        "source": line.source,
    }
