"""Databases for tests, of either kind: where the next one is, with tables or without; all are removed in the end."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Protocol

from federation import migrations
from federation.database import Database
from tests.support.missing import skip_or_fail
from tests.support.postgres import PostgresServer, why_not
from tests.support.structure import tables_of

__all__ = [
    "KINDS",
    "Databases",
    "PostgresDatabases",
    "PostgresStock",
    "SqliteDatabases",
    "postgres_or_skip",
    "with_tables",
]

KINDS = ("sqlite", "postgresql")


class Databases(Protocol):
    """Makes databases of one kind; each is named by its SQLAlchemy URL."""

    kind: str

    def empty(self) -> str:
        """A new one without any table."""

    def migrated(self) -> str:
        """A new one with all tables and nothing in them. A copy: that is faster than making them each time."""

    def drop(self, url: str) -> None:
        """Remove one before the end."""

    def close(self) -> None:
        """Remove all that are left."""


class SqliteDatabases:
    """Files in a folder."""

    kind = "sqlite"

    def __init__(self, folder: Path, tables: Path) -> None:
        self._folder, self._tables, self._numbers = folder, tables, count(1)

    def empty(self) -> str:
        return f"sqlite:///{self._folder / f'federation-{next(self._numbers)}.sqlite'}"

    def migrated(self) -> str:
        url = self.empty()
        shutil.copy(self._tables, url.removeprefix("sqlite:///"))
        return url

    def drop(self, url: str) -> None:
        for file in self._folder.glob(Path(url.removeprefix("sqlite:///")).name + "*"):
            file.unlink()

    def close(self) -> None:
        """pytest removes the folder."""


class PostgresStock:
    """Makes and removes databases on a server in a thread of its own, and always has one with all tables at hand."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(1)
        self._template = server.create()
        with_tables(server.url(self._template))
        self._next = self._thread.submit(self._copy)

    def empty(self) -> str:
        return self._server.create()

    def migrated(self) -> str:
        name = self._next.result()
        self._next = self._thread.submit(self._copy)
        return name

    def drop(self, name: str) -> None:
        self._thread.submit(self._server.drop, name)

    def url(self, name: str) -> str:
        return self._server.url(name)

    def close(self) -> None:
        self._thread.shutdown()

    def _copy(self) -> str:
        return self._server.create(template=self._template)


class PostgresDatabases:
    """Databases on the server of this run."""

    kind = "postgresql"

    def __init__(self, stock: PostgresStock) -> None:
        self._stock = stock
        self._made: dict[str, str] = {}

    def empty(self) -> str:
        return self._known(self._stock.empty())

    def migrated(self) -> str:
        return self._known(self._stock.migrated())

    def drop(self, url: str) -> None:
        self._stock.drop(self._made.pop(url))

    def close(self) -> None:
        for url in list(self._made):
            self.drop(url)

    def _known(self, name: str) -> str:
        self._made[self._stock.url(name)] = name
        return self._stock.url(name)


def postgres_or_skip() -> None:
    """Skip the test with the reason where no PostgreSQL can run; never on the machine whose word counts."""
    reason = why_not()
    if reason:
        skip_or_fail(reason)


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another process is writing, and nobody else can: they can only read."""
    other = Database(database.url)
    try:
        with suppress(_Undone), other.write() as connection:
            if not database.is_sqlite:
                names = ", ".join(f'"{name}"' for name in tables_of(connection))
                connection.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
            yield
            raise _Undone
    finally:
        other.dispose()


class _Undone(Exception):
    pass


def with_tables(url: str) -> None:
    """Make all tables of an empty database."""
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
