"""What the commands of all houses share, and this house's own: `nbfed db`.

A command finds what it works with in click's context object. That is a `Shop`, or a Protocol on top of it that a higher
house declares in its own `commands.py`; `hub_config.cli` makes one, each part only when a command asks for it.
Commands speak English, to operators. What people or their providers wrote is shown through `plain`.
"""

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import click
from alembic.util import CommandError

from federation import migrations
from federation.backup import BackupError, backup, restore
from federation.clock import Clock
from federation.database import Database
from federation.persons import Person, candidates
from federation.plain import plain

__all__ = [
    "DEFAULT_SERVER",
    "MOMENT",
    "MOMENT_END",
    "Shop",
    "db",
    "find_person",
    "necessary_text",
    "operator",
    "person_title",
    "plain",
    "table",
    "when",
]

DEFAULT_SERVER = "(default)"
"""How a person's server without a name is shown; server names have no brackets."""

_MOST_CANDIDATES = 20
_ACTOR_CHARACTERS = 200


class Shop(Protocol):
    """What every command may ask for. Asking may raise what the command's user is then told."""

    @property
    def clock(self) -> Clock: ...

    @property
    def database(self) -> Database:
        """The federation database, with the tables that this program needs.

        Raises
        ------
        federation.migrations.OutdatedSchema
            If they are others.
        """

    @property
    def database_as_found(self) -> Database:
        """The federation database, whatever its tables are."""


# --- what commands take -------------------------------------------------------------------------------------


class _Moment(click.ParamType[datetime]):
    """An ISO date, or a date and time with its zone; the result is in UTC.

    A plain date is the start of that day in UTC; with `end_of_day`, its end, which is the start of the next one.
    """

    name = "date"

    def __init__(self, *, end_of_day: bool) -> None:
        self._end_of_day = end_of_day

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return self._parse(str(value).strip())
        except (ValueError, OverflowError) as error:
            self.fail(
                f"{value!r} cannot be used as a date ({error}). Write 2026-12-31, or 2026-12-31T18:00Z, "
                "or 2026-12-31T15:00-03:00.",
                param,
                ctx,
            )

    def _parse(self, text: str) -> datetime:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return _time(text)
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return start + timedelta(days=1) if self._end_of_day else start


MOMENT = _Moment(end_of_day=False)
"""A plain date means the start of that day, in UTC."""

MOMENT_END = _Moment(end_of_day=True)
"""A plain date means the end of that day, in UTC."""


def necessary_text(most_characters: int) -> Any:
    """A click callback for a text that may be neither blank nor longer than its place in the books."""

    def check(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        text = value.strip()
        if not text:
            raise click.BadParameter("a text is needed, and this is blank.")
        if len(text) > most_characters:
            raise click.BadParameter(f"at most {most_characters} characters fit, and these are {len(text)}.")
        return text

    return check


def operator() -> str:
    """Who gives this command, as entries in the books name them: `cli:` and the login name on this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without an entry in the password database, as containers have
        name = f"uid-{os.geteuid()}"
    return f"cli:{plain(name)[:_ACTOR_CHARACTERS]}"


def find_person(shop: Shop, text: str) -> Person:
    """The one person whom an operator means by a user name, id, subject, e-mail address or part of a name.

    Raises
    ------
    click.ClickException
        If there is nobody, or more than one; then these are listed, and nobody is chosen.
    """
    wanted = text.strip()
    if not wanted:
        raise click.UsageError("PERSON is blank. Name somebody by user name, id, subject, e-mail or part of a name.")
    with shop.database.read() as connection:
        found = candidates(connection, wanted)
    if not found:
        raise click.ClickException(
            f"There is nobody {plain(wanted)!r} here; people appear here after their first sign-in. "
            "Try a user name, a subject, an e-mail address or a part of a name."
        )
    if len(found) > 1:
        raise click.ClickException(_several(wanted, found))
    return found[0]


def _several(wanted: str, found: Sequence[Person]) -> str:
    rows = [
        (person.user_name, person.facts.name, person.facts.email, person.facts.home_organisation)
        for person in found[:_MOST_CANDIDATES]
    ]
    more = f"\nand {len(found) - _MOST_CANDIDATES} more" if len(found) > _MOST_CANDIDATES else ""
    return (
        f"{plain(wanted)!r} may be any of {len(found)} people. Name one of them by the user name:\n"
        + table(("USER NAME", "NAME", "E-MAIL", "INSTITUTION"), rows)
        + more
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it is a time without a zone; add Z for UTC")
    return moment.astimezone(UTC)


# --- what commands show -------------------------------------------------------------------------------------


def when(moment: datetime | None) -> str:
    """A moment to the second in UTC, without blanks; empty for none."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z" if moment else ""


def person_title(person: Person) -> str:
    """Name, user name and institution, as far as they are known, in one line."""
    facts = person.facts
    name = f"{facts.name} ({person.user_name})" if facts.name else person.user_name
    return plain(f"{name}, {facts.home_organisation}" if facts.home_organisation else name)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, each cell in one line; an empty cell is `-`, so that no row has a column less."""
    lines = [list(header), *([plain(cell) or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


# --- nbfed db -----------------------------------------------------------------------------------------------


@click.group()
def db() -> None:
    """The federation database: its tables and their version."""


@db.command()
@click.pass_obj
def upgrade(shop: Shop) -> None:
    """Bring the tables to what this program needs. Make a backup first."""
    database = shop.database_as_found
    before = migrations.version(database)
    try:
        migrations.upgrade(database)
    except CommandError as error:
        raise click.ClickException(
            f"The database {database.place} cannot be upgraded from version {before}: {error}. "
            "Nothing was changed. If a newer program made its tables, install that one."
        ) from error
    after = migrations.version(database)
    done = "was there already" if after == before else f"upgraded from {before or 'an empty database'}"
    click.echo(f"{database.place}: version {after}, {done}.")


@db.command()
@click.pass_obj
def check(shop: Shop) -> None:
    """Say whether the tables are those that this program needs."""
    database = shop.database_as_found
    migrations.check(database)
    click.echo(f"{database.place}: version {migrations.version(database)}, as this program needs.")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def backup_(shop: Shop, file: Path) -> None:
    """Copy the database into the new FILE, while the service runs."""
    database = shop.database_as_found
    with _backups():
        made = backup(database, file)
    click.echo(
        f"{made.file}: {_size(made.size_bytes)}, a backup of {database.place}, whose tables are at version "
        f"{made.version}.\nIt is readable for you alone, and tells of people: keep it like that, and where a failure of "
        "this machine cannot reach it. `nbfed db restore` brings it back into an empty database."
    )


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Lose everything that is in the database now.")
@click.pass_obj
def restore_(shop: Shop, file: Path, *, replace: bool) -> None:
    """Fill the empty database from the backup FILE. Stop the service first."""
    database = shop.database_as_found
    with _backups():
        found = restore(database, file, replace=replace)
    click.echo(f"{database.place}: restored from {found.file}, its tables are at version {found.version}.")
    steps = ["`nbfed ledger verify` says whether the books add up."]
    try:
        migrations.check(database)
    except migrations.OutdatedSchema:
        steps.insert(0, "`nbfed db upgrade` brings the tables to what this program needs.")
    click.echo("Before the service starts again: " + " Then ".join(steps))


@contextmanager
def _backups() -> Iterator[None]:
    try:
        yield
    except BackupError as error:
        hint = " --replace does the latter." if "or lose them" in str(error) else ""
        raise click.ClickException(f"{error}{hint} Nothing was changed.") from error


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB" if size_bytes >= 2**20 else f"{size_bytes / 2**10:.0f} KiB"
