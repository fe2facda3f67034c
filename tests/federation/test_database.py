"""The database: readers never wait, writers wait for a while, and what keeps it from answering is an outage."""

import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, column, insert, literal, select, text, type_coerce
from sqlalchemy.exc import IntegrityError, StatementError

from federation import migrations
from federation.audit import AuditTable
from federation.clock import as_utc, system_clock
from federation.database import Database, DatabaseUnavailable, Moment

BUSY_SECONDS = 0.3
Work = Callable[[Connection], Any]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Database]:
    """A database with one small table, on which writes wait only shortly."""
    made = Database(f"sqlite:///{tmp_path / 'quick.sqlite'}", busy_seconds=BUSY_SECONDS)
    with made.write() as connection:
        connection.execute(text("CREATE TABLE thing (name TEXT UNIQUE)"))
    yield made
    made.dispose()


@pytest.fixture
def patient(quick: Database) -> Iterator[Database]:
    """The same database; writes wait for longer than any test."""
    made = Database(quick.url, busy_seconds=60)
    yield made
    made.dispose()


def file_of(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


def add(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO thing VALUES (:name)"), {"name": name})


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT name FROM thing ORDER BY name")).scalars())


@contextmanager
def written_by_another_process(database: Database) -> Iterator[sqlite3.Connection]:
    """Somebody else is in the middle of a write."""
    other = sqlite3.connect(file_of(database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO thing VALUES ('other')")
    try:
        yield other
    finally:
        other.close()


# --- transactions -------------------------------------------------------------------------------------------


def test_a_write_is_there_at_its_end(quick: Database) -> None:
    with quick.write() as connection:
        add(connection, "a")
        assert names(quick) == []
    assert names(quick) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_write_that_fails_leaves_nothing_and_lets_others_write(quick: Database, error: type[BaseException]) -> None:
    def fail(connection: Connection) -> None:
        add(connection, "a")
        raise error

    with pytest.raises(error), quick.write() as connection:
        fail(connection)
    assert names(quick) == []
    with quick.write() as connection:
        add(connection, "b")
    assert names(quick) == ["b"]


def test_a_read_changes_nothing(quick: Database) -> None:
    with quick.read() as connection:
        add(connection, "a")
    assert names(quick) == []


def test_a_read_is_one_view_whatever_is_written_meanwhile(quick: Database) -> None:
    with quick.read() as connection:
        count = text("SELECT count(*) FROM thing")
        before = connection.execute(count).scalar_one()
        with quick.write() as writing:
            add(writing, "a")
        assert connection.execute(count).scalar_one() == before == 0
    assert names(quick) == ["a"]


def test_a_read_does_not_wait_for_a_write(patient: Database) -> None:
    with written_by_another_process(patient):
        started = time.monotonic()
        assert names(patient) == []
        assert time.monotonic() - started < 30


def test_what_a_constraint_forbids_is_no_outage(quick: Database) -> None:
    with quick.write() as connection:
        add(connection, "a")
    with pytest.raises(IntegrityError), quick.write() as connection:
        add(connection, "a")


def test_rows_cannot_point_nowhere(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2


def test_the_file_is_its_owners_alone(quick: Database) -> None:
    with quick.write() as connection:
        add(connection, "a")
        files = sorted(file_of(quick).parent.glob("quick.sqlite*"))
        assert [file.name for file in files] == ["quick.sqlite", "quick.sqlite-shm", "quick.sqlite-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_mode_of_a_file_that_was_there_is_left(tmp_path: Path) -> None:
    file = tmp_path / "there.sqlite"
    file.touch()
    file.chmod(0o640)
    database = Database(f"sqlite:///{file}")
    migrations.upgrade(database)
    database.dispose()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_database_in_memory_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite://")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE thing (name TEXT)"))
    database.dispose()
    assert list(tmp_path.iterdir()) == []


# --- outages ------------------------------------------------------------------------------------------------


def test_a_write_waits_for_another_process_and_then_it_is_an_outage(quick: Database) -> None:
    with written_by_another_process(quick):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="locked"), quick.write():
            pass  # pragma: no cover
        assert BUSY_SECONDS * 0.8 < time.monotonic() - started < BUSY_SECONDS * 50
    with quick.write() as connection:
        add(connection, "a")
    assert names(quick) == ["a"]


def test_a_write_that_has_to_wait_a_little_is_done(patient: Database) -> None:
    with written_by_another_process(patient) as other:
        soon = threading.Timer(0.1, other.execute, ["COMMIT"])
        soon.start()
        with patient.write() as connection:
            add(connection, "a")
            assert names(patient) == ["other"]
        soon.join()
    assert names(patient) == ["a", "other"]


def test_a_write_waits_for_another_thread_and_then_it_is_an_outage(quick: Database) -> None:
    writing, done = threading.Event(), threading.Event()

    def write_for_long() -> None:
        with quick.write() as connection:
            add(connection, "slow")
            writing.set()
            done.wait(10)

    thread = threading.Thread(target=write_for_long)
    thread.start()
    assert writing.wait(10)
    with pytest.raises(DatabaseUnavailable, match="another write in this process did not end in time"), quick.write():
        pass  # pragma: no cover
    assert names(quick) == []
    done.set()
    thread.join()
    assert names(quick) == ["slow"]


def test_writes_of_many_threads_and_two_processes_are_all_done(patient: Database) -> None:
    another = Database(patient.url, busy_seconds=60)  # as another process would have it

    def write(number: int) -> None:
        for database in (patient, another):
            with database.write() as connection:
                add(connection, f"{number}-{id(database)}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(patient)) == 20
    another.dispose()


def make_folder(file: Path) -> None:
    file.mkdir(parents=True)


def write_garbage(file: Path) -> None:
    file.write_bytes(b"not a database, but as long as the header of one" * 100)


def cut_off(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    migrations.upgrade(database)
    database.dispose()
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        pytest.param("file.sqlite", write_garbage, id="not-a-database"),
        pytest.param("file.sqlite", cut_off, id="cut-off"),
        pytest.param("file.sqlite", make_folder, id="a-folder"),
        pytest.param("none/file.sqlite", lambda file: None, id="no-folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_outage(tmp_path: Path, name: str, prepare: Callable[[Path], None]) -> None:
    file = tmp_path / name
    prepare(file)
    database = Database(f"sqlite:///{file}")
    for transaction in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable) as caught, transaction() as connection:
            connection.execute(select(AuditTable)).all()
        assert str(caught.value)
    database.dispose()


# --- moments ------------------------------------------------------------------------------------------------


def kept(database: Database, moment: datetime | None) -> datetime | None:
    with database.read() as connection:
        return connection.execute(select(type_coerce(literal(moment, Moment()), Moment()))).scalar_one()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(datetime(2026, 11, 23, 10, 0, tzinfo=UTC), id="utc"),
        pytest.param(datetime(2026, 11, 23, 10, 0, 0, 1, tzinfo=UTC), id="a-microsecond"),
        pytest.param(datetime(2026, 11, 23, 7, 0, tzinfo=timezone(timedelta(hours=-3))), id="another-zone"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), id="the-first"),
        pytest.param(datetime.max.replace(tzinfo=UTC), id="the-last"),
    ],
)
def test_a_moment_comes_back_in_utc(quick: Database, moment: datetime) -> None:
    found = kept(quick, moment)
    assert found == moment
    assert found is not None
    assert found.utcoffset() == timedelta(0)


def test_no_moment_comes_back_as_none(quick: Database) -> None:
    assert kept(quick, None) is None


def test_a_moment_without_a_zone_is_refused(database: Database) -> None:
    naive = datetime(2026, 11, 23, 10, 0)  # noqa: DTZ001
    row = {"act": "x", "actor": "x", "target": "x", "reason": "x", "details": {}}
    with pytest.raises(StatementError, match="2026-11-23T10:00:00 has no time zone"), database.write() as connection:
        connection.execute(insert(AuditTable).values(at=naive, **row))
    with pytest.raises(StatementError, match="no time zone"), database.read() as connection:
        connection.execute(select(AuditTable).where(column("at") < literal(naive, Moment())))
    with pytest.raises(ValueError, match="no time zone"):
        as_utc(naive)


def test_the_clock_is_in_utc() -> None:
    assert system_clock().utcoffset() == timedelta(0)
