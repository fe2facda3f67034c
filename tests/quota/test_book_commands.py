"""`nbfed ledger` and `nbfed rates`: the books are checked, corrected and handed on, to the last milli-unit-second."""

import csv
import io
import json
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
import yaml
from sqlalchemy import insert, select, text

from federation.audit import Act, AuditTable
from federation.ids import new_id, reference
from federation.persons import Person
from federation.records import as_csv, as_json_lines
from quota.commands.books import _entries
from quota.rates import publish
from quota.tables import AccountTable, EntryTable
from tests.hub_config.test_cli import Commands
from tests.quota.test_commands import HOUR, add, reserve, run, statement

FORMULA = '=HYPERLINK("http://evil.example.org")'


def books_are_right(nbfed: Commands) -> None:
    answer = nbfed("ledger", "verify")
    assert (answer.exit_code, answer.stderr) == (0, "")


# --- nbfed ledger verify ------------------------------------------------------------------------------------------


def test_right_books_are_counted_and_are_0(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=1)
    reserve(nbfed, ines)
    answer = nbfed("ledger", "verify")
    assert answer.exit_code == 0
    assert answer.stdout == "Checked 1 accounts, 1 grants, 2 holds, 5 entries: the books are right.\n"
    assert json.loads(nbfed("ledger", "verify", "--json").stdout) == {
        "right": True,
        "counted": {"accounts": 1, "grants": 1, "holds": 2, "entries": 5},
        "discrepancies": [],
    }


def test_empty_books_are_right(nbfed: Commands) -> None:
    assert nbfed.house
    books_are_right(nbfed)


def test_books_that_somebody_edited_are_1_and_each_discrepancy_is_told(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=1)
    with nbfed.house.database.write() as connection:
        connection.execute(text("UPDATE balance SET used = used - 1"))
    answer = nbfed("ledger", "verify")
    assert answer.exit_code == 1
    assert "36000000 granted, 3599999 used, 0 held; entries say 36000000, 3600000 and 0" in answer.stdout
    assert "1 of what they say cannot be true" in answer.stdout
    assert "nbfed db backup" in answer.stderr
    as_json = nbfed("ledger", "verify", "--json")
    assert as_json.exit_code == 1
    said = json.loads(as_json.stdout)
    assert (said["right"], len(said["discrepancies"])) == (False, 1)


# --- nbfed ledger correct -----------------------------------------------------------------------------------------


def correct(nbfed: Commands, session: str, hours: str, *more: str) -> Any:
    return nbfed("ledger", "correct", session, "--hours", hours, "--reason", "the node was broken", *more)


@pytest.mark.parametrize("how", ["attempt", "reference", "misread", "misread and blanks"])
def test_a_session_is_found_by_its_attempt_or_by_its_reference_as_people_read_it(
    nbfed: Commands, ines: Person, how: str
) -> None:
    add(nbfed)
    session = run(nbfed, ines, hours=1)
    misread = reference(session).lower().replace("o", "0").replace("i", "1").replace("b", "8")
    written = {"attempt": session, "reference": reference(session), "misread": misread}.get(how, f" {misread} ")
    answer = correct(nbfed, written, "-0.5")
    assert answer.exit_code == 0
    assert f"Session {reference(session)}: corrected." in answer.stdout
    assert "It cost 1 unit-hours, and costs 0.5 now." in answer.stdout
    books_are_right(nbfed)


def test_a_correction_is_in_the_statement_and_the_totals_add_up(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    first, second, third = (run(nbfed, ines, hours=hours) for hours in (1, 2, 3))
    correct(nbfed, first, "-0.5")
    correct(nbfed, second, "+1.5")
    read = statement(nbfed)
    amounts = {
        line["attempt"]: [line[name]["unit_hours"] for name in ("charged", "corrected", "cost")]
        for line in read["sessions"]
    }
    assert amounts == {first: [1, -0.5, 0.5], second: [2, 1.5, 3.5], third: [3, 0, 3]}
    totals = {name: read["totals"][name]["unit_hours"] for name in ("charged", "corrected", "cost")}
    assert totals == {"charged": 6, "corrected": 1, "cost": 7}
    assert read["standing"]["used"]["unit_hours"] == 7
    shown = nbfed("statement", "ines").stdout
    rows = {line.split()[0]: line.split()[-3:] for line in shown.splitlines() if line}
    assert rows[reference(first)] == ["1", "-0.5", "0.5"]
    assert rows[reference(second)] == ["2", "+1.5", "3.5"]
    assert rows[reference(third)] == ["3", "-", "3"]
    assert "which cost 7 unit-hours (charged 6, corrected by 1 more); 0 open" in shown


def test_who_corrected_it_and_why_is_in_the_audit_trail(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    session = run(nbfed, ines, hours=1)
    correct(nbfed, session, "-0.5", "--key", "ticket-7")
    with nbfed.house.database.read() as connection:
        row = connection.execute(select(AuditTable.__table__).where(AuditTable.act == Act.HOLD_CORRECTED.value)).one()
    assert (row.actor, row.target, row.reason) == ("cli:ana", session, "the node was broken")
    assert row.details == {"key": "cli:ticket-7", "amount_milli_unit_seconds": -1_800_000}


def test_the_same_key_corrects_once_and_says_so(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    session = run(nbfed, ines, hours=1)
    correct(nbfed, session, "-0.5", "--key", "ticket-7")
    again = correct(nbfed, session, "-0.5", "--key", "ticket-7")
    assert again.exit_code == 0
    assert "was corrected before with this key; nothing more was changed." in again.stdout
    assert "It costs 0.5 unit-hours." in again.stdout
    assert statement(nbfed)["totals"]["cost"]["unit_hours"] == 0.5


def test_a_key_of_another_correction_is_refused(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    first, second = run(nbfed, ines, hours=1), run(nbfed, ines, hours=1)
    correct(nbfed, first, "-0.5", "--key", "ticket-7")
    for answer in (
        correct(nbfed, first, "-0.25", "--key", "ticket-7"), correct(nbfed, second, "-0.5", "--key", "ticket-7")
    ):  # fmt: skip
        assert answer.exit_code == 1
        assert "belongs to" in answer.stderr
        assert "Nothing was changed." in answer.stderr
    assert statement(nbfed)["totals"]["cost"]["unit_hours"] == 1.5


def test_what_lapses_is_said_with_what_to_do_then(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--until", "2026-11-23", hours="2")
    session = run(nbfed, ines, hours=2)
    nbfed.now += timedelta(days=2)
    answer = correct(nbfed, session, "-1.5")
    assert "It cost 2 unit-hours, and costs 0.5 now." in answer.stdout
    assert "1.5 of what was given back lapsed at once" in answer.stdout
    assert "`nbfed grant add PERSON --hours 1.5 --reason …`" in answer.stdout
    books_are_right(nbfed)


def test_what_is_owed_then_is_said(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="2")
    session = run(nbfed, ines, hours=1)
    answer = correct(nbfed, session, "+3")
    assert "costs 4 now" in answer.stdout
    assert "2 unit-hours are owed now" in answer.stdout
    assert "; 2 owed" in nbfed("statement", "ines").stdout
    books_are_right(nbfed)


@pytest.mark.parametrize(
    ("hours", "complaint"),
    [
        pytest.param("0", "it changes nothing", id="zero"),
        pytest.param("-0.0", "it changes nothing", id="minus-zero"),
        pytest.param("NaN", "not a finite number", id="nan"),
        pytest.param("-Infinity", "not a finite number", id="infinite"),
        pytest.param("9223372036854775808", "the most is 10,000,000", id="2-to-the-63"),
        pytest.param("-9223372036854775808", "the most is 10,000,000", id="minus-2-to-the-63"),
        pytest.param("-1.0001", "more than three decimals", id="four-decimals"),
        pytest.param("one", "Write it like", id="words"),
    ],
)
def test_an_amount_that_cannot_be_booked_is_refused(nbfed: Commands, ines: Person, hours: str, complaint: str) -> None:
    add(nbfed)
    session = run(nbfed, ines, hours=1)
    answer = correct(nbfed, session, hours)
    assert answer.exit_code == 2
    assert complaint in answer.stderr
    assert statement(nbfed)["totals"]["corrected"]["unit_hours"] == 0


def test_a_session_that_is_open_or_never_ran_or_cost_less_is_not_corrected(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    session = run(nbfed, ines, hours=1)
    answer = correct(nbfed, session, "-1.001")
    assert answer.exit_code == 1
    assert "It costs 1 unit-hours. Nothing was changed." in answer.stderr
    is_open, never_ran = reserve(nbfed, ines), reserve(nbfed, ines, "second")
    nbfed.house.ledger.release(never_ran, reason="cancelled")
    assert "is open; only what is settled" in correct(nbfed, is_open, "-1").stderr
    assert "never ran (released) and cost nothing" in correct(nbfed, never_ran, "+1").stderr
    books_are_right(nbfed)


@pytest.mark.parametrize(
    "session", ["ABCDEFGH", pytest.param(new_id(), id="well-formed"), "", "'; DROP TABLE hold", "\x1b[2J"]
)
def test_an_unknown_session_is_not_corrected(nbfed: Commands, ines: Person, session: str) -> None:
    add(nbfed)
    run(nbfed, ines, hours=1)
    answer = correct(nbfed, session, "-1")
    assert answer.exit_code == 1
    assert "nothing was changed" in answer.stderr
    assert "\x1b" not in answer.stderr


# --- nbfed ledger export, and the sessions of a statement ---------------------------------------------------------


def test_all_entries_are_exported_and_add_up_to_the_balance(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10", reason=FORMULA)
    session = run(nbfed, ines, hours=1)
    correct(nbfed, session, "-0.25")
    entries = [json.loads(line) for line in nbfed("ledger", "export", "--jsonl").stdout.splitlines()]
    assert [entry["kind"] for entry in entries] == ["grant", "hold", "charge", "release", "correction"]
    assert [entry["amount_milli_unit_seconds"] for entry in entries] == [
        36_000_000, 3_600_000, 3_600_000, -3_600_000, -900_000
    ]  # fmt: skip
    assert {entry["owner"] for entry in entries} == {ines.id}
    assert entries[0]["reason"] == FORMULA
    assert entries[2]["reference"] == reference(session)
    answer = nbfed("ledger", "export", "--csv")
    table = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [int(row["amount_milli_unit_seconds"]) for row in table] == [
        entry["amount_milli_unit_seconds"] for entry in entries
    ]
    assert table[0]["reason"] == "'" + FORMULA
    assert answer.stderr == "All entries were printed.\n"


def test_an_export_can_begin_later_and_needs_a_form(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=1)
    nbfed.now += timedelta(days=2)
    run(nbfed, ines, hours=1)
    answer = nbfed("ledger", "export", "--jsonl", "--since", "2026-11-25")
    assert [json.loads(line)["kind"] for line in answer.stdout.splitlines()] == ["hold", "charge", "release"]
    assert nbfed("ledger", "export").exit_code == 2


def test_an_export_needs_no_more_memory_for_more_entries(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    run(nbfed, ines, hours=1)

    def peak_bytes() -> int:
        tracemalloc.start()
        with nbfed.house.database.read() as connection:
            count = sum(len(line) > 0 for line in as_json_lines(_entries(connection, None)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count in (4, 20_004)
        return peak

    peak_bytes()  # what is made once
    with nbfed.house.database.write() as connection:
        account = connection.execute(select(AccountTable.id)).scalar_one()
        row = {
            "account_id": account, "hold_id": None, "grant_id": None, "kind": "hold", "amount": 1, "at": nbfed.now,
            "actor": "test", "reason": "x" * 500, "key": None,
        }  # fmt: skip
        connection.execute(insert(EntryTable), [row] * 20_000)
    assert peak_bytes() < 8_000_000, "20,000 entries with reasons of 500 characters are more than that"


def test_the_sessions_of_a_statement_are_exported_with_exact_amounts(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    first = run(nbfed, ines, seconds=1)
    correct(nbfed, first, "+0.001")
    second = run(nbfed, ines, "gpu", "medium", minutes=30)
    third = reserve(nbfed, ines)
    lines = [json.loads(line) for line in nbfed("statement", "ines", "--jsonl").stdout.splitlines()]
    names = ("held", "charged", "corrected", "cost", "overrun")
    amounts = {line["attempt"]: [line[f"{name}_milli_unit_seconds"] for name in names] for line in lines}
    assert amounts == {
        third: [3_600_000, None, 0, None, 0],
        second: [0, 7_200_000, 0, 7_200_000, 0],
        first: [0, 1_000, 3_600, 4_600, 0],
    }
    table = list(csv.DictReader(io.StringIO(nbfed("statement", "ines", "--csv").stdout)))
    assert [row["attempt"] for row in table] == [third, second, first]
    assert (table[0]["cost_milli_unit_seconds"], table[2]["cost_milli_unit_seconds"]) == ("", "4600")
    assert (table[1]["seconds"], table[1]["started_at"]) == ("1800", lines[1]["started_at"])


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"), (" =1", "' =1"),
        ("\r=1", "'\r=1"), ("\x00", "'\x00"), ("＝1", "'＝1"), ("1=1", "1=1"), ("", ""), (-600, "-600"), (None, ""),
        ('a"b,c', 'a"b,c'), ("two\nlines", "two\nlines"), ("Ñandú", "Ñandú"),
    ],
)  # fmt: skip
def test_no_cell_of_a_table_is_run_by_a_spreadsheet(cell: Any, written: str) -> None:
    lines = "".join(as_csv(["x", "y"], [{"x": cell, "y": 1}]))
    assert list(csv.reader(io.StringIO(lines, newline=""))) == [["x", "y"], [written, "1"]]


# --- accounts of pools --------------------------------------------------------------------------------------------


@pytest.fixture
def pool(nbfed: Commands) -> str:
    """A pool of the settings."""
    settings = yaml.safe_load(nbfed.file.read_text())
    settings["pools"] = {
        "ocean": {"title": "Ocean group", "community": "urn:x:group:ocean", "amount_hours": 5, "flavours": ["small"]}
    }
    nbfed.file.write_text(yaml.safe_dump(settings))
    assert nbfed.house
    return "ocean"


def test_a_pool_is_given_quota_and_has_a_list_and_a_statement(nbfed: Commands, pool: str) -> None:
    answer = nbfed("grant", "add", "--pool", "ocean", "--hours", "20", "--reason", "a cruise")
    assert "20 unit-hours for Ocean group (pool ocean)" in answer.stdout
    assert "a cruise" in nbfed("grant", "list", "--pool", "ocean").stdout
    read = json.loads(nbfed("statement", "--pool", "ocean", "--json").stdout)
    assert (read["pool"], read["standing"]["left"]["unit_hours"]) == ("ocean", 20)
    assert nbfed("statement", "--pool", "ocean").stdout.startswith("Ocean group (pool ocean)\n")


def test_a_pool_that_is_not_there_is_refused_and_those_there_are_named(nbfed: Commands, pool: str) -> None:
    answer = nbfed("grant", "add", "--pool", "osean", "--hours", "20", "--reason", "x")
    assert answer.exit_code == 1
    assert "There is no pool 'osean'. Those of federation.yaml: ocean." in answer.stderr


def test_a_pool_that_left_the_settings_still_has_its_statement(nbfed: Commands, pool: str) -> None:
    nbfed("grant", "add", "--pool", "ocean", "--hours", "20", "--reason", "a cruise")
    settings = yaml.safe_load(nbfed.file.read_text())
    del settings["pools"]
    nbfed.file.write_text(yaml.safe_dump(settings))
    assert nbfed("statement", "--pool", "ocean").stdout.startswith("pool ocean\n")


@pytest.mark.parametrize(
    "words", [("statement",), ("grant", "list"), ("grant", "add", "--hours", "1", "--reason", "x")]
)
def test_one_account_is_named_and_not_two(nbfed: Commands, ines: Person, pool: str, words: tuple[str, ...]) -> None:
    assert nbfed(*words).exit_code == nbfed(*words, "ines", "--pool", "ocean").exit_code == 2


# --- nbfed rates --------------------------------------------------------------------------------------------------


def test_weights_are_shown_by_version_and_the_settings_say_the_same(nbfed: Commands) -> None:
    assert nbfed.house
    answer = nbfed("rates")
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[1].split() == [
        "1", "2026-11-23T10:00:00Z", "in", "force", "medium", "4,", "small", "1"
    ]  # fmt: skip
    assert "federation.yaml says the same as version 1." in answer.stdout


def test_weights_that_the_settings_say_otherwise_are_told_before_they_count(nbfed: Commands) -> None:
    with nbfed.house.database.write() as connection:
        publish(connection, {"small": 1000, "medium": 2500, "large": 8000}, nbfed.now + HOUR)
    answer = nbfed("rates")
    assert [line.split()[0] for line in answer.stdout.splitlines()[1:3]] == ["2", "1"]
    assert "federation.yaml says otherwise: large is gone; medium 4 instead of 2.5." in answer.stdout
    assert "makes it version 3; sessions that run keep their price" in answer.stdout
    said = json.loads(nbfed("rates", "--json").stdout)
    assert (said["in_force"], said["differs"], len(said["versions"])) == (2, True, 2)
    assert said["versions"][0]["weights_milli"] == {"small": 1000, "medium": 2500, "large": 8000}
    assert said["federation_yaml"] == {"small": 1000, "medium": 4000}


def test_without_weights_it_says_when_they_come(nbfed: Commands) -> None:
    assert nbfed("db", "upgrade").exit_code == 0
    assert "There are no weights yet: `nbfed up` takes them from federation.yaml" in nbfed("rates").stdout
