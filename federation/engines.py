"""How each kind of database is connected to, and which of its errors are outages.

SQLite gets an engine for writes and one for reads, since whoever begins a write takes the lock of the whole file.
PostgreSQL gets one pool, and two ways to begin.
"""

import contextlib
import math
import select
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

__all__ = ["engines", "outage"]

_KINDS = {"sqlite": "pysqlite", "postgresql": "psycopg"}
_POOL_SIZE = 15
"""Connections that a process has at most. They are made when they are needed, and kept: each costs a server process and
the checks of a sign-in, which those who come together would wait for each time.
"""
_RECYCLE_SECONDS = 600
"""Firewalls forget connections on which nothing happens, and tell neither end."""
_LONGEST_STATEMENT = 6
"""Statements may take so many times as long as they may wait for a lock: 30 s where that is 5 s."""


def engines(url: str, busy_seconds: float) -> tuple[Engine, Engine]:
    """The engines for writes and for reads. Nothing is contacted yet.

    Raises
    ------
    sqlalchemy.exc.ArgumentError
        If the URL is none, or that of another kind of database.
    """
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind not in _KINDS or parsed.get_driver_name() != _KINDS[kind]:
        raise ArgumentError(
            f"a database of kind {parsed.drivername} is not supported; use sqlite or postgresql+psycopg"
        )
    if kind == "sqlite":
        # Reads are told so, as PostgreSQL is: a write among them would be lost, or be a transaction of its own.
        return (
            _sqlite(parsed, "BEGIN IMMEDIATE", busy_seconds),
            _sqlite(parsed, "BEGIN", busy_seconds, query_only="ON"),
        )
    writer = _postgresql(parsed, busy_seconds)
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


# --- SQLite -------------------------------------------------------------------------------------------------


def _sqlite(url: URL, begin: str, busy_seconds: float, **more_pragmas: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "isolation_level": None})
    # WAL lets readers go on while one writes; FULL survives a power cut.
    pragmas = {"journal_mode": "WAL", "synchronous": "FULL", "foreign_keys": "ON", **more_pragmas}

    @event.listens_for(engine, "do_connect")
    def make_private(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
        # SQLite would make the file readable for every account, those of sessions included.
        path = Path(arguments[0])
        if path.is_absolute():  # else it is not a file: SQLAlchemy makes names of files absolute
            with contextlib.suppress(OSError):  # it is there, or SQLite says better why not
                path.touch(0o600, exist_ok=False)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")

    @event.listens_for(engine, "begin")
    def begin_at_once(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


# --- PostgreSQL ---------------------------------------------------------------------------------------------


def _postgresql(url: URL, busy_seconds: float) -> Engine:
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",  # psycopg says it in its BEGIN: it costs nothing
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=busy_seconds,
        pool_recycle=_RECYCLE_SECONDS,
        pool_use_lifo=True,
        connect_args=_connect_arguments(url.query, busy_seconds),
    )

    @event.listens_for(engine, "connect")
    def remember_that_it_is_new(_connection: Any, record: Any) -> None:
        record.info["new"] = True

    @event.listens_for(engine, "checkout")
    def replace_dead_ones(connection: Any, record: Any, _proxy: Any) -> None:
        # A transaction is BEGIN, its statements and COMMIT, a round trip each, and pool_pre_ping would be one more: of
        # one statement, on the loopback, 0.24 ms instead of 0.20 ms; of a server next door a quarter. But a server that
        # ended a connection has said so, and that is seen here without asking: on a connection that waits in a pool
        # nothing else arrives.
        if not record.info.pop("new", False) and _has_something_to_say(connection):
            raise DisconnectionError("the server ended the connection while nobody used it")

    @event.listens_for(engine, "checkin")
    def forget_that_it_only_read(connection: Any, _record: Any) -> None:
        # SQLAlchemy leaves "read write" where a read was "read only", and a standby refuses even to begin such a one.
        if connection is not None and not connection.closed:
            connection.read_only = None

    return engine


def _connect_arguments(query: Mapping[str, Any], busy_seconds: float) -> dict[str, Any]:
    """What libpq is told; `https://www.postgresql.org/docs/current/libpq-connect.html` explains each."""
    wait, longest = math.ceil(busy_seconds * 1000), math.ceil(busy_seconds * 1000 * _LONGEST_STATEMENT)
    limits = {
        "lock_timeout": wait,
        "statement_timeout": longest,
        # A process that hangs within a transaction would keep what it locked from everybody.
        "idle_in_transaction_session_timeout": longest,
    }
    options = [str(query.get("options", "")), *(f"-c {name}={milliseconds}" for name, milliseconds in limits.items())]
    seconds = max(2, math.ceil(busy_seconds))
    defaults = {
        "connect_timeout": seconds,
        # An established connection to a machine that is gone would else be waited on for two hours, or for ever.
        "keepalives_idle": seconds,
        "keepalives_interval": seconds,
        "keepalives_count": 2,
        "tcp_user_timeout": 3 * seconds * 1000,
        "application_name": "nbfed",
        "client_encoding": "utf8",
    }
    given = {name: value for name, value in defaults.items() if name not in query}
    return {**given, "options": " ".join(filter(None, options))}


def _has_something_to_say(connection: Any) -> bool:
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# --- outages ------------------------------------------------------------------------------------------------

# SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html, beyond those that the driver itself calls
# operational (connections, resources, locks, deadlocks, a server that starts or stops): none is the caller's doing.
_OUTAGE_CLASSES = frozenset({"58", "F0", "XX"})  # system, configuration file, internal: damaged data among them
_OUTAGE_STATES = frozenset({
    "25006",  # a standby: it only reads
    "25P03",  # ended by idle_in_transaction_session_timeout
    "26000",  # psycopg had it throw away a prepared statement within a transaction: the next one prepares it again
    "42501",  # this role may not
    "42P01", "42703",  # no such table or column: SQLite calls that operational, too
})  # fmt: skip


def outage(error: BaseException) -> str | None:
    """What the database said, in one line, if it did not answer; None if this is another error."""
    if isinstance(error, PoolTimeoutError):
        return "all connections of this process are in use, and none was given back in time"
    if not isinstance(error, DBAPIError) or not (_is_away(error) or _is_refused(error)):
        return None
    # PostgreSQL's own words without the statement that they are about; the driver's words where it said nothing.
    said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
    return " ".join(said.split())


def _is_away(error: DBAPIError) -> bool:
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def _is_refused(error: DBAPIError) -> bool:
    # Of sqlite3: "file is not a database", a truncated file.
    state = getattr(error.orig, "sqlstate", None) or ""
    return type(error.orig) is sqlite3.DatabaseError or state[:2] in _OUTAGE_CLASSES or state in _OUTAGE_STATES
