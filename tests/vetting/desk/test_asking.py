"""Asking for more, from a refusal to an answer, by the forms as they stand on the pages."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup

from tests.support.desk import DAY, SYSTEM
from tests.support.desk_pages import Browser, DeskPages
from tests.vetting.desk.test_sending import code
from vetting.asking import Decision, Kind
from vetting.desk.pages import as_link
from vetting.requests import Request
from vetting.transitions import Event, State

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
WISH = {"purpose": "Penguins", "contact": "Prof. Paz", "evidence": "https://example.org/p"}


def led_to(answer: httpx.Response) -> str:
    assert answer.status_code == 303, (answer.status_code, answer.text[:3000])
    return urlsplit(answer.headers["location"]).path


def state(browser: Browser, path: str) -> str:
    element = browser.page(path).select_one("#state")
    assert element is not None
    return str(element["data-state"])


def of(pages: DeskPages, name: str) -> list[Request]:
    return pages.store.requests.found(person_id=pages.store.people[name].id)


# --- from a refusal to a request --------------------------------------------------------------------------------


def test_who_is_not_signed_in_is_led_to_it_and_back(pages: DeskPages) -> None:
    answer = pages.browser().get("ask", about="quota-spent")
    assert answer.headers["location"] == ("/services/desk/sign-in?next=%2Fservices%2Fdesk%2Fask%3Fabout%3Dquota-spent")


def test_a_refusal_becomes_a_request_that_waits_for_a_reviewer(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    page = browser.page("ask", about="quota-used-up", flavour="gpu")
    assert of(pages, "ana") == []  # a GET begins nothing
    path = led_to(browser.submit(page, "#ask-form", "[value=send]", **WISH))
    assert state(browser, path) == "submitted"
    (request,) = of(pages, "ana")
    assert (request.kind, request.asked.flavour, request.asked.purpose) == (Kind.QUOTA, "gpu", "Penguins")
    assert request.asked.amount_milli_unit_seconds == 2000 * 3_600_000
    assert pages.store.mails() == [("request-received", "ana")]
    assert request.claims["subject"] == "ana"


def test_without_a_refusal_one_chooses_what_to_ask_for(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    links = [link["href"] for link in browser.page("ask").select("main h2 a")]
    assert links == [f"/services/desk/ask?kind={kind}" for kind in ("quota", "site", "tier")]
    for link in links:
        assert browser.page(str(link)).select_one("#ask-form") is not None


def test_a_draft_is_kept_as_it_is_and_sent_later(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    page = browser.page("ask", kind="site")
    path = led_to(browser.submit(page, "#ask-form", "[value=keep]", purpose="A\nB"))
    draft = browser.page(path)
    assert state(browser, path) == "draft"
    assert draft.select_one("textarea[name=purpose]").get_text() == "\nA\nB"
    led_to(browser.submit(draft, "#ask-form", "[value=send]", site=["hpc"], **WISH))
    assert state(browser, path) == "submitted"
    (request,) = of(pages, "ana")
    assert request.asked.sites == ("hpc",)
    assert [step.get_text(" ", strip=True).split(" you ")[0] for step in browser.page(path).select(".nb-story li")] == [
        "Begun", "Changed", "Sent to the support team",
    ]  # fmt: skip


def test_what_is_missing_is_told_and_nothing_that_was_typed_is_lost(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    answer = browser.submit(browser.page("ask", kind="quota"), "#ask-form", "[value=send]", purpose="Penguins")
    assert (answer.status_code, code(answer)) == (400, "request-incomplete")
    (draft,) = of(pages, "ana")
    assert (draft.state, draft.asked.purpose) == (State.DRAFT, "Penguins")
    assert 'value="send"' in answer.text


def test_an_amount_that_cannot_be_read_is_told_with_the_form_as_it_was_typed(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    answer = browser.submit(browser.page("ask", kind="quota"), "#ask-form", "[value=keep]", hours="much", **WISH)
    assert (answer.status_code, code(answer)) == (400, "amount-unreadable")
    page = BeautifulSoup(answer.text, "html.parser")
    assert page.select_one("#hours")["value"] == "much"
    assert page.select_one("#purpose").get_text().strip() == "Penguins"
    assert of(pages, "ana") == []
    path = led_to(browser.submit(page, "#ask-form", "[value=keep]", hours="10"))
    again = browser.submit(browser.page(path), "#ask-form", "[value=keep]", until="soon", purpose="Seals")
    assert (again.status_code, code(again)) == (400, "day-unreadable")
    assert "Seals" in again.text
    assert of(pages, "ana")[0].asked.purpose == "Penguins"


def test_a_second_request_of_a_kind_leads_to_the_first(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    page = browser.page("ask", kind="quota")
    path = led_to(browser.submit(page, "#ask-form", "[value=keep]"))
    answer = browser.submit(page, "#ask-form", "[value=keep]", purpose="Seals")
    assert (answer.status_code, code(answer)) == (409, "request-open-already")
    assert "Seals" in answer.text
    for text in (answer.text, browser.get("ask", kind="quota").text):
        assert BeautifulSoup(text, "html.parser").select_one(f"a[href='{path}']") is not None


def test_the_terms_come_first_and_lead_back_to_the_draft(pages: DeskPages) -> None:
    pages.store.person("ana", agrees=False)
    browser = pages.browser("ana")
    answer = browser.submit(browser.page("ask", kind="quota"), "#ask-form", "[value=send]", **WISH)
    assert (answer.status_code, code(answer)) == (403, "request-needs-terms")
    (draft,) = of(pages, "ana")
    page = BeautifulSoup(answer.text, "html.parser")
    link = page.select_one("main a[href^='/hub/terms']")
    assert link is not None
    assert link["href"] == f"/hub/terms?next=/services/desk/requests/{draft.id}"


def test_a_person_sees_what_reviewers_will_see(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    path = led_to(browser.submit(browser.page("ask", kind="quota"), "#ask-form", "[value=keep]"))
    text = browser.page(path).select_one("#preview").get_text(" ", strip=True)
    for part in (
        "Ana",
        "ana@example.org",
        "https://idp.example.org | ana",
        "IAP/medium",
        "staff@elsewhere.example not checked",
    ):
        assert part in text


# --- what becomes of it -----------------------------------------------------------------------------------------


def test_a_question_is_answered_on_the_page(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    pages.store.reviewer()
    request = pages.store.in_review("ana")
    pages.store.act(request, Event.ASK, pages.store.reviewer(), text="Which data?")
    path = f"requests/{request.id}"
    page = browser.page(path)
    assert "Which data?" in page.select_one("#state").get_text()
    assert "nb-todo" in browser.page("requests").select_one("[data-request]")["class"]
    blank = browser.submit(page, "#answer-form", text="  ")
    assert (blank.status_code, code(blank)) == (400, "words-needed")
    led_to(browser.submit(page, "#answer-form", text="Counts of penguins."))
    assert state(browser, path) == "in_review"
    assert ("request-answered", "rita") in pages.store.mails()


def test_a_request_is_withdrawn(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.submitted("ana")
    led_to(browser.submit(browser.page(f"requests/{request.id}"), "#withdraw-form"))
    assert state(browser, f"requests/{request.id}") == "withdrawn"
    assert browser.page("requests").select("[data-request]") == []


def test_a_denied_request_says_why_and_is_asked_for_again(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.denied("ana")
    page = browser.page(f"requests/{request.id}")
    assert "What is it for?" in page.select_one("#state").get_text()
    path = led_to(browser.submit(page, "#reopen-form"))
    assert state(browser, path) == "draft"
    assert path != f"/services/desk/requests/{request.id}"


def test_what_was_given_is_renewed_from_sixty_days_before_its_end(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.active("ana")
    path = f"requests/{request.id}"
    page = browser.page(path)
    assert page.select_one("#renew-form") is None
    assert "It can be renewed from" in page.get_text()
    pages.store.clock.move(300 * DAY + timedelta(days=6))
    led_to(browser.submit(browser.page(path), "#renew-form"))
    assert [one.state for one in of(pages, "ana")].count(State.DRAFT) == 1


def test_less_than_asked_for_is_told(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.in_review("ana")
    decision = Decision(ends_at=request.asked.ends_at, amount_milli_unit_seconds=3_600_000)
    pages.store.act(
        request, Event.APPROVE, pages.store.reviewer(), decision=decision, text="Begin small.", private="Hm."
    )
    pages.store.act(request, Event.APPLY, SYSTEM)
    text = browser.page(f"requests/{request.id}").get_text()
    assert "1 unit-hours" in text
    assert "Begin small." in text
    assert "Hm." not in text


def test_who_reviews_is_not_told_to_who_asks(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.denied("ana")
    text = browser.get(f"requests/{request.id}").text
    assert "the support team" in text
    for private in ("rita", "Rita", pages.store.people["rita"].id):
        assert private not in text


# --- whose it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["user", "reviewer", "operator", "site operator"])
def test_ones_own_pages_have_nothing_of_others(pages: DeskPages, role: str) -> None:
    request = pages.store.submitted("ana")
    other = pages.browser("pat", role)
    answer = other.get(f"requests/{request.id}")
    assert (answer.status_code, code(answer)) == (404, "request-unknown")
    seal = other.page("ask", kind="quota").select_one("input[name=seal]")["value"]
    for event in ("edit", "answer", "withdraw", "renew", "reopen"):
        fields = {"seal": seal, "text": "x", "until": "2027-03-31", "hours": "1"}
        answer = other.post(f"requests/{request.id}/{event}", fields)
        assert (answer.status_code, code(answer)) == (404, "request-unknown"), event
    assert of(pages, "ana")[0].state is State.SUBMITTED


def test_a_form_of_another_sign_in_is_refused(pages: DeskPages) -> None:
    mine, other = pages.browser("ana"), pages.browser("ben")
    seal = other.page("ask", kind="quota").select_one("input[name=seal]")["value"]
    answer = mine.submit(mine.page("ask", kind="quota"), "#ask-form", "[value=send]", seal=seal, **WISH)
    assert (answer.status_code, code(answer)) == (403, "desk-form-old")
    assert of(pages, "ana") == []


def test_events_of_others_have_no_address(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    request = pages.store.submitted("ana")
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    for event in ("approve", "claim", "deny", "apply", "expire", "x"):
        answer = browser.post(f"requests/{request.id}/{event}", {"seal": seal})
        assert (answer.status_code, code(answer)) == (404, "desk-page-unknown"), event


# --- what others wrote ------------------------------------------------------------------------------------------


def test_what_is_written_is_no_markup_wherever_it_is_shown(pages: DeskPages) -> None:
    pages.person("ana")
    browser = pages.browser("ana")
    evil: dict[str, Any] = dict.fromkeys(("purpose", "contact", "evidence", "details", "flavour", "hours"), EVIL)
    bad = browser.submit(browser.page("ask", kind="quota"), "#ask-form", "[value=keep]", **evil)
    texts = [bad.text]
    path = led_to(
        browser.submit(
            browser.page("ask", kind="site"), "#ask-form", "[value=keep]", site=[EVIL[:40]], **evil | {"hours": "3"}
        )
    )
    texts += [browser.get(path).text, browser.get("requests").text]
    texts += [browser.get("ask", kind=EVIL, about=EVIL, flavour=EVIL, site=EVIL).text, browser.get(EVIL).text]
    request = pages.store.in_review("ana")
    pages.store.act(request, Event.ASK, pages.store.reviewer(), text=EVIL)
    texts += [browser.get(f"requests/{request.id}").text, browser.get("requests").text]
    for text in texts:
        page = BeautifulSoup(text, "html.parser")
        assert not page.select("img")
        assert [script.get("src", "")[:12] for script in page.select("script")] == ["/hub/nbfed/s"]


@pytest.mark.parametrize(
    ("text", "is_link"),
    [
        ("https://example.org/a?b=1&c=2", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        (" https://example.org", False),
        ("https://example.org/ and more", False),
        ("ftp://example.org", False),
        ('https://example.org/"onmouseover="x', True),
    ],
)
def test_only_addresses_of_the_web_are_links(text: str, is_link: bool) -> None:
    page = BeautifulSoup(str(as_link(text)), "html.parser")
    assert page.get_text() == text
    links = page.select("a")
    assert bool(links) is is_link
    for link in links:
        assert link["href"] == text
        assert set(link.attrs) == {"href", "rel"}
