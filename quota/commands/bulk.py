"""Many grants at once, from a table. All rows are checked before the first one is given, and each is given once.

The table is CSV (RFC 4180) in UTF-8, as spreadsheets save it: commas, semicolons or tabs. A row without a key of its own
gets one that is made of what it says, so that the same file again, or one in which other rows were mended, gives
nothing twice.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, select

from federation.commands import MOMENT_END, operator, person_title, plain, when
from federation.database import DatabaseUnavailable
from federation.persons import Person, candidates
from quota.commands.shared import BookShop, end_of_grant, milli_unit_seconds, stored, unit_hours
from quota.granting import KeyTaken
from quota.owners import Owner, owner_of
from quota.tables import AccountTable, GrantTable, OwnerKind

__all__ = ["COLUMNS", "BadTable", "Row", "give_all", "read_table"]

COLUMNS = ("person", "hours", "until", "months", "reason", "key")
_NEEDED = ("person", "hours", "reason")
_MOST_ROWS = 10_000
_MOST_BYTES = 10_000_000
_MOST_CHARACTERS = {"reason": 2000, "key": 200}
_MOST_MONTHS = 120
_MOST_NAMES = 5


class BadTable(ValueError):
    """The file is no such table at all."""


@dataclass(frozen=True)
class Row:
    """A row as it is written: each cell of `COLUMNS` without blanks at its edges, empty where it is missing."""

    line: int
    cells: Mapping[str, str]

    @property
    def key(self) -> str:
        """Its own, or one that is made of what it says."""
        if self.cells["key"]:
            return self.cells["key"]
        said = json.dumps([self.cells[column] for column in COLUMNS])
        return f"csv:{hashlib.sha256(said.encode()).hexdigest()}"


@dataclass(frozen=True)
class _Known:
    """A grant that has a row's key already."""

    id: str
    owner: Owner
    amount: int
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A grant that a row asks for."""

    row: Row
    person: Person
    amount: int
    ends_at: datetime
    known: _Known | None


def read_table(content: bytes) -> list[Row]:
    """The rows of a table; empty ones are left out.

    Raises
    ------
    BadTable
        If it is none, or has no rows, or too many.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"it is not UTF-8 (byte {error.start}); save it as “CSV UTF-8”") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(lines, [])]
        _check_header(header)
        rows = list(_rows(lines, header))
    except csv.Error as error:
        raise BadTable(f"line {lines.line_num} is not CSV: {error}") from error
    if not rows:
        raise BadTable("there is nothing below its first line")
    return rows


def _check_header(header: Sequence[str]) -> None:
    strange = [column for column in header if column not in COLUMNS]
    missing = [column for column in _NEEDED if column not in header]
    said = []
    if strange:
        said.append(f"it has the unknown columns {', '.join(map(repr, strange))}")
    if missing:
        said.append(f"it lacks the columns {', '.join(missing)}")
    if len(set(header)) < len(header):
        said.append("a column stands there twice")
    if said:
        raise BadTable(f"its first line has to name the columns ({', '.join(COLUMNS)}): {'; '.join(said)}")


def _rows(lines: Any, header: Sequence[str]) -> Iterator[Row]:
    begins = lines.line_num + 1
    for number, cells in enumerate(lines):
        if number >= _MOST_ROWS:
            raise BadTable(f"it has more than {_MOST_ROWS:,} rows; give them in several files")
        if any(cell.strip() for cell in cells):
            if len(cells) > len(header):
                raise BadTable(f"line {begins} has {len(cells)} cells, and the first line {len(header)}")
            said = dict.fromkeys(COLUMNS, "") | dict(zip(header, (cell.strip() for cell in cells), strict=False))
            yield Row(begins, said)
        begins = lines.line_num + 1


# --- checking -----------------------------------------------------------------------------------------------


def _check(shop: BookShop, rows: Sequence[Row], now: datetime) -> tuple[list[_Wanted], list[str]]:
    """What is to be given, and every complaint."""
    wanted, complaints = [], []
    first_with: dict[str, Row] = {}
    with shop.database.read() as connection:
        for row in rows:
            said = _doubled(row, first_with.setdefault(row.key, row))
            try:
                grant = _wanted(connection, row, now)
                said += _other_content(grant)
                wanted.append(grant)
            except _Wrong as wrong:
                said += wrong.complaints
            complaints += [f"line {row.line}: {complaint}" for complaint in said]
    return wanted, complaints


class _Wrong(ValueError):
    def __init__(self, complaints: list[str]) -> None:
        super().__init__(complaints)
        self.complaints = complaints


def _wanted(connection: Connection, row: Row, now: datetime) -> _Wanted:
    """What a row asks for, or all that is wrong with it."""
    complaints: list[str] = []
    found: dict[str, Any] = {}
    parts: dict[str, Callable[[], Any]] = {
        "person": lambda: _person(connection, row.cells["person"]),
        "amount": lambda: milli_unit_seconds(row.cells["hours"]),
        "ends_at": lambda: _ends_at(row, now),
    }
    for name, read in parts.items():
        try:
            found[name] = read()
        except ValueError as error:
            complaints.append(str(error).rstrip("."))
    if not row.cells["reason"]:
        complaints.append("a reason is needed")
    for column, most in _MOST_CHARACTERS.items():
        if len(row.cells[column]) > most:
            complaints.append(f"the {column} has more than {most} characters")
    if complaints:
        raise _Wrong(complaints)
    return _Wanted(row=row, known=_known(connection, row.key), **found)


def _person(connection: Connection, text: str) -> Person:
    if not text:
        raise ValueError("the person is blank")
    found = candidates(connection, text)
    if not found:
        raise ValueError(f"there is nobody {plain(text)!r} here; people appear here after their first sign-in")
    if len(found) > 1:
        names = ", ".join(person.user_name for person in found[:_MOST_NAMES])
        more = " …" if len(found) > _MOST_NAMES else ""
        raise ValueError(f"{plain(text)!r} may be any of {len(found)} people: {names}{more}")
    return found[0]


def _ends_at(row: Row, now: datetime) -> datetime:
    until, months = row.cells["until"], row.cells["months"]
    if until and months:
        raise ValueError("until and months both say when it ends; leave one of them empty")
    if months and not (months.isascii() and months.isdecimal() and 1 <= int(months[:9]) <= _MOST_MONTHS):
        raise ValueError(f"months is a whole number from 1 to {_MOST_MONTHS}, not {plain(months)!r}")
    try:
        ends_at = MOMENT_END.convert(until, None, None) if until else None
    except click.BadParameter as error:
        raise ValueError(error.message) from error
    return end_of_grant(now, ends_at, int(months) if months else None, now)


def _doubled(row: Row, first: Row) -> list[str]:
    if first is row:
        return []
    if row.cells["key"]:
        return [f"the key {plain(row.key)!r} stands in line {first.line}, too"]
    return [f"it says the same as line {first.line}; if both are meant, give each a key"]


def _known(connection: Connection, key: str) -> _Known | None:
    row = connection.execute(
        select(GrantTable.id, GrantTable.amount, GrantTable.ends_at, AccountTable.owner_kind, AccountTable.owner_ref)
        .join_from(GrantTable, AccountTable, AccountTable.id == GrantTable.account_id)
        .where(GrantTable.key == stored(key))
    ).one_or_none()
    if row is None:
        return None
    return _Known(row.id, Owner(OwnerKind(row.owner_kind), row.owner_ref), row.amount, row.ends_at)


def _other_content(grant: _Wanted) -> list[str]:
    """What is wrong where a row's key is that of another grant."""
    known = grant.known
    if known is None:
        return []
    same_end = not grant.row.cells["until"] or known.ends_at == grant.ends_at
    if (known.owner, known.amount, same_end) == (owner_of(grant.person), grant.amount, True):
        return []
    terms = f"{known.id}, {unit_hours(known.amount)} unit-hours until {when(known.ends_at)}"
    return [f"the key {plain(grant.row.key)!r} was used before, for another grant: {terms}"]


# --- giving -------------------------------------------------------------------------------------------------


def give_all(shop: BookShop, file: Path, *, only_check: bool) -> None:
    """Check a file, and give what its rows ask for; prints what was done.

    Raises
    ------
    click.ClickException
        If anything is wrong with it: nothing is given then. Or if the database went away.
    """
    now = shop.clock()
    wanted, complaints = _check(shop, _read(file), now)
    if complaints:
        raise click.ClickException(
            "\n".join([f"{plain(str(file))}: nothing was given.", *(f"  {complaint}" for complaint in complaints)])
        )
    new = [grant for grant in wanted if grant.known is None]
    before = f"; {len(wanted) - len(new)} were given before, with the same keys" if len(new) < len(wanted) else ""
    total = unit_hours(sum(grant.amount for grant in new))
    if only_check:
        click.echo(f"{plain(str(file))}: no complaints. {len(new)} grants of {total} unit-hours to give{before}.")
        return
    for number, grant in enumerate(new):
        _give(shop, grant, now, number)
    click.echo(f"{len(new)} grants of {total} unit-hours given{before}.")


def _read(file: Path) -> list[Row]:
    try:
        with file.open("rb") as content:
            found = content.read(_MOST_BYTES + 1)
        if len(found) > _MOST_BYTES:
            raise BadTable(f"it is larger than {_MOST_BYTES:,} bytes")
        return read_table(found)
    except OSError as error:
        raise click.ClickException(
            f"{plain(str(file))} cannot be read: {error.strerror}. Nothing was given."
        ) from error
    except BadTable as error:
        raise click.ClickException(f"{plain(str(file))}: {error}. Nothing was given.") from error


def _give(shop: BookShop, grant: _Wanted, now: datetime, number: int) -> None:
    try:
        given = shop.ledger.grant(
            key=stored(grant.row.key), owner=owner_of(grant.person), amount=grant.amount, starts_at=now,
            ends_at=grant.ends_at, created_by=operator(), reason=grant.row.cells["reason"],
        )  # fmt: skip
    except (DatabaseUnavailable, KeyTaken) as error:
        raise click.ClickException(
            f"line {grant.row.line}: {error}. {number} grants of this file were given now, and the others were not. "
            f"Repeat the command with the same file: what was given is not given again."
        ) from error
    click.echo(
        f"line {grant.row.line}: grant {given}, {unit_hours(grant.amount)} unit-hours for {person_title(grant.person)}"
    )
