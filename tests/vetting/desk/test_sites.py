"""A site answers for itself: who waits for an account, yes or no with a reason, what is used; and no other site."""

from typing import Any

import httpx
import pytest
from bs4 import BeautifulSoup

from federation.audit import AuditTable
from tests.support.desk import SYSTEM
from tests.support.desk_pages import Browser, DeskPages
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code
from vetting.asking import Kind
from vetting.desk.site_pages import MappingEvent
from vetting.mappings import Event, mappings
from vetting.recorded import MappingState
from vetting.transitions import State


@pytest.fixture
def waiting(pages: DeskPages) -> str:
    """The id of a person who waits for an account at hpc."""
    pages.store.active("ana", Kind.SITE, sites=("hpc",), hours=0)
    return pages.store.people["ana"].id


def state_of(pages: DeskPages, person_id: str) -> tuple[MappingState, str]:
    with pages.store.database.read() as connection:
        newest = mappings(connection, person_id=person_id, site="hpc")[0]
    return newest.state, newest.reason


def press(browser: Browser, form: str, event: str, **fields: Any) -> httpx.Response:
    return browser.submit(browser.page("sites/hpc"), form, f"[data-event={event}]", **fields)


def test_a_site_sees_who_waits_and_accepts(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    assert "1 person waits for an account." in browser.page("sites").get_text()
    text = browser.page("sites/hpc").select_one(f"[data-person='{waiting}']").get_text(" ", strip=True)
    for part in ("Ana", "ana@example.org", "https://idp.example.org | ana"):
        assert part in text
    assert press(browser, f"#answer-{waiting}", "accept").status_code == 303
    assert state_of(pages, waiting) == (MappingState.ACCEPTED, "")
    assert ("mapping-accepted", "ana") in pages.store.mails()
    assert "Nobody waits for an account." in browser.page("sites/hpc").get_text()
    accepted = [row for row in pages.store.rows(AuditTable) if row.act == "site:mapping:accepted"]
    assert [row.actor for row in accepted] == [f"person:{pages.store.people['sam'].id}"]


def test_a_no_has_a_reason_which_the_person_and_the_reviewer_read(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    blank = press(browser, f"#answer-{waiting}", "refuse", reason=" ")
    assert (blank.status_code, code(blank)) == (400, "words-needed")
    assert state_of(pages, waiting)[0] is MappingState.ASKED
    assert press(browser, f"#answer-{waiting}", "refuse", reason="No project.").status_code == 303
    assert state_of(pages, waiting) == (MappingState.REFUSED, "No project.")
    assert {("mapping-refused", "ana"), ("site-answer", "rita")} <= set(pages.store.mails())
    request = pages.store.requests.found(person_id=waiting)[0]
    assert pages.store.requests.get(request.id, SYSTEM).state is State.ACTIVE


def test_an_account_is_ended_with_a_reason(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    press(browser, f"#answer-{waiting}", "accept")
    assert code(press(browser, f"#end-{waiting}", "end")) == "words-needed"
    press(browser, f"#end-{waiting}", "end", reason="The project is over.")
    assert state_of(pages, waiting) == (MappingState.ENDED, "The project is over.")
    assert "The project is over." in browser.page("sites/hpc").get_text()


def test_an_answer_that_comes_twice_is_told(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    page = browser.page("sites/hpc")
    browser.submit(page, f"#answer-{waiting}", "[data-event=accept]")
    answer = browser.submit(page, f"#answer-{waiting}", "[data-event=refuse]", reason="No.")
    assert (answer.status_code, code(answer)) == (409, "mapping-moved-on")
    assert state_of(pages, waiting)[0] is MappingState.ACCEPTED


def test_what_was_written_to_the_support_team_is_not_the_sites_to_read(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    text = browser.get("sites/hpc").text
    for private in ("Penguins", "Prof. Paz", "https://example.org/project"):
        assert private not in text


@pytest.mark.parametrize("role", ["user", "reviewer", "operator", "trainer"])
def test_nobody_else_answers_for_a_site(pages: DeskPages, waiting: str, role: str) -> None:
    browser = pages.browser("pat", role)
    for path in ("sites", "sites/hpc"):
        assert code(browser.get(path)) == "desk-role-needed"
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    for event in MappingEvent:
        answer = browser.post(f"sites/hpc/{waiting}/{event}", {"seal": seal, "reason": "x"})
        assert (answer.status_code, code(answer)) == (403, "desk-role-needed")
    assert state_of(pages, waiting)[0] is MappingState.ASKED


def test_another_site_and_a_site_that_is_none_are_closed(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    assert [site["data-site"] for site in browser.page("sites").select("[data-site]")] == ["hpc"]
    for site in ("cloud", "nowhere"):
        assert code(browser.get(f"sites/{site}")) == "desk-role-needed"
    seal = browser.page("sites/hpc").select_one("input[name=seal]")["value"]
    answer = browser.post(f"sites/cloud/{waiting}/accept", {"seal": seal})
    assert code(answer) == "desk-role-needed"


def test_every_event_of_mappings_has_an_address() -> None:
    assert {event.value for event in MappingEvent} == {event.value for event in Event}


def test_what_is_written_is_no_markup_for_sites_either(pages: DeskPages, waiting: str) -> None:
    browser = pages.browser("sam", "site operator")
    press(browser, f"#answer-{waiting}", "refuse", reason=EVIL)
    page = BeautifulSoup(browser.get("sites/hpc").text, "html.parser")
    assert EVIL in page.get_text()
    assert not page.select("img")
    assert len(page.select("script")) == 1
