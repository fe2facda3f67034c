"""A real PostgreSQL server for tests: its own folder and port, run by an account without rights, and gone afterwards.

fsync is on, as in production: a test that kills the server looks at what a power cut would have left.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.service import free_ports

__all__ = ["PostgresServer", "programs", "running_postgres", "why_not"]

_ACCOUNT = "postgres"
"""Who runs the server where tests run as root; Debian's package makes this account."""
_START_SECONDS = 60
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    # Each database that is made writes 8 MB of log; without these, 16 MB files of zeros are written first (0.2 s of CPU).
    "wal_init_zero": "off",
    "wal_recycle": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum": "off",  # an autovacuum in a template keeps databases from being made of it
    "log_min_messages": "warning",
    "timezone": "America/Santiago",  # nothing of ours may depend on it
}


def programs() -> Path | None:
    """The folder of the newest installed server's programs; Debian does not put them on the PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if not found and on_path:
        return Path(on_path).resolve().parent
    return max(found, key=lambda path: float(path.parent.name), default=None)


def why_not() -> str | None:
    """Why no server can be run here; None if one can."""
    if programs() is None:
        return "PostgreSQL's server is not installed: `make setup-test` as root on Debian, or its package postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            return f"PostgreSQL refuses root, and there is no account {_ACCOUNT} to run it"
    return None


class PostgresServer:
    """One server. Its superuser has a password, so that a test sees a password that is shown or lost.

    Parameters
    ----------
    folder
        An empty folder that the server's account can reach.
    """

    user = "federation"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        (self.port,) = free_ports(1)
        self.password = secrets.token_urlsafe(12)
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()

    # --- the server ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        assert self._process is None
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        dies_with_us = ["setpriv", "--pdeathsig", "QUIT"]  # a run that is killed leaves no server behind
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_us, self._program("postgres"), "-D", self.data, "-p", str(self.port), *options],
                stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, start_new_session=True, **self._account,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(psycopg.OperationalError):
                self._admin().close()
                return
            time.sleep(0.02)
        raise AssertionError(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it. SIGINT ends all connections ("fast"), SIGQUIT leaves the rest to recovery ("immediate")."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None

    def terminate_connections(self) -> int:
        """End all connections, as an administrator can, and return how many there were when they are gone."""
        with self._admin() as connection:
            return connection.execute(
                "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()[0]  # type: ignore[index]

    # --- its databases ------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{self.user}:{self.password}@127.0.0.1:{self.port}/{name}"

    def create(self, *, template: str = "template0") -> str:
        """Make a database, a copy of another one, and return its name."""
        name = f"test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    # --- inner parts --------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, password_file):
                shutil.chown(path, _ACCOUNT, _ACCOUNT)
        subprocess.run(
            [self._program("initdb"), "-D", self.data, "-U", self.user, "--pwfile", password_file, "-E", "UTF8",
             "--locale", "C.UTF-8", "--auth", "scram-sha-256", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._account,
        )  # fmt: skip
        password_file.unlink()

    @property
    def _account(self) -> dict[str, str | list[str]]:
        if os.geteuid() != 0:
            return {}
        return {"user": _ACCOUNT, "group": _ACCOUNT, "extra_groups": []}

    @cached_property
    def _programs(self) -> Path:
        found = programs()
        assert found is not None, why_not()
        return found

    def _program(self, name: str) -> str:
        return str(self._programs / name)

    def _admin(self) -> psycopg.Connection[tuple[int, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=self.user, password=self.password, dbname="postgres",
            connect_timeout=10, autocommit=True,
        )  # fmt: skip

    def _execute(self, statement: str, *names: str) -> None:
        with self._admin() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that has started; stopped and removed afterwards. Its account could not enter pytest's folders."""
    folder = Path(tempfile.mkdtemp(prefix="nbfed-postgres-"))
    try:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop(how=signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)
