"""An event is announced once, in the transaction that made it so."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from federation.database import Database
from federation.outbox import OutboxTable, announce
from tests.support.books import START


def put(database: Database, event: str = "quota-spent:80:ann") -> bool:
    with database.write() as connection:
        return announce(
            connection, event=event, kind="quota-spent", person_id="ann", now=START,
            due_at=START + timedelta(hours=1), percent=80,
        )  # fmt: skip


def events(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(OutboxTable.event).order_by(OutboxTable.event)).scalars())


def test_an_event_is_announced_once_with_its_figures(database: Database) -> None:
    assert put(database)
    assert not put(database)
    assert put(database, "another")
    assert events(database) == ["another", "quota-spent:80:ann"]
    with database.read() as connection:
        row = connection.execute(select(OutboxTable.__table__).where(OutboxTable.event == "another")).one()
    assert (row.person_id, row.figures, row.due_at, row.sent_at) == (
        "ann",
        {"percent": 80},
        START + timedelta(hours=1),
        None,
    )


def test_what_was_announced_in_a_transaction_that_failed_was_not(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            announce(connection, event="e", kind="k", person_id="ann", now=START, due_at=START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert events(database) == []
