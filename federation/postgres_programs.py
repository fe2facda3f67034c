"""PostgreSQL's own programs for copies: `pg_dump`, `pg_restore` and `psql`, of the package `postgresql-client`.

No password is ever among the arguments of a program, where everybody on the machine can read it.
"""

import math
import os
import shutil
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url

__all__ = ["Failed", "dump", "fill", "version_in"]

_CONNECT_SECONDS = 10
_PLACES = "/usr/lib/postgresql"
_DROP_ALL = """
DO $$
DECLARE found record; others bigint;
BEGIN
  FOR tries IN 1..20 LOOP  -- those that were just closed take a moment
    PERFORM pg_stat_clear_snapshot();
    SELECT count(*) INTO others FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    EXIT WHEN others = 0;
    PERFORM pg_sleep(0.1);
  END LOOP;
  IF others > 0 THEN
    RAISE EXCEPTION '% other connections use this database; stop the service first', others;
  END IF;
  FOR found IN SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() LOOP
    EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', found.name);
  END LOOP;
  FOR found IN SELECT oid::regprocedure AS name FROM pg_proc
               WHERE pronamespace = current_schema()::regnamespace AND prorettype = 'trigger'::regtype LOOP
    EXECUTE format('DROP FUNCTION IF EXISTS %s', found.name);
  END LOOP;
END $$;
"""


class Failed(Exception):
    """A program is missing, or did not do it; the message has its own words."""


def dump(url: str, file: Path, *, lock_seconds: float) -> None:
    """Write one consistent view of a database to an existing file, as an archive of `pg_dump`. Writers go on.

    Raises
    ------
    Failed
        If it is not whole.
    """
    wait = f"--lock-wait-timeout={math.ceil(lock_seconds * 1000)}"
    _run(["pg_dump", "--format=custom", "--no-password", wait, f"--file={file}", *_target(url)], url)


def version_in(file: Path) -> str | None:
    """The version of the tables in an archive, all of which is read; None if it has no such table.

    Raises
    ------
    Failed
        If it cannot be read to its end.
    """
    _run(["pg_restore", f"--file={os.devnull}", str(file)])
    lines = _run(["pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(file)]).splitlines()
    for line, following in pairwise(lines):
        if line.startswith("COPY ") and "alembic_version" in line and following != "\\.":
            return following.strip()
    return None


def fill(url: str, file: Path, *, lock_seconds: float) -> None:
    """Replace all tables of a database by those of an archive, in one transaction.

    Raises
    ------
    Failed
        If it was not done; then nothing is changed.
    """
    restoring = _command(["pg_restore", "--no-owner", "--no-privileges", "--file=-", str(file)])
    taking = _command(["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", *_target(url)])
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answered:
        with (
            subprocess.Popen(restoring, stdout=subprocess.PIPE, stderr=said) as source,
            subprocess.Popen(
                taking, env=_environment(url), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=answered
            ) as target,
        ):
            assert source.stdout is not None
            assert target.stdin is not None
            try:
                target.stdin.write(f"BEGIN; SET LOCAL lock_timeout = {math.ceil(lock_seconds * 1000)};\n".encode())
                target.stdin.write(_DROP_ALL.encode())
                shutil.copyfileobj(source.stdout, target.stdin)
                if source.wait() == 0:  # else the end of its input ends psql, and with it the transaction
                    target.stdin.write(b"\nCOMMIT;\n")
                target.stdin.close()
            except BrokenPipeError:  # psql ended at an error
                source.kill()
        if source.returncode > 0:
            raise Failed(f"pg_restore cannot read the archive: {_words(said)}")
        if target.returncode != 0:
            raise Failed(f"The database was not filled: {_words(answered)}")


# --- running them -------------------------------------------------------------------------------------------


def _run(arguments: list[str], url: str | None = None) -> str:
    done = subprocess.run(
        _command(arguments), env=_environment(url), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise Failed(f"{arguments[0]} failed: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode()


def _command(arguments: list[str]) -> list[str]:
    """With the full path of the program: on the PATH, else the newest where Debian's package puts it."""
    name = arguments[0]
    versions = sorted(Path(_PLACES).glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = shutil.which(name) or (str(versions[-1]) if versions else None)
    if found is None:
        raise Failed(
            f"The program {name} is not installed here; it is in the package postgresql-client, and must not be older "
            "than the server."
        )
    return [found, *arguments[1:]]


def _environment(url: str | None) -> dict[str, str]:
    """Where to connect and with which password, for libpq: https://www.postgresql.org/docs/current/libpq-envars.html."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if url is None:
        return kept
    parsed = make_url(url)
    facts = {
        "PGHOST": parsed.host, "PGPORT": parsed.port, "PGUSER": parsed.username, "PGPASSWORD": parsed.password,
        "PGDATABASE": parsed.database, "PGCONNECT_TIMEOUT": _CONNECT_SECONDS, "PGAPPNAME": "nbfed db",
    }  # fmt: skip
    from_query = parsed.query.get("password")
    if isinstance(from_query, str):
        facts["PGPASSWORD"] = from_query
    return {**kept, **{name: str(value) for name, value in facts.items() if value is not None}}


def _target(url: str) -> list[str]:
    """What else the URL says of the connection: how to encrypt it, where the socket is."""
    query: dict[str, Any] = {k: v for k, v in make_url(url).query.items() if k != "password"}
    return [f"--dbname={make_conninfo('', **query)}"] if query else []


def _words(file: IO[bytes]) -> str:
    file.seek(0)
    return " ".join(file.read().decode(errors="replace").split()) or "it said nothing"
