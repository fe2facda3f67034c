"""The audit trail: a row in the transaction of the change, that nobody changes and that cannot be mistaken for two."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from federation.audit import Act, AuditTable, record
from federation.database import Database

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def add(database: Database, **changes: Any) -> None:
    values: dict[str, Any] = {
        "at": NOW,
        "act": Act.GRANT_ADDED,
        "actor": "cli:ana",
        "target": "g1",
        "reason": "a project",
    }
    with database.write() as connection:
        record(connection, **values | changes)


def rows(database: Database) -> list[Row[Any]]:
    with database.read() as connection:
        return list(connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq)))


def test_what_was_done_is_kept_in_order(database: Database) -> None:
    add(database, hours=5, until=None)
    add(database, act=Act.GRANT_REVOKED, reason="it ended")
    assert [tuple(row) for row in rows(database)] == [
        (1, NOW, "operator:grant:added", "cli:ana", "g1", "a project", {"hours": 5, "until": None}),
        (2, NOW, "operator:grant:revoked", "cli:ana", "g1", "it ended", {}),
    ]


@pytest.mark.parametrize("act", Act)
def test_acts_are_named_by_who_what_and_how(act: Act) -> None:
    assert len(act.value.split(":")) == 3
    assert len(act.value) <= 64


def test_a_change_that_fails_leaves_no_row(database: Database) -> None:
    def change_that_fails(connection: Connection) -> None:
        record(connection, at=NOW, act=Act.GRANT_ADDED, actor="a", target="t", reason="r")
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"), database.write() as connection:
        change_that_fails(connection)
    assert rows(database) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(update(AuditTable).values(reason="another"), id="update"),
        pytest.param(update(AuditTable).values(reason="a project"), id="update-to-the-same"),
        pytest.param(delete(AuditTable), id="delete"),
    ],
)
def test_rows_are_never_changed(database: Database, change: Any) -> None:
    add(database)
    before = rows(database)
    with pytest.raises(IntegrityError, match="rows of audit are never changed"), database.write() as connection:
        connection.execute(change)
    assert rows(database) == before


@pytest.mark.parametrize("field", ["reason", "actor", "target"])
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("a\nb", "a\\x0ab", id="line-break"),
        pytest.param("a\r\nb", "a\\x0d\\x0ab", id="windows-line-break"),
        pytest.param("a\x1b[2Jb", "a\\x1b[2Jb", id="terminal-escape"),
        pytest.param("a\x00b", "a\\x00b", id="nul"),
        pytest.param("a\u2028b", "a\\x2028b", id="line-separator"),
        pytest.param("a\u202eb", "a\\x202eb", id="right-to-left-override"),
        pytest.param("Inês, São Paulo", "Inês, São Paulo", id="letters"),
        pytest.param("", "", id="empty"),
    ],
)
def test_control_characters_are_made_visible(database: Database, field: str, written: str, expected: str) -> None:
    add(database, **{field: written})
    assert getattr(rows(database)[0], field) == expected


@pytest.mark.parametrize(("field", "most"), [("reason", 2000), ("actor", 256), ("target", 256)])
@pytest.mark.parametrize("character", ["x", "\n", "é"])
def test_texts_are_cut_to_their_place(database: Database, field: str, most: int, character: str) -> None:
    add(database, **{field: character * 10_000})
    assert len(getattr(rows(database)[0], field)) == most
