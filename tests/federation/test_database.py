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

import psycopg
import pytest
from sqlalchemy import Connection, column, insert, literal, select, text, type_coerce
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, StatementError

from federation import migrations
from federation.audit import AuditTable
from federation.clock import as_utc, system_clock
from federation.database import Database, DatabaseUnavailable, Moment
from tests.support.databases import Databases

BUSY_SECONDS = 0.3
Work = Callable[[Connection], Any]


@pytest.fixture
def quick(databases: Databases) -> Iterator[Database]:
    """A database with one small table, on which writes wait only shortly."""
    made = Database(databases.empty(), busy_seconds=BUSY_SECONDS)
    with made.write() as connection:
        connection.execute(text("CREATE TABLE thing (name VARCHAR(100) UNIQUE, times INTEGER NOT NULL DEFAULT 0)"))
        add(connection, "hot")
    yield made
    made.dispose()


@pytest.fixture
def patient(quick: Database) -> Iterator[Database]:
    """The same database; writes wait for longer than any test."""
    made = Database(quick.url, busy_seconds=60)
    yield made
    made.dispose()


sqlite_only = pytest.mark.parametrize("kind", ["sqlite"])


def file_of(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


def add(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO thing (name) VALUES (:name)"), {"name": name})


def use(connection: Connection, name: str = "hot") -> None:
    """Change a row, which locks it."""
    connection.execute(text("UPDATE thing SET times = times + 1 WHERE name = :name"), {"name": name})


def names(database: Database) -> list[str]:
    """What was added."""
    with database.read() as connection:
        return list(connection.execute(text("SELECT name FROM thing WHERE name <> 'hot' ORDER BY name")).scalars())


def times(database: Database) -> int:
    """How often the row was used that everybody uses."""
    with database.read() as connection:
        return int(connection.execute(text("SELECT times FROM thing WHERE name = 'hot'")).scalar_one())


@contextmanager
def used_by_another_process(database: Database) -> Iterator[Any]:
    """Somebody else is in the middle of a write to the row that everybody uses."""
    url = make_url(database.url)
    if database.is_sqlite:
        other: Any = sqlite3.connect(str(url.database), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
        )
    other.execute("UPDATE thing SET times = 100 WHERE name = 'hot'")
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


def test_a_read_can_change_nothing(quick: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"read.?only"), quick.read() as connection:
        add(connection, "a")
    with quick.write() as connection:
        add(connection, "b")
    assert names(quick) == ["b"]


def test_a_read_is_one_view_whatever_is_written_meanwhile(quick: Database) -> None:
    with quick.read() as connection:
        count = text("SELECT count(*) FROM thing WHERE name <> 'hot'")
        before = connection.execute(count).scalar_one()
        with quick.write() as writing:
            add(writing, "a")
        assert connection.execute(count).scalar_one() == before == 0
    assert names(quick) == ["a"]


def test_a_read_does_not_wait_for_a_write(patient: Database) -> None:
    with used_by_another_process(patient):
        started = time.monotonic()
        assert times(patient) == 0
        assert time.monotonic() - started < 30


def test_what_a_constraint_forbids_is_no_outage(quick: Database) -> None:
    with quick.write() as connection:
        add(connection, "a")
    with pytest.raises(IntegrityError), quick.write() as connection:
        add(connection, "a")


@sqlite_only
def test_rows_cannot_point_nowhere_and_a_power_cut_loses_nothing(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2


@sqlite_only
def test_the_file_is_its_owners_alone(quick: Database) -> None:
    with quick.write() as connection:
        add(connection, "a")
        files = sorted(file_of(quick).parent.glob(file_of(quick).name + "*"))
        assert [file.name.partition(".")[2] for file in files] == ["sqlite", "sqlite-shm", "sqlite-wal"]
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
    with used_by_another_process(quick):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="lock"), quick.write() as connection:
            use(connection)
        assert BUSY_SECONDS * 0.8 < time.monotonic() - started < BUSY_SECONDS * 50
    with quick.write() as connection:
        use(connection)
    assert times(quick) == 1


def test_a_write_that_has_to_wait_a_little_is_done(patient: Database) -> None:
    with used_by_another_process(patient) as other:
        soon = threading.Timer(0.1, other.execute, ["COMMIT"])
        soon.start()
        with patient.write() as connection:
            use(connection)
            assert times(patient) == 100
        soon.join()
    assert times(patient) == 101


@contextmanager
def used_by_another_thread(database: Database) -> Iterator[None]:
    """Another thread of this process is in the middle of a write to the row that everybody uses."""
    writing, done = threading.Event(), threading.Event()

    def write_for_long() -> None:
        with database.write() as connection:
            use(connection)
            writing.set()
            done.wait(10)

    thread = threading.Thread(target=write_for_long)
    thread.start()
    assert writing.wait(10)
    yield
    done.set()
    thread.join()


def test_a_write_waits_for_another_thread_and_then_it_is_an_outage(quick: Database) -> None:
    said = "another write in this process did not end in time|lock timeout"
    with used_by_another_thread(quick):
        with pytest.raises(DatabaseUnavailable, match=said), quick.write() as connection:
            use(connection)
        assert times(quick) == 0
    assert times(quick) == 1


@pytest.mark.parametrize("kind", ["postgresql"])
def test_writes_to_different_rows_do_not_wait_for_each_other(quick: Database) -> None:
    with used_by_another_thread(quick):
        with quick.write() as connection:
            add(connection, "a")
        assert names(quick) == ["a"]


def test_writes_of_many_threads_and_two_processes_are_all_done(patient: Database) -> None:
    another = Database(patient.url, busy_seconds=60)  # as another process would have it

    def write() -> None:
        for database in (patient, another):
            with database.write() as connection:
                before = connection.execute(text("SELECT times FROM thing WHERE name = 'hot'")).scalar_one()
                use(connection)
                after = connection.execute(text("SELECT times FROM thing WHERE name = 'hot'")).scalar_one()
                assert after > before

    threads = [threading.Thread(target=write) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times(patient) == 20
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


@pytest.mark.parametrize("url", ["mysql://a@b/c", "postgresql+asyncpg://a@b/c", "oracle://a@b/c", "nonsense", ""])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError):
        Database(url)


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
