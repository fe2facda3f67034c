"""The federation database: one for all processes, SQLite by default, PostgreSQL in production.

Two engines on one database. `write()` takes the write lock at once (SQLite: `BEGIN IMMEDIATE`), so a transaction that
read a balance can change it without an upgrade that fails half-way. `read()` never waits for a writer.
Whatever keeps the database from answering is raised as `DatabaseUnavailable`: callers that cost something fail closed.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, TypeDecorator, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase

from federation.clock import as_utc

__all__ = ["Base", "Database", "DatabaseUnavailable", "Moment"]


class Base(DeclarativeBase):
    """The tables of all houses; one Alembic chain keeps them."""


class DatabaseUnavailable(Exception):
    """The federation database is away, locked or refuses: an outage, never an answer about anybody's quota."""


class Moment(TypeDecorator[datetime]):
    """A moment in UTC: aware in Python, without a zone in the database, microseconds kept."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else as_utc(value).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Database:
    """Transactions on the federation database.

    Parameters
    ----------
    url
        An SQLAlchemy URL.
    busy_seconds
        How long a transaction waits for another process's write before it is an outage.
    """

    def __init__(self, url: str, *, busy_seconds: float = 5.0) -> None:
        self.url = url
        self.busy_seconds = busy_seconds
        self._writing = threading.Lock()
        self._writer = self._engine("BEGIN IMMEDIATE")
        self._reader = self._engine("BEGIN")

    @property
    def is_sqlite(self) -> bool:
        return self._writer.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may change the books: committed at the end of the block, rolled back on any error.

        Raises
        ------
        DatabaseUnavailable
            If the database cannot be reached or its write lock cannot be had in time.
        """
        if not self._writing.acquire(timeout=self.busy_seconds):
            raise DatabaseUnavailable("another write in this process did not end in time")
        try:
            with _outages(), self._writer.begin() as connection:
                yield connection
        finally:
            self._writing.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view that changes nothing.

        Raises
        ------
        DatabaseUnavailable
            If the database cannot be reached.
        """
        with _outages(), self._reader.connect() as connection:
            yield connection

    def dispose(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def _engine(self, begin: str) -> Engine:
        if not self.url.startswith("sqlite"):
            return create_engine(self.url, pool_pre_ping=True)
        engine = create_engine(self.url, connect_args={"timeout": self.busy_seconds, "isolation_level": None})

        @event.listens_for(engine, "do_connect")
        def make_private(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
            # SQLite would make the file readable for every account, those of sessions included.
            path = Path(arguments[0])
            if path.is_absolute():  # else it is not a file: SQLAlchemy makes names of files absolute
                with contextlib.suppress(OSError):  # it is there, or SQLite says better why not
                    path.touch(0o600, exist_ok=False)

        @event.listens_for(engine, "connect")
        def configure(connection: sqlite3.Connection, _record: Any) -> None:
            # WAL lets readers go on while one writes; FULL survives a power cut.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin_at_once(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise DatabaseUnavailable(str(error.__cause__ or error)) from error
    except DBAPIError as error:
        # "file is not a database", a truncated file, a lost connection: nothing that the caller did.
        if error.connection_invalidated or type(error.orig) is sqlite3.DatabaseError:
            raise DatabaseUnavailable(str(error.orig)) from error
        raise
