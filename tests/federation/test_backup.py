"""Backups: one view of everything while others write, in a file of its own; what is restored is what there was."""

import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.engine import make_url

from federation import backup as backups
from federation import migrations, postgres_programs
from federation.backup import BackupError, backup, restore
from federation.database import Database, DatabaseUnavailable
from tests.hub_config.test_cli import Commands
from tests.support.books import MINUTE, Books, discrepancies, dump, open_books, units
from tests.support.databases import Databases, locked
from tests.support.structure import structure


@pytest.fixture
def books(database: Database) -> Books:
    """Books with a row in every table of theirs."""
    books = open_books(database)
    books.person("ana", email="ana@example.org")
    books.grant(units(36_000))
    books.ledger.revoke(books.grant(units(600)), actor="olga", reason="“ñ”\nand a line")
    books.settle(books.hold(), MINUTE)
    books.hold(server="one")
    return books


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    """Another database, without tables."""
    made = Database(databases.empty())
    with made.read():
        pass
    yield made
    made.dispose()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a backup may be made."""
    return tmp_path / "books.backup"


# --- there and back ---------------------------------------------------------------------------------------------


def test_what_is_restored_is_what_there_was(books: Books, empty: Database, file: Path) -> None:
    before = books.dump()
    made = backup(books.database, file)
    assert made.version == migrations.version(books.database)
    assert made.size_bytes == file.stat().st_size > 10_000
    assert restore(empty, file).version == made.version
    assert dump(empty) == before == books.dump()
    assert structure(empty) == structure(books.database)
    migrations.check(empty)


def test_restored_books_can_be_gone_on_with(books: Books, empty: Database, file: Path) -> None:
    backup(books.database, file)
    restore(empty, file)
    again = open_books(empty)
    again.settle(again.hold(), MINUTE)
    again.grant(units(60), key="one more")
    assert discrepancies(empty) == []


def test_a_backup_that_is_made_during_writes_is_one_view_of_them(books: Books, empty: Database, file: Path) -> None:
    stop, made = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            books.settle(books.hold(), MINUTE)
            made.set()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    assert made.wait(30)
    try:
        backup(books.database, file)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    restore(empty, file)
    assert discrepancies(empty) == []
    assert len(dump(empty)["entry"]) <= len(books.dump()["entry"])


def test_a_backup_is_made_while_somebody_is_in_the_middle_of_a_write(books: Books, empty: Database, file: Path) -> None:
    before = books.dump()
    with locked(books.database):
        backup(books.database, file)
    restore(empty, file)
    assert dump(empty) == before


def test_tables_of_an_older_version_can_be_backed_up_and_restored(
    database: Database, empty: Database, file: Path
) -> None:
    stamp(database, "0001")
    assert backup(database, file).version == restore(empty, file).version == "0001"


# --- the file ---------------------------------------------------------------------------------------------------


def test_a_backup_is_its_owners_alone_and_the_only_file_that_is_left(books: Books, file: Path) -> None:
    before = set(file.parent.iterdir())
    backup(books.database, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    left = set(file.parent.iterdir()) - before
    assert {path.name for path in left if "federation-" not in path.name} == {file.name}


@pytest.mark.parametrize("there", [Path.touch, Path.mkdir, lambda file: file.symlink_to("nowhere")])
def test_a_backup_replaces_nothing(books: Books, file: Path, there: Callable[[Path], Any]) -> None:
    there(file)
    before = file.lstat()
    with pytest.raises(BackupError, match="is there already"):
        backup(books.database, file)
    assert file.lstat() == before


def test_a_file_that_appears_meanwhile_is_not_replaced(
    books: Books, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = backups.examine

    def somebody_makes_it(unfinished: Path) -> Any:
        file.write_text("mine")
        return examine(unfinished)

    monkeypatch.setattr(backups, "examine", somebody_makes_it)
    with pytest.raises(BackupError, match="somebody else"):
        backup(books.database, file)
    assert file.read_text() == "mine"
    assert list(file.parent.glob("*.part")) == list(file.parent.glob(".*.part")) == []


def test_a_backup_that_fails_leaves_no_file(books: Books, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: Path) -> Any:
        raise BackupError("as if the disk were full")

    monkeypatch.setattr(backups, "examine", fail)
    with pytest.raises(BackupError, match="full"):
        backup(books.database, file)
    assert [path for path in file.parent.iterdir() if "books" in path.name] == []


def test_a_folder_that_is_not_there_is_said(books: Books, file: Path) -> None:
    with pytest.raises(BackupError, match=r"No file can be made in .*none: No such file or directory"):
        backup(books.database, file.parent / "none" / file.name)


def test_a_database_without_tables_is_not_backed_up(empty: Database, file: Path) -> None:
    with pytest.raises(BackupError, match="nothing to back up"):
        backup(empty, file)
    assert not file.exists()


# --- what is not restored ---------------------------------------------------------------------------------------


def test_a_database_that_is_not_empty_is_not_filled_and_what_would_be_lost_is_said(books: Books, file: Path) -> None:
    backup(books.database, file)
    books.hold(server="two")
    before = books.dump()
    with pytest.raises(BackupError, match=r"The database is not empty: it has \d+ rows .*3 of hold"):
        restore(books.database, file)
    assert books.dump() == before


def test_a_database_that_is_to_be_replaced_is_what_the_backup_has(books: Books, file: Path) -> None:
    backup(books.database, file)
    before = books.dump()
    books.hold(server="two")
    with books.database.write() as connection:
        connection.execute(text("CREATE TABLE newer (x INTEGER)"))
    restore(books.database, file, replace=True)
    assert books.dump() == before


def test_a_database_that_others_use_is_not_replaced(books: Books, file: Path) -> None:
    backup(books.database, file)
    books.hold(server="two")
    before = books.dump()
    other = Database(books.database.url)
    with other.read() as connection:
        connection.execute(text("SELECT * FROM entry")).all()
        with pytest.raises(BackupError, match=r"[Ss]top the service"):
            restore(books.database, file, replace=True)
    other.dispose()
    assert books.dump() == before


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def cut_off_early(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\xff" * 3000
    file.write_bytes(content)


def write_something_else(file: Path) -> None:
    file.write_text("-- a dump in SQL\n")


@pytest.mark.parametrize("damage", [cut_off, cut_off_early, spoil, write_something_else, Path.unlink])
@pytest.mark.parametrize("into", ["empty", "full"])
def test_a_damaged_file_is_not_restored(
    books: Books, empty: Database, file: Path, damage: Callable[[Path], Any], into: str
) -> None:
    backup(books.database, file)
    damage(file)
    target = empty if into == "empty" else books.database
    before = dump(target)
    with pytest.raises(BackupError, match=re.escape(str(file))):
        restore(target, file, replace=True)
    assert dump(target) == before


def test_a_backup_of_a_newer_program_is_not_restored(database: Database, empty: Database, file: Path) -> None:
    stamp(database, "9999")
    backup(database, file)
    with pytest.raises(BackupError, match="version 9999, which this program does not know"):
        restore(empty, file)
    assert dump(empty) == {}


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_backup_of_the_other_kind_is_not_restored(
    books: Books, empty: Database, tables: Path, tmp_path: Path, file: Path
) -> None:
    backup(books.database, file)
    sqlite = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    with sqlite.read():
        pass
    with pytest.raises(BackupError, match="is a backup of PostgreSQL, and this database is SQLite"):
        restore(sqlite, file)
    with pytest.raises(BackupError, match="is a backup of SQLite, and this database is PostgreSQL"):
        restore(empty, tables)
    sqlite.dispose()


def test_another_programs_database_is_no_backup(empty: Database, databases: Databases, file: Path) -> None:
    other = Database(databases.empty())
    with other.write() as connection:
        connection.execute(text("CREATE TABLE thing (name VARCHAR(10))"))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
    backups._copy_sqlite(backups._sqlite_file(other), new(file), 1) if other.is_sqlite else postgres_programs.dump(
        other.url, new(file), lock_seconds=1
    )
    other.dispose()
    with pytest.raises(BackupError, match="does not say the version"):
        restore(empty, file)


def new(file: Path) -> Path:
    file.touch()
    return file


# --- PostgreSQL's programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgresql"])
def test_the_password_is_in_no_arguments(books: Books, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Seen(postgres_programs.subprocess.Popen):  # type: ignore[name-defined, misc]
        def __init__(self, arguments: list[str], **options: Any) -> None:
            seen.append(arguments)
            super().__init__(arguments, **options)

    monkeypatch.setattr(postgres_programs.subprocess, "Popen", Seen)
    password = make_url(books.database.url).password
    books.database.dispose()
    database = Database(f"{books.database.url}?sslmode=prefer&password={password}")
    backup(database, file)
    restore(database, file, replace=True)
    assert {Path(arguments[0]).name for arguments in seen} == {"pg_dump", "pg_restore", "psql"}
    assert any("sslmode=prefer" in word for arguments in seen for word in arguments)
    assert not any(str(password) in word for arguments in seen for word in arguments)
    database.dispose()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_program_that_is_missing_is_named(books: Books, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(postgres_programs, "_PLACES", "/nowhere")
    with pytest.raises(BackupError, match="pg_dump is not installed here; it is in the package postgresql-client"):
        backup(books.database, file)
    assert not file.exists()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_an_archive_that_cannot_be_read_a_second_time_changes_nothing(
    books: Books, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was whole when it was looked at may be damaged when it is restored: a failing disk."""
    backup(books.database, file)
    books.hold(server="two")
    before = books.dump()
    spoil(file)
    url = books.database.url
    books.database.dispose()
    with pytest.raises(postgres_programs.Failed, match="pg_restore cannot read the archive"):
        postgres_programs.fill(url, file, lock_seconds=5)
    assert books.dump() == before


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_server_that_is_away_is_an_outage(books: Books, file: Path) -> None:
    database = Database(make_url(books.database.url).set(port=9).render_as_string(hide_password=False))
    with pytest.raises(DatabaseUnavailable):
        backup(database, file)


# --- the commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def nbfed(tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch)
    if databases.kind != "sqlite":
        monkeypatch.setenv("NBFED_DATABASE_URL", databases.migrated())
    yield commands
    commands.close()


def test_the_commands_say_what_was_done_and_what_to_do(nbfed: Commands, file: Path) -> None:
    nbfed.person("ana")
    answer = nbfed("db", "backup", str(file))
    assert answer.exit_code == 0
    assert re.match(
        rf"{re.escape(str(file))}: \d+ KiB, a backup of .*, whose tables are at version \d{{4}}\.\n", answer.stdout
    )
    assert "nbfed db restore" in answer.stdout
    nbfed.house.database.dispose()
    refused = nbfed("db", "restore", str(file))
    assert refused.exit_code == 1
    assert re.search(
        r"not empty: it has .*1 of person.*--replace does the latter\. Nothing was changed", one_line(refused)
    )
    replaced = nbfed("db", "restore", str(file), "--replace")
    assert replaced.exit_code == 0
    assert "`nbfed ledger verify`" in replaced.stdout
    assert "nbfed db upgrade" not in replaced.stdout
    assert password_of(nbfed) not in answer.stdout + refused.stderr + replaced.stdout


def test_after_the_restore_of_an_older_version_the_upgrade_is_advised(nbfed: Commands, file: Path) -> None:
    stamp(nbfed.house.database, "0001")
    assert nbfed("db", "backup", str(file)).exit_code == 0
    nbfed.house.database.dispose()
    answer = nbfed("db", "restore", str(file), "--replace")
    assert answer.exit_code == 0
    assert (
        "`nbfed db upgrade` brings the tables to what this program needs. Then `nbfed ledger verify`" in answer.stdout
    )


def test_a_backup_of_nothing_is_refused_by_the_command(nbfed: Commands, file: Path, monkeypatch: Any) -> None:
    file.touch()
    assert nbfed.house
    answer = nbfed("db", "backup", str(file))
    assert answer.exit_code == 1
    assert "is there already" in answer.stderr
    assert "Nothing was changed." in answer.stderr


def one_line(answer: Result) -> str:
    return " ".join(answer.stderr.split())


def password_of(nbfed: Commands) -> str:
    return str(make_url(nbfed.house.database.url).password or sys.executable)


def stamp(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
