"""`nbfed grant` and `nbfed statement`: exact amounts, one person or none, and nothing given twice."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select

from federation.audit import AuditTable
from federation.commands import plain
from federation.ids import new_id, reference
from federation.persons import Person
from quota.answers import Admitted, Payer, Place
from quota.capping import Gauges
from quota.commands import statements, unit_hours
from quota.owners import Owner
from quota.tables import GrantTable, OwnerKind
from tests.hub_config.test_cli import NOW, Commands
from tests.support.databases import locked

HOUR = timedelta(hours=1)


def add(nbfed: Commands, *more: str, person: str = "ines", hours: str = "10", reason: str = "a course") -> Result:
    return nbfed("grant", "add", person, "--hours", hours, "--reason", reason, *more)


def grants(nbfed: Commands) -> list[Any]:
    with nbfed.house.database.read() as connection:
        return list(connection.execute(select(GrantTable.__table__).order_by(GrantTable.created_at, GrantTable.id)))


# --- amounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "milli_unit_seconds"),
    [("0.001", 3_600), ("1", 3_600_000), ("1.500", 5_400_000), ("1e3", 3_600_000_000), ("10000000", 36 * 10**12)],
)
def test_an_amount_is_kept_exactly(nbfed: Commands, ines: Person, hours: str, milli_unit_seconds: int) -> None:
    assert add(nbfed, hours=hours).exit_code == 0
    assert [grant.amount for grant in grants(nbfed)] == [milli_unit_seconds]


@pytest.mark.parametrize(
    ("hours", "complaint"),
    [
        pytest.param("0", "more than zero", id="zero"),
        pytest.param("-0.0", "more than zero", id="minus-zero"),
        pytest.param("-1", "more than zero", id="negative"),
        pytest.param("NaN", "not a finite number", id="nan"),
        pytest.param("sNaN", "not a finite number", id="signalling-nan"),
        pytest.param("Infinity", "not a finite number", id="infinite"),
        pytest.param("1e400", "the most is 10,000,000", id="1e400"),
        pytest.param("1e999999", "the most is 10,000,000", id="more-digits-than-memory"),
        pytest.param("10000000.001", "the most is 10,000,000", id="just-above-the-most"),
        pytest.param("1.0001", "more than three decimals", id="four-decimals"),
        pytest.param("1e-400", "more than three decimals", id="almost-nothing"),
        pytest.param("1." + "0" * 60 + "1", "more than three decimals", id="sixty-one-decimals"),
        pytest.param("1,5", "Write it like", id="comma"),
        pytest.param("a lot", "Write it like", id="words"),
        pytest.param("", "Write it like", id="blank"),
    ],
)
def test_an_amount_that_cannot_be_given_is_refused(nbfed: Commands, ines: Person, hours: str, complaint: str) -> None:
    answer = add(nbfed, hours=hours)
    assert answer.exit_code == 2
    assert complaint in answer.stderr
    assert grants(nbfed) == []


@pytest.mark.parametrize(
    ("milli_unit_seconds", "text"),
    [(0, "0"), (1, "<0.001"), (3_599, "<0.001"), (3_600, "0.001"), (5_400_000, "1.5"), (36 * 10**12, "10,000,000")],
)
def test_amounts_are_shown_in_unit_hours(milli_unit_seconds: int, text: str) -> None:
    assert unit_hours(milli_unit_seconds) == text


# --- from when until when -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "starts_at", "ends_at"),
    [
        pytest.param([], "2026-11-23T10:00", "2027-11-23T10:00", id="a-year-from-now"),
        pytest.param(["--until", "2026-11-23"], "2026-11-23T10:00", "2026-11-24T00:00", id="until-the-end-of-today"),
        pytest.param(
            ["--from", "2026-12-01", "--until", "2026-12-01"], "2026-12-01T00:00", "2026-12-02T00:00", id="one-day"
        ),
        pytest.param(
            ["--from", "2027-01-31", "--months", "1"], "2027-01-31T00:00", "2027-02-28T00:00", id="to-a-shorter-month"
        ),
        pytest.param(["--from", "2026-11-01", "--months", "2"], "2026-11-01T00:00", "2027-01-01T00:00", id="new-year"),
        pytest.param(
            ["--until", "2026-12-31T15:00-03:00"], "2026-11-23T10:00", "2026-12-31T18:00", id="in-another-zone"
        ),
    ],
)
def test_a_grant_counts_from_then_until_then(
    nbfed: Commands, ines: Person, options: list[str], starts_at: str, ends_at: str
) -> None:
    answer = add(nbfed, *options)
    (grant,) = grants(nbfed)
    assert f"{grant.starts_at:%Y-%m-%dT%H:%M}" == starts_at
    assert f"{grant.ends_at:%Y-%m-%dT%H:%M}" == ends_at
    assert f"from {starts_at}:00Z until {ends_at}:00Z" in answer.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param(["--from", "2027-01-02", "--until", "2027-01-01"], "not after its start", id="until-before-from"),
        pytest.param(["--from", "2020-01-01", "--until", "2020-12-31"], "nobody could use it", id="over-already"),
        pytest.param(["--until", "2020-12-31"], "not after its start", id="until-before-now"),
        pytest.param(["--until", "2027-01-01", "--months", "3"], "Give one of them", id="until-and-months"),
        pytest.param(["--until", "2027-02-29"], "cannot be used as a date", id="no-such-day"),
        pytest.param(["--until", "31.12.2026"], "Write 2026-12-31", id="not-iso"),
        pytest.param(["--until", "2026-12-31T18:00"], "without a zone", id="without-zone"),
        pytest.param(["--until", "9999-12-31"], "cannot be used as a date", id="beyond-the-calendar"),
        pytest.param(["--from", "9999-01-01"], "beyond the calendar", id="months-beyond-the-calendar"),
        pytest.param(["--months", "0"], "--months", id="no-months"),
    ],
)
def test_times_that_make_no_sense_are_refused(
    nbfed: Commands, ines: Person, options: list[str], complaint: str
) -> None:
    answer = add(nbfed, *options)
    assert answer.exit_code == 2
    assert complaint in answer.stderr
    assert grants(nbfed) == []


# --- once, and by whom --------------------------------------------------------------------------------------


def test_without_a_key_a_repetition_gives_again(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    add(nbfed)
    assert len(grants(nbfed)) == 2


def test_the_same_key_gives_once(nbfed: Commands, ines: Person) -> None:
    first = add(nbfed, "--key", "course-7")
    nbfed.now += HOUR
    second = add(nbfed, "--key", "course-7")
    (grant,) = grants(nbfed)
    assert f"Grant {grant.id}: given." in first.stdout
    assert second.exit_code == 0
    assert f"Grant {grant.id}: was given before with this key; nothing more was given." in second.stdout
    assert "from 2026-11-23T10:00:00Z" in second.stdout


def test_a_key_is_not_taken_for_another_grant(nbfed: Commands, ines: Person) -> None:
    nbfed.person("bob")
    add(nbfed, "--key", "course-7")
    for answer in (add(nbfed, "--key", "course-7", hours="11"), add(nbfed, "--key", "course-7", person="bob")):
        assert answer.exit_code == 1
        assert "The key 'course-7' was used before" in answer.stderr
        assert "Nothing was given now" in answer.stderr
    assert len(grants(nbfed)) == 1


def test_a_key_cannot_be_one_of_the_products_own(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--key", f"default:month:2026-11-01:{ines.id}")
    nbfed.house.ledger.grant(
        key=f"default:month:2026-11-01:{ines.id}", owner=Owner(OwnerKind.USER, ines.id), amount=1, starts_at=NOW,
        ends_at=NOW + HOUR, created_by="system", reason="default",
    )  # fmt: skip
    assert len(grants(nbfed)) == 2


def test_the_books_say_who_gave_it_and_why(nbfed: Commands, ines: Person) -> None:
    add(nbfed, reason="a course")
    (grant,) = grants(nbfed)
    nbfed("grant", "revoke", grant.id, "--reason", "the course was cancelled")
    assert (grant.created_by, grant.reason) == ("cli:ana", "a course")
    with nbfed.house.database.read() as connection:
        audit = connection.execute(select(AuditTable.act, AuditTable.actor, AuditTable.target, AuditTable.reason)).all()
    assert [tuple(row) for row in audit] == [
        ("operator:grant:added", "cli:ana", grant.id, "a course"),
        ("operator:grant:revoked", "cli:ana", grant.id, "the course was cancelled"),
    ]


@pytest.mark.parametrize("options", [["--reason", " "], ["--reason", "x" * 2001], ["--key", ""], ["--key", "x" * 201]])
def test_reasons_and_keys_are_neither_blank_nor_endless(nbfed: Commands, ines: Person, options: list[str]) -> None:
    answer = add(nbfed, *options)
    assert answer.exit_code == 2
    assert options[0] in answer.stderr
    assert grants(nbfed) == []


# --- whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ines", "carvalho", "INES@serra.example.org", "Inês", " ines "])
def test_a_person_is_found_by_what_operators_know(nbfed: Commands, ines: Person, text: str) -> None:
    nbfed.person("bob", name="Bob Brandt", email="bob@elbtal.example.org")
    answer = nbfed("grant", "list", text)
    assert answer.exit_code == 0
    assert answer.stdout.startswith(f"Inês Carvalho ({ines.user_name}), Universidade de Serra Clara\n")


def test_a_person_is_found_by_id_and_user_name(nbfed: Commands, ines: Person) -> None:
    for text in (ines.id, ines.user_name):
        assert nbfed("grant", "list", text).exit_code == 0


COMMANDS_ON_A_PERSON = [
    ("grant", "add", "--hours", "1", "--reason", "x"),
    ("grant", "list"),
    ("statement",),
    ("sessions", "--person"),
]


@pytest.mark.parametrize("arguments", COMMANDS_ON_A_PERSON, ids=" ".join)
def test_nobody_is_said(nbfed: Commands, ines: Person, arguments: tuple[str, ...]) -> None:
    answer = nbfed(*arguments, "zoe")
    assert answer.exit_code == 1
    assert "nobody 'zoe' here; people appear here after their first sign-in" in answer.stderr
    assert nbfed(*arguments, " ").exit_code == 2


@pytest.mark.parametrize("arguments", COMMANDS_ON_A_PERSON, ids=" ".join)
def test_of_several_people_none_is_chosen_and_all_are_named(
    nbfed: Commands, ines: Person, arguments: tuple[str, ...]
) -> None:
    other = nbfed.person("rui", name="Rui Carvalho", email="rui@litoral.example.org", home_organisation="Litoral")
    answer = nbfed(*arguments, "carvalho")
    assert answer.exit_code == 1
    assert "'carvalho' may be any of 2 people" in answer.stderr
    for person in (ines, other):
        words = (person.user_name, person.facts.name, person.facts.email, person.facts.home_organisation)
        assert any(all(word in line for word in words) for line in answer.stderr.splitlines())
    assert grants(nbfed) == []


def test_a_name_cannot_steer_the_terminal(nbfed: Commands) -> None:
    nbfed.person("eve", name="\x1b[2J\nRoot\u202e")
    answer = nbfed("grant", "list", "eve")
    assert "\\x1b[2J\\x0aRoot\\x202e" in answer.stdout
    assert plain("Ñandú 数") == "Ñandú 数"


# --- nbfed grant list and revoke ----------------------------------------------------------------------------


def test_the_list_says_what_is_left_and_how_each_stands(nbfed: Commands, ines: Person) -> None:
    add(nbfed, "--until", "2026-12-31", hours="2", reason="spent")
    add(nbfed, "--from", "2030-01-01", hours="3", reason="later")
    nbfed.now += timedelta(seconds=1)
    run(nbfed, ines, hours=2)
    add(nbfed, hours="4", reason="now")
    add(nbfed, hours="5", reason="taken back")
    nbfed("grant", "revoke", grants(nbfed)[-1].id, "--reason", "x")
    add(nbfed, "--until", "2026-11-24", hours="6", reason="over")
    nbfed.now += timedelta(days=5)
    rows = [re.split(" {2,}", line) for line in nbfed("grant", "list", "ines").stdout.splitlines()[2:]]
    assert {reason: (amount, left, state) for _, amount, left, _, _, state, reason in rows} == {
        "spent": ("2", "0", "used up"),
        "later": ("3", "3", "waiting"),
        "now": ("4", "4", "active"),
        "taken back": ("5", "0", "revoked"),
        "over": ("6", "0", "ended"),
    }


def test_a_list_of_nothing_says_so(nbfed: Commands, ines: Person) -> None:
    assert "No grants." in nbfed("grant", "list", "ines").stdout


def test_revoking_twice_is_revoking_once(nbfed: Commands, ines: Person) -> None:
    add(nbfed)
    (grant,) = grants(nbfed)
    first = nbfed("grant", "revoke", grant.id.upper(), "--reason", "x")
    nbfed.now += HOUR
    second = nbfed("grant", "revoke", grant.id, "--reason", "x")
    assert first.exit_code == second.exit_code == 0
    assert "revoked at 2026-11-23T10:00:00Z" in first.stdout
    assert "was revoked before, at 2026-11-23T10:00:00Z; nothing was changed" in second.stdout


@pytest.mark.parametrize(
    "grant_id", ["0", "", "'; DROP TABLE grant", "\x1b[2J", pytest.param(new_id(), id="well-formed")]
)
def test_an_unknown_grant_is_not_revoked(nbfed: Commands, ines: Person, grant_id: str) -> None:
    add(nbfed)
    answer = nbfed("grant", "revoke", grant_id, "--reason", "x")
    assert answer.exit_code == 1
    assert f"There is no grant {plain(grant_id)!r}; nothing was changed." in answer.stderr
    assert [grant.revoked_at for grant in grants(nbfed)] == [None]


# --- nbfed statement ----------------------------------------------------------------------------------------


def reserve(nbfed: Commands, person: Person, server: str = "", flavour: str = "small") -> str:
    attempt = new_id()
    admitted = nbfed.house.ledger.reserve(
        attempt=attempt, payers=[Payer(owner=Owner(OwnerKind.USER, person.id))],
        place=Place(hub="hub", user=person.user_name, server=server, site="here"),
        flavour=flavour, lease=HOUR, shortest=timedelta(minutes=5), gauges=Gauges(),
    )  # fmt: skip
    assert isinstance(admitted, Admitted)
    return attempt


def run(nbfed: Commands, person: Person, server: str = "", flavour: str = "small", **duration: float) -> str:
    """A session that runs for that long and ends."""
    attempt = reserve(nbfed, person, server, flavour)
    started_at = nbfed.now
    nbfed.now += timedelta(**duration)
    nbfed.house.ledger.settle(attempt, started_at=started_at, ended_at=nbfed.now, source="test")
    return attempt


def statement(nbfed: Commands, *more: str) -> dict[str, Any]:
    return dict(json.loads(nbfed("statement", "ines", "--json", *more).stdout))


def test_a_statement_has_exact_amounts_and_marks_what_is_open(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    first = run(nbfed, ines, seconds=1)
    second = run(nbfed, ines, "gpu", "medium", minutes=30)
    third = reserve(nbfed, ines)
    read = statement(nbfed)
    assert read["person"]["user_name"] == ines.user_name
    assert read["standing"]["used"]["milli_unit_seconds"] == 1_000 + 1800 * 4_000
    assert read["standing"]["held"] == {"unit_hours": 1.0, "milli_unit_seconds": 3_600_000}
    assert read["standing"]["left"]["milli_unit_seconds"] == 36_000_000 - 1_000 - 7_200_000 - 3_600_000
    assert [(line["attempt"], line["open"]) for line in read["sessions"]] == [
        (third, True), (second, False), (first, False)
    ]  # fmt: skip
    assert [line["charged"] and line["charged"]["milli_unit_seconds"] for line in read["sessions"]] == [
        None, 7_200_000, 1_000
    ]  # fmt: skip
    assert read["sessions"][1]["ended_at"] == "2026-11-23T10:30:01+00:00"
    assert read["sessions"][0]["started_at"] is None
    assert read["totals"] == {
        "sessions": 3,
        "open": 1,
        "charged": {"unit_hours": 2.000278, "milli_unit_seconds": 7_201_000},
        "corrected": {"unit_hours": 0.0, "milli_unit_seconds": 0},
        "cost": {"unit_hours": 2.000278, "milli_unit_seconds": 7_201_000},
        "overrun": {"unit_hours": 0.0, "milli_unit_seconds": 0},
        "held": {"unit_hours": 1.0, "milli_unit_seconds": 3_600_000},
    }
    text = nbfed("statement", "ines").stdout
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines[reference(first)].split()[-2:] == ["1", "<0.001"]
    assert lines[reference(second)].split()[1:5] == ["gpu", "here", "medium", "4"]
    assert lines[reference(second)].split()[-2:] == ["1800", "2"]
    assert lines[reference(third)].endswith("open, holds 1")
    assert "Sessions: 2 ended, which cost 2 unit-hours; 1 open, which hold 1." in text


def test_a_statement_tells_what_was_used_without_cover(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="1")
    run(nbfed, ines, hours=3)
    totals = statement(nbfed)["totals"]
    assert (totals["charged"]["unit_hours"], totals["overrun"]["unit_hours"]) == (3, 2)
    assert "cost 3 unit-hours (2 of it without cover)" in nbfed("statement", "ines").stdout


def test_a_statement_can_begin_later(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="10")
    run(nbfed, ines, hours=1)
    nbfed.now += timedelta(days=2)
    later = run(nbfed, ines, hours=1)
    read = statement(nbfed, "--since", "2026-11-25")
    assert [line["attempt"] for line in read["sessions"]] == [later]
    assert read["totals"]["charged"]["unit_hours"] == 1
    assert read["standing"]["used"]["unit_hours"] == 2
    assert "No sessions since 2027-01-01T00:00:00Z." in nbfed("statement", "ines", "--since", "2027-01-01").stdout


def test_a_statement_that_is_cut_says_so(nbfed: Commands, ines: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_MOST_SESSIONS", 1)
    add(nbfed, hours="10")
    run(nbfed, ines, hours=1)
    assert statement(nbfed)["complete"] is True
    run(nbfed, ines, hours=1)
    assert statement(nbfed)["complete"] is False
    assert "Only the newest 1 are shown and counted" in nbfed("statement", "ines").stdout


def test_somebody_without_an_account_has_a_statement(nbfed: Commands, ines: Person) -> None:
    read = statement(nbfed)
    assert read["sessions"] == []
    assert {amount["milli_unit_seconds"] for key, amount in read["standing"].items() if key != "ends_at"} == {0}
    assert "No sessions." in nbfed("statement", "ines").stdout


def test_amounts_of_the_statement_are_whole_in_milli_unit_seconds(nbfed: Commands, ines: Person) -> None:
    add(nbfed, hours="0.999")
    amount = statement(nbfed)["standing"]["granted"]
    assert Decimal(str(amount["unit_hours"])) == Decimal("0.999")
    assert amount["milli_unit_seconds"] == 3_596_400


# --- a locked database --------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy_seconds", [0.2])
def test_while_another_process_writes_nothing_is_given_and_the_repetition_gives_once(
    nbfed: Commands, ines: Person
) -> None:
    assert add(nbfed).exit_code == 0
    (given,) = grants(nbfed)
    with locked(nbfed.house.database):
        answer = add(nbfed)
        revoking = nbfed("grant", "revoke", given.id, "--reason", "x")
        reading = nbfed("grant", "list", "ines")
    assert answer.exit_code == revoking.exit_code == 1
    for refused in (answer, revoking):
        assert re.search(
            "(database is locked|due to lock timeout). This is an outage", " ".join(refused.stderr.split())
        )
    assert reading.exit_code == 0
    assert grants(nbfed) == [given]
    key = answer.stderr.split("--key ")[1].split(":")[0]
    assert add(nbfed, "--key", key).exit_code == add(nbfed, "--key", key).exit_code == 0
    assert len(grants(nbfed)) == 2
