"""Databases for tests, of either kind: where the next one is, with tables or without; all are removed in the end."""

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from federation import migrations
from federation.database import Database
from tests.support.postgres import PostgresServer, why_not

__all__ = ["KINDS", "Databases", "PostgresDatabases", "SqliteDatabases", "postgres_or_skip", "with_tables"]

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


class PostgresDatabases:
    """Databases on the server of this run. `template` is one with all tables, which nobody may be connected to."""

    kind = "postgresql"

    def __init__(self, server: PostgresServer, template: Callable[[], str]) -> None:
        self._server, self._template = server, template
        self._made: dict[str, str] = {}

    def empty(self) -> str:
        return self._made_of("template0")

    def migrated(self) -> str:
        return self._made_of(self._template())

    def drop(self, url: str) -> None:
        self._server.drop(self._made.pop(url))

    def close(self) -> None:
        for url in list(self._made):
            self.drop(url)

    def _made_of(self, template: str) -> str:
        name = self._server.create(template=template)
        self._made[self._server.url(name)] = name
        return self._server.url(name)


def postgres_or_skip() -> None:
    """Skip the test with the reason where no PostgreSQL can run; never on the machine whose word counts."""
    reason = why_not()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def with_tables(url: str) -> None:
    """Make all tables of an empty database."""
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
