"""Personal data: everything about a person is in what they download, and nothing that says who they are survives."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from federation.audit import AuditTable
from federation.database import Base
from federation.outbox import announce
from federation.persons import Facts, Person, remember
from federation.terms import accept
from hub_config.personal import _KEPT, StillRuns, exported, remove
from hub_config.wiring import House
from quota.amounts import from_unit_hours
from quota.statement import standing
from spawners.homes import Homes
from spawners.paying import owner_of
from tests.hub_config.conftest import NOW, MakeHouse
from tests.hub_config.test_pages import MEMBER, person
from tests.hub_config.test_session_view import run
from tests.support.books import discrepancies
from vetting import decisions, mappings
from vetting.asking import Actor, Asked, Kind

WHO: dict[str, Any] = {"by": "cli:olga", "now": NOW}


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house()


def end(house: House, attempt: str) -> None:
    house.ledger.settle(attempt, started_at=NOW - timedelta(minutes=10), ended_at=NOW, source="launcher")
    house.sessions.ended(attempt, started_at=NOW - timedelta(minutes=10), ended_at=NOW)


def busy(house: House, subject: str = "ines") -> Person:
    """Somebody of whom every table has something; their session is over."""
    who = person(house, subject, Facts(**{**vars(MEMBER), "email": "ines@example.org"}))
    with house.database.write() as connection:
        remember(
            connection, issuer=who.issuer, subject=who.subject, preferred="x",
            facts=Facts(**{**vars(MEMBER), "name": "Inês Lima"}), now=NOW,
        )  # fmt: skip
        accept(connection, person_id=who.id, version="0", language="pt", now=NOW)
        decisions.suspend(connection, person_id=who.id, reason="Inês mined.", **WHO)
        decisions.restore(connection, person_id=who.id, reason="x", **WHO)
        decisions.admit(connection, person_id=who.id, tier="T1", reason="Inês is known.", **WHO)
        decisions.record_evidence(
            connection, person_id=who.id, what="Letter of Inês", ends_at=NOW + timedelta(days=1), **WHO
        )
        mappings.ask(connection, person_id=who.id, site="here", account=f"u-{subject}", **WHO)
        announce(connection, event=f"e-{who.id}", kind="k", person_id=who.id, now=NOW, due_at=NOW, name="Inês")
    house.requests.open(
        Actor(name=f"person:{who.id}", person_id=who.id), person_id=who.id, kind=Kind.QUOTA,
        asked=Asked(ends_at=NOW + timedelta(days=1), purpose="Inês writes", contact="Inês", evidence="https://ines.org"),
    )  # fmt: skip
    who = house.admission.person(who.user_name)
    house.ledger.grant(
        key=f"g-{who.id}", owner=owner_of(who), amount=from_unit_hours(10), starts_at=NOW,
        ends_at=NOW + timedelta(days=30), created_by="cli:olga", reason="thesis",
    )  # fmt: skip
    end(house, run(house, who, "ines-thesis"))
    Homes(house.database, clock=house.clock).used(who.id, "cloud", volume=f"home-{who.id}", size_gib=5)
    return who


def test_every_table_that_names_persons_is_in_the_list(house: House) -> None:
    known = {kept.table.__tablename__ for kept in _KEPT}
    about_persons = {
        name for name, table in Base.metadata.tables.items() if {"person_id", "user"} & {c.name for c in table.c}
    }
    assert about_persons - known == {"hold"}  # which is renamed beside the sessions


def test_a_person_gets_everything(house: House) -> None:
    who = busy(house)
    busy(house, "ana")
    content = json.loads(json.dumps(exported(house, who)))
    assert content["person"]["facts"]["name"] == "Inês Lima"
    for name in (*(kept.name for kept in _KEPT), "grants", "reservations", "entries", "audit"):
        assert content[name], name
    assert [row["charged"] for row in content["reservations"]] == [2_400_000]
    assert {row["act"] for row in content["audit"]} >= {
        "operator:grant:added", "person:terms:accepted", "operator:person:suspended", "reviewer:mapping:asked",
    }  # fmt: skip


def test_nobody_gets_what_is_anothers_or_the_machinerys(house: House) -> None:
    who, other = busy(house), busy(house, "ana")
    text = json.dumps(exported(house, who))
    assert other.id not in text
    assert other.user_name not in text
    assert not [name for name in ("secret_hash", "nonce", "token_ids") if name in text]


def test_what_says_who_somebody_was_is_gone_and_the_books_stay(house: House) -> None:
    who, other = busy(house), busy(house, "ana")
    now = house.clock()
    with house.database.read() as connection:
        before = standing(connection, owner_of(who), now)
    untouched = exported(house, other)
    name = remove(house, who, by="cli:olga", reason="asked for it")
    left = house.admission.person(name)
    assert (left.id, left.facts, left.issuer) == (who.id, Facts(), "removed")
    with house.database.read() as connection:
        assert standing(connection, owner_of(left), now) == before
        (row,) = connection.execute(select(AuditTable.__table__).where(AuditTable.act == "operator:person:removed"))
    assert (row.target, row.actor, row.reason) == (f"person:{who.id}", "cli:olga", "asked for it")
    text = json.dumps(exported(house, left), ensure_ascii=False)
    (attempt,) = [row["attempt"] for row in exported(house, left)["sessions"]]
    text = text.replace(attempt, "")  # the test's own: real ones are random
    text = text.replace("u-ines", "")  # the account at a site stays, so that nobody else is given it
    # Reasons in the audit trail stay as they were written; the command says so.
    for reason in ("Inês mined.", "Inês is known."):
        assert text.count(reason) == 1
        text = text.replace(reason, "")
    assert not [word for word in ("Inês", "ines", who.user_name, who.issuer, "Lima", "thesis-") if word in text]
    assert exported(house, other) == untouched
    assert discrepancies(house.database) == []


def test_who_comes_back_is_somebody_new_and_cannot_be_given_the_old_account(house: House) -> None:
    who = busy(house)
    remove(house, who, by="x", reason="y")
    again = person(house)
    assert again.id != who.id
    assert house.admission.recorded(again)[0].admitted == frozenset()
    with pytest.raises(mappings.MappingError, match="another person's"), house.database.write() as connection:
        mappings.ask(connection, person_id=again.id, site="here", account="u-ines", **WHO)


def test_nothing_is_removed_while_a_session_runs(house: House) -> None:
    who = busy(house)
    attempt = run(house, who, "two")
    before = exported(house, who)
    with pytest.raises(StillRuns):
        remove(house, who, by="x", reason="y")
    assert exported(house, who) == before
    end(house, attempt)
    remove(house, who, by="x", reason="y")
