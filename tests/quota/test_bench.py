"""`nbfed bench ledger` on either database: what it says is true of the books, whatever the machine's figures are."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from federation.database import Database
from quota.bench.commands import bench
from quota.bench.crew import HOT
from quota.bench.measure import Plan, measure
from quota.bench.scratch import NotEmpty, fill, give, open_scratch, prepare
from quota.statement import standing
from quota.tables import HoldTable
from tests.support.books import discrepancies, dump
from tests.support.databases import Databases

SMALL = Plan(runs=1, seconds=0.1, open_loop_seconds=0.2, processes=2, closed=(10, 20))


def test_every_figure_is_measured_and_the_books_are_right_afterwards(databases: Databases) -> None:
    url = databases.empty()
    report = measure(url, SMALL, lambda _: None)
    figures = {row.what: row for row in report.rows}
    assert report.findings == []
    assert all(row.values for row in report.rows)
    assert figures["what verify finds in the books afterwards"].reached
    assert figures["  admitted beyond the 37 that it covers"].reached
    assert ("reserve and settle, one hot account" in figures) == (databases.kind == "postgresql")
    database = Database(url)
    assert discrepancies(database) == []
    database.dispose()


def test_closed_sessions_that_are_made_at_once_are_as_right_as_others(databases: Databases) -> None:
    url = databases.empty()
    prepare(url)
    scratch = open_scratch(url)
    give(scratch.ledger, HOT)
    fill(scratch, HOT, 5001)
    scratch.pair(HOT)
    with scratch.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(HoldTable)).scalar_one() == 5002
        now = scratch.ledger._clock()
        assert standing(connection, HOT, now).held == 0
    assert discrepancies(scratch.database) == []
    scratch.database.dispose()


def test_a_database_that_is_not_empty_is_refused_and_left_alone(databases: Databases) -> None:
    url = databases.migrated()
    database = Database(url)
    before = dump(database)
    with pytest.raises(NotEmpty, match="tables already"):
        measure(url, SMALL, lambda _: None)
    assert dump(database) == before
    database.dispose()


@pytest.mark.parametrize("kind", ["sqlite"])
def test_the_command_measures_sqlite_in_a_folder_and_leaves_nothing_there(databases: Databases, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["ledger", "--folder", str(folder), "--runs", "1", "--seconds", "0.1", "--closed", "10", "--closed", "20"]
    answer = CliRunner().invoke(bench, words)
    assert answer.exit_code == 0, answer.output
    assert "reserve and settle, own accounts" in answer.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("nonsense", "is no URL", id="no-url"),
        pytest.param("mysql://h/d", "is no URL", id="another-kind"),
        pytest.param("postgresql+psycopg://u:very-secret@127.0.0.1:1/d", "cannot be used", id="nobody-there"),
    ],
)
def test_an_address_that_cannot_be_used_is_said_without_the_password_before_anything_is_measured(
    url: str, said: str
) -> None:
    answer: Any = CliRunner().invoke(bench, ["ledger", "--postgres", url])
    assert answer.exit_code == 1
    assert said in answer.output
    assert "very-secret" not in answer.output
    assert "==" not in answer.output


@pytest.mark.parametrize("kind", ["postgresql"])
def test_the_command_refuses_a_postgresql_that_is_not_empty(databases: Databases) -> None:
    answer = CliRunner().invoke(bench, ["ledger", "--postgres", databases.migrated()])
    assert answer.exit_code == 1
    assert "createdb nbfed_bench" in answer.output
