"""The tables: models and migrations say the same, other versions are refused, and what is written once stays written."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Table, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from federation import migrations, terms
from federation.audit import AuditTable
from federation.database import Base, Database
from federation.outbox import OutboxTable
from federation.persons import PersonTable
from federation.terms import AcceptanceTable
from quota.tables import EntryTable, GrantTable, HoldTable, RateTable
from spawners.gateway.tables import ForwardTable
from spawners.tables import SessionTable
from tests.support.books import MINUTE, START, Books, Crash, CrashingDatabase, discrepancies, dump, open_books, units
from tests.support.databases import Databases
from tests.support.structure import structure
from vetting import mappings
from vetting.site_tables import SiteTable
from vetting.tables import MappingTable

HOUSES = (
    AuditTable, OutboxTable, PersonTable, AcceptanceTable, EntryTable, MappingTable, SiteTable, SessionTable, ForwardTable,
)  # fmt: skip
"""One table of each house that has any: so all of them are imported."""
KEPT = ("acceptance", "audit", "entry", "rate_table", "site_account", "terms")
"""Tables of which no row is ever changed."""
SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"


@pytest.fixture
def empty(databases: Databases) -> Iterator[CrashingDatabase]:
    """A database without any table."""
    database = CrashingDatabase(databases.empty())
    with database.read():
        pass
    yield database
    database.dispose()


# --- models and migrations ----------------------------------------------------------------------------------------


def test_models_and_migrations_make_the_same_tables_and_indexes(database: Database, empty: Database) -> None:
    with empty.write() as connection:
        Base.metadata.create_all(connection)
    migrated = {part for part in structure(database) if part[0] not in ("trigger", "function")}
    assert structure(empty) == migrated
    assert ("index", "uq_entry_terminal") in {part[:2] for part in migrated}


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_alembic_finds_nothing_to_do(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_triggers_are_there_for_the_same_tables_on_both_databases(database: Database) -> None:
    triggers = {name for kind, name, _ in structure(database) if kind == "trigger"}
    of_each = {
        "sqlite": ("no_update", "no_delete", "no_replace", "no_move"),
        "postgresql": ("is_kept", "is_not_emptied"),
    }
    expected = of_each["sqlite" if database.is_sqlite else "postgresql"]
    assert triggers == {f"{table}_{trigger}" for table in (*KEPT, "grant") for trigger in expected}


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
    before = dump(database), structure(database)
    with pytest.raises(CommandError, match="9999"):
        migrations.upgrade(database)
    assert (dump(database), structure(database)) == before


def test_upgrading_twice_is_once(database: Database) -> None:
    books = eventful(database)
    before = books.dump(), structure(database)
    migrations.upgrade(database)
    assert (books.dump(), structure(database)) == before


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


# --- data that earlier versions wrote ----------------------------------------------------------------------------------


def load(database: Database, version: str) -> None:
    """Fill an empty database with what that version of the program left; README.md in the folder says how it was made."""
    kind = "sqlite" if database.is_sqlite else "postgresql"
    script = (SCHEMAS / f"{version}.{kind}.sql").read_text(encoding="utf-8")
    url = make_url(database.url)
    if database.is_sqlite:
        with closing(sqlite3.connect(str(url.database))) as connection:
            connection.executescript(script)
        return
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
    ) as connection:
        connection.execute(script)


@pytest.mark.parametrize("version", ["0001"])
def test_what_an_earlier_version_wrote_survives_the_upgrade(empty: Database, database: Database, version: str) -> None:
    load(empty, version)
    before = dump(empty)
    assert sum(map(len, before.values())) > 50
    migrations.upgrade(empty)
    after = dump(empty)
    for table in before.keys() - {"alembic_version"}:
        assert [row[: len(before[table][0])] for row in after[table]] == before[table], table
    assert structure(empty) == structure(database)
    migrations.check(empty)


@pytest.mark.parametrize("version", ["0001"])
def test_books_that_an_earlier_version_wrote_can_be_gone_on_with(empty: Database, version: str) -> None:
    load(empty, version)
    books = open_books(empty)
    assert discrepancies(empty) == []
    books.clock.move(timedelta(hours=3))
    books.grant(units(3600), key="a new one")
    books.settle(books.hold(), MINUTE)
    (running,) = books.rows(HoldTable, HoldTable.state == "running")
    assert books.settle(running.id, timedelta(hours=1)).charged == 14_400_000
    assert discrepancies(empty) == []


def stamp(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


# --- what is written once -----------------------------------------------------------------------------------------


def eventful(database: Database) -> Books:
    """Books with a row in every table of theirs, and in those that are written once."""
    books = open_books(database)
    with database.write() as connection:
        terms.publish(connection, "1", {"en": "Words."}, START)
        terms.accept(connection, person_id="p", version="1", language="en", now=START)
        mappings.ask(connection, person_id="p", site="here", account="ana", by="olga", now=START)
    books.grant(units(36_000))
    books.ledger.revoke(books.grant(units(600)), actor="olga", reason="")
    settled = books.settle(books.hold(), MINUTE).hold
    books.ledger.correct(settled, amount=-units(10), key="a mistake", actor="olga", reason="")
    books.hold(server="one")
    return books


def columns(*tables: Any) -> list[Any]:
    return [pytest.param(t.__table__, c.name, id=f"{t.__tablename__}.{c.name}") for t in tables for c in t.__table__.c]


def execute(database: Database, statement: Any, **values: Any) -> int:
    with database.write() as connection:
        return connection.execute(text(statement) if isinstance(statement, str) else statement, values).rowcount


def another(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, datetime):
        return value + timedelta(days=1)
    if isinstance(value, dict):
        return {**value, "another": 1}
    return value + 1 if isinstance(value, int) else f"z{value[1:] if value else ''}"


def change(database: Database, table: Table, column: str, **more: Any) -> None:
    """Change one column of one row, and `more` of it."""
    with database.write() as connection:
        row = connection.execute(select(table).limit(1)).mappings().one()
        keys = [key == row[key.name] for key in table.primary_key.columns]
        connection.execute(update(table).where(*keys).values({column: another(row[column]), **more}))


@pytest.mark.parametrize(("table", "column"), columns(AuditTable, EntryTable, RateTable))
def test_no_column_of_what_is_written_once_can_be_changed(database: Database, table: Table, column: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=f"rows of {table.name} are never changed"):
        change(database, table, column)
    assert dump(database) == before


@pytest.mark.parametrize("table", KEPT)
def test_what_is_written_once_cannot_even_be_changed_to_the_same(database: Database, table: str) -> None:
    eventful(database)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(
            database, Base.metadata.tables[table].update().values(dict.fromkeys([first(table)], text(first(table))))
        )


def first(table: str) -> str:
    return str(next(iter(Base.metadata.tables[table].primary_key.columns)).name)


@pytest.mark.parametrize(("table", "column"), [c for c in columns(GrantTable) if c.values[1] != "revoked_at"])
def test_no_other_column_of_a_grant_can_be_changed(database: Database, table: Table, column: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match="rows of grant are never changed"):
        change(database, table, column)
    with pytest.raises(IntegrityError, match="rows of grant are never changed"):
        change(database, table, column, revoked_at=None)
    assert dump(database) == before


def test_only_the_revocation_of_a_grant_can_be_written_later(database: Database) -> None:
    books = eventful(database)
    assert execute(database, update(GrantTable).values(revoked_at=START + timedelta(days=1))) == 2
    assert {row.revoked_at.day for row in books.rows(GrantTable)} == {3}


@pytest.mark.parametrize("table", [*KEPT, "grant"])
def test_no_row_of_it_can_be_deleted(database: Database, table: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(database, f'DELETE FROM "{table}"')
    assert dump(database) == before


REPLACEMENTS = [
    pytest.param("audit", {}, id="audit"),
    pytest.param("entry", {}, id="entry"),
    pytest.param("entry", {"seq": 1000, "WHERE": "kind = 'release'"}, id="entry-that-ends-a-hold"),
    pytest.param("entry", {"seq": 1000, "WHERE": "kind = 'charge'"}, id="entry-that-charges-a-grant"),
    pytest.param("entry", {"seq": 1000, "WHERE": "key IS NOT NULL"}, id="entry-by-its-key"),
    pytest.param("rate_table", {}, id="rate"),
    pytest.param("rate_table", {"rowid": 1, "version": 7}, id="rate-by-its-number"),
    pytest.param("terms", {}, id="terms"),
    pytest.param("acceptance", {}, id="acceptance"),
    pytest.param("acceptance", {"id": "another"}, id="acceptance-of-the-same"),
    pytest.param("site_account", {}, id="account-of-a-site"),
    pytest.param("grant", {}, id="grant"),
    pytest.param("grant", {"id": "another"}, id="grant-by-its-key"),
    pytest.param("grant", {"key": "another"}, id="grant-by-its-id"),
    pytest.param("grant", {"rowid": 1, "id": "another", "key": "another"}, id="grant-by-its-number"),
]


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("words", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
@pytest.mark.parametrize(("table", "changes"), REPLACEMENTS)
def test_sqlite_replaces_no_row_of_it(database: Database, words: str, table: str, changes: dict[str, Any]) -> None:
    eventful(database)
    before = dump(database)
    changes = dict(changes)
    where = changes.pop("WHERE", "1")
    with database.read() as connection:
        row = dict(connection.execute(text(f'SELECT * FROM "{table}" WHERE {where} LIMIT 1')).mappings().one())
    row |= changes
    names = ", ".join(f'"{name}"' for name in row)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(database, f'{words} INTO "{table}" ({names}) VALUES ({", ".join(f":{name}" for name in row)})', **row)
    assert dump(database) == before


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("table", [*KEPT, "grant"])
def test_sqlite_looks_for_a_row_to_be_replaced_by_its_keys_however_many_there_are(
    database: Database, table: str
) -> None:
    with database.read() as connection:
        name = {"name": f"{table}_no_replace"}
        trigger = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :name"), name).scalar_one()
        search = re.search(r"WHEN EXISTS \((.*)\) BEGIN", trigger)
        assert search
        question, count = re.subn(r'NEW\."?\w+"?', "?", search[1])
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", (None,) * count).all()
    assert any("SEARCH" in row[3] for row in plan)
    assert not any("SCAN" in row[3] for row in plan)


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("table", ["grant", "rate_table"])
def test_sqlite_gives_no_row_of_it_the_number_of_another(database: Database, table: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed"):
        execute(database, f'UPDATE OR REPLACE "{table}" SET rowid = 2 WHERE rowid = 1')
    assert dump(database) == before


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize("statement", [
    *(pytest.param(f'TRUNCATE "{table}" CASCADE', id=table) for table in (*KEPT, "grant")),
    pytest.param("TRUNCATE account CASCADE", id="of-what-entries-point-to"),
    pytest.param("SET session_replication_role = replica; DELETE FROM entry", id="delete-without-usual-triggers"),
    pytest.param("SET session_replication_role = replica; TRUNCATE audit", id="truncate-without-usual-triggers"),
])  # fmt: skip
def test_postgresql_empties_no_table_of_it(database: Database, statement: str) -> None:
    eventful(database)
    before = dump(database)
    with pytest.raises(IntegrityError, match=r"rows of \w+ are never changed"):
        execute(database, statement)
    assert dump(database) == before


# --- what the database itself keeps true --------------------------------------------------------------------------


MADE = "made by the database"


def copied(database: Database, table: str, where: str, **changes: Any) -> None:
    """Insert a copy of a row, with changes."""
    columns = Base.metadata.tables[table]
    with database.read() as connection:
        row = dict(connection.execute(select(columns).where(text(where)).limit(1)).mappings().one())
    row = {name: value for name, value in (row | changes).items() if value != MADE}
    execute(database, insert(columns).values(row))


@pytest.mark.parametrize(
    ("table", "where", "changes"),
    [
        pytest.param("account", "id = 1", {"id": MADE}, id="account-of-one-owner-twice"),
        pytest.param("grant", "amount > 0", {"id": "g"}, id="grant-with-the-same-key"),
        pytest.param("grant", "amount > 0", {"id": "g", "key": "k", "amount": 0}, id="grant-of-nothing"),
        pytest.param("grant", "amount > 0", {"id": "g", "key": "k", "amount": -5}, id="grant-below-zero"),
        pytest.param(
            "grant", "amount > 0", {"id": "g", "key": "k", "ends_at": START}, id="grant-that-ends-at-its-start"
        ),
        pytest.param("grant", "amount > 0", {"id": "g", "key": "k", "account_id": 99}, id="grant-of-no-account"),
        pytest.param("hold", "state = 'held'", {"id": "h"}, id="second-open-hold-of-a-server"),
        pytest.param("hold", "state = 'held'", {"id": "h", "state": "running"}, id="second-hold-in-another-open-state"),
        pytest.param("hold", "state = 'held'", {"id": "h", "state": "unknown"}, id="second-hold-that-is-unknown"),
        pytest.param("hold", "state = 'settled'", {"id": "h", "amount": 0}, id="hold-of-nothing"),
        pytest.param("entry", "kind = 'release'", {"seq": MADE}, id="second-release-of-a-hold"),
        pytest.param("entry", "kind = 'charge'", {"seq": MADE, "amount": 1}, id="second-charge-of-a-hold-to-a-grant"),
        pytest.param("entry", "kind = 'release'", {"seq": MADE, "hold_id": "nobody"}, id="entry-of-no-hold"),
        pytest.param("rate_table", "version = 1", {}, id="rate-of-a-version-twice"),
        pytest.param("rate_table", "version = 1", {"version": 2, "weight_milli": 0}, id="weight-of-nothing"),
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
        copied(database, "entry", "kind = 'overrun'", seq=MADE)


def test_a_closed_hold_and_its_renewals_do_not_stand_in_the_way(database: Database) -> None:
    eventful(database)
    copied(database, "hold", "state = 'settled'", id="another")
    copied(database, "hold", "state = 'held'", id="closed", state="released")
    copied(database, "entry", "kind = 'hold'", seq=MADE, kind="renew")
    copied(database, "entry", "kind = 'renew'", seq=MADE)


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
    stored = text('SELECT CAST(created_at AS VARCHAR(26)) FROM "grant"')
    with database.read() as connection:
        assert connection.execute(stored).scalar_one() == "2026-03-02 09:00:00.000001"
