"""Statements that are composed once are what SQLAlchemy's are: the same rows, errors, events and transactions; and a
connection on which one went wrong can be used again, or is given up.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from federation.database import Database, DatabaseUnavailable, Moment
from federation.prepared import Prepared, kept, run
from tests.support.databases import Databases

NOW = datetime(2026, 3, 2, 9, 0, 0, 123, tzinfo=UTC)
THING = Table(
    "thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(100), unique=True),
    Column("at", Moment), Column("good", Boolean),
)  # fmt: skip
ADD = Prepared(insert(THING).values({name: bindparam(name) for name in ("id", "name", "at", "good")}))
LOOK = Prepared(select(THING).where(THING.c.id >= bindparam("first")).order_by(THING.c.id).limit(2))
RENAME = Prepared(update(THING).where(THING.c.id == bindparam("of")).values(name=bindparam("new")))
COUNT = Prepared(select(func.count().label("number")).select_from(THING))
postgresql_only = pytest.mark.parametrize("kind", ["postgresql"])


@pytest.fixture
def things(databases: Databases) -> Iterator[Database]:
    """A database with an empty table, and a process that has one connection."""
    made = Database(databases.empty(), busy_seconds=5)
    with made.write() as connection:
        THING.create(connection)
    yield made
    made.dispose()


def thing(number: int, **values: Any) -> Any:
    return ADD(**{"id": number, "name": f"n{number}", "at": NOW, "good": True, **values})


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(THING.c.name).order_by(THING.c.id)).scalars())


def test_rows_are_those_that_sqlalchemy_finds(things: Database) -> None:
    texts = ["", "Inês d'Ávila", 'a "quoted" %s $1 {x,y} \\ name', None]
    with things.write() as connection:
        run(connection, [thing(n, name=name, at=NOW if n else None, good=n % 2 == 0) for n, name in enumerate(texts)])
    with things.read() as connection:
        for first in range(5):
            (found,) = run(connection, [LOOK(first=first)])
            expected = connection.execute(select(THING).where(THING.c.id >= first).order_by(THING.c.id).limit(2)).all()
            assert [row._asdict() for row in found] == [row._asdict() for row in expected]


def test_each_statement_sees_what_those_before_it_did(things: Database) -> None:
    with things.write() as connection:
        counts = run(
            connection, [COUNT(), thing(1), COUNT(), thing(2), RENAME(of=2, new="two"), COUNT(), LOOK(first=2)]
        )
    assert [found[0].number for found in (counts[0], counts[2], counts[5])] == [0, 1, 2]
    assert counts[6][0].name == "two"


def test_more_than_the_buffers_between_the_two_hold(things: Database) -> None:
    many = 3000
    with things.write() as connection:
        run(connection, [thing(n, name=f"{n:0100}") for n in range(many)])
        found = run(connection, [LOOK(first=n) for n in range(many)])
    assert [rows[0].id for rows in found] == list(range(many))


def test_of_a_block_that_fails_nothing_stays(things: Database) -> None:
    def fail() -> None:
        with things.write() as connection:
            run(connection, [thing(1)])
            run(connection, [thing(2)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(things) == []


@pytest.mark.parametrize("commit", [True, False])
def test_none_runs_after_one_that_failed_and_nothing_stays(things: Database, commit: bool) -> None:
    with things.write() as connection:
        run(connection, [thing(1)], commit=commit)

    def fail() -> None:
        with things.write() as connection:
            run(connection, [thing(2), thing(3, name="n1"), thing(4)], commit=commit)

    for _ in range(3):  # the connection is as good as before
        with pytest.raises(IntegrityError, match=r"(?i)unique") as raised:
            fail()
        assert "n1" in str(raised.value.params)
        assert names(things) == ["n1"]
    with things.write() as connection:
        run(connection, [thing(2)], commit=commit)
    assert names(things) == ["n1", "n2"]


def test_what_cannot_be_sent_is_an_error_of_its_own(things: Database, kind: str) -> None:
    def send() -> None:
        with things.write() as connection:
            run(connection, [thing(1), thing(2, name="nul \0 in it")])

    if kind == "postgresql":
        with pytest.raises(DataError, match="NUL"):
            send()
        assert names(things) == []
    with things.write() as connection:
        run(connection, [thing(3)])
    assert "n3" in names(things)


def test_whoever_listens_to_statements_hears_of_each_before_it_runs(things: Database, kind: str) -> None:
    heard: list[str] = []
    with things.write() as connection:
        event.listen(connection, "before_cursor_execute", lambda *heard_of: heard.append(heard_of[2].split()[0]))
        run(connection, [thing(1), COUNT()], commit=True)
    assert heard == ["INSERT", "SELECT", *(["COMMIT"] if kind == "postgresql" else [])]


def test_both_ways_can_be_used_in_one_transaction(things: Database) -> None:
    with things.write() as connection:
        connection.execute(insert(THING).values(id=1, name="one"))
        run(connection, [thing(2)])
        connection.execute(insert(THING).values(id=3, name="three"))
        with suppress(IntegrityError), connection.begin_nested():
            connection.execute(insert(THING).values(id=3, name="again"))
        run(connection, [thing(4), COUNT()])
    assert names(things) == ["one", "n2", "three", "n4"]


@postgresql_only
def test_what_psycopg_has_the_server_throw_away_is_prepared_again(things: Database) -> None:
    for number in range(5):
        with things.write() as connection:
            run(connection, [thing(number)])
        with suppress(RuntimeError), things.write() as connection:
            let_psycopg_prepare(connection)
            raise RuntimeError
    assert len(names(things)) == 5


@postgresql_only
def test_so_it_is_in_the_middle_of_a_transaction(things: Database) -> None:
    with things.write() as connection:
        run(connection, [thing(1)])
        let_psycopg_prepare(connection)
        with suppress(IntegrityError), kept(connection), connection.begin_nested():
            connection.execute(insert(THING).values(id=1, name="again"))
        run(connection, [thing(2)])
    assert names(things) == ["n1", "n2"]


def let_psycopg_prepare(connection: Connection) -> None:
    """It prepares what it has sent five times, and has it thrown away at the next rollback, with all else."""
    for _ in range(7):
        connection.execute(select(THING.c.name)).all()


@postgresql_only
def test_a_statement_is_prepared_once_for_each_connection(things: Database) -> None:
    for number in range(20):
        with things.write() as connection:
            run(connection, [thing(number)])
        names(things)
    with things.write() as connection:
        prepared = connection.execute(text("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'nbfed%'"))
        assert sorted(row.statement.split()[0] for row in prepared) == ["BEGIN", "INSERT"]


@postgresql_only
def test_reads_stay_reads_and_one_view(things: Database) -> None:
    with things.write() as connection:
        run(connection, [thing(1)])
    with things.read() as connection:
        assert run(connection, [COUNT()])[0][0].number == 1
        with things.write() as other:
            run(other, [thing(2)], commit=True)
        assert run(connection, [COUNT()])[0][0].number == 1
    with pytest.raises(DatabaseUnavailable, match="read-only"), things.read() as connection:
        run(connection, [thing(3)])


@postgresql_only
def test_a_commit_that_went_with_the_statements_is_there_for_others_at_once(things: Database) -> None:
    with things.write() as connection:
        run(connection, [thing(1)], commit=True)
        assert names(things) == ["n1"]


@postgresql_only
def test_other_threads_run_while_one_waits_for_a_lock(things: Database) -> None:
    with things.write() as connection:
        run(connection, [thing(1)])
    with ThreadPoolExecutor(1) as threads:
        with things.write() as connection:
            run(connection, [RENAME(of=1, new="first")])
            waits = threads.submit(renamed, things)
            deadline = time.monotonic() + 30
            while not waiting(connection):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        waits.result()
    assert names(things) == ["second"]


def renamed(things: Database) -> None:
    with things.write() as connection:
        run(connection, [RENAME(of=1, new="second")], commit=True)


def waiting(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one())


def end_connections_of(connection: Connection, url: str) -> None:
    """As an administrator does, by another connection."""
    process = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [process])


@postgresql_only
@pytest.mark.parametrize("between", [True, False])
def test_a_connection_that_the_server_ended_is_an_outage_and_given_up(things: Database, between: bool) -> None:
    def lose() -> None:
        with things.write() as connection:
            if between:
                run(connection, [thing(1)])
            end_connections_of(connection, things.url)
            run(connection, [thing(2)], commit=True)

    with pytest.raises(DatabaseUnavailable):
        lose()
    assert names(things) == []
    with things.write() as connection:
        run(connection, [thing(3)], commit=True)
    assert names(things) == ["n3"]


@postgresql_only
def test_a_connection_that_is_left_while_answers_are_under_way_is_given_up(
    things: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, for instance: whoever came next would take those answers for its own."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def leave() -> None:
        with things.write() as connection:
            monkeypatch.setattr("federation.pipeline._answers", interrupted)
            run(connection, [thing(1)], commit=False)

    with pytest.raises(KeyboardInterrupt):
        leave()
    monkeypatch.undo()
    assert names(things) == []
    with things.write() as connection:
        run(connection, [thing(2)])
    assert names(things) == ["n2"]


@postgresql_only
def test_a_lock_that_cannot_be_had_in_time_is_an_outage(databases: Databases) -> None:
    quick = Database(databases.empty(), busy_seconds=0.3)
    with quick.write() as connection:
        THING.create(connection)
        run(connection, [thing(1)])
    with ThreadPoolExecutor(1) as threads, quick.write() as connection:
        run(connection, [RENAME(of=1, new="first")])
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            threads.submit(renamed, quick).result()
    assert names(quick) == ["first"]
    quick.dispose()


def test_an_error_of_the_database_itself_is_an_outage(things: Database, kind: str) -> None:
    with things.write() as connection:
        connection.execute(text("DROP TABLE thing"))
    with pytest.raises(DatabaseUnavailable, match="thing"), things.write() as connection:
        run(connection, [COUNT()])
