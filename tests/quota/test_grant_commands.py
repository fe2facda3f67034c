"""`nbfed grant change` and `nbfed grant add --csv`: all or nothing is checked, each is given once, nothing is lost."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select

from federation.audit import Act, AuditTable
from federation.ids import new_id
from federation.persons import Person
from quota.amounts import from_unit_hours
from quota.commands.bulk import BadTable, read_table
from quota.owners import owner_of
from tests.hub_config.test_cli import Commands
from tests.quota.test_commands import add, grants, reserve, run, statement

DAY = timedelta(days=1)


# --- nbfed grant change -------------------------------------------------------------------------------------------


def change(nbfed: Commands, grant: str, *options: str) -> Result:
    return nbfed("grant", "change", grant, "--reason", "a longer thesis", *options)


def left(nbfed: Commands) -> float:
    return float(statement(nbfed)["standing"]["left"]["unit_hours"])


def test_a_grant_is_extended_and_it_is_said_what_it_becomes(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--until", "2026-11-30", hours="10")
    run(nbfed, ines, hours=3)
    (before,) = grants(nbfed)
    answer = change(nbfed, before.id, "--until", "2027-01-31")
    assert answer.exit_code == 0
    after = grants(nbfed)[-1]
    assert f"Grant {before.id}: ended at 2026-11-23T13:00:00Z. It paid 3 unit-hours." in answer.stdout
    assert (
        f"Grant {after.id} follows it: 7 unit-hours from 2026-11-23T13:00:00Z until 2027-02-01T00:00:00Z, active; 10 for "
        "both together." in answer.stdout
    )
    assert (after.follows, left(nbfed)) == (before.id, 7)
    assert "changed" in nbfed("grant", "list", "ines").stdout


@pytest.mark.parametrize(("hours", "becomes"), [("20", 17), ("5", 2), ("3.001", 0.001)])
def test_a_grant_becomes_more_or_less_and_keeps_its_end(
    nbfed: Commands, ines: Person, hours: str, becomes: float
) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=3)
    (before,) = grants(nbfed)
    assert change(nbfed, before.id, "--hours", hours).exit_code == 0
    assert left(nbfed) == becomes
    assert grants(nbfed)[-1].ends_at == before.ends_at


def test_a_grant_that_is_reduced_to_what_it_paid_is_over(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=3)
    answer = change(nbfed, grants(nbfed)[0].id, "--hours", "3")
    assert "no grant follows it" in answer.stdout
    assert left(nbfed) == 0


def test_what_a_running_session_holds_stays_its_own(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    reserve(nbfed, ines)
    change(nbfed, grants(nbfed)[0].id, "--hours", "0.5")
    standing = statement(nbfed)["standing"]
    assert (standing["held"]["unit_hours"], standing["left"]["unit_hours"]) == (1, 0)
    assert nbfed("ledger", "verify").exit_code == 0


def test_a_grant_that_waits_keeps_its_start(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--from", "2027-01-01", hours="10")
    change(nbfed, grants(nbfed)[0].id, "--hours", "20")
    assert f"{grants(nbfed)[-1].starts_at:%Y-%m-%d}" == "2027-01-01"


def test_the_same_change_again_changes_nothing_more(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    (before,) = grants(nbfed)
    first = change(nbfed, before.id, "--hours", "20", "--key", "ticket-7")
    again = change(nbfed, before.id, "--hours", "20", "--key", "ticket-7")
    assert (first.exit_code, again.exit_code, again.stdout) == (0, 0, first.stdout)
    assert len(grants(nbfed)) == 2


def test_who_changed_it_and_why_is_in_the_audit_trail(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    change(nbfed, grants(nbfed)[0].id, "--hours", "20")
    with nbfed.house.database.read() as connection:
        row = connection.execute(select(AuditTable.__table__).order_by(AuditTable.seq.desc()).limit(1)).one()
    assert (row.act, row.actor, row.reason) == (Act.GRANT_CHANGED.value, "cli:ana", "a longer thesis")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param([], "Say what changes", id="nothing"),
        pytest.param(["--hours", "10"], "already; nothing was changed", id="as-it-is"),
        pytest.param(["--hours", "0"], "more than zero", id="zero"),
        pytest.param(["--hours", "-1"], "more than zero", id="negative"),
        pytest.param(["--hours", "9223372036854775808"], "the most is 10,000,000", id="2-to-the-63"),
        pytest.param(["--hours", "NaN"], "not a finite number", id="nan"),
        pytest.param(["--hours", "1.0001"], "more than three decimals", id="four-decimals"),
        pytest.param(["--until", "2026-11-22"], "`nbfed grant revoke` ends a grant now", id="end-before-now"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    nbfed: Commands, ines: Person, options: list[str], complaint: str
) -> None:
    add(nbfed, hours="10")
    (before,) = grants(nbfed)
    answer = change(nbfed, before.id, *options)
    assert answer.exit_code == 2
    assert complaint in " ".join(answer.stderr.split())
    assert grants(nbfed) == [before]


def test_a_grant_whose_start_is_to_come_does_not_end_before_it(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--from", "2027-01-01", hours="10")
    answer = change(nbfed, grants(nbfed)[0].id, "--until", "2026-12-30")
    assert answer.exit_code == 2
    assert "not after 2027-01-01T00:00:00Z" in answer.stderr


def test_what_is_over_unknown_or_a_default_is_not_changed(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    (grant,) = grants(nbfed)
    nbfed("grant", "revoke", grant.id, "--reason", "x")
    answer = change(nbfed, grant.id, "--hours", "20")
    assert (answer.exit_code, "ended before, at 2026-11-23T10:00:00Z" in answer.stderr) == (1, True)
    answer = change(nbfed, new_id(), "--hours", "20")
    assert (answer.exit_code, "There is no grant" in answer.stderr) == (1, True)
    default = nbfed.house.ledger.grant(
        key=f"default:month:2026-11-01:{ines.id}", owner=owner_of(ines), amount=1, starts_at=nbfed.now,
        ends_at=nbfed.now + DAY, created_by="system", reason="default",
    )  # fmt: skip
    answer = change(nbfed, default, "--hours", "20")
    assert (answer.exit_code, "default quota of a period" in answer.stderr) == (1, True)


def test_a_key_of_another_grant_changes_nothing(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--key", "ticket-7", hours="10")
    add(nbfed, hours="11")
    before = grants(nbfed)
    answer = change(nbfed, before[1].id, "--hours", "20", "--key", "ticket-7")
    assert answer.exit_code == 1
    assert "was used before, for grant" in answer.stderr
    assert grants(nbfed) == before


# --- nbfed grant add --csv ----------------------------------------------------------------------------------------


@pytest.fixture
def bob(nbfed: Commands) -> Person:
    return nbfed.person("bob", name="Bob Brandt", email="bob@elbtal.example.org")


def give(nbfed: Commands, tmp_path: Path, content: str | bytes, *options: str) -> Result:
    file = tmp_path / "grants.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return nbfed("grant", "add", "--csv", str(file), *options)


TABLE = """person,hours,until,months,reason,key
ines,10,2027-01-31,,a course,
bob@elbtal.example.org,2.5,,3,"a course, too",bob-7
"""


def test_many_are_given_what_the_table_says(nbfed: Commands, ines: Person, bob: Person, tmp_path: Path) -> None:
    answer = give(nbfed, tmp_path, TABLE)
    assert answer.exit_code == 0, answer.stderr
    said = [(grant.amount, f"{grant.ends_at:%Y-%m-%d}", grant.reason) for grant in grants(nbfed)]
    assert said == [
        (from_unit_hours(10), "2027-02-01", "a course"),
        (9_000_000, "2027-02-23", "a course, too"),
    ]
    assert answer.stdout.splitlines()[-1] == "2 grants of 12.5 unit-hours given."
    assert answer.stdout.splitlines()[0].startswith(f"line 2: grant {grants(nbfed)[0].id}, 10 unit-hours for Inês")


def test_the_same_file_again_gives_nothing_more(nbfed: Commands, ines: Person, bob: Person, tmp_path: Path) -> None:
    give(nbfed, tmp_path, TABLE)
    nbfed.now += 40 * DAY
    answer = give(nbfed, tmp_path, TABLE)
    assert answer.exit_code == 0
    assert answer.stdout == "0 grants of 0 unit-hours given; 2 were given before, with the same keys.\n"
    assert len(grants(nbfed)) == 2


def test_a_row_that_is_mended_or_added_does_not_give_the_others_again(
    nbfed: Commands, ines: Person, bob: Person, tmp_path: Path
) -> None:
    give(nbfed, tmp_path, TABLE)
    answer = give(nbfed, tmp_path, TABLE.replace("reason,key\n", "reason,key\nines,1,,,more,\n"))
    assert "1 grants of 1 unit-hours given; 2 were given before" in answer.stdout
    assert len(grants(nbfed)) == 3


def test_only_checking_gives_nothing(nbfed: Commands, ines: Person, bob: Person, tmp_path: Path) -> None:
    answer = give(nbfed, tmp_path, TABLE, "--check")
    assert answer.exit_code == 0
    assert "no complaints. 2 grants of 12.5 unit-hours to give." in answer.stdout
    assert grants(nbfed) == []


def test_every_complaint_is_told_with_its_line_and_nothing_is_given(
    nbfed: Commands, ines: Person, bob: Person, tmp_path: Path
) -> None:
    nbfed.person("rui", name="Rui Carvalho")
    add(nbfed, "--key", "used", hours="1")
    before = grants(nbfed)
    bad = {
        "zoe,1,,,x,": "there is nobody 'zoe' here",
        "carvalho,1,,,x,": "'carvalho' may be any of 2 people: ",
        ",1,,,x,": "the person is blank",
        "bob,0,,,x,": "0 unit-hours cannot be given: an amount is more than zero",
        "bob,-1,,,x,": "an amount is more than zero",
        "bob,9223372036854775808,,,x,": "the most is 10,000,000 at a time",
        "bob,NaN,,,x,": "it is not a finite number",
        "bob,1.0001,,,x,": "it has more than three decimals",
        "bob,,,,x,": "'' is not a number",
        "bob,1,2026-11-22,,x,": "The grant would end at 2026-11-23T00:00:00Z",
        "bob,2,31.12.2026,,x,": "Write 2026-12-31",
        "bob,1,2027-01-01,3,x,": "until and months both say when it ends",
        "bob,1,,0,x,": "months is a whole number from 1 to 120, not '0'",
        "bob,1,,½,x,": "months is a whole number from 1 to 120, not '½'",
        "bob,1,,,,": "a reason is needed",
        f"bob,1,,,{'x' * 2001},": "the reason has more than 2000 characters",
        f"bob,1,,,x,{'k' * 201}": "the key has more than 200 characters",
        "bob,5,,,x,once": None,
        "ines,5,,,x,once": "the key 'once' stands in line 19, too",
        "bob,6,,,x,": None,
        "bob ,6,,, x,": "it says the same as line 21; if both are meant, give each a key",
        "bob,1,,,x,used": "the key 'used' was used before, for another grant",
        "ines,2,,,x,used": "the key 'used' stands in line 23, too",
        "zoe,0,2026-01-01,,,": "a reason is needed",
    }
    answer = give(nbfed, tmp_path, "\n".join(["person,hours,until,months,reason,key", *bad]))
    assert answer.exit_code == 1
    assert grants(nbfed) == before
    told = answer.stderr.splitlines()
    assert "nothing was given" in told[0]
    for number, complaint in enumerate(bad.values(), start=2):
        of_line = [line for line in told if line.startswith(f"  line {number}: ")]
        assert bool(of_line) == (complaint is not None), (number, of_line)
        assert complaint is None or any(complaint in line for line in of_line), (number, of_line)
    assert len([line for line in told if line.startswith("  line 25: ")]) == 4, "all that is wrong with a row"


def test_a_key_whose_grant_ends_at_another_time_is_another_grant(nbfed: Commands, ines: Person, tmp_path: Path) -> None:
    table = "person,hours,until,reason,key\nines,1,{until},x,k\n"
    assert give(nbfed, tmp_path, table.format(until="2027-01-31")).exit_code == 0
    answer = give(nbfed, tmp_path, table.format(until="2027-02-28"))
    assert answer.exit_code == 1
    assert "1 unit-hours until 2027-02-01T00:00:00Z" in answer.stderr


def test_what_was_given_before_an_outage_is_not_given_again(
    nbfed: Commands, ines: Person, bob: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from federation.database import DatabaseUnavailable
    from quota.ledger import Ledger

    real, asked = Ledger.grant, []

    def away_at_the_second(self: Ledger, **options: Any) -> str:
        asked.append(options)
        if len(asked) == 2:
            raise DatabaseUnavailable("connection lost")
        return real(self, **options)

    monkeypatch.setattr(Ledger, "grant", away_at_the_second)
    answer = give(nbfed, tmp_path, TABLE)
    assert answer.exit_code == 1
    assert "line 3: connection lost. 1 grants of this file were given now" in answer.stderr
    assert len(grants(nbfed)) == 1
    assert "1 were given before" in give(nbfed, tmp_path, TABLE).stdout
    assert len(grants(nbfed)) == 2


def test_a_table_and_other_options_do_not_go_together(nbfed: Commands, ines: Person, tmp_path: Path) -> None:
    assert give(nbfed, tmp_path, TABLE, "ines").exit_code == 2
    assert give(nbfed, tmp_path, TABLE, "--hours", "1").exit_code == 2
    assert add(nbfed, "--check").exit_code == 2
    assert nbfed("grant", "add", "ines", "--hours", "1").exit_code == 2
    answer = nbfed("grant", "add", "--csv", str(tmp_path / "none.csv"))
    assert (answer.exit_code, "cannot be read: No such file" in answer.stderr) == (1, True)


# --- tables, as spreadsheets write them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"person,hours,reason\nines,1,x\n", id="commas"),
        pytest.param(b"person;hours;reason\r\nines;1;x\r\n", id="semicolons-of-a-european-spreadsheet"),
        pytest.param(b"person\thours\treason\nines\t1\tx", id="tabs"),
        pytest.param("\ufeffperson,hours,reason\nines,1,x\n".encode(), id="byte-order-mark"),
        pytest.param(b" Reason , PERSON,hours\n x,ines , 1\n\n,,\n", id="other-order-blanks-and-empty-lines"),
    ],
)
def test_a_table_is_read_as_it_is_saved(content: bytes) -> None:
    (row,) = read_table(content)
    assert {name: row.cells[name] for name in ("person", "hours", "reason", "key")} == {
        "person": "ines", "hours": "1", "reason": "x", "key": ""
    }  # fmt: skip
    assert row.line == 2


def test_a_cell_may_have_several_lines_and_lines_are_counted_as_an_editor_does() -> None:
    rows = read_table(b'person,hours,reason\nines,1,"two\nlines"\nbob,2,x\n')
    assert [(row.line, row.cells["person"]) for row in rows] == [(2, "ines"), (4, "bob")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "lacks the columns person, hours, reason", id="empty"),
        pytest.param(b"person,hours,reason\n", "nothing below its first line", id="header-alone"),
        pytest.param(b"ines,1,x\nbob,2,x\n", "unknown columns 'ines', '1', 'x'", id="no-header"),
        pytest.param(b"person,hours,reason,hours\n", "a column stands there twice", id="column-twice"),
        pytest.param(b"person,hours,reason\nines,1,x,y\n", "line 2 has 4 cells, and the first line 3", id="more-cells"),
        pytest.param(b'person,hours,reason\nines,1,"x', "is not CSV", id="open-quotation-mark"),
        pytest.param(b"person,hours,reason\nin\xeas,1,x\n", "not UTF-8 (byte 22)", id="latin-1"),
        pytest.param(b"person,hours,reason\n" + b"ines,1,x\n" * 10_001, "more than 10,000 rows", id="too-many"),
        pytest.param(b"PK\x03\x04\x00\x00", "unknown columns", id="a-spreadsheet-itself"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(BadTable) as refused:
        read_table(content)
    assert complaint in str(refused.value)
