"""Persons: one row and one name for each (issuer, subject), for ever; names are valid whatever people are called."""

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from federation.database import Database
from federation.ids import new_id
from federation.persons import (
    Facts,
    Person,
    PersonTable,
    candidates,
    find_by_user_name,
    forget,
    former_facts,
    person_key,
    remember,
    user_name,
)

ISSUER = "https://idp.example.org"
OTHER_ISSUER = "https://other.example.org"
NOW = datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
FACTS = Facts(
    provider="check-in", name="Inês Carvalho", email="ines@example.org", home_organisation="example.org",
    affiliations=("faculty@example.org",), assurance=("a", "b"), memberships=("urn:x:y:group:z",), mfa=True,
    not_understood=("?",),
)  # fmt: skip


def sign_in(database: Database, subject: str = "1", **changes: Any) -> Person:
    options: dict[str, Any] = {"issuer": ISSUER, "preferred": "Inês Carvalho", "facts": FACTS, "now": NOW} | changes
    with database.write() as connection:
        return remember(connection, subject=subject, **options)


def count(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(PersonTable)).scalar_one()


# --- who is the same ----------------------------------------------------------------------------------------


def test_a_new_person_is_kept_with_all_that_was_said(database: Database) -> None:
    person = sign_in(database)
    assert person == Person(
        id=person.id, issuer=ISSUER, subject="1", user_name=f"ines-carvalho-{person_key(ISSUER, '1')[:6]}", facts=FACTS,
        facts_at=NOW,
    )  # fmt: skip
    with database.read() as connection:
        assert find_by_user_name(connection, person.user_name) == person


def test_the_same_person_again_keeps_id_and_name_whatever_they_are_called_now(database: Database) -> None:
    first = sign_in(database)
    later = NOW + timedelta(days=400)
    facts = Facts(name="Ana", email="new@example.org")
    second = sign_in(database, preferred="somebody-else", facts=facts, now=later)
    assert second == replace(first, facts=facts, facts_at=later)
    assert count(database) == 1


def test_a_person_who_signs_in_twice_at_once_for_the_first_time_is_one(database: Database) -> None:
    found, together = [], threading.Barrier(6)

    def sign_in_as_another_process() -> None:
        own = Database(database.url, busy_seconds=30)
        together.wait()
        found.append(sign_in(own))
        own.dispose()

    threads = [threading.Thread(target=sign_in_as_another_process) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({(person.id, person.user_name) for person in found}) == 1
    assert count(database) == 1


def test_what_a_provider_no_longer_says_is_forgotten(database: Database) -> None:
    sign_in(database)
    assert sign_in(database, facts=Facts()).facts == Facts()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"subject": "2"}, id="another-subject"),
        pytest.param({"issuer": OTHER_ISSUER}, id="the-same-subject-of-another-issuer"),
        pytest.param({"subject": "2", "facts": FACTS}, id="the-same-e-mail-address"),
        pytest.param({"subject": "1 "}, id="a-blank-more"),
        pytest.param({"issuer": ISSUER + "/"}, id="a-slash-more"),
    ],
)
def test_somebody_else_is_another_person_with_another_name(database: Database, changes: dict[str, Any]) -> None:
    first = sign_in(database, "1")
    second = sign_in(database, **{"subject": "1"} | changes)
    assert first.id != second.id
    assert first.user_name != second.user_name
    assert first.user_name.rpartition("-")[0] == second.user_name.rpartition("-")[0]
    assert count(database) == 2


def test_subjects_that_differ_in_case_are_two(database: Database) -> None:
    assert sign_in(database, "a").id != sign_in(database, "A").id


def test_nobody_has_a_name_that_was_not_given(database: Database) -> None:
    sign_in(database)
    with database.read() as connection:
        assert find_by_user_name(connection, "ines-carvalho") is None
        assert find_by_user_name(connection, "") is None


def test_facts_of_a_newer_and_of_an_older_program_are_read(database: Database) -> None:
    person = sign_in(database)
    with database.write() as connection:
        stored = {"name": "Inês", "shoe_size": 38, "assurance": ["a"]}
        connection.execute(update(PersonTable).values(facts=stored))
    with database.read() as connection:
        found = find_by_user_name(connection, person.user_name)
    assert found is not None
    assert found.facts == Facts(name="Inês", assurance=("a",))


# --- names --------------------------------------------------------------------------------------------------

KEY = person_key(ISSUER, "1")
END = KEY[:6]


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        pytest.param("ines", "ines", id="plain"),
        pytest.param("Inês Carvalho", "ines-carvalho", id="blank-and-accent"),
        pytest.param("ines@example.org", "ines", id="address"),
        pytest.param("@example.org", "user", id="only-a-scope"),
        pytest.param("", "user", id="empty"),
        pytest.param("   ", "user", id="blank"),
        pytest.param("...!?_-/\\'\"", "user", id="only-punctuation"),
        pytest.param("😀", "user", id="only-an-emoji"),
        pytest.param("../../etc/passwd", "etc-passwd", id="a-path"),
        pytest.param("Robert'); DROP TABLE person;--", "robert-drop-table-person", id="sql"),
        pytest.param("a\nb\x00c", "a-b-c", id="control-characters"),
        pytest.param("Łukasz Żółć", "lukasz-zolc", id="polish"),
        pytest.param("山田太郎", "shan-tian-tai-lang", id="japanese"),
        pytest.param("Иван", "ivan", id="cyrillic"),
        pytest.param("-a-", "a", id="hyphens-around"),
        pytest.param("007", "007", id="digits"),
        pytest.param("x" * 24, "x" * 24, id="24-characters"),
        pytest.param("x" * 25, "x" * 24, id="25-characters"),
        pytest.param("x" * 255, "x" * 24, id="255-characters"),
        pytest.param("ä" * 255, "a" * 24, id="255-characters-with-accents"),
        pytest.param("maria " * 60, "maria-maria-maria-maria", id="cut-between-words"),
    ],
)
def test_a_name_is_made_of_what_people_are_called(preferred: str, expected: str) -> None:
    assert user_name(preferred, KEY) == f"{expected}-{END}"


@given(st.text(max_size=300), st.text(max_size=20))
def test_every_name_is_valid_in_addresses_and_on_file_systems(preferred: str, subject: str) -> None:
    name = user_name(preferred, person_key(ISSUER, subject.encode("utf-8", "replace").decode()))
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-[a-z2-7]{6}", name)
    assert len(name) <= 24 + 1 + 6


def test_names_that_slug_alike_differ(database: Database) -> None:
    names = [sign_in(database, str(n), preferred=p).user_name for n, p in enumerate(["Ana", "ana", "ANA!", "áñá", ""])]
    assert len(set(names)) == 5
    assert [name.rpartition("-")[0] for name in names] == ["ana", "ana", "ana", "ana", "user"]


def test_the_key_is_the_same_for_ever_and_another_for_each() -> None:
    assert person_key(ISSUER, "1") == person_key(ISSUER, "1")
    assert len({person_key(issuer, subject) for issuer in (ISSUER, OTHER_ISSUER) for subject in "123"}) == 6
    assert re.fullmatch(r"[a-z2-7]{52}", KEY)


def take_names(database: Database, names: list[str]) -> None:
    """Somebody has these names."""
    with database.write() as connection:
        for number, name in enumerate(names):
            connection.execute(
                insert(PersonTable).values(
                    id=new_id(), issuer=OTHER_ISSUER, subject=str(number), user_name=name, facts={}, facts_at=NOW,
                    created_at=NOW,
                )
            )  # fmt: skip


@pytest.mark.parametrize("taken", [1, 2, 10])
def test_a_name_that_somebody_has_is_made_longer(database: Database, taken: int) -> None:
    take_names(database, [user_name("ana", KEY, suffix_characters=6 + n) for n in range(taken)])
    person = sign_in(database, preferred="ana")
    assert person.user_name == f"ana-{KEY[: 6 + taken]}"
    assert sign_in(database, preferred="ana") == person


def test_when_no_name_is_left_nobody_is_stored(database: Database) -> None:
    names = [user_name("ana", KEY, suffix_characters=n) for n in range(6, len(KEY) + 1)]
    take_names(database, names)
    with pytest.raises(RuntimeError, match="no free user name"):
        sign_in(database, preferred="ana")
    assert count(database) == len(names)


# --- whom an operator means ---------------------------------------------------------------------------------


@pytest.fixture
def people(database: Database) -> dict[str, Person]:
    return {
        "ana": sign_in(database, "s-ana", preferred="ana", facts=Facts(name="Ana Díaz", email="Ana@Example.org")),
        "anabel": sign_in(database, "s-anabel", preferred="anabel", facts=Facts(name="Anabel", email="a@example.org")),
        "twin": sign_in(database, "s-ana", issuer=OTHER_ISSUER, preferred="x", facts=Facts(email="ana@example.org")),
        "nobody": sign_in(database, "s-0", preferred="", facts=Facts()),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{anabel.id}", ["anabel"], id="id"),
        pytest.param("{ana.user_name}", ["ana"], id="user-name"),
        pytest.param("s-anabel", ["anabel"], id="subject"),
        pytest.param("s-ana", ["ana", "twin"], id="subject-of-two-issuers"),
        pytest.param("a@example.org", ["anabel"], id="e-mail-address"),
        pytest.param("ANA@example.ORG", ["ana", "twin"], id="e-mail-address-of-two-in-capitals"),
        pytest.param("example.org", [], id="part-of-an-address"),
        pytest.param("b@example.org", [], id="address-of-nobody"),
        pytest.param("ana", ["ana", "anabel"], id="part-of-names"),
        pytest.param("DÍAZ", ["ana"], id="part-of-a-name-in-capitals"),
        pytest.param("anab", ["anabel"], id="part-of-a-user-name"),
        pytest.param("{ana.id[:8]}", [], id="part-of-an-id"),
        pytest.param("%", [], id="wildcard"),
        pytest.param("_", [], id="other-wildcard"),
        pytest.param("' OR 1=1 --", [], id="sql"),
        pytest.param("zzz", [], id="nobody"),
    ],
)
def test_whom_a_text_may_mean(database: Database, people: dict[str, Person], text: str, expected: list[str]) -> None:
    wanted = re.sub(r"\{(\w+)\.(\w+)[^}]*\}", lambda m: getattr(people[m[1]], m[2]), text)
    wanted = wanted[:8] if "[:8]" in text else wanted
    with database.read() as connection:
        found = candidates(connection, wanted)
    assert sorted(person.id for person in found) == sorted(people[name].id for name in expected)


# --- what changes, and what is removed ------------------------------------------------------------------------------


def former(database: Database, person: Person) -> list[tuple[datetime, dict[str, str]]]:
    with database.read() as connection:
        return former_facts(connection, person.id)


def test_a_name_and_an_address_that_changed_are_kept_with_when(database: Database) -> None:
    person = sign_in(database)
    later = replace(FACTS, name="Inês Carvalho Lima", email="lima@example.org")
    again = sign_in(database, facts=later, now=NOW + timedelta(days=1))
    assert (again.facts, again.facts_at, again.user_name) == (later, NOW + timedelta(days=1), person.user_name)
    assert former(database, person) == [
        (NOW + timedelta(days=1), {"name": "Inês Carvalho", "email": "ines@example.org"})
    ]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"memberships": ()}, id="memberships"),
        pytest.param({"assurance": ("x",), "mfa": False}, id="assurance"),
    ],
)
def test_what_nobody_is_called_by_has_no_history(database: Database, changed: dict[str, Any]) -> None:
    person = sign_in(database)
    sign_in(database, facts=replace(FACTS, **changed))
    assert former(database, person) == []


def test_the_history_is_short(database: Database) -> None:
    person = sign_in(database)
    for n in range(15):
        sign_in(database, facts=replace(FACTS, name=f"Name {n}"), now=NOW + timedelta(days=n + 1))
    kept = former(database, person)
    assert [facts["name"] for _until, facts in kept] == [f"Name {n}" for n in range(13, 3, -1)]


def test_who_is_forgotten_cannot_be_found_and_signs_in_as_somebody_new(database: Database) -> None:
    person = sign_in(database)
    sign_in(database, facts=replace(FACTS, name="Inês Lima"))
    sign_in(database, "2")
    with database.write() as connection:
        name = forget(connection, person, NOW + timedelta(days=1))
    assert former(database, person) == []
    with database.read() as connection:
        row = connection.execute(select(PersonTable.__table__).where(PersonTable.id == person.id)).one()
        left = find_by_user_name(connection, name)
        assert candidates(connection, "Inês") == candidates(connection, "2")
        assert find_by_user_name(connection, person.user_name) is None
    assert left is not None
    assert left.facts == Facts()
    told = " ".join(str(value) for name, value in row._mapping.items() if name != "id")
    assert not any(part in told for part in ("Inês", "ines", "example.org", ISSUER))
    assert sign_in(database).id != person.id


def test_two_who_are_forgotten_stay_two(database: Database) -> None:
    one, other = sign_in(database), sign_in(database, "2")
    with database.write() as connection:
        assert forget(connection, one, NOW) != forget(connection, other, NOW)
