"""An installation whose books are on PostgreSQL: what refuses to start, and what is said of the server."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyterhub import dbutil, orm
from sqlalchemy import text
from sqlalchemy.engine import make_url

from federation import migrations
from federation.database import Database
from hub_config import doctor
from hub_config.cli import Installation, _open_database
from hub_config.doctor import Check, State
from tests.hub_config.test_cli import NOW, Commands
from tests.support.databases import Databases, locked


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def nbfed(tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch, database={"busy_seconds": 0.3})
    monkeypatch.setenv("NBFED_DATABASE_URL", databases.migrated())
    yield commands
    commands.close()


@pytest.fixture
def url(nbfed: Commands) -> str:
    return Installation().settings.database_url


def examined() -> list[Check]:
    return list(doctor.database(Installation().settings, _open_database, NOW))


def change(url: str, statement: str) -> None:
    database = Database(url)
    with database.write() as connection:
        connection.execute(text(statement))
    database.dispose()


# --- starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0001", "9999"])
@pytest.mark.parametrize("arguments", [("worker",), ("sessions",), ("grant", "list", "x"), ("db", "check")])
def test_worker_and_commands_refuse_tables_of_another_version(
    nbfed: Commands, url: str, arguments: tuple[str, ...], version: str
) -> None:
    change(url, f"UPDATE alembic_version SET version_num = '{version}'")
    answer = nbfed(*arguments)
    assert answer.exit_code == 1
    assert f"at version {version}" in answer.stderr
    assert "nbfed db upgrade" in answer.stderr


def test_an_empty_database_is_upgraded_by_the_command(
    nbfed: Commands, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = databases.empty()
    monkeypatch.setenv("NBFED_DATABASE_URL", empty)
    assert nbfed("db", "check").exit_code == 1
    answer = nbfed("db", "upgrade")
    assert answer.exit_code == 0
    assert "upgraded from an empty database" in answer.stdout
    assert str(make_url(empty).password) not in answer.stdout
    database = Database(empty)
    migrations.check(database)
    database.dispose()


def test_a_server_that_is_away_is_an_outage_for_every_command(
    nbfed: Commands, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", make_url(url).set(port=9).render_as_string(hide_password=False))
    for arguments in (("worker",), ("sessions",), ("db", "check"), ("db", "upgrade"), ("db", "backup", "x.backup")):
        answer = nbfed(*arguments)
        assert answer.exit_code == 1
        assert "Connection refused" in answer.stderr
        assert "This is an outage" in answer.stderr


# --- nbfed config check -----------------------------------------------------------------------------------------


def test_the_summary_of_the_settings_says_where_the_books_are_and_no_password(nbfed: Commands, url: str) -> None:
    shown = nbfed("config", "check").stdout
    assert f"postgresql+psycopg://federation:***@127.0.0.1:{make_url(url).port}/" in shown
    assert "(not contacted)" in shown
    assert str(make_url(url).password) not in shown


def test_a_password_among_the_options_of_the_url_is_not_shown_either(
    nbfed: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", "postgresql+psycopg://a@b/c?password=very-secret&sslmode=require")
    shown = nbfed("config", "check").stdout
    assert "very-secret" not in shown
    assert "sslmode=require" in shown


@pytest.mark.parametrize(
    "address", ["mysql://a:very-secret@b/c", "postgresql+asyncpg://a:very-secret@b/c", "very-secret"]
)
def test_an_address_that_cannot_be_used_is_a_complaint(
    nbfed: Commands, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", address)
    answer = nbfed("config", "check")
    assert answer.exit_code == 1
    assert "The address of the federation database cannot be used" in answer.stderr
    assert "very-secret" not in answer.output


# --- nbfed doctor -----------------------------------------------------------------------------------------------


def test_where_all_is_well_the_server_is_told(nbfed: Commands, url: str) -> None:
    checks = examined()
    assert {check.name: check.state for check in checks} == {
        "database": State.OK, "database server": State.OK, "database write": State.OK,
    }  # fmt: skip
    assert checks[1].text.startswith("PostgreSQL ")
    assert not any(str(make_url(url).password) in check.text for check in checks)


def test_a_locked_database_can_be_read_and_not_written(nbfed: Commands, url: str) -> None:
    database = Database(url)
    with locked(database):
        checks = examined()
    database.dispose()
    assert [check.state for check in checks] == [State.OK, State.OK, State.FAIL]
    assert "lock timeout" in checks[2].text
    assert "pg_stat_activity" in checks[2].advice


def test_a_server_that_loses_what_was_committed_is_a_failure(nbfed: Commands, url: str) -> None:
    change(url, f"ALTER DATABASE {make_url(url).database} SET synchronous_commit = off")
    server = examined()[1]
    assert server.state is State.FAIL
    assert "synchronous_commit off: a power cut loses what people were charged" in server.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"port": 9}, "Connection refused", id="away"),
        pytest.param({"password": "wrong"}, "authentication failed", id="wrong-password"),
        pytest.param({"database": "none"}, "does not exist", id="no-database"),
    ],
)
def test_a_database_that_does_not_answer_is_a_failure_with_what_to_look_at(
    nbfed: Commands, url: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", make_url(url).set(**changes).render_as_string(hide_password=False))
    (check,) = examined()
    assert check.state is State.FAIL
    assert said in check.text
    assert "do role and password fit" in check.advice
    assert str(make_url(url).password) not in check.text


# --- the hub's own records --------------------------------------------------------------------------------------


def test_jupyterhub_keeps_its_records_on_postgresql_through_the_driver_that_we_have(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own documentation names another driver: making, reading and upgrading tables have to work with ours."""
    url = databases.empty()
    # It calls the program `alembic`.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    session = orm.new_session_factory(url)()
    person = orm.User(name="ana")
    session.add(person)
    session.commit()
    session.add(orm.Server(ip="10.0.0.1", port=8888))
    session.add(orm.Spawner(user_id=person.id, name="", state={"attempt": "1"}, user_options={"flavour": "small"}))
    session.commit()
    session.close()
    again = orm.new_session_factory(url)()
    (spawner,) = again.query(orm.Spawner).all()
    assert (spawner.state, spawner.user_options) == ({"attempt": "1"}, {"flavour": "small"})
    again.close()
    dbutil.upgrade(url)
