"""Grants for operators: found, given, changed, ended, each with a reason and once; nobody's own."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from bs4 import BeautifulSoup

from federation.audit import AuditTable
from quota.amounts import from_unit_hours
from quota.grant_list import ListedGrant, listed_of
from quota.owners import Owner
from quota.tables import OwnerKind
from tests.support.desk import DAY
from tests.support.desk_pages import Browser, DeskPages
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code


@pytest.fixture
def ana(pages: DeskPages) -> str:
    return pages.person("ana").id


def grants(pages: DeskPages, person_id: str) -> list[ListedGrant]:
    with pages.store.database.read() as connection:
        return listed_of(connection, Owner(OwnerKind.USER, person_id), pages.store.clock())


def given(pages: DeskPages, person_id: str, hours: int = 100) -> ListedGrant:
    now = pages.store.clock()
    pages.desk.ledger.grant(
        key=f"k{hours}", owner=Owner(OwnerKind.USER, person_id), amount=from_unit_hours(hours), starts_at=now,
        ends_at=now + 30 * DAY + timedelta(hours=5), created_by="cli:ben", reason="a project",
    )  # fmt: skip
    return grants(pages, person_id)[0]


def press(browser: Browser, person_id: str, form: str, event: str, **fields: Any) -> httpx.Response:
    return browser.submit(browser.page(f"grants/{person_id}"), form, f"[data-event={event}]", **fields)


def test_somebody_is_found_by_what_they_are_called(pages: DeskPages, ana: str) -> None:
    pages.person("anabel")
    browser = pages.browser("olga", "operator")
    found = browser.page("grants", who="an").select("#people a")
    assert [link.get_text() for link in found] == ["Ana", "Anabel"]
    for exact in (pages.store.people["ana"].user_name, "ana@example.org", ana):
        answer = browser.get("grants", who=exact)
        assert answer.headers.get("location") == f"/services/desk/grants/{ana}", exact
    assert "Nobody like this has signed in." in browser.page("grants", who="zoe").get_text()
    assert browser.page("grants").select("#people") == []
    for nobody in ("019ab000-0000-7000-8000-000000000000", "x"):
        assert code(browser.get(f"grants/{nobody}")) == "desk-page-unknown"


def test_a_grant_is_given_once_with_a_reason(pages: DeskPages, ana: str) -> None:
    browser = pages.browser("olga", "operator")
    page = browser.page(f"grants/{ana}")
    for _ in range(2):
        answer = browser.submit(page, "#give-form", hours="12,5", until="2026-12-31", reason="A course.")
        assert answer.status_code == 303
    (grant,) = grants(pages, ana)
    assert (grant.amount, grant.reason, grant.state) == (from_unit_hours(25) // 2, "A course.", "active")
    assert browser.page(f"grants/{ana}").select_one("#left").get_text() == "12.5"
    (row,) = [row for row in pages.store.rows(AuditTable) if row.act == "operator:grant:added"]
    assert (row.actor, row.reason) == (f"person:{pages.store.people['olga'].id}", "A course.")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param({"hours": "10", "reason": " "}, "words-needed", id="no-reason"),
        pytest.param({"hours": "", "reason": "x"}, "nothing-given", id="nothing"),
        pytest.param({"hours": "much", "reason": "x"}, "amount-unreadable", id="no-amount"),
        pytest.param({"hours": "10", "reason": "x", "until": "x"}, "day-unreadable", id="no-day"),
        pytest.param({"hours": "10", "reason": "x", "until": "2020-01-01"}, "grant-moved-on", id="over-at-once"),
        pytest.param({"hours": "9" * 19, "reason": "x"}, "grant-moved-on", id="beyond-all-bounds"),
    ],
)
def test_what_cannot_be_given_is_told(pages: DeskPages, ana: str, fields: dict[str, str], problem: str) -> None:
    answer = press(pages.browser("olga", "operator"), ana, "#give-form", "give", **fields)
    assert code(answer) == problem
    assert answer.status_code in (400, 409)
    assert grants(pages, ana) == []


def test_a_grant_is_changed_by_a_successor(pages: DeskPages, ana: str) -> None:
    before = given(pages, ana)
    browser = pages.browser("olga", "operator")
    unchanged = press(browser, ana, f"#change-{before.id}", "change", reason="Nothing.")
    assert (unchanged.status_code, code(unchanged)) == (409, "grant-moved-on")
    answer = press(browser, ana, f"#change-{before.id}", "change", hours="250", reason="More data.")
    assert answer.status_code == 303
    after, old = grants(pages, ana)
    assert (after.amount, after.ends_at, after.state, old.state) == (
        from_unit_hours(250), before.ends_at, "active", "changed",
    )  # fmt: skip


def test_a_grant_is_ended_and_only_once(pages: DeskPages, ana: str) -> None:
    before = given(pages, ana)
    browser = pages.browser("olga", "operator")
    page = browser.page(f"grants/{ana}")
    first = browser.submit(page, f"#change-{before.id}", "[data-event=revoke]", reason="Left.")
    second = browser.submit(page, f"#change-{before.id}", "[data-event=revoke]", reason="Left.")
    assert (first.status_code, second.status_code, code(second)) == (303, 409, "grant-moved-on")
    assert [grant.state for grant in grants(pages, ana)] == ["revoked"]


def test_nobody_changes_their_own(pages: DeskPages) -> None:
    browser = pages.browser("olga", "operator")
    olga = pages.store.people["olga"].id
    grant = given(pages, olga)
    page = browser.page(f"grants/{olga}")
    assert page.select_one("#own") is not None
    assert page.select("main form") == []
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    for path in ("give", f"{grant.id}/change", f"{grant.id}/revoke"):
        fields = {"seal": seal, "hours": "5", "until": "2027-01-01", "reason": "x", "key": "k"}
        answer = browser.post(f"grants/{olga}/{path}", fields)
        assert (answer.status_code, code(answer)) == (403, "own-account")
    assert [one.state for one in grants(pages, olga)] == ["active"]


def test_a_grant_of_somebody_else_is_not_reached_by_another_address(pages: DeskPages, ana: str) -> None:
    ben = pages.person("ben").id
    grant = given(pages, ben)
    browser = pages.browser("olga", "operator")
    seal = browser.page(f"grants/{ana}").select_one("input[name=seal]")["value"]
    answer = browser.post(f"grants/{ana}/{grant.id}/revoke", {"seal": seal, "reason": "x"})
    assert (answer.status_code, code(answer)) == (409, "grant-moved-on")
    assert grants(pages, ben)[0].state == "active"


@pytest.mark.parametrize("role", ["user", "reviewer", "trainer", "site operator"])
def test_grants_are_for_operators_only(pages: DeskPages, ana: str, role: str) -> None:
    browser = pages.browser("pat", role)
    for path in ("grants", f"grants/{ana}"):
        assert code(browser.get(path)) == "desk-role-needed"
    seal = browser.page("ask", kind="site").select_one("input[name=seal]")["value"]
    answer = browser.post(f"grants/{ana}/give", {"seal": seal, "hours": "5", "until": "2027-01-01", "reason": "x"})
    assert (answer.status_code, code(answer)) == (403, "desk-role-needed")
    assert grants(pages, ana) == []


def test_what_is_written_is_no_markup_for_operators_either(pages: DeskPages, ana: str) -> None:
    browser = pages.browser("olga", "operator")
    bad = press(browser, ana, "#give-form", "give", hours=EVIL, until=EVIL, reason=EVIL)
    press(browser, ana, "#give-form", "give", hours="5", reason=EVIL)
    for text in (bad.text, browser.get(f"grants/{ana}").text, browser.get("grants", who=EVIL).text):
        page = BeautifulSoup(text, "html.parser")
        assert not page.select("img")
        assert len(page.select("script")) == 1
