"""PostgreSQL: whatever happens to the server or a connection is an outage, soon, and is over when the server is back."""

import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, ProgrammingError

from federation.database import Database, DatabaseUnavailable
from federation.engines import outage
from tests.support.databases import postgres_or_skip
from tests.support.postgres import PostgresServer, running_postgres

BUSY_SECONDS = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    postgres_or_skip()
    with running_postgres() as started:
        yield started


@pytest.fixture
def name(server: PostgresServer) -> Iterator[str]:
    """A database with one small table."""
    made = server.create()
    database = Database(server.url(made))
    with database.write() as connection:
        connection.execute(text("CREATE TABLE thing (name TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 0)"))
        connection.execute(text("INSERT INTO thing VALUES ('a'), ('b')"))
    database.dispose()
    yield made
    server.drop(made)


@pytest.fixture
def quick(server: PostgresServer, name: str) -> Iterator[Database]:
    """It waits only shortly."""
    database = Database(server.url(name), busy_seconds=BUSY_SECONDS)
    yield database
    database.dispose()


def use(connection: Connection, name: str = "a") -> None:
    connection.execute(text("UPDATE thing SET times = times + 1 WHERE name = :name"), {"name": name})


def times(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT times FROM thing ORDER BY name")).scalars())


def write(database: Database) -> None:
    with database.write() as connection:
        use(connection)


@contextmanager
def away(server: PostgresServer, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
    server.stop(how=how)
    try:
        yield
    finally:
        server.start()


# --- the server -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
@pytest.mark.parametrize("call", [times, write])
def test_a_server_that_is_away_is_an_outage_until_it_is_back(
    server: PostgresServer, quick: Database, how: signal.Signals, call: Callable[[Database], Any]
) -> None:
    write(quick)
    with away(server, how):
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match="Connection refused"):
                call(quick)
    write(quick)
    assert times(quick) == [2, 0]


def test_a_server_that_stops_in_mid_transaction_is_an_outage_and_nothing_is_done(
    server: PostgresServer, quick: Database
) -> None:
    def write_when_it_stops() -> None:
        with quick.write() as connection:
            use(connection)
            server.stop()
            use(connection)

    with pytest.raises(DatabaseUnavailable, match="terminating connection due to administrator command"):
        write_when_it_stops()
    server.start()
    assert times(quick) == [0, 0]


def test_a_server_that_takes_connections_and_keeps_silent_is_an_outage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(
            f"postgresql+psycopg://a:b@127.0.0.1:{silent.getsockname()[1]}/c", busy_seconds=BUSY_SECONDS
        )
        with pytest.raises(DatabaseUnavailable, match="timeout"), database.read():
            pass  # pragma: no cover


def test_a_standby_can_be_read_and_a_write_to_it_is_an_outage(server: PostgresServer, quick: Database) -> None:
    signal_file = server.data / "standby.signal"
    server.stop()
    signal_file.touch()
    server.start()
    try:
        for _ in range(2):
            assert times(quick) == [0, 0]
            with pytest.raises(DatabaseUnavailable, match=r"read-only transaction|during recovery"):
                write(quick)
    finally:
        server.stop()
        signal_file.unlink()
        server.start()
    write(quick)
    assert times(quick) == [1, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda url: re.sub(r":[^:@/]+@", ":wrong-word@", url), "authentication failed", id="password"),
        pytest.param(lambda url: url + "_none", "does not exist", id="database"),
        pytest.param(lambda url: url.replace("federation:", "nobody:"), "authentication failed", id="role"),
    ],
)  # fmt: skip
def test_an_address_that_does_not_fit_is_an_outage_that_shows_no_password(
    server: PostgresServer, name: str, change: Callable[[str], str], said: str
) -> None:
    database = Database(change(server.url(name)))
    with pytest.raises(DatabaseUnavailable, match=said) as caught, database.read():
        pass  # pragma: no cover
    assert server.password not in str(caught.value)
    assert "wrong-word" not in str(caught.value)


# --- a connection -----------------------------------------------------------------------------------------------


def test_a_connection_that_was_ended_while_nobody_used_it_is_replaced(server: PostgresServer, quick: Database) -> None:
    for count in range(1, 4):
        write(quick)
        assert times(quick) == [count, 0]
        assert server.terminate_connections() == 1


def test_a_connection_that_is_ended_in_mid_transaction_is_an_outage(server: PostgresServer, quick: Database) -> None:
    def write_when_it_is_ended() -> None:
        with quick.write() as connection:
            use(connection)
            server.terminate_connections()
            use(connection, "b")

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            write_when_it_is_ended()
    assert times(quick) == [0, 0]


def test_a_connection_that_is_ended_before_the_commit_is_an_outage(server: PostgresServer, quick: Database) -> None:
    def write_and_be_ended() -> None:
        with quick.write() as connection:
            use(connection)
            server.terminate_connections()

    with pytest.raises(DatabaseUnavailable, match="terminating connection"):
        write_and_be_ended()
    assert times(quick) == [0, 0]


def test_when_all_connections_of_the_process_are_in_use_it_is_an_outage(quick: Database) -> None:
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(quick.write())
        with pytest.raises(DatabaseUnavailable, match="all connections of this process are in use"), quick.write():
            pass  # pragma: no cover
    assert times(quick) == [0, 0]


def test_when_the_server_has_no_connection_left_it_is_an_outage(server: PostgresServer, name: str) -> None:
    with server._admin() as admin:
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    database = Database(server.url(name).replace(f"{server.user}:{server.password}", "guest:guest"))
    with pytest.raises(DatabaseUnavailable, match="too many connections"), database.read():
        pass  # pragma: no cover


# --- within a transaction ---------------------------------------------------------------------------------------


def test_of_two_writes_that_wait_for_each_other_one_is_an_outage(server: PostgresServer, name: str) -> None:
    database = Database(server.url(name), busy_seconds=30)
    both, outages = threading.Barrier(2, timeout=30), []

    def use_both(first: str, second: str) -> None:
        try:
            with database.write() as connection:
                use(connection, first)
                both.wait()
                use(connection, second)
        except DatabaseUnavailable as error:
            outages.append(str(error))

    threads = [threading.Thread(target=use_both, args=names) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outages) == 1
    assert outages[0].startswith("deadlock detected")
    assert times(database) == [1, 1]
    database.dispose()


def test_a_statement_that_takes_too_long_is_an_outage(quick: Database) -> None:
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="statement timeout"), quick.read() as connection:
        connection.execute(text("SELECT pg_sleep(300)"))
    assert time.monotonic() - started < 200


def test_a_process_that_hangs_in_mid_transaction_loses_its_locks(server: PostgresServer, name: str) -> None:
    hanging, patient = Database(server.url(name), busy_seconds=0.05), Database(server.url(name), busy_seconds=30)

    def hang() -> None:
        with hanging.write() as connection:
            use(connection)
            write(patient)
            use(connection)

    with pytest.raises(DatabaseUnavailable, match="idle-in-transaction timeout"):
        hang()
    assert times(patient) == [1, 0]
    hanging.dispose()
    patient.dispose()


def test_what_a_role_may_not_do_is_an_outage(server: PostgresServer, name: str, quick: Database) -> None:
    with quick.write() as connection:
        connection.execute(text("CREATE ROLE reader"))
        connection.execute(text("SET LOCAL ROLE reader"))
        with pytest.raises(ProgrammingError, match="permission denied for table thing") as caught:
            use(connection)
    assert outage(caught.value)


def test_missing_tables_are_an_outage(quick: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match='relation "nothing" does not exist'), quick.read() as connection:
        connection.execute(text("SELECT * FROM nothing"))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        pytest.param("SELEKT 1", ProgrammingError, id="no-sql"),
        pytest.param("SELECT 1 / 0", DataError, id="division-by-zero"),
    ],
)
def test_mistakes_of_a_program_are_no_outage(quick: Database, statement: str, error: type[Exception]) -> None:
    with pytest.raises(error), quick.read() as connection:
        connection.execute(text(statement))


def test_how_it_is_connected(quick: Database) -> None:
    wanted = {
        "lock_timeout": "300ms",
        "statement_timeout": "1800ms",
        "idle_in_transaction_session_timeout": "1800ms",
        "application_name": "nbfed",
        "client_encoding": "UTF8",
    }
    for transaction, isolation, read_only in (
        (quick.write, "read committed", "off"),
        (quick.read, "repeatable read", "on"),
    ):
        with transaction() as connection:
            found = {key: connection.execute(text(f"SHOW {key}")).scalar_one() for key in wanted}
            assert found == wanted
            assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == isolation
            assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == read_only


def test_what_the_url_says_comes_first(server: PostgresServer, name: str) -> None:
    url = server.url(name) + "?application_name=the-hub&options=-c%20work_mem%3D8MB"
    database = Database(url)
    with database.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "the-hub"
        assert connection.execute(text("SHOW work_mem")).scalar_one() == "8MB"
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "5s"
    database.dispose()
