"""Sessions for support: found by person, place and reference; and somebody is stopped, with a reason, and restored."""

from typing import Any

import pytest
from sqlalchemy import select

from federation.audit import AuditTable
from federation.ids import new_id
from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.support.desk_pages import DeskPages
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code
from vetting.records import recorded_of


def session(pages: DeskPages, name: str = "eve", site: str = "cloud") -> Session:
    person = pages.store.people.get(name) or pages.person(name)
    made = pages.sessions.intend(
        attempt=new_id(), server=Server("hub", person.user_name, ""), person_id=person.id, site=site, flavour="small",
        environment="python", options={}, secret_hash="hash",
    )  # fmt: skip
    pages.sessions.submitted(made.attempt, "ref")
    return made


def again(pages: DeskPages, made: Session) -> Session:
    found = pages.sessions.get(made.attempt)
    assert found is not None
    return found


def suspended(pages: DeskPages, name: str = "eve") -> Any:
    with pages.store.database.read() as connection:
        return recorded_of(connection, pages.store.people[name].id).suspended


def acts(pages: DeskPages) -> list[str]:
    with pages.store.database.read() as connection:
        return list(connection.execute(select(AuditTable.act).order_by(AuditTable.seq)).scalars())


def test_sessions_are_found_by_person_place_and_reference(pages: DeskPages) -> None:
    of_eve, of_ana = session(pages), session(pages, "ana", "hpc")
    pages.sessions.ending(of_ana.attempt, EndReason.IDLE)
    pages.sessions.ended(of_ana.attempt, started_at=None, ended_at=pages.store.clock())
    browser = pages.browser("rita", "reviewer")

    def shown(**wanted: str) -> list[str]:
        rows = browser.page("sessions", **wanted).select("#sessions tbody tr")
        return [str(row["data-session"]) for row in rows]

    assert shown() == [of_eve.attempt]
    assert shown(ended="yes") == [of_eve.attempt, of_ana.attempt]
    assert shown(who="ana", ended="yes") == [of_ana.attempt]
    assert shown(site="hpc") == []
    reference = browser.page(f"sessions/{of_ana.attempt}").select_one("h1 code").get_text()
    assert browser.get("sessions", reference=reference.lower()).headers["location"].endswith(of_ana.attempt)
    assert "No session fits this." in browser.page("sessions", reference="ABCD2345").get_text()
    assert "nobody used it" in browser.page(f"sessions/{of_ana.attempt}").get_text()
    assert code(browser.get("sessions/nothing")) == "desk-page-unknown"


@pytest.mark.parametrize("role", ["reviewer", "operator"])
def test_support_stops_somebody_and_restores_them(pages: DeskPages, role: str) -> None:
    made, browser = session(pages), pages.browser("rita", role)
    path = f"sessions/{made.attempt}"
    sent = browser.submit(browser.page(path), "#stop-form", "[data-event=stop]", reason="It mines coins.")
    assert sent.status_code == 303
    assert (again(pages, made).end_reason, again(pages, made).end_detail) == (EndReason.SUSPENDED, "It mines coins.")
    assert suspended(pages).reason == "It mines coins."
    assert acts(pages)[-2:] == ["reviewer:session:stopped", "reviewer:person:stopped"]
    twice = browser.submit(browser.page(path), "#stop-form", "[data-event=stop]", reason="Again.")
    assert (twice.status_code, code(twice)) == (409, "stopped-already")
    restored = browser.submit(browser.page(path), "#restore-form", "[data-event=restore]", reason="A mistake.")
    assert restored.status_code == 303
    assert suspended(pages) is None
    assert acts(pages)[-1] == "operator:person:restored"


def test_a_reason_is_needed_and_is_only_text(pages: DeskPages) -> None:
    made, browser = session(pages), pages.browser("rita", "reviewer")
    path = f"sessions/{made.attempt}"
    refused = browser.submit(browser.page(path), "#stop-form", "[data-event=stop]", reason=" ")
    assert (refused.status_code, code(refused)) == (400, "words-needed")
    assert suspended(pages) is None
    browser.submit(browser.page(path), "#stop-form", "[data-event=stop]", reason=EVIL)
    page = browser.page(path)
    assert EVIL in page.get_text()
    assert not page.select("#content script, #content img")
    again_ = browser.submit(page, "#restore-form", "[data-event=restore]", reason="x")
    assert again_.status_code == 303
    nothing = browser.post(f"{path}/restore", {"seal": page.select_one("[name=seal]")["value"], "reason": "x"})
    assert code(nothing) == "not-stopped"


@pytest.mark.parametrize("role", ["user", "trainer", "site operator"])
def test_for_others_there_are_no_sessions(pages: DeskPages, role: str) -> None:
    made, browser = session(pages), pages.browser("pat", role)
    for path in ("sessions", f"sessions/{made.attempt}"):
        assert code(browser.get(path)) == "desk-role-needed"
    seal = browser.page("ask", kind="quota").select_one("[name=seal]")["value"]
    for event in ("stop", "restore"):
        answer = browser.post(f"sessions/{made.attempt}/{event}", {"seal": seal, "reason": "x"})
        assert code(answer) == "desk-role-needed"
    assert again(pages, made).end_reason is None
    assert acts(pages)[-1] == "desk:page:refused"
