"""`nbfed`: settings and tables from the command line, and what is said when something is wrong."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from federation import migrations
from federation.persons import Facts, Person, remember
from hub_config.cli import Installation, main
from hub_config.settings import DEMO_FILE
from hub_config.wiring import House, house
from tests.support.service import demo_yaml

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class Commands:
    """An installation of its own with the demo's settings, and `nbfed` on it. The time is `now`.

    Parameters
    ----------
    root
        For federation.yaml and the state folder.
    changes
        Replace keys of the demo's sections.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.now = NOW
        self.file = root / "federation.yaml"
        self.file.write_text(yaml.safe_dump(demo_yaml(**changes)))
        self.home = root / "run"
        monkeypatch.setenv("NBFED_CONFIG", str(self.file))
        monkeypatch.setenv("NBFED_HOME", str(self.home))
        monkeypatch.delenv("NBFED_DATABASE_URL", raising=False)
        monkeypatch.setenv("LOGNAME", "ana")
        self._house: House | None = None

    @property
    def database_file(self) -> Path:
        return self.home / "federation.sqlite"

    @property
    def house(self) -> House:
        """Books and sessions, with all tables and rates."""
        if self._house is None:
            self._house = house(Installation().settings, actor="test", clock=lambda: self.now)
            migrations.upgrade(self._house.database)
            self._house.publish_rates()
        return self._house

    def __call__(self, *arguments: str) -> Result:
        """What `nbfed` with these arguments does. Anything else than an exit is a mistake of ours, and is raised."""
        installation = Installation(clock=lambda: self.now)
        try:
            return CliRunner().invoke(main, arguments, obj=installation, catch_exceptions=False)
        finally:
            installation.close()

    def person(self, subject: str, **facts: Any) -> Person:
        """Somebody who signed in."""
        with self.house.database.write() as connection:
            return remember(
                connection, issuer="https://idp.example.org", subject=subject, preferred=subject,
                facts=Facts(**facts), now=self.now,
            )  # fmt: skip

    def close(self) -> None:
        if self._house is not None:
            self._house.database.dispose()


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch)
    yield commands
    commands.close()


# --- help ---------------------------------------------------------------------------------------------------


def command_lines(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from command_lines(command, (*words, name))


@pytest.mark.parametrize("words", [(), *command_lines(main)], ids=lambda words: " ".join(words) or "nbfed")
def test_help_needs_no_settings_and_no_database(nbfed: Commands, words: tuple[str, ...]) -> None:
    nbfed.file.write_text("this: is: not YAML")
    answer = nbfed(*words, "--help")
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage:")
    assert not nbfed.home.exists()


def test_a_wrong_command_line_is_2(nbfed: Commands) -> None:
    assert nbfed("grant", "add").exit_code == 2
    assert nbfed("no-such-command").exit_code == 2


# --- nbfed config -------------------------------------------------------------------------------------------


def test_good_settings_have_no_complaints_and_a_summary(nbfed: Commands) -> None:
    answer = nbfed("config", "check", str(nbfed.file))
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[0] == f"{nbfed.file}: no complaints"
    assert "here (local: small, medium)" in answer.stdout
    assert "T1 100 unit-hours each month" in answer.stdout
    assert answer.stderr == ""


def test_without_a_file_the_one_in_force_is_checked(nbfed: Commands) -> None:
    assert nbfed("config", "check").stdout.startswith(f"{nbfed.file}: no complaints")


def test_checking_settings_makes_nothing(nbfed: Commands) -> None:
    before = sorted(nbfed.file.parent.iterdir())
    nbfed("config", "check")
    assert sorted(nbfed.file.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        pytest.param("tiers:", "teirs:", "unknown key; did you mean 'tiers'?", id="unknown-key"),
        pytest.param("tiers:", "tiers: [", "this is not YAML", id="malformed"),
        pytest.param("weight: 1,", "weight: -1,", "(it is -1)", id="wrong-value"),
        pytest.param("weight: 1,", "weight: a lot,", "(it is 'a lot')", id="wrong-type"),
        pytest.param("mode: demo", "mode: demo\n  mode: production", "stands here twice", id="doubled"),
        pytest.param("8000", "80000", "base_url: Port out of range", id="no-such-port"),
    ],
)
def test_a_mistake_in_the_settings_is_a_line_on_standard_error(
    nbfed: Commands, old: str, new: str, complaint: str
) -> None:
    text = DEMO_FILE.read_text()
    assert old in text
    nbfed.file.write_text(text.replace(old, new, 1))
    answer = nbfed("config", "check")
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(str(nbfed.file))
    assert complaint in answer.stderr


def test_every_mistake_has_its_line(nbfed: Commands) -> None:
    content = yaml.safe_load(nbfed.file.read_text())
    content["idel"] = {}
    content["federation"]["hub"] = 3
    del content["sites"]["here"]["title"]
    nbfed.file.write_text(yaml.safe_dump(content))
    lines = nbfed("config", "check").stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{nbfed.file}:") for line in lines)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "this is empty", id="empty"),
        pytest.param("federation: {name: Peque\xf1a}".encode("latin-1"), "not UTF-8", id="latin-1"),
        pytest.param(b"\x00\x01", "not YAML", id="binary"),
        pytest.param(b"[1, 2]", "this is a list", id="a-list"),
    ],
)
def test_a_file_that_is_no_federation_yaml_is_said(nbfed: Commands, content: bytes | None, complaint: str) -> None:
    nbfed.file.unlink() if content is None else nbfed.file.write_bytes(content)
    for arguments in (["config", "check"], ["config", "check", str(nbfed.file)], ["db", "check"]):
        answer = nbfed(*arguments)
        assert answer.exit_code == 1
        assert complaint in answer.stderr


def test_files_that_the_settings_name_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = {"id": "check-in", "preset": "egi-check-in", "client_id": "x", "client_secret_file": "secrets/check-in"}
    changes = {
        "identity": {"providers": [provider]},
        "database": {"url_file": "secrets/url"},
        "federation": {"terms": {"version": "1", "files": {"es": "terms.es.md"}}},
    }
    nbfed = Commands(tmp_path, monkeypatch, **changes)
    lines = nbfed("config", "check").stderr.splitlines()
    keys = ("database.url_file", "identity.providers.check-in.client_secret_file", "federation.terms.files.es")
    assert [line.split(": ")[1] for line in lines] == list(keys)
    (tmp_path / "secrets").mkdir()
    for file in ("secrets/check-in", "terms.es.md"):
        (tmp_path / file).write_text("x")
    (tmp_path / "secrets" / "url").write_text("postgresql+psycopg://a@b/c")
    assert nbfed("config", "check").exit_code == 0


def test_the_schema_is_valid_and_says_what_the_program_says(nbfed: Commands) -> None:
    schema = json.loads(nbfed("config", "schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "federation.yaml"
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = yaml.safe_load(DEMO_FILE.read_text())
    validator.validate(good)
    for wrong in ({"idel": {}}, {"idle": {"stop_after_minutes": 0}}, {"sites": {}}):
        assert not validator.is_valid({**good, **wrong})


# --- nbfed db, and databases that are not as they should be --------------------------------------------------


def test_upgrade_makes_the_tables_once(nbfed: Commands) -> None:
    first, second = nbfed("db", "upgrade"), nbfed("db", "upgrade")
    assert first.exit_code == second.exit_code == 0
    assert "upgraded from an empty database" in first.output
    assert "was there already" in second.output
    assert "as this program needs" in nbfed("db", "check").output


COMMANDS_ON_THE_BOOKS = [
    ("grant", "add", "x", "--hours", "1", "--reason", "x"),
    ("grant", "list", "x"),
    ("grant", "revoke", "x", "--reason", "x"),
    ("statement", "x"),
    ("sessions",),
    ("db", "check"),
]


@pytest.mark.parametrize("arguments", COMMANDS_ON_THE_BOOKS, ids=" ".join)
@pytest.mark.parametrize("version", ["0000", "9999", None])
def test_tables_of_another_version_are_refused(
    nbfed: Commands, arguments: tuple[str, ...], version: str | None
) -> None:
    if version:
        set_version(nbfed, version)
    answer = nbfed(*arguments)
    assert answer.exit_code == 1
    assert f"at version {version or 'none'}" in answer.stderr
    assert "nbfed db upgrade" in answer.stderr


def test_tables_of_a_newer_program_are_not_upgraded(nbfed: Commands) -> None:
    set_version(nbfed, "9999")
    answer = nbfed("db", "upgrade")
    assert answer.exit_code == 1
    assert "9999" in answer.stderr
    assert "Nothing was changed" in answer.stderr


def set_version(nbfed: Commands, version: str) -> None:
    nbfed("db", "upgrade")
    with sqlite3.connect(nbfed.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


@pytest.mark.parametrize("arguments", COMMANDS_ON_THE_BOOKS, ids=" ".join)
def test_a_file_that_is_no_database_is_an_outage(nbfed: Commands, arguments: tuple[str, ...]) -> None:
    nbfed.home.mkdir()
    nbfed.database_file.write_bytes(b"not a database, but as long as the header of one" * 100)
    answer = nbfed(*arguments)
    assert answer.exit_code == 1
    assert "file is not a database. This is an outage" in answer.stderr
    assert "nbfed doctor" in answer.stderr


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("the-password", id="no-url"),
        pytest.param("nosuch://user:the-password@host/name", id="no-such-kind"),
        pytest.param("mssql+pymssql://user:the-password@host/name", id="no-driver"),
        pytest.param("postgresql://user:the-password@host:port/name", id="no-port"),
    ],
)
def test_an_address_that_is_none_is_said_without_the_password(
    nbfed: Commands, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", url)
    for arguments in (["db", "check"], ["sessions"], ["doctor"]):
        answer = nbfed(*arguments)
        assert answer.exit_code == 1
        assert "NBFED_DATABASE_URL" in answer.output
        assert "the-password" not in answer.output


def test_a_missing_secret_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbfed = Commands(tmp_path, monkeypatch, database={"url_file": "secrets/url"})
    answer = nbfed("sessions")
    assert answer.exit_code == 1
    assert "database.url_file: the secret's file" in answer.stderr
    assert "No such file or directory" in answer.stderr


def test_a_state_folder_that_cannot_be_made_is_said(nbfed: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_HOME", str(nbfed.file / "run"))
    for arguments in (["db", "upgrade"], ["up"]):
        answer = nbfed(*arguments)
        assert answer.exit_code == 1
        assert "NBFED_HOME" in answer.stderr
