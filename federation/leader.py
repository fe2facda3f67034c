"""One leader among all workers of a hub: the one that holds a lock which the system takes back when its holder dies.

On PostgreSQL an advisory lock of a session, on a connection of its own; on SQLite the lock of a file beside the
database. Neither is a row with a time in it, so no clock has to be right, and nobody has to guess whether a silent
leader is dead. A process leads as long as it can see that it holds the lock; when in doubt it does not.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from federation.database import DatabaseUnavailable
from federation.engines import engines, outage

__all__ = ["FileLeadership", "Leadership", "LeadershipLost", "PostgresLeadership", "leadership"]

_CONNECT_SECONDS = 5.0
_DROP_SECONDS = 5
"""A machine that vanished without a word is given up by PostgreSQL after three times as long."""


class LeadershipLost(Exception):
    """What only the leader does stops here: this process does not lead, or is not certain that it does."""


class Leadership(ABC):
    """The lock, from one process's side. Every call may come from any thread."""

    @abstractmethod
    def take(self) -> bool:
        """Try to become the leader; True if this process is it now. Never waits for another holder.

        Raises
        ------
        DatabaseUnavailable
            If it cannot be found out.
        """

    @abstractmethod
    def is_held(self) -> bool:
        """Whether this process leads, looked up now; what cannot be looked up is lost."""

    @abstractmethod
    def give_up(self) -> None:
        """Let another one lead."""

    def require(self) -> None:
        """Go on only as the leader.

        Raises
        ------
        LeadershipLost
            If this process does not lead any more.
        """
        if not self.is_held():
            raise LeadershipLost


def leadership(database_url: str, hub: str) -> Leadership:
    """The lock of a hub's workers that belongs to this federation database; nothing is contacted yet.

    Raises
    ------
    ValueError
        If the database lives in this process's memory.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return PostgresLeadership(database_url, hub)
    if not url.database or url.database == ":memory:":
        raise ValueError("a database in memory cannot be shared, so nobody can lead on it")
    return FileLeadership(Path(f"{url.database}.worker-{hub}.lock"))


class FileLeadership(Leadership):
    """The lock (flock) of a file, which has the number of the leader's process in it, for people who look.

    The file stays when nobody leads: one that removed it could leave two leaders, each with a file of its own.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._using = threading.Lock()

    def take(self) -> bool:
        with self._using:
            if self._is_ours():
                return True
            self._close()
            try:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_ours():  # else it was removed between the two
                    os.ftruncate(self._descriptor, 0)
                    os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
                    return True
            except BlockingIOError:
                pass
            except OSError as error:
                self._close()
                raise DatabaseUnavailable(f"{self._file}: {error.strerror or error}") from error
            self._close()
            return False

    def is_held(self) -> bool:
        with self._using:
            return self._is_ours()

    def give_up(self) -> None:
        with self._using:
            self._close()

    def _is_ours(self) -> bool:
        """Whether the file that we locked is still the one that others would lock."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._file.stat())
        except OSError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class PostgresLeadership(Leadership):
    """An advisory lock of a session. It is lost with the connection, whoever ends that, and only then.

    The connection must be one session: a pool in between that lends it out by the transaction (PgBouncer's
    `pool_mode=transaction`) is noticed by the number of the server's process, and nobody leads then.
    """

    def __init__(self, url: str, hub: str) -> None:
        self._engine, _ = engines(url, _CONNECT_SECONDS)
        self._key = int.from_bytes(hashlib.sha256(f"nbfed worker {hub}".encode()).digest()[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._server_process: int | None = None
        """Set while we hold the lock."""
        self._using = threading.Lock()

    def take(self) -> bool:
        with self._using:
            if self._is_ours():
                return True
            try:
                connection = self._connection or self._connect()
                if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}):
                    return False
                self._server_process = connection.scalar(text("SELECT pg_backend_pid()"))
                return True
            except SQLAlchemyError as error:
                self._close()
                raise DatabaseUnavailable(outage(error) or str(error)) from error

    def is_held(self) -> bool:
        with self._using:
            return self._is_ours()

    def give_up(self) -> None:
        with self._using:
            self._unlock()
            self._close()
            self._engine.dispose()

    def _connect(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        for name, value in (("idle", _DROP_SECONDS), ("interval", _DROP_SECONDS), ("count", 2)):
            connection.execute(text(f"SET tcp_keepalives_{name} = {value}"))
        return connection

    def _is_ours(self) -> bool:
        if self._connection is None or self._server_process is None:
            return False
        try:
            if self._connection.scalar(text("SELECT pg_backend_pid()")) == self._server_process:
                return True
        except SQLAlchemyError:
            pass  # whatever it is: the lock may be another's by now
        self._close()
        return False

    def _unlock(self) -> None:
        """Ask for the lock to be let go: a server that is busy sees a closed connection only a while later."""
        if self._connection is None or self._server_process is None:
            return
        with contextlib.suppress(SQLAlchemyError):  # else it goes with the connection
            self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})

    def _close(self) -> None:
        self._server_process = None
        if self._connection is not None:
            # Not back into the pool: the lock would go with it, and stay.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
