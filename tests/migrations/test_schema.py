"""The tables: models and migrations say the same, other versions are refused, and what is written once stays written."""

import io
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import create_engine, create_mock_engine
from sqlalchemy.exc import IntegrityError

from federation import migrations
from federation.audit import AuditTable
from federation.database import Base, Database
from federation.migrations.versions import v0001_first_tables, v0003_ledger
from federation.outbox import OutboxTable
from federation.persons import PersonTable
from quota.tables import EntryTable, GrantTable, RateTable
from spawners.tables import SessionTable
from tests.support.books import MINUTE, START, Books, Crash, CrashingDatabase, dump, open_books, units

HOUSES = (AuditTable, OutboxTable, PersonTable, EntryTable, SessionTable)
"""One table of each house that has any: so all of them are imported."""
KEPT = ("audit", "entry", "rate_table")
"""Tables of which no row is ever changed."""


def file_of(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


def schema(path: Path) -> set[tuple[str, str, str]]:
    """What the file is made of: type, name and SQL of each table, index and trigger, in one way of writing."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    return {(kind, name, normal(sql)) for kind, name, sql in rows if name != "alembic_version"}


def normal(sql: str) -> str:
    """SQL without line breaks and needless quotes; the parts of a table in the order of the alphabet."""
    sql = re.sub(r"\s+", " ", sql.replace('"', "")).strip()
    head, bracket, body = sql.partition("(")
    if not head.startswith("CREATE TABLE"):
        return sql
    parts = re.split(r", (?![^(]*\))", body.removesuffix(")").strip())
    return f"{head}{bracket}{', '.join(sorted(parts))})"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[CrashingDatabase]:
    """A database without any table."""
    database = CrashingDatabase(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with database.read():
        pass
    yield database
    database.dispose()


# --- models and migrations ----------------------------------------------------------------------------------------


def test_models_and_migrations_make_the_same_tables_and_indexes(database: Database, tmp_path: Path) -> None:
    modelled = tmp_path / "modelled.sqlite"
    engine = create_engine(f"sqlite:///{modelled}")
    Base.metadata.create_all(engine)
    engine.dispose()
    migrated = {part for part in schema(file_of(database)) if part[0] != "trigger"}
    assert schema(modelled) == migrated
    assert ("index", "uq_entry_terminal") in {part[:2] for part in migrated}


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_alembic_finds_nothing_to_do(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_models_and_migrations_say_the_same_to_postgresql() -> None:
    modelled: list[str] = []
    engine = create_mock_engine("postgresql+psycopg://", lambda sql, *_: modelled.append(str(sql.compile(engine))))
    Base.metadata.create_all(engine, checkfirst=False)
    migrated = postgresql_of_the_migrations()
    assert {normal(sql) for sql in modelled} == {normal(sql) for sql in migrated if "_is_kept" not in sql}


def test_the_triggers_are_there_on_both_databases_for_the_same_tables(database: Database) -> None:
    on_sqlite = {
        (name, sql.split(" BEFORE ")[1][:6]) for kind, name, sql in schema(file_of(database)) if kind == "trigger"
    }
    assert on_sqlite == {
        (f"{table}_no_{change.lower()}", change) for table in (*KEPT, "grant") for change in ("UPDATE", "DELETE")
    }
    on_postgresql = [sql for sql in postgresql_of_the_migrations() if "CREATE TRIGGER" in sql]
    assert len(on_postgresql) == len(KEPT) + 1
    for table in (*KEPT, "grant"):
        assert any(f'BEFORE UPDATE OR DELETE ON "{table}" FOR EACH ROW' in sql for sql in on_postgresql)


def postgresql_of_the_migrations() -> list[str]:
    """What the migrations would tell PostgreSQL."""
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "literal_binds": True}
    )
    with Operations.context(context):
        v0001_first_tables.upgrade()
        v0003_ledger.upgrade()
    return [sql.strip() for sql in re.split(r";\n\n", written.getvalue()) if sql.strip()]


# --- versions -----------------------------------------------------------------------------------------------------


def test_the_version_of_the_code_is_accepted(database: Database) -> None:
    migrations.check(database)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        pytest.param(None, "at version none", id="no-tables"),
        pytest.param("0000", "at version 0000", id="older"),
        pytest.param("9999", "at version 9999", id="newer"),
    ],
)
def test_another_version_is_refused_with_what_to_do(
    database: Database, empty: Database, version: str | None, said: str
) -> None:
    if version is not None:
        stamp(database, version)
    with pytest.raises(migrations.OutdatedSchema, match=rf"{said}, this program needs \d{{4}}\. Make a backup"):
        migrations.check(database if version else empty)


def test_a_newer_database_is_not_upgraded_and_not_changed(database: Database) -> None:
    stamp(database, "9999")
    before = dump(database), schema(file_of(database))
    with pytest.raises(CommandError, match="9999"):
        migrations.upgrade(database)
    assert (dump(database), schema(file_of(database))) == before


def test_upgrading_twice_is_once(database: Database) -> None:
    books = eventful(database)
    before = books.dump(), schema(file_of(database))
    migrations.upgrade(database)
    assert (books.dump(), schema(file_of(database))) == before


def test_processes_that_upgrade_together_make_the_tables_once(empty: Database) -> None:
    failures: list[Exception] = []

    def upgrade() -> None:
        database = Database(empty.url, busy_seconds=30)
        try:
            migrations.upgrade(database)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        database.dispose()

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    migrations.check(empty)


def test_an_upgrade_that_crashes_leaves_nothing_behind(empty: CrashingDatabase) -> None:
    for statement in range(0, 1000, 5):
        empty.crash_at = statement
        with pytest.raises(Crash):
            migrations.upgrade(empty)
        assert dump(empty) == {}
        if empty.statements < statement:
            break
    assert empty.statements > len(Base.metadata.tables)
    migrations.upgrade(empty)
    migrations.check(empty)


def stamp(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (version,))


# --- what is written once -----------------------------------------------------------------------------------------


def eventful(database: Database) -> Books:
    """Books with a row in every table of theirs."""
    books = open_books(database)
    books.grant(units(36_000))
    books.ledger.revoke(books.grant(units(600)), actor="olga", reason="")
    books.settle(books.hold(), MINUTE)
    books.hold(server="one")
    return books


def columns(*tables: Any) -> list[Any]:
    return [
        pytest.param(t.__tablename__, c.name, id=f"{t.__tablename__}.{c.name}") for t in tables for c in t.__table__.c
    ]


def execute(database: Database, sql: str, *values: Any) -> int:
    with database.write() as connection:
        return connection.exec_driver_sql(sql, values).rowcount


@pytest.mark.parametrize(("table", "column"), columns(AuditTable, EntryTable, RateTable))
def test_no_column_of_what_is_written_once_can_be_changed(database: Database, table: str, column: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(database, f'UPDATE "{table}" SET "{column}" = "{column}"')
    assert dump(database) == before


@pytest.mark.parametrize(("table", "column"), [c for c in columns(GrantTable) if c.values[1] != "revoked_at"])
def test_no_other_column_of_a_grant_can_be_changed(database: Database, table: str, column: str) -> None:
    eventful(database)
    before = dump(database)
    for change in (f'"{column}" = "{column}"', f'revoked_at = NULL, "{column}" = 1'):
        with pytest.raises(IntegrityError, match="rows of grant are never changed"):
            execute(database, f'UPDATE "{table}" SET {change}')
    assert dump(database) == before


def test_only_the_revocation_of_a_grant_can_be_written_later(database: Database) -> None:
    books = eventful(database)
    assert execute(database, 'UPDATE "grant" SET revoked_at = ?', "2026-03-03 00:00:00.000000") == 2
    assert {row.revoked_at.day for row in books.rows(GrantTable)} == {3}


@pytest.mark.parametrize("table", [*KEPT, "grant"])
def test_no_row_of_it_can_be_deleted(database: Database, table: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(database, f'DELETE FROM "{table}"')
    assert dump(database) == before


# --- what the database itself keeps true --------------------------------------------------------------------------


def copied(database: Database, table: str, where: str, **changes: Any) -> None:
    """Insert a copy of a row, with changes."""
    with database.read() as connection:
        row = dict(connection.exec_driver_sql(f'SELECT * FROM "{table}" WHERE {where} LIMIT 1').mappings().one())
    row.update(changes)
    names = ", ".join(f'"{name}"' for name in row)
    execute(database, f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(row))})', *row.values())


@pytest.mark.parametrize(
    ("table", "where", "changes"),
    [
        pytest.param("account", "1", {"id": None}, id="account-of-one-owner-twice"),
        pytest.param("grant", "1", {"id": "g"}, id="grant-with-the-same-key"),
        pytest.param("grant", "1", {"id": "g", "key": "k", "amount": 0}, id="grant-of-nothing"),
        pytest.param("grant", "1", {"id": "g", "key": "k", "amount": -5}, id="grant-below-zero"),
        pytest.param("grant", "1", {"id": "g", "key": "k", "ends_at": str(START)}, id="grant-that-ends-at-its-start"),
        pytest.param("grant", "1", {"id": "g", "key": "k", "account_id": 99}, id="grant-of-no-account"),
        pytest.param("hold", "state = 'held'", {"id": "h"}, id="second-open-hold-of-a-server"),
        pytest.param("hold", "state = 'held'", {"id": "h", "state": "running"}, id="second-hold-in-another-open-state"),
        pytest.param("hold", "state = 'held'", {"id": "h", "state": "unknown"}, id="second-hold-that-is-unknown"),
        pytest.param("hold", "state = 'settled'", {"id": "h", "amount": 0}, id="hold-of-nothing"),
        pytest.param("entry", "kind = 'release'", {"seq": None}, id="second-release-of-a-hold"),
        pytest.param("entry", "kind = 'charge'", {"seq": None, "amount": 1}, id="second-charge-of-a-hold-to-a-grant"),
        pytest.param("entry", "kind = 'release'", {"seq": None, "hold_id": "nobody"}, id="entry-of-no-hold"),
        pytest.param("rate_table", "1", {}, id="rate-of-a-version-twice"),
        pytest.param("rate_table", "1", {"version": 2, "weight_milli": 0}, id="weight-of-nothing"),
    ],
)
def test_a_row_that_cannot_be_true_is_not_taken(
    database: Database, table: str, where: str, changes: dict[str, Any]
) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError):
        copied(database, table, where, **changes)
    assert dump(database) == before


def test_a_second_overrun_of_a_hold_is_not_taken(database: Database) -> None:
    books = open_books(database)
    books.grant(units(2700))
    books.settle(books.hold(), 60 * MINUTE)
    with pytest.raises(IntegrityError):
        copied(database, "entry", "kind = 'overrun'", seq=None)


def test_a_closed_hold_and_its_renewals_do_not_stand_in_the_way(database: Database) -> None:
    eventful(database)
    copied(database, "hold", "state = 'settled'", id="another")
    copied(database, "hold", "state = 'held'", id="closed", state="released")
    copied(database, "entry", "kind = 'hold'", seq=None, kind="renew")
    copied(database, "entry", "kind = 'renew'", seq=None)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("balance SET used = -1", id="used-below-zero"),
        pytest.param("balance SET held = -1", id="held-below-zero"),
        pytest.param("grant_balance SET charged = -1", id="charged-below-zero"),
        pytest.param("grant_balance SET lapsed = -1", id="lapsed-below-zero"),
        pytest.param("grant_balance SET charged = amount, lapsed = 1", id="more-spent-than-given"),
        pytest.param("hold SET amount = 0", id="hold-of-nothing"),
    ],
)
def test_a_sum_that_cannot_be_true_is_not_taken(database: Database, change: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError):
        execute(database, f"UPDATE {change}")
    assert dump(database) == before


def test_times_are_kept_to_the_microsecond_and_in_utc(database: Database) -> None:
    books = open_books(database)
    books.clock.now = START.replace(microsecond=1)
    books.grant(units(3600))
    (row,) = books.rows(GrantTable)
    assert row.created_at == START.replace(microsecond=1)
    assert dump(database)["grant"][0].count(repr("2026-03-02 09:00:00.000001")) == 2
