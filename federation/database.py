"""The federation database: one for all processes, SQLite by default, PostgreSQL in production.

`write()` is one transaction, all or nothing. On SQLite it takes the only write lock at once (`BEGIN IMMEDIATE`), so that
a transaction that read a balance can change it without an upgrade that fails half-way. On PostgreSQL writers run side by
side (READ COMMITTED): whoever changes what it read has locked the row (`with_for_update`) or compares and swaps.
`read()` is one consistent view that the database lets nobody change; it never waits for a writer.

Whatever keeps the database from answering is raised as `DatabaseUnavailable`, and within a bounded time: callers that
cost something fail closed.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, DateTime, Dialect, TypeDecorator
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase

from federation import prepared
from federation.clock import as_utc
from federation.engines import engines, outage

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
        An SQLAlchemy URL: `sqlite:///...` or `postgresql+psycopg://...`.
    busy_seconds
        How long a transaction waits for another one's lock, for a connection or for a server that does not answer,
        before it is an outage.

    Raises
    ------
    sqlalchemy.exc.ArgumentError
        If it is not the URL of such a database.
    """

    def __init__(self, url: str, *, busy_seconds: float = 5.0) -> None:
        self.url = url
        self.busy_seconds = busy_seconds
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self._writing = threading.Lock()
        self._view = threading.local()
        self._writer, self._reader = engines(url, busy_seconds)

    @property
    def place(self) -> str:
        """Its URL without passwords, for people."""
        shown = make_url(self.url)
        query = {name: "***" if "password" in name else value for name, value in shown.query.items()}
        return shown.set(query=query).render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may change the books: committed at the end of the block, rolled back on any error.

        Raises
        ------
        DatabaseUnavailable
            If the database cannot be reached, or a lock cannot be had in time. If it went away during the commit, nobody
            knows whether that was done: call again with the same key.
        """
        with self._one_at_a_time(), _outages(), self._writer.begin() as connection, prepared.kept(connection):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view that changes nothing; a view that is asked for within another one of the same thread is that
        one, so that nobody who waits for a second connection holds a first one.

        Raises
        ------
        DatabaseUnavailable
            If the database cannot be reached, or is asked to change something.
        """
        outer: Connection | None = getattr(self._view, "connection", None)
        if outer is not None:
            with _outages():
                yield outer
            return
        # Ended by a commit: at a rollback psycopg has the server throw away what it has prepared.
        with _outages(), self._reader.begin() as connection:
            self._view.connection = connection
            try:
                with prepared.kept(connection):
                    yield connection
            finally:
                self._view.connection = None

    def dispose(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """SQLite has one write lock, and asks for it again and again; threads of one process queue up here instead."""
        if not self.is_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=self.busy_seconds):
            raise DatabaseUnavailable("another write in this process did not end in time")
        try:
            yield
        finally:
            self._writing.release()


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        why = outage(error)
        if why is None:
            raise
        raise DatabaseUnavailable(why) from error
