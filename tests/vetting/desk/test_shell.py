"""What stands around every page: sign-in and back, seals and origins, bounds, headers, languages, and errors that help."""

import gzip
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.database import DatabaseUnavailable
from federation.i18n import LANGUAGE_COOKIE
from tests.support.desk_pages import Browser, DeskPages
from vetting import decisions
from vetting.desk.addresses import own_page
from vetting.desk.app import WELL
from vetting.desk.gate import SESSION_COOKIE
from vetting.desk.parts import PREFIX
from vetting.desk.visitors import visitor_of
from vetting.roles import Roles


def code(answer: Any) -> str:
    """The code of the error that a page tells."""
    return str(answer.text.partition('data-code="')[2].partition('"')[0])


def test_whether_it_answers_is_told_to_anybody_and_does_not_need_the_hub(pages: DeskPages) -> None:
    pages.sign_in.away = True
    answer = pages.browser("ana").get("healthz")
    assert (answer.status_code, answer.text) == (200, WELL)


# --- sign-in --------------------------------------------------------------------------------------------------------


def begun(browser: Browser, to: str = f"{PREFIX}?x=1") -> str:
    answer = browser.get("sign-in", next=to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/hub/api/oauth2/authorize?state=s1")
    return str(answer.headers["set-cookie"])


def test_a_sign_in_leads_back_to_where_it_began(pages: DeskPages) -> None:
    person = pages.person("ana")
    browser = pages.browser()
    cookie = begun(browser)
    assert {"HttpOnly", "Secure", "SameSite=lax", "Max-Age=600", f"Path={PREFIX}oauth_callback"} <= set(
        cookie.split("; ")
    )
    pages.sign_in.codes["c1", "v1"] = "t1"
    pages.sign_in.tokens["t1"] = person.user_name
    answer = browser.get("oauth_callback", code="c1", state="s1")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PREFIX}?x=1")
    (kept,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{SESSION_COOKIE}=t1")]
    assert {"HttpOnly", "Secure", "SameSite=lax", f"Path={PREFIX}"} <= set(kept.split("; "))
    assert "My access" in browser.page().get_text()


@pytest.mark.parametrize(
    "back",
    [
        pytest.param({"code": "c1", "state": "s2"}, id="another-state"),
        pytest.param({"code": "c1", "state": ""}, id="no-state"),
        pytest.param({"code": "", "state": "s1"}, id="no-code"),
        pytest.param({"code": "c2", "state": "s1"}, id="a-code-that-is-none"),
        pytest.param({"error": "access_denied", "state": "s1"}, id="refused-at-the-hub"),
    ],
)
def test_a_sign_in_that_is_not_ours_is_refused(pages: DeskPages, back: dict[str, str]) -> None:
    browser = pages.browser()
    begun(browser)
    pages.sign_in.codes["c1", "v1"] = "t1"
    answer = browser.get("oauth_callback", **back)
    assert (answer.status_code, code(answer)) == (403, "desk-sign-in-failed")
    assert SESSION_COOKIE not in browser.client.cookies


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param("zz", id="no-hexadecimal"),
        pytest.param(b"[]".hex(), id="no-mapping"),
        pytest.param(json.dumps({"state": 1, "verifier": "v1", "next": ""}).encode().hex(), id="no-text"),
        pytest.param(b"\xff".hex(), id="no-utf-8"),
    ],
)
def test_a_cookie_that_somebody_made_up_is_no_sign_in(pages: DeskPages, cookie: str) -> None:
    browser = pages.browser()
    browser.client.cookies.set("nbfed-desk-sign-in", cookie)
    assert browser.get("oauth_callback", code="c1", state="s1").status_code == 403


def test_the_same_address_again_leads_who_is_signed_in_to_the_first_page(pages: DeskPages) -> None:
    answer = pages.browser("ana").get("oauth_callback", code="old", state="old")
    assert (answer.status_code, answer.headers["location"]) == (303, PREFIX)


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example.org", "https://evil.example.org", "/\\evil.example.org", "/hub/../..//evil", "/services/desk/../x",
        "javascript:alert(1)", f"{PREFIX}\n//evil", "/services/deskx/", f"{PREFIX}/evil.example.org", "",
    ],
)  # fmt: skip
def test_nobody_is_led_elsewhere(pages: DeskPages, target: str) -> None:
    person = pages.person("ana")
    browser = pages.browser()
    begun(browser, target)
    pages.sign_in.codes["c1", "v1"] = "t1"
    pages.sign_in.tokens["t1"] = person.user_name
    assert browser.get("oauth_callback", code="c1", state="s1").headers["location"] == PREFIX


@given(st.text())
def test_whatever_is_asked_for_an_address_is_one_of_ours(target: str) -> None:
    assert own_page(target).startswith(PREFIX)
    assert own_page(PREFIX + target).startswith(PREFIX)


def test_while_the_hub_is_away_pages_say_so(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    pages.sign_in.away = True
    answer = browser.get()
    assert (answer.status_code, code(answer)) == (503, "desk-hub-away")
    assert pages.browser().get().status_code == 200  # what is public needs no hub


def test_a_token_that_ended_is_nobody(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    pages.sign_in.tokens.clear()
    assert "Sign in" in browser.page().get_text()


def test_somebody_whose_data_was_removed_is_told(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    pages.sign_in.tokens["token-of-ana"] = "removed-ana"
    answer = browser.get()
    assert (answer.status_code, code(answer)) == (403, "desk-person-unknown")


def test_while_the_books_are_away_pages_say_so(pages: DeskPages, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = pages.browser("ana")

    def away(*_arguments: object) -> Any:
        raise DatabaseUnavailable("no connection")

    monkeypatch.setattr("vetting.desk.gate.visitor_of", away)
    answer = browser.get()
    assert (answer.status_code, code(answer)) == (503, "database-away")


# --- roles ----------------------------------------------------------------------------------------------------------


def test_what_was_said_too_long_ago_carries_no_role(pages: DeskPages) -> None:
    browser = pages.browser("rita", "reviewer")
    name = pages.store.people["rita"].user_name
    assert visitor_of(pages.desk, name).roles.reviewer
    pages.store.clock.move(timedelta(days=1, seconds=1))
    assert visitor_of(pages.desk, name).roles == Roles()
    assert "Sign out and in again." in browser.page().get_text()


def test_who_is_suspended_has_no_role(pages: DeskPages) -> None:
    person = pages.person("rita", "reviewer")
    with pages.store.database.write() as connection:
        decisions.suspend(connection, person_id=person.id, reason="x", by="cli:ben", now=pages.store.clock())
    assert visitor_of(pages.desk, person.user_name).roles == Roles()


# --- what is answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "nothing-here", "sign-in"])
def test_every_answer_protects_who_reads_it(pages: DeskPages, path: str) -> None:
    headers = pages.browser().get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_no_page_has_what_its_policy_forbids(pages: DeskPages) -> None:
    page = pages.browser("ana").page()
    assert not page.select("[style], style, script:not([src])")
    assert not [tag for tag in page.find_all() for name in tag.attrs if name.startswith("on")]


def test_a_page_that_is_not_there_says_so(pages: DeskPages) -> None:
    answer = pages.browser().get("nothing-here")
    assert (answer.status_code, code(answer)) == (404, "desk-page-unknown")


def test_an_error_of_ours_tells_nothing_of_it(pages: DeskPages, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> Any:
        raise ValueError("the-secret-reason")

    monkeypatch.setattr("vetting.desk.catalogue_pages.catalogue_of", broken)
    answer = pages.browser().get()
    assert answer.status_code == 500
    assert code(answer) == "desk-broken"
    assert "the-secret-reason" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("language", "cookie", "words"),
    [
        pytest.param("en", "", "What there is", id="english"),
        pytest.param("es-PE,en;q=0.5", "", "Qué hay", id="spanish-by-browser"),
        pytest.param("es", "pt", "O que há", id="portuguese-by-choice"),
        pytest.param("de", "xx", "What there is", id="unknown"),
    ],
)
def test_pages_speak_the_language_of_their_reader(pages: DeskPages, language: str, cookie: str, words: str) -> None:
    browser = pages.browser(language=language)
    if cookie:
        browser.client.cookies.set(LANGUAGE_COOKIE, cookie)
    assert words in browser.page().get_text()


def test_the_first_page_is_light(pages: DeskPages) -> None:
    answer = pages.browser("ana").get()
    assert answer.headers["content-encoding"] == "gzip"
    assert len(gzip.compress(answer.content)) < 10_000
