"""`nbfed request`, `nbfed mail` and `nbfed audit`: from a request that came by mail to the grant, and who is told."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from federation import terms
from federation.letters import letter_kinds
from federation.persons import Person
from hub_config.personal import exported, remove
from hub_config.wiring import mail_sender, request_rounds
from tests.hub_config.test_cli import Commands
from tests.support.mail import Mailbox, running_mailbox
from vetting.records import recorded_of

COMMUNITY = "urn:mace:example.org:group:demo"
ASKS = ("--purpose", "Penguins", "--contact", "Prof. Paz")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture
def nbfed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox) -> Any:
    commands = Commands(
        tmp_path, monkeypatch, tiers={"T2": {"needs": "T1", "vetting": "review"}},
        mail={"smtp": mailbox.url, "sender": "notebooks@example.org"},
    )  # fmt: skip
    assert commands("db", "upgrade").exit_code == 0
    yield commands
    commands.close()


@pytest.fixture
def ines(nbfed: Commands) -> Person:
    made = nbfed.person("ines", name="Inês", email="ines@example.org", memberships=(COMMUNITY,), provider="demo")
    with nbfed.house.database.write() as connection:
        terms.publish(connection, "2026-11", {"en": "Be kind."}, nbfed.now)
        terms.accept(connection, person_id=made.id, version="2026-11", language="pt", now=nbfed.now)
    return made


def said(nbfed: Commands, *words: str, code: int = 0) -> str:
    answer = nbfed(*words)
    assert answer.exit_code == code, answer.output
    return answer.output


def filed(nbfed: Commands, *words: str) -> str:
    """The reference of a request that ana filed for ines."""
    asks = words or ("--kind", "quota", "--hours", "500")
    return said(nbfed, "request", "add", "ines", *asks, *ASKS).split("request ")[1].split()[0]


@pytest.fixture
def as_(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Another operator at the keyboard."""
    return lambda name: monkeypatch.setenv("LOGNAME", name)


def work(nbfed: Commands) -> None:
    """What the worker does in a round."""
    rounds = request_rounds(nbfed.house)
    rounds.apply_all()
    rounds.watch_all()
    mail_sender(nbfed.house).run_once()


@pytest.mark.usefixtures("ines")
def test_from_a_mail_to_support_to_the_grant_with_two_people(nbfed: Commands, as_: Any, mailbox: Mailbox) -> None:
    request = filed(nbfed)
    assert "--no-conflict" in said(nbfed, "request", "approve", "--help")
    assert "own-request" in said(nbfed, "request", "approve", request, "--no-conflict", code=1)
    as_("ben")
    assert "conflict-of-interest" in said(nbfed, "request", "approve", request, code=1)
    assert "approved" in said(
        nbfed, "request", "approve", request, "--no-conflict", "--hours", "400", "--note", "Enjoy"
    )
    work(nbfed)
    assert "400" in said(nbfed, "grant", "list", "ines")
    assert said(nbfed, "request", "list") == "No requests that wait; --all shows others, too.\n"
    listed = said(nbfed, "request", "list", "ines", "--all").splitlines()[1].split()
    assert listed[:1] + listed[2:4] == [request, "quota", "active"]
    subjects = [str(message["Subject"]) for message in mailbox.messages]
    assert subjects == ["Seu pedido chegou", "Seu pedido foi aprovado"]
    shown = said(nbfed, "request", "show", request.lower())
    for fact in ("Penguins", "Prof. Paz", "cli:ben", "400 unit-hours until", "by its grant", COMMUNITY, "Enjoy"):
        assert fact in shown


@pytest.mark.usefixtures("ines")
def test_above_the_ceiling_a_second_person_approves(nbfed: Commands, as_: Any) -> None:
    request = filed(nbfed, "--kind", "quota", "--hours", "5000")
    as_("ben")
    assert "a second one has to" in said(nbfed, "request", "approve", request, "--no-conflict")
    assert "two-people" in said(nbfed, "request", "approve", request, "--no-conflict", code=1)
    as_("carla")
    assert "The worker gives it" in said(nbfed, "request", "approve", request, "--no-conflict")


@pytest.mark.usefixtures("ines")
def test_a_denial_says_why(nbfed: Commands, as_: Any, mailbox: Mailbox) -> None:
    request = filed(nbfed, "--kind", "tier", "--tier", "T2")
    as_("ben")
    deny = ("request", "deny", request, "--code", "no-evidence", "--no-conflict")
    assert nbfed(*deny).exit_code == 2
    assert "denied" in said(nbfed, *deny, "--reason", "Send us a letter.")
    work(nbfed)
    assert "Send us a letter." in mailbox.messages[-1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "no-evidence" in said(nbfed, "request", "show", request)


@pytest.mark.usefixtures("ines")
def test_a_tier_and_an_account_are_given_by_a_request(nbfed: Commands, as_: Any) -> None:
    tier, site = filed(nbfed, "--kind", "tier", "--tier", "T2"), filed(nbfed, "--kind", "site", "--site", "here")
    as_("ben")
    for request in (tier, site):
        said(nbfed, "request", "approve", request, "--no-conflict")
    work(nbfed)
    assert "here, account ines-" in said(nbfed, "person", "show", "ines")
    with nbfed.house.database.read() as connection:
        person = nbfed.house.requests.found()[0].person_id
        assert recorded_of(connection, person).admitted == {"T2"}


@pytest.mark.usefixtures("ines")
def test_what_was_given_is_suspended_restored_and_reduced(nbfed: Commands, as_: Any) -> None:
    request = filed(nbfed)
    as_("ben")
    said(nbfed, "request", "approve", request, "--no-conflict")
    work(nbfed)
    why = ("--reason", "A look at the load.")
    assert "suspended" in said(nbfed, "request", "suspend", request, *why)
    assert "A look at the load." in said(nbfed, "quota", "explain", "ines", "small")
    assert "active" in said(nbfed, "request", "restore", request, *why)
    assert "not-less" in said(nbfed, "request", "reduce", request, "--hours", "500", *why, code=1)
    assert "active" in said(nbfed, "request", "reduce", request, "--hours", "100", *why)
    assert "100 unit-hours until" in said(nbfed, "request", "show", request)


@pytest.mark.usefixtures("ines")
def test_a_question_and_its_answer(nbfed: Commands, as_: Any, mailbox: Mailbox) -> None:
    request = filed(nbfed)
    as_("ben")
    assert "needs_info" in said(nbfed, "request", "ask", request, "--question", "Which data?", "--no-conflict")
    assert "waits for the person" in said(nbfed, "request", "list")
    work(nbfed)
    assert "> Which data?" in mailbox.messages[-1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "in_review" in said(nbfed, "request", "answer", request, "--text", "Of penguins.")
    assert "Of penguins." in said(nbfed, "request", "show", request)
    assert "approved" in said(nbfed, "request", "approve", request)


@pytest.mark.usefixtures("ines")
def test_a_request_that_somebody_holds_is_put_back(nbfed: Commands, as_: Any) -> None:
    request = filed(nbfed, "--kind", "quota", "--hours", "5000")
    as_("ben")
    assert "more-than-asked" in said(nbfed, "request", "approve", request, "--no-conflict", "--hours", "6000", code=1)
    assert "in_review" in said(nbfed, "request", "list")
    as_("carla")
    assert "claimed-by-another" in said(nbfed, "request", "approve", request, "--no-conflict", code=1)
    assert "submitted" in said(nbfed, "request", "unclaim", request)


def test_what_cannot_be_filed_leaves_no_draft(nbfed: Commands, ines: Person) -> None:
    assert "site-unknown" in said(nbfed, "request", "add", "ines", "--kind", "site", "--site", "moon", *ASKS, code=1)
    assert "withdrawn" in said(nbfed, "request", "list", ines.user_name, "--all")
    assert "There is no request 'X'" in said(nbfed, "request", "show", "X", code=1)


@pytest.mark.usefixtures("ines")
def test_the_trail_as_json_lines(nbfed: Commands, as_: Any) -> None:
    request = filed(nbfed)
    as_("ben")
    said(nbfed, "request", "approve", request, "--no-conflict", "--note", "Good work\nhere")
    rows = [json.loads(line) for line in said(nbfed, "audit", "export").splitlines()]
    assert [row["act"] for row in rows[-4:]] == [
        "person:request:opened", "person:request:submitted", "reviewer:request:claimed", "reviewer:request:approved",
    ]  # fmt: skip
    assert rows[-1]["reason"] == "Good work\\x0ahere"
    assert rows[-1]["details"]["amount_milli_unit_seconds"] == 500 * 3_600_000
    some = said(
        nbfed, "audit", "export", "--act", "reviewer:request:claimed", "--actor", "cli:ben", "--since", "2026-11-23"
    )
    assert len(some.splitlines()) == 1
    assert said(nbfed, "audit", "export", "--until", "2026-11-22") == ""
    assert said(nbfed, "audit", "export", "--target", "nobody") == ""


# --- mails ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ines")
def test_operators_see_what_waits_and_what_was_given_up_and_try_it_again(nbfed: Commands, mailbox: Mailbox) -> None:
    mailbox.refusals["ines@example.org"] = "550 no such mailbox"
    filed(nbfed)
    assert "waits" in said(nbfed, "mail", "list")
    work(nbfed)
    listed = said(nbfed, "mail", "list")
    assert "given up" in listed
    assert "550 no such mailbox" in listed
    mailbox.refusals.clear()
    work(nbfed)
    assert mailbox.messages == []
    assert "again: 1" in said(nbfed, "mail", "retry", listed.splitlines()[1].split()[0])
    work(nbfed)
    assert len(mailbox.messages) == 1
    assert said(nbfed, "mail", "list") == "No mail waits, and none was given up.\n"
    assert "sent" in said(nbfed, "mail", "list", "--all")
    assert "There is no mail 'x'" in said(nbfed, "mail", "retry", "x", code=1)
    assert nbfed("mail", "retry").exit_code == 2


@pytest.mark.parametrize("language", ["en", "es", "pt"])
def test_every_mail_can_be_looked_at(nbfed: Commands, language: str) -> None:
    kinds = said(nbfed, "mail", "preview").split()
    assert kinds == [kind.kind for kind in letter_kinds()]
    for kind in kinds[:2] if language != "en" else kinds:
        shown = said(nbfed, "mail", "preview", kind, "--language", language)
        assert shown.startswith("Subject: ")
        assert "http://127.0.0.1" in shown
    assert said(nbfed, "mail", "preview", kinds[0], "--html").startswith("<!DOCTYPE html>")
    assert "no mails of the kind 'x'" in said(nbfed, "mail", "preview", "x", code=1)


# --- who goes ---------------------------------------------------------------------------------------------------------


def test_a_person_downloads_their_requests_and_takes_them_along(nbfed: Commands, ines: Person) -> None:
    request = filed(nbfed)
    held = exported(nbfed.house, ines)
    assert held["requests"][0]["purpose"] == "Penguins"
    assert {row["act"] for row in held["audit"]} >= {"person:request:submitted"}
    remove(nbfed.house, ines, by="cli:ben", reason="they asked for it")
    assert "withdrawn" in said(nbfed, "request", "show", request)
    row = nbfed.house.requests.found()[0]
    assert (row.asked.purpose, row.asked.contact, dict(row.claims)) == ("", "", {})
    mail_sender(nbfed.house).run_once()


def test_reminders_are_mailed(nbfed: Commands, ines: Person, as_: Any, mailbox: Mailbox) -> None:
    request = filed(nbfed)
    as_("ben")
    said(nbfed, "request", "approve", request, "--no-conflict")
    work(nbfed)
    nbfed.now += timedelta(days=360)
    work(nbfed)
    assert str(mailbox.messages[-1]["Subject"]) == "Restam 7 dias do que lhe foi dado"
