"""Terms: what was in force is kept with its words, and each person accepts each version once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from federation.audit import AuditTable
from federation.database import Database
from federation.terms import (
    AcceptanceTable,
    TermsInForce,
    TermsTable,
    accept,
    acceptance_in_force,
    acceptances,
    in_force,
    publish,
    words,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FIRST, MENDED = {"en": "Be kind.", "es": "Sea amable."}, {"en": "Be kind, please.", "es": "Sea amable."}


def put(database: Database, version: str, said: dict[str, str] = FIRST, at: datetime = NOW) -> bool:
    with database.write() as connection:
        return publish(connection, version, said, at)


def ask(database: Database, grace_days: int = 30) -> TermsInForce | None:
    with database.read() as connection:
        return in_force(connection, grace_days)


def agree(database: Database, version: str = "1", person: str = "p", language: str = "en") -> bool:
    with database.write() as connection:
        return accept(connection, person_id=person, version=version, language=language, now=NOW)


def acts(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(AuditTable.act).order_by(AuditTable.seq)).scalars())


# --- versions -------------------------------------------------------------------------------------------------------


def test_before_the_first_there_are_none(database: Database) -> None:
    assert ask(database) is None
    with database.read() as connection:
        assert words(connection) == {}


def test_the_first_has_none_before_it(database: Database) -> None:
    assert put(database, "1")
    assert ask(database) == TermsInForce(version="1", since=NOW, previous="", grace_days=30)


def test_the_same_again_changes_nothing(database: Database) -> None:
    put(database, "1")
    assert not put(database, "1", at=NOW + DAY)
    assert ask(database) == TermsInForce(version="1", since=NOW)
    assert acts(database) == ["system:terms:published"]


def test_the_next_one_names_the_one_before_and_counts_from_then(database: Database) -> None:
    put(database, "1")
    put(database, "2", at=NOW + DAY)
    assert ask(database, 10) == TermsInForce(version="2", since=NOW + DAY, previous="1", grace_days=10)


def test_words_that_are_mended_are_the_same_version_since_the_same_moment(database: Database) -> None:
    put(database, "1")
    put(database, "2", at=NOW + DAY)
    assert put(database, "2", MENDED, at=NOW + 2 * DAY)
    assert ask(database) == TermsInForce(version="2", since=NOW + DAY, previous="1")
    with database.read() as connection:
        assert words(connection) == MENDED
        assert len(connection.execute(select(TermsTable.seq)).all()) == 3


def test_an_older_version_can_come_back(database: Database) -> None:
    for day, version in enumerate("121"):
        put(database, version, at=NOW + day * DAY)
    assert ask(database) == TermsInForce(version="1", since=NOW + 2 * DAY, previous="2")


# --- acceptances ----------------------------------------------------------------------------------------------------


def test_an_acceptance_is_kept_with_its_language_and_its_row_in_the_audit_trail(database: Database) -> None:
    assert agree(database, language="pt")
    with database.read() as connection:
        (row,) = acceptances(connection, "p")
        (audit,) = connection.execute(select(AuditTable.__table__)).all()
    assert (row.version, row.language, row.at) == ("1", "pt", NOW)
    assert (audit.act, audit.actor, audit.target) == ("person:terms:accepted", "person:p", "person:p")
    assert audit.details == {"version": "1", "language": "pt"}


def test_accepting_twice_is_once(database: Database) -> None:
    assert agree(database)
    assert not agree(database, language="es")
    assert acts(database) == ["person:terms:accepted"]


def test_each_version_and_each_person_is_one_of_its_own(database: Database) -> None:
    assert [agree(database, v, p) for v in "12" for p in "pq"] == [True] * 4
    with database.read() as connection:
        assert {a.version for a in acceptances(connection, "p")} == {"1", "2"}


def test_two_tabs_that_accept_together_accept_once(database: Database) -> None:
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(agree(database))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]
    assert acts(database) == ["person:terms:accepted"]
    with database.read() as connection:
        assert len(connection.execute(select(AcceptanceTable.id)).all()) == 1


@pytest.mark.parametrize(
    ("accepted", "after", "counts"),
    [
        pytest.param("2", 100, "2", id="the-present-one"),
        pytest.param("1", 29, "1", id="the-one-before-in-the-days-of-grace"),
        pytest.param("1", 30, None, id="the-one-before-on-the-day"),
        pytest.param("0", 1, None, id="an-older-one"),
        pytest.param("", 1, None, id="none"),
    ],
)
def test_which_acceptance_counts(database: Database, accepted: str, after: int, counts: str | None) -> None:
    for day, version in enumerate("012"):
        put(database, version, at=NOW + (day - 2) * DAY)
    if accepted:
        agree(database, accepted)
    terms = ask(database)
    assert terms is not None
    with database.read() as connection:
        found = acceptance_in_force(terms, acceptances(connection, "p"), NOW + after * DAY)
    assert (found.version if found else None) == counts
