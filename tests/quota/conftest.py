"""Tests of this folder run on both kinds of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.persons import Person
from tests.hub_config.test_cli import Commands
from tests.support.databases import KINDS, Databases


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database the test gets."""
    return str(request.param)


@pytest.fixture
def busy_seconds() -> float:
    """How long a command waits for a lock. A test that holds one says less."""
    return 10.0


@pytest.fixture
def nbfed(
    tmp_path: Path, databases: Databases, busy_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Commands]:
    """`nbfed` on an installation of its own."""
    commands = Commands(tmp_path, monkeypatch, database={"busy_seconds": busy_seconds})
    if databases.kind != "sqlite":
        monkeypatch.setenv("NBFED_DATABASE_URL", databases.migrated())
    yield commands
    commands.close()


@pytest.fixture
def ines(nbfed: Commands) -> Person:
    """Somebody who signed in."""
    return nbfed.person(
        "ines", name="Inês Carvalho", email="ines@serra.example.org", home_organisation="Universidade de Serra Clara"
    )
