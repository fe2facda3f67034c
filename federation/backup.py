"""A copy of the federation database in one file, made while the service runs, and the way back.

A backup is one consistent view of all tables: SQLite's own online copy, or what `pg_dump` makes of PostgreSQL. The file
appears whole or not at all, belongs to its owner alone, and never replaces another. A restore is one transaction: the
database has all of it afterwards, or is what it was.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from federation import migrations, postgres_programs
from federation.database import Database

__all__ = ["Backup", "BackupError", "backup", "examine", "restore"]

_SQLITE, _POSTGRESQL = "SQLite", "PostgreSQL"
_SIGNATURES = {b"SQLite format 3\0": _SQLITE, b"PGDMP": _POSTGRESQL}


class BackupError(Exception):
    """It was not done; the message says why and what to do, and nothing was changed."""


@dataclass(frozen=True)
class Backup:
    """One file: of which kind of database, and at which version its tables are."""

    file: Path
    kind: str
    version: str
    size_bytes: int


def backup(database: Database, file: Path) -> Backup:
    """Copy the database into a new file, whatever the version of its tables is.

    Raises
    ------
    BackupError
        If the file is there already or cannot be written, or the database has no tables, or a program is missing.
    federation.database.DatabaseUnavailable
        If the database cannot be reached.
    """
    version = migrations.version(database)
    if version is None:
        raise BackupError("The database has no tables of ours: there is nothing to back up.")
    with _new_file(file) as unfinished:
        if database.is_sqlite:
            _copy_sqlite(_sqlite_file(database), unfinished, database.busy_seconds)
        else:
            with _told(postgres_programs.Failed):
                postgres_programs.dump(database.url, unfinished, lock_seconds=database.busy_seconds)
        found = examine(unfinished)  # also: it can be read
    return Backup(file, found.kind, found.version, file.stat().st_size)


def examine(file: Path) -> Backup:
    """What a file is. All of it is read, so a damaged one is found out here.

    Raises
    ------
    BackupError
        If it is no backup of ours, or damaged.
    """
    kind = _kind(file)
    if kind == _SQLITE:
        version = _version_in_sqlite(file)
    else:
        with _told(postgres_programs.Failed, f"{file} is damaged, or no backup of this service"):
            version = postgres_programs.version_in(file)
    if version is None:
        raise BackupError(f"{file} is no backup of this service: it does not say the version of its tables.")
    return Backup(file, kind, version, file.stat().st_size)


def restore(database: Database, file: Path, *, replace: bool = False) -> Backup:
    """Fill an empty database from a backup; with `replace`, one that has tables, which are lost.

    Raises
    ------
    BackupError
        If the file does not fit, is damaged or of a newer program; if the database is not empty, or in use.
    federation.database.DatabaseUnavailable
        If the database cannot be reached.
    """
    found = examine(file)
    if (found.kind == _SQLITE) != database.is_sqlite:
        ours = _SQLITE if database.is_sqlite else _POSTGRESQL
        raise BackupError(
            f"{file} is a backup of {found.kind}, and this database is {ours}. One cannot be restored into the other."
        )
    if found.version not in migrations.known():
        raise BackupError(
            f"The tables in {file} are at version {found.version}, which this program does not know. "
            "Install the program that made it, or a newer one."
        )
    lost = _contents(database)
    if lost and not replace:
        raise BackupError(f"The database is not empty: it has {lost}. Restore into an empty one, or lose them.")
    database.dispose()  # nobody may be connected, ourselves included
    if database.is_sqlite:
        _fill_sqlite(file, _sqlite_file(database), database.busy_seconds)
    else:
        with _told(postgres_programs.Failed):
            postgres_programs.fill(database.url, file, lock_seconds=database.busy_seconds)
    return found


# --- files --------------------------------------------------------------------------------------------------


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """Another name to write to; it gets this one when it is finished, in a way that never replaces a file."""
    if os.path.lexists(file):
        raise BackupError(f"{file} is there already, and backups replace nothing. Choose another name.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}-", suffix=".part", dir=file.parent)  # its mode is 600
    except OSError as error:
        raise BackupError(f"No file can be made in {file.parent}: {error.strerror or error}.") from error
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        _to_disk(unfinished)
        os.link(unfinished, file)
        _to_disk(file.parent)
    except FileExistsError as error:
        raise BackupError(f"{file} was made by somebody else meanwhile. Choose another name.") from error
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror or error}.") from error
    finally:
        unfinished.unlink()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _kind(file: Path) -> str:
    try:
        with file.open("rb") as content:
            start = content.read(16)
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror or error}.") from error
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return kind
    raise BackupError(f"{file} is no backup of this service: neither a database of SQLite nor an archive of pg_dump.")


@contextmanager
def _told(error_class: type[Exception], what: str = "") -> Iterator[None]:
    try:
        yield
    except error_class as error:
        raise BackupError(f"{what}: {error}" if what else str(error)) from error


# --- SQLite -------------------------------------------------------------------------------------------------


def _sqlite_file(database: Database) -> Path:
    name = make_url(database.url).database
    if not name or name == ":memory:":
        raise BackupError("This database is in the memory of one process: there is nothing to copy or fill.")
    return Path(name)


def _open(file: Path, mode: str, busy_seconds: float = 5.0) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=busy_seconds)


def _copy_sqlite(source: Path, target: Path, busy_seconds: float) -> None:
    try:
        with closing(_open(source, "rw", busy_seconds)) as live, closing(_open(target, "rw")) as copy:
            live.backup(copy)  # in one step, which is one view; writers go on
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, that a reader need not write to
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied: {error}.") from error


def _version_in_sqlite(file: Path) -> str | None:
    try:
        with closing(_open(file, "ro")) as connection:
            complaints = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
            if complaints:
                raise BackupError(f"{file} is damaged: {'; '.join(complaints)}.")
            with contextlib.suppress(sqlite3.OperationalError):  # it has no such table
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                return str(row[0]) if row else None
            return None
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{file} is damaged: {error}.") from error


def _fill_sqlite(source: Path, target: Path, busy_seconds: float) -> None:
    try:
        with closing(_open(source, "ro")) as backup_file, closing(_open(target, "rw", busy_seconds)) as live:
            # It can be taken out of its mode for many readers only by whoever is alone with it.
            live.execute("PRAGMA journal_mode=DELETE")
            backup_file.backup(live)
    except sqlite3.Error as error:
        raise BackupError(
            f"{target} cannot be filled: {error}. Stop the service, and whatever else uses the database, first."
        ) from error


def _contents(database: Database) -> str:
    """What would be lost, in words; nothing if there are no tables."""
    with database.read() as connection:
        names = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        if not names:
            return ""
        preparer = connection.dialect.identifier_preparer
        rows = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {preparer.quote(name)}").scalar_one()  # noqa: S608
            for name in names
        }
    told = ", ".join(f"{count} of {name}" for name, count in sorted(rows.items()) if count)
    return f"{sum(rows.values())} rows in {len(names)} tables ({told})" if told else f"{len(names)} tables, all empty"
