"""Pages of the access desk, in process: on SQLite only, since the store below them is tested on both."""

from collections.abc import Iterator

import pytest

from federation.database import Database
from tests.support.desk_pages import DeskPages


@pytest.fixture
def kind() -> str:
    return "sqlite"


@pytest.fixture
def pages(database: Database) -> Iterator[DeskPages]:
    """The desk, with nobody signed in."""
    made = DeskPages(database)
    with made.runner:
        yield made
