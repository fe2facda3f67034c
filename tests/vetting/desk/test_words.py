"""Whatever people type into whichever field of whichever form, it stays text: stored, and shown at once with an error."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from bs4 import BeautifulSoup, Tag

from federation.ids import new_id
from spawners.sessions import Server
from tests.support.desk_pages import ROLES, Browser, DeskPages, filled
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code
from vetting.asking import Kind
from vetting.desk.pace import Pace

TYPED = "input:not([type]), input[type=text], input[type=date], input[type=number], input[type=email], textarea"
NOT_TYPED = {"seal", "key"}


def addresses(pages: DeskPages) -> list[str]:
    """Pages with forms, of things that are there, in each state that has forms of its own."""
    store = pages.store
    for role in ROLES:
        pages.person(role.replace(" ", "-"), role)
    own = [store.open(role.replace(" ", "-")).id for role in ROLES]
    waiting, held = store.submitted("ana", hours=500), store.in_review("ben", hours=500)
    active = store.active("cyd", hours=500)
    store.active("dan", Kind.SITE, sites=("hpc",), hours=0)
    person = store.people["ana"]
    session = pages.sessions.intend(
        attempt=new_id(), server=Server("hub", person.user_name, ""), person_id=person.id, site="cloud",
        flavour="small", environment="python", options={}, secret_hash="hash",
    )  # fmt: skip
    return [
        "", "ask", "ask?kind=quota", "ask?kind=tier", "ask?kind=site", "requests", *(f"requests/{one}" for one in own),
        "queue", *(f"review/{one.id}" for one in (waiting, held, active)), "sites", "sites/hpc", "sessions",
        f"sessions/{session.attempt}", "grants", f"grants/{person.id}", "audit",
    ]  # fmt: skip


def is_harmless(answer: httpx.Response) -> bool:
    """Nothing that was typed became a part of the page."""
    page = BeautifulSoup(answer.text, "html.parser")
    own = [tag for tag in page.select("script") if str(tag.get("src", "")).startswith("/hub/")]
    events = [tag for tag in page.find_all() for name in tag.attrs if name.startswith("on")]
    return page.select("script") == own and not page.select("img[src=x]") and not events


def forms(browser: Browser, address: str) -> Iterator[Tag]:
    answer = browser.send("GET", address)
    if answer.status_code == 200:
        yield from BeautifulSoup(answer.text, "html.parser").select("#content form")


def sent(browser: Browser, form: Tag) -> Iterator[httpx.Response]:
    """The form, with all that can be typed into it, by each of its buttons."""
    names = {str(field["name"]) for field in form.select(TYPED) if field.get("name")} - NOT_TYPED
    data: dict[str, Any] = {**filled(form), **dict.fromkeys(names, EVIL)}
    if str(form.get("method", "get")).lower() == "get":
        yield browser.send("GET", str(form["action"]), params=data)
        return
    for button in form.select("button"):
        pressed = {str(button["name"]): str(button["value"])} if button.get("name") else {}
        yield browser.post(str(button.get("formaction", form["action"])), {**data, **pressed, "no_conflict": "yes"})


def test_no_field_of_any_form_takes_a_script(pages: DeskPages) -> None:
    endless = Pace(per_minute=10**9, burst=10**9)
    pages.app.state.by_address = pages.app.state.by_sign_in = endless
    there = addresses(pages)
    browsers = {role: pages.browser(role.replace(" ", "-"), role) for role in ROLES}
    sends = dict.fromkeys(ROLES, 0)
    for role, browser in browsers.items():
        for address in there:
            for form in forms(browser, address):
                for answer in sent(browser, form):
                    sends[role] += 1
                    assert answer.status_code < 500, (role, address, form.get("id"))
                    assert is_harmless(answer), (role, address, form.get("id"))
    assert min(sends.values()) >= 3
    for role, browser in browsers.items():  # what was kept of it, whoever reads it
        for address in there:
            assert is_harmless(browser.send("GET", address)), (role, address)


@pytest.mark.parametrize(
    "path", ["requests/a%00b", "grants?who=%00", "sessions?who=a%00", "audit?actor=%00", "sessions/%00"]
)
def test_an_address_with_a_nul_leads_nowhere(pages: DeskPages, path: str) -> None:
    answer = pages.browser("olga", "operator").send("GET", path)
    assert (answer.status_code, code(answer)) == (404, "desk-page-unknown")


def test_a_form_with_a_nul_is_refused(pages: DeskPages) -> None:
    browser = pages.browser("ana")
    form = browser.page("ask", kind="quota")
    answer = browser.submit(form, "#ask-form", "[value=keep]", purpose="a\0b")
    assert (answer.status_code, code(answer)) == (400, "request-unfit")


def test_a_number_that_no_row_has_finds_nothing(pages: DeskPages) -> None:
    assert pages.browser("olga", "operator").get("audit", before=str(10**30)).status_code == 200
