"""The audit trail for operators: found by what, who, when; page by page; taken along as it is."""

import json
from datetime import timedelta

import pytest
from bs4 import BeautifulSoup

from tests.support.desk import DAY
from tests.support.desk_pages import DeskPages
from tests.vetting.desk.test_asking import EVIL
from tests.vetting.desk.test_sending import code
from vetting.transitions import Event


def acts(page: BeautifulSoup) -> list[str]:
    return [row.get_text() for row in page.select("#audit code")]


def test_rows_are_found_by_what_who_about_whom_and_when(pages: DeskPages) -> None:
    request = pages.store.submitted("ana")
    first_day = pages.store.clock().date().isoformat()
    pages.store.clock.move(2 * DAY)
    pages.store.submitted("ben")
    browser = pages.browser("olga", "operator")
    ana = pages.store.people["ana"]
    newest = ["person:request:submitted", "person:request:opened", "person:terms:accepted"]
    assert acts(browser.page("audit"))[1:4] == newest  # the first is that of Olga's own terms
    assert acts(browser.page("audit", act="person:request:submitted")) == ["person:request:submitted"] * 2
    assert acts(browser.page("audit", target=f"request:{request.id}")) == newest[:2]
    for written in (request.reference, f"request:{request.reference.lower()}"):
        assert acts(browser.page("audit", target=written)) == newest[:2]
    assert acts(browser.page("audit", target="request:NOBODYSX")) == []
    assert acts(browser.page("audit", actor=ana.user_name)) == newest
    assert acts(browser.page("audit", actor=f"person:{ana.id}", until=first_day)) == newest
    assert acts(browser.page("audit", actor=ana.user_name, since="2030-01-01")) == []
    assert "Ana" in browser.page("audit", actor=ana.user_name).select_one("#audit").get_text()


def test_a_day_that_is_none_is_told(pages: DeskPages) -> None:
    browser = pages.browser("olga", "operator")
    answer = browser.get("audit", since="yesterday")
    assert (answer.status_code, code(answer)) == (400, "day-unreadable")
    assert code(browser.get("audit/export", until="never")) == "day-unreadable"


def test_a_long_trail_comes_page_by_page_and_whole_as_a_file(pages: DeskPages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vetting.desk.audit_pages._PAGE", 2)
    monkeypatch.setattr("federation.trail._ROWS_AT_ONCE", 2)
    for name in ("ana", "ben", "cleo"):
        pages.store.submitted(name)
        pages.store.clock.move(timedelta(minutes=1))
    browser = pages.browser("olga", "operator")
    seen, page = [], browser.page("audit", act="person:request:submitted")
    while True:
        seen += [int(row["data-seq"]) for row in page.select("[data-seq]")]
        more = page.select_one("main a[href*=before]")
        if more is None:
            break
        page = browser.page(str(more["href"]))
    answer = browser.get("audit/export", act="person:request:submitted")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == sorted(seen)
    assert len(lines) == 3
    assert answer.headers["content-disposition"] == 'attachment; filename="notebooks-audit.jsonl"'
    everything = [json.loads(line)["seq"] for line in browser.get("audit/export").text.splitlines()]
    assert everything == sorted(set(everything))
    assert len(everything) > 10


@pytest.mark.parametrize("role", ["user", "reviewer", "trainer", "site operator"])
def test_the_trail_is_for_operators_only(pages: DeskPages, role: str) -> None:
    browser = pages.browser("pat", role)
    for path in ("audit", "audit/export"):
        answer = browser.get(path)
        assert (answer.status_code, code(answer)) == (403, "desk-role-needed")
    assert "Audit trail" not in browser.page().get_text()


def test_what_is_written_in_the_trail_is_no_markup_and_one_line_each(pages: DeskPages) -> None:
    request = pages.store.active("ana")
    pages.store.act(request, Event.SUSPEND, pages.store.reviewer(), text=f"{EVIL}\n{{}}")
    browser = pages.browser("olga", "operator")
    page = BeautifulSoup(browser.get("audit", actor=EVIL).text, "html.parser")
    assert not page.select("img")
    page = browser.page("audit", target=f"request:{request.id}")
    assert EVIL in page.get_text()
    assert not page.select("img")
    lines = browser.get("audit/export", target=f"request:{request.id}").text.splitlines()
    assert all(json.loads(line)["target"] == f"request:{request.id}" for line in lines)
